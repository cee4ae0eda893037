//! Narrow reads: what the poller keeps, whose slots are taken, how long providers took.

use std::time::Duration;

use longtake::{
    domain::{
        attempt::AttemptState,
        id::AttemptId,
        record::{Attempt, Generation, Handle, Kind},
    },
    store::{Journal, SlotRow, Transition, Verdict, WaitingRow},
};

use super::bed::{Bed, NOW, born, event, intent, journal, said};

super::on_both! {
    running_attempts_come_by_id_with_all_that_a_poll_needs;
    how_long_providers_took_is_told_of_what_finished_lately;
}

/// A generation whose attempt is in that state.
async fn with_attempt(journal: &Journal, state: AttemptState) -> (Generation, Attempt) {
    let generation = born(journal).await;
    let (entry, mut row) = intent(&generation, 1);
    assert_eq!(journal.transition(entry).await.unwrap(), Verdict::Won);
    row.state = state;
    row.handle = Some(Handle { task_id: "task-1".to_owned(), poll_url: None });
    row.submitted_at = Some(NOW.plus(Duration::from_secs(1)));
    let moved = Generation { version: generation.version + 1, ..generation };
    let entry = Transition { attempts: vec![row.clone()], ..Transition::of(&moved) };
    assert_eq!(journal.transition(entry).await.unwrap(), Verdict::Won);
    (Generation { version: moved.version + 1, ..moved }, row)
}

fn ids(rows: &[WaitingRow]) -> Vec<AttemptId> {
    rows.iter().map(WaitingRow::id).collect()
}

async fn running_attempts_come_by_id_with_all_that_a_poll_needs(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let mut running = Vec::new();
    for _ in 0..3 {
        running.push(with_attempt(&journal, AttemptState::Running).await.1);
    }
    let other = with_attempt(&journal, AttemptState::Unconfirmed).await.1;
    let reads = store.reads();
    let all: Vec<_> = running.iter().map(|row| row.id).collect();
    let page = reads.running(None).await.unwrap();
    assert_eq!(ids(&page), all);
    assert_eq!(ids(&reads.running(Some(all[0])).await.unwrap()), all[1..]);
    assert_eq!(ids(&reads.running_of(&[all[2], other.id]).await.unwrap()), all[2..]);
    let (row, known) = (&page[0], &running[0]);
    assert_eq!((row.generation(), Some(row.submitted_at())), (known.generation, known.submitted_at));
    assert_eq!((row.handle(), row.sent()), (known.handle.clone(), Some((known.endpoint.clone(), Kind::Video))));
    assert_eq!(row.route_key(), page[1].route_key());
    let taken = reads.slots_taken(AttemptState::Unconfirmed, None).await.unwrap();
    assert_eq!(taken.iter().map(SlotRow::id).collect::<Vec<_>>(), [other.id]);
    assert_eq!((taken[0].provider.as_str(), taken[0].account.as_str()), ("kling", "main"));
    store.close().await;
}

async fn how_long_providers_took_is_told_of_what_finished_lately(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    with_attempt(&journal, AttemptState::Running).await;
    assert_eq!(store.reads().took_lately().await.unwrap(), []);
    let (generation, row) = with_attempt(&journal, AttemptState::Running).await;
    let mut finished = said(&generation, 1, "running", "storing");
    finished.at = NOW.plus(Duration::from_secs(91));
    let entry = Transition {
        attempts: vec![Attempt { state: AttemptState::Storing, version: row.version + 1, ..row.clone() }],
        history: vec![finished],
        events: vec![event(&generation, "generation.completed")],
        ..Transition::of(&generation)
    };
    assert_eq!(journal.transition(entry).await.unwrap(), Verdict::Won);
    let took = store.reads().took_lately().await.unwrap();
    assert_eq!(took.len(), 1);
    assert_eq!(took[0].finished_at.since(took[0].submitted_at), Duration::from_secs(90));
    assert_eq!(took[0].model, row.model.to_string());
    store.close().await;
}
