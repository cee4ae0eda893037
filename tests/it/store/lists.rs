//! Lists: order, paging, filters, limits; rows that cannot be read.

use std::time::Duration;

use longtake::{
    domain::{
        attempt::AttemptState,
        generation::GenerationState,
        id::ProjectId,
        record::{AssetState, Generation},
    },
    store::{Journal, ListFilter, StateCounts, StoreError, Transition, Verdict},
};

use super::bed::{Bed, NOW, asset, birth, born, generation, intent, journal};

super::on_both! {
    a_project_lists_its_own_newest_first_in_pages_and_filtered;
    unfinished_states_are_counted;
    expired_queue_deadlines_are_found;
    open_attempts_and_pending_assets_come_in_pages;
    a_corrupt_row_is_left_out_and_takes_no_other_along;
}

async fn put(journal: &Journal, row: &Generation) {
    journal.birth(birth(row)).await.unwrap();
}

async fn a_project_lists_its_own_newest_first_in_pages_and_filtered(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let project = ProjectId::fresh();
    let mut rows: Vec<_> = (0..5).map(|_| generation(project)).collect();
    rows[0].provider = "flux".into();
    rows[1].model = "other".into();
    rows[2].progress.state = GenerationState::Completed;
    rows[3].created_at = NOW.plus(Duration::from_secs(10));
    for row in rows.iter().chain([&generation(ProjectId::fresh())]) {
        put(&journal, row).await;
    }
    let reads = store.reads();
    let mut pages = Vec::new();
    let mut before = None;
    loop {
        let page = reads.list(project, &ListFilter::default(), before, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        pages.push(page.iter().map(|row| row.id).collect::<Vec<_>>());
    }
    assert_eq!(pages, [vec![rows[4].id, rows[3].id], vec![rows[2].id, rows[1].id], vec![rows[0].id]]);
    let only = async |filter: ListFilter| {
        let found = reads.list(project, &filter, None, 10).await.unwrap();
        found.iter().map(|row| rows.iter().position(|own| own.id == row.id).unwrap()).collect::<Vec<_>>()
    };
    let none = ListFilter::default;
    assert_eq!(only(ListFilter { provider: Some("flux".to_owned()), ..none() }).await, [0]);
    assert_eq!(only(ListFilter { model: Some("other".to_owned()), ..none() }).await, [1]);
    assert_eq!(only(ListFilter { states: vec![GenerationState::Completed], ..none() }).await, [2]);
    assert_eq!(only(ListFilter { created_from: Some(NOW.plus(Duration::from_secs(1))), ..none() }).await, [3]);
    assert_eq!(only(ListFilter { created_to: Some(NOW.plus(Duration::from_secs(1))), ..none() }).await, [4, 2, 1, 0]);
    store.close().await;
}

async fn unfinished_states_are_counted(bed: &Bed) {
    use GenerationState as S;
    let store = bed.open().await;
    let journal = journal(&store);
    assert_eq!(store.reads().counts().await.unwrap(), StateCounts::default());
    for state in [S::Waiting, S::Preparing, S::Queued, S::Queued, S::Active, S::Completed, S::Failed, S::Cancelled] {
        let mut row = generation(ProjectId::fresh());
        row.progress.state = state;
        row.ended_at = state.terminal().then_some(NOW);
        put(&journal, &row).await;
    }
    // One moves on, one ends.
    for state in [S::Active, S::Failed] {
        let mut row = generation(ProjectId::fresh());
        put(&journal, &row).await;
        let entry = Transition::of(&row);
        row.progress.state = state;
        row.ended_at = state.terminal().then_some(NOW);
        assert_eq!(journal.transition(Transition { generation: Some(row), ..entry }).await.unwrap(), Verdict::Won);
    }
    let expected = StateCounts { waiting: 1, preparing: 1, queued: 2, active: 2, unfinished: 6 };
    assert_eq!(store.reads().counts().await.unwrap(), expected);
    store.reads().ping().await.unwrap();
    store.close().await;
}

async fn expired_queue_deadlines_are_found(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let mut rows: Vec<_> = (0..4).map(|_| generation(ProjectId::fresh())).collect();
    rows[0].queue_deadline = NOW;
    rows[1].queue_deadline = NOW.minus(Duration::from_secs(1));
    rows[2].queue_deadline = NOW.minus(Duration::from_secs(1));
    rows[2].progress.state = GenerationState::Active;
    for row in &rows {
        put(&journal, row).await;
    }
    assert_eq!(store.reads().queue_expired(NOW, 10).await.unwrap(), [rows[1].id, rows[0].id]);
    assert_eq!(store.reads().queue_expired(NOW, 1).await.unwrap(), [rows[1].id]);
    store.close().await;
}

async fn open_attempts_and_pending_assets_come_in_pages(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let (mut attempts, mut files) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let generation = born(&journal).await;
        let (mut entry, row) = intent(&generation, 1);
        let mut stored = asset(&row, 1);
        stored.state = AssetState::Stored;
        files.push(asset(&row, 0));
        entry.new_assets = vec![files[files.len() - 1].clone(), stored];
        assert_eq!(journal.transition(entry).await.unwrap(), Verdict::Won);
        attempts.push(row);
    }
    let mut ended = attempts[1].clone();
    ended.state = AttemptState::Ended(longtake::domain::attempt::Outcome::Refused);
    let entry = Transition { generation_id: ended.generation, attempts: vec![ended], ..Transition::of(&bare(&attempts[1])) };
    assert_eq!(journal.transition(entry).await.unwrap(), Verdict::Won);
    let reads = store.reads();
    let first = reads.attempts_in(AttemptState::Submitting, None, 1).await.unwrap();
    assert_eq!(first, [attempts[0].clone()]);
    let rest = reads.attempts_in(AttemptState::Submitting, Some(first[0].id), 10).await.unwrap();
    assert_eq!(rest, [attempts[2].clone()]);
    assert_eq!(reads.attempts_in(AttemptState::Running, None, 10).await.unwrap(), []);
    let first = reads.pending_assets(None, 2).await.unwrap();
    assert_eq!(first, files[..2]);
    assert_eq!(reads.pending_assets(Some(first[1].id), 2).await.unwrap(), files[2..]);
    store.close().await;
}

fn bare(attempt: &longtake::domain::record::Attempt) -> Generation {
    Generation { id: attempt.generation, shard: attempt.shard, ..generation(ProjectId::fresh()) }
}

async fn a_corrupt_row_is_left_out_and_takes_no_other_along(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let project = ProjectId::fresh();
    let rows: Vec<_> = (0..3).map(|_| generation(project)).collect();
    for row in &rows {
        put(&journal, row).await;
    }
    bed.meddle(&format!("UPDATE generations SET slots = 'x' WHERE id = {}", bed.literal(rows[1].id))).await;
    let reads = store.reads();
    let sound = [rows[0].id, rows[2].id];
    assert_eq!(reads.list(project, &ListFilter::default(), None, 10).await.unwrap().len(), 2);
    let all: Vec<_> = rows.iter().map(|row| row.id).collect();
    assert_eq!(reads.loads(&all).await.unwrap().iter().map(|row| row.generation.id).collect::<Vec<_>>(), sound);
    let Err(StoreError::Corrupt { what, id }) = reads.generation(rows[1].id).await else { panic!("it is corrupt") };
    assert_eq!((what, id), ("generation", rows[1].id.to_string()));
    store.close().await;
}
