//! What waits for a place, line by line: heads, what stands behind them, how many there are.

use std::time::Duration;

use longtake::{
    domain::{
        batch::BatchOptions,
        generation::GenerationState,
        id::{GenerationId, ProjectId},
        money::Micros,
        place::Waiting,
        record::Generation,
    },
    store::{Journal, Load, Reads},
};

use super::{
    batches::{PRICE, intent, line, loaded, loading, step},
    bed::{Bed, NOW, birth, generation, journal},
};

super::on_both! {
    each_line_shows_the_first_that_may_go_now;
    what_stands_behind_a_head_comes_in_order_and_is_counted_up_to_a_limit;
    owed_generations_that_a_client_wants_cancelled_are_found_and_active_ones_are_not;
    a_batch_shows_its_first_line_as_long_as_it_lets_anything_through;
}

async fn put(journal: &Journal, row: Generation) -> Generation {
    journal.birth(birth(&row)).await.unwrap();
    row
}

fn ids(rows: &[Generation]) -> Vec<GenerationId> {
    let mut ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    ids.sort();
    ids
}

async fn each_line_shows_the_first_that_may_go_now(bed: &Bed) {
    let store = bed.open().await;
    let (journal, reads) = (journal(&store), store.reads());
    let (a, b) = (ProjectId::fresh(), ProjectId::fresh());
    let mut due = generation(a);
    due.progress.not_before = NOW.plus(Duration::from_secs(30));
    let late = put(&journal, due).await;
    let cancelled = put(&journal, generation(a)).await;
    journal.request_cancel(cancelled.id, a, NOW).await.unwrap();
    let first = put(&journal, generation(a)).await;
    put(&journal, generation(a)).await;
    let urgent = put(&journal, Generation { priority: 1, ..generation(a) }).await;
    let other = put(&journal, generation(b)).await;
    put(&journal, generation(b)).await;
    let elsewhere = put(&journal, Generation { provider: "pollo".into(), ..generation(b) }).await;
    let mut active = generation(ProjectId::fresh());
    active.progress.state = GenerationState::Active;
    put(&journal, active).await;
    assert_eq!(ids(&reads.heads("kling", NOW).await.unwrap()), [first.id, urgent.id, other.id]);
    assert_eq!(ids(&reads.heads("kling", NOW.plus(Duration::from_secs(30))).await.unwrap()), [late.id, urgent.id, other.id]);
    assert_eq!(ids(&reads.heads("pollo", NOW).await.unwrap()), [elsewhere.id]);
    assert_eq!(ids(&reads.heads("flux", NOW).await.unwrap()), []);
    store.close().await;
}

async fn what_stands_behind_a_head_comes_in_order_and_is_counted_up_to_a_limit(bed: &Bed) {
    let store = bed.open().await;
    let (journal, reads) = (journal(&store), store.reads());
    let (a, b) = (ProjectId::fresh(), ProjectId::fresh());
    let mut rows = Vec::new();
    for _ in 0..5 {
        rows.push(put(&journal, generation(a)).await);
        put(&journal, generation(b)).await;
        put(&journal, Generation { priority: 6, ..generation(a) }).await;
    }
    let line: Vec<_> = rows.iter().map(|row| row.id).collect();
    assert_eq!(ids(&reads.behind(&rows[0], NOW, 3).await.unwrap()), line[1..4]);
    assert_eq!(ids(&reads.behind(&rows[3], NOW, 3).await.unwrap()), line[4..]);
    assert_eq!((reads.before(&rows[0], NOW).await.unwrap(), reads.before(&rows[4], NOW).await.unwrap()), (0, 4));
    let wanted = |project, priority| Waiting { project, priority, count: 5 };
    assert_eq!(sorted(&reads).await, [wanted(a, 5), wanted(a, 6), wanted(b, 5)]);
    assert_eq!(reads.waiting_lines("kling", NOW.minus(Duration::from_secs(1))).await.unwrap(), []);
    store.close().await;
}

async fn sorted(reads: &Reads) -> Vec<Waiting> {
    let mut lines = reads.waiting_lines("kling", NOW).await.unwrap();
    lines.sort_by_key(|line| (line.project, line.priority));
    lines
}

async fn owed_generations_that_a_client_wants_cancelled_are_found_and_active_ones_are_not(bed: &Bed) {
    let store = bed.open().await;
    let (journal, reads) = (journal(&store), store.reads());
    let project = ProjectId::fresh();
    let mut wanted = Vec::new();
    for state in [GenerationState::Waiting, GenerationState::Preparing, GenerationState::Queued, GenerationState::Active] {
        let mut row = generation(project);
        row.progress.state = state;
        let row = put(&journal, row).await;
        journal.request_cancel(row.id, project, NOW).await.unwrap();
        wanted.push(row.id);
    }
    put(&journal, generation(project)).await;
    assert_eq!(reads.cancel_owed(10).await.unwrap(), wanted[..3]);
    assert_eq!(reads.cancel_owed(1).await.unwrap(), wanted[..1]);
    store.close().await;
}

async fn a_batch_shows_its_first_line_as_long_as_it_lets_anything_through(bed: &Bed) {
    let store = bed.open().await;
    let (journal, reads) = (journal(&store), store.reads());
    let (first, lines) = loaded(&store, BatchOptions::default(), 3).await;
    let ordered = BatchOptions { parallel: false, ..BatchOptions::default() };
    let (second, others) = loaded(&store, ordered, 2).await;
    let heads = async || -> Vec<GenerationId> {
        let heads = reads.batch_heads("kling", NOW).await.unwrap();
        heads.iter().for_each(|(row, batch)| assert_eq!(row.batch.as_ref().map(|place| place.id), Some(batch.id)));
        heads.into_iter().map(|(row, _)| row.id).collect()
    };
    let mut unseen = Load::begin(&journal, loading(ProjectId::fresh(), BatchOptions::default())).await.unwrap();
    unseen.add(vec![line(unseen.batch(), 0)], NOW).await.unwrap();
    assert_eq!(heads().await, [lines[0].id, others[0].id], "what is not visible is not offered");
    assert_eq!(ids(&reads.behind(&lines[0], NOW, 10).await.unwrap()), [lines[1].id, lines[2].id]);
    assert_eq!(reads.before(&lines[2], NOW).await.unwrap(), 2);
    assert_eq!(ids(&reads.heads("kling", NOW).await.unwrap()), [], "a line of a batch is no single");
    journal.pause_batch(first.id, first.project, NOW).await.unwrap();
    assert_eq!(heads().await, [others[0].id]);
    step(&store, &others[0], intent).await.expect("its batch takes it");
    assert_eq!(heads().await, [], "{}", second.id);
    let (third, _) = loaded(&store, BatchOptions { budget: Some(Micros(PRICE.0 - 1)), ..BatchOptions::default() }, 1).await;
    assert_eq!(heads().await, [], "{}", third.id);
    assert_eq!(reads.cheapest_owed(third.id).await.unwrap(), Some(PRICE));
    assert_eq!(reads.budgeted_batches(10).await.unwrap(), [third]);
    assert_eq!(reads.owed_lines(first.id, 2).await.unwrap(), [lines[0].id, lines[1].id]);
    assert_eq!(reads.active_lines(second.id, 10).await.unwrap(), [others[0].id]);
    store.close().await;
}
