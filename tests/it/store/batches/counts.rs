//! Counts, money and places move in the commits that move the lines; what is submitted is judged against what those commits made.

use futures_util::future::join_all;
use longtake::{
    domain::{
        attempt::AttemptEvent,
        batch::{BatchOptions, BatchStatus, Category, Counts, Held},
        generation::GenerationEvent,
        money::Micros,
        record::Generation,
        settle::Ending,
    },
    store::{Journal, Store, StoreError, Transition, Verdict, change, lines::release},
};

use super::{PRICE, deliver, dropped, ended, fail, intent, intent_at, loaded, moved, step, stored};
use crate::store::bed::{Bed, NOW, journal, nudge};

crate::store::on_both! {
    counts_and_money_follow_a_line_through_its_life;
    the_last_end_completes_the_batch_and_is_told_once;
    of_many_submits_at_once_no_more_than_may_be_open_pass;
    a_failure_stops_the_submits_of_the_same_commit;
    an_end_frees_its_place_for_a_submit_of_the_same_commit;
    a_deadline_and_an_order_hold_submits_back;
    an_overdue_attempt_gives_its_place_back_and_takes_it_no_more;
    a_lines_transition_without_its_effect_is_refused;
    a_lost_transition_moves_no_count;
    lines_are_listed_by_what_they_count_as_and_in_the_order_of_their_ends;
}

async fn counts_and_money_follow_a_line_through_its_life(bed: &Bed) {
    let store = bed.open().await;
    let (batch, lines) = loaded(&store, BatchOptions::default(), 2).await;
    let line = &lines[0];
    let now = async || {
        let batch = stored(&store, batch.id).await;
        (batch.counts.running, batch.counts.waiting(), batch.places, batch.spent.0, batch.charged.0, batch.version)
    };
    assert_eq!(now().await, (0, 2, 0, 0, 0, 0));
    step(&store, line, intent).await.unwrap();
    assert_eq!(now().await, (1, 1, 1, PRICE.0, 0, 1));
    step(&store, line, |loaded| moved(loaded, AttemptEvent::OutcomeUnknown)).await.unwrap();
    assert_eq!(now().await, (1, 1, 1, PRICE.0, 0, 1), "at risk is spent, too: the batch stays as it is");
    step(&store, line, |loaded| moved(loaded, AttemptEvent::Accepted)).await.unwrap();
    assert_eq!(now().await, (1, 1, 1, PRICE.0, PRICE.0, 2));
    step(&store, line, |loaded| moved(loaded, AttemptEvent::Finished)).await.unwrap();
    assert_eq!(now().await, (1, 1, 0, PRICE.0, PRICE.0, 3), "storing needs no place");
    step(&store, line, |loaded| ended(loaded, AttemptEvent::Stored, Ending::Delivered)).await.unwrap();
    assert_eq!(now().await, (0, 1, 0, PRICE.0, PRICE.0, 4));
    assert_eq!(stored(&store, batch.id).await.counts.completed, 1);
    // One that never left owes its submit again: under way, without place or price.
    step(&store, &lines[1], intent).await.unwrap();
    step(&store, &lines[1], |loaded| ended(loaded, AttemptEvent::NeverSent, Ending::NeverSent)).await.unwrap();
    assert_eq!(now().await, (1, 0, 0, PRICE.0, PRICE.0, 6));
    store.close().await;
}

async fn the_last_end_completes_the_batch_and_is_told_once(bed: &Bed) {
    let store = bed.open().await;
    let (batch, lines) = loaded(&store, BatchOptions::default(), 3).await;
    deliver(&store, &lines[0]).await;
    fail(&store, &lines[1]).await;
    assert_eq!(stored(&store, batch.id).await.completed_at, None);
    step(&store, &lines[2], |loaded| dropped(loaded, &GenerationEvent::Cancel)).await.unwrap();
    let batch = stored(&store, batch.id).await;
    assert_eq!(batch.counts, Counts { total: 3, completed: 1, failed: 1, cancelled: 1, running: 0 });
    assert_eq!((batch.status(), batch.completed_at, batch.progress()), (BatchStatus::PartialFailed, Some(NOW), 100));
    let told = "SELECT count(*) FROM events WHERE kind = 'batch.partial_failed' AND batch_id IS NOT NULL";
    assert_eq!(bed.number(told).await, 1);
    let of_lines = "SELECT count(*) FROM events WHERE generation_id IS NOT NULL AND batch_id IS NULL";
    assert_eq!(bed.number(of_lines).await, 0, "every event of a line names its batch");
    assert_eq!(store.reads().open_batches(None, 10).await.unwrap(), []);
    store.close().await;
}

/// A line's entry, decided on what is stored now.
async fn entry(store: &Store, line: &Generation, decide: impl Fn(&longtake::store::Loaded) -> Option<Transition>) -> Transition {
    let loaded = store.reads().load(line.id).await.unwrap().unwrap();
    let mut entry = decide(&loaded).unwrap();
    entry.booking = change::booking(&loaded, &entry);
    entry.effect = change::effect(&loaded, &entry);
    entry
}

/// All at once, so that they share commits; in this order.
async fn at_once(journal: &Journal, entries: Vec<Transition>) -> Vec<Verdict> {
    join_all(entries.into_iter().map(|entry| journal.transition(entry))).await.into_iter().map(Result::unwrap).collect()
}

async fn of_many_submits_at_once_no_more_than_may_be_open_pass(bed: &Bed) {
    let store = bed.open().await;
    let options = BatchOptions { max_concurrency: 5, ..BatchOptions::default() };
    let (batch, lines) = loaded(&store, options, 60).await;
    let mut entries = Vec::new();
    for line in &lines {
        entries.push(entry(&store, line, intent).await);
    }
    let verdicts = at_once(&journal(&store), entries).await;
    let won = verdicts.iter().filter(|verdict| **verdict == Verdict::Won).count();
    assert_eq!(won, 5);
    assert!(verdicts.iter().all(|verdict| matches!(verdict, Verdict::Won | Verdict::Held(Held::Concurrency))));
    let batch = stored(&store, batch.id).await;
    assert_eq!((batch.places, batch.counts.running, batch.spent), (5, 5, Micros(5 * PRICE.0)));
    assert_eq!(bed.number("SELECT count(*) FROM attempts").await, 5);
    store.close().await;
}

async fn a_failure_stops_the_submits_of_the_same_commit(bed: &Bed) {
    let store = bed.open().await;
    // What is handed in together nearly always shares a commit; a busy machine may break it up just before the failure.
    for round in 1.. {
        if submitted_beside_a_failure(bed, &store, round).await < 38 {
            break;
        }
        assert!(round < 8, "those that shared the commit of the failure were held back");
    }
    store.close().await;
}

/// How many of 38 submits are committed that are handed in ahead of a failure.
async fn submitted_beside_a_failure(bed: &Bed, store: &Store, round: i64) -> usize {
    let options = BatchOptions { max_concurrency: 50, stop_on_error: true, ..BatchOptions::default() };
    let (batch, lines) = loaded(store, options, 40).await;
    step(store, &lines[0], intent).await.unwrap();
    step(store, &lines[1], intent).await.unwrap();
    let mut entries = Vec::new();
    for line in &lines[2..] {
        entries.push(entry(store, line, intent).await);
    }
    entries.push(entry(store, &lines[0], |loaded| ended(loaded, AttemptEvent::Refused, Ending::Final)).await);
    let verdicts = at_once(&journal(store), entries).await;
    assert_eq!(verdicts.last(), Some(&Verdict::Won));
    let batch = stored(store, batch.id).await;
    assert_eq!(batch.stopped_at, Some(NOW));
    let submitted = verdicts.iter().filter(|verdict| **verdict == Verdict::Won).count() - 1;
    assert!(verdicts.iter().all(|verdict| matches!(verdict, Verdict::Won | Verdict::Held(Held::Stopped))), "{verdicts:?}");
    assert_eq!(batch.counts.running as usize, submitted + 1);
    // What is paid finishes; nothing further is submitted.
    step(store, &lines[1], |loaded| moved(loaded, AttemptEvent::Accepted)).await.unwrap();
    step(store, &lines[1], |loaded| moved(loaded, AttemptEvent::Finished)).await.unwrap();
    step(store, &lines[1], |loaded| ended(loaded, AttemptEvent::Stored, Ending::Delivered)).await.unwrap();
    assert_eq!(bed.number("SELECT count(*) FROM events WHERE kind = 'batch.stopped'").await, round);
    submitted
}

async fn an_end_frees_its_place_for_a_submit_of_the_same_commit(bed: &Bed) {
    let store = bed.open().await;
    let options = BatchOptions { max_concurrency: 1, ..BatchOptions::default() };
    let (batch, lines) = loaded(&store, options, 3).await;
    step(&store, &lines[0], intent).await.unwrap();
    let next = entry(&store, &lines[1], intent).await;
    assert_eq!(at_once(&journal(&store), vec![next.clone()]).await, [Verdict::Held(Held::Concurrency)]);
    let end = entry(&store, &lines[0], |loaded| ended(loaded, AttemptEvent::Refused, Ending::Final)).await;
    // Behind a busy writer both wait for one commit; the end counts first, whatever their order.
    let busy: Vec<_> = (0..3).map(|_| nudge(&crate::store::bed::generation(batch.project), 1)).collect();
    let all = busy.into_iter().chain([next.clone(), end]).collect();
    let verdicts = at_once(&journal(&store), all).await;
    assert_eq!(verdicts[4], Verdict::Won);
    if verdicts[3] != Verdict::Won {
        assert_eq!(at_once(&journal(&store), vec![next]).await, [Verdict::Won]);
    }
    assert_eq!(stored(&store, batch.id).await.places, 1);
    store.close().await;
}

async fn a_deadline_and_an_order_hold_submits_back(bed: &Bed) {
    let store = bed.open().await;
    let deadline = NOW.plus(std::time::Duration::from_secs(60));
    let options = BatchOptions { deadline: Some(deadline), ..BatchOptions::default() };
    let (batch, lines) = loaded(&store, options, 1).await;
    let late = entry(&store, &lines[0], |loaded| intent_at(loaded, deadline)).await;
    assert_eq!(at_once(&journal(&store), vec![late]).await, [Verdict::Held(Held::Deadline)]);
    assert_eq!(store.reads().batches_to_act(NOW, 10).await.unwrap(), []);
    assert_eq!(store.reads().batches_to_act(deadline, 10).await.unwrap(), [batch]);
    let (ordered, lines) = loaded(&store, BatchOptions { parallel: false, ..BatchOptions::default() }, 2).await;
    step(&store, &lines[0], intent).await.unwrap();
    step(&store, &lines[0], |loaded| moved(loaded, AttemptEvent::Finished)).await.unwrap();
    let next = entry(&store, &lines[1], intent).await;
    assert_eq!(at_once(&journal(&store), vec![next.clone()]).await, [Verdict::Held(Held::Order)], "its files are on their way");
    step(&store, &lines[0], |loaded| ended(loaded, AttemptEvent::Stored, Ending::Delivered)).await.unwrap();
    assert_eq!(at_once(&journal(&store), vec![next]).await, [Verdict::Won]);
    assert_eq!(stored(&store, ordered.id).await.places, 1);
    store.close().await;
}

async fn an_overdue_attempt_gives_its_place_back_and_takes_it_no_more(bed: &Bed) {
    let store = bed.open().await;
    let options = BatchOptions { max_concurrency: 1, ..BatchOptions::default() };
    let (batch, lines) = loaded(&store, options, 2).await;
    step(&store, &lines[0], intent).await.unwrap();
    step(&store, &lines[0], |loaded| moved(loaded, AttemptEvent::Accepted)).await.unwrap();
    let places = store.reads().places(None, 10).await.unwrap();
    assert_eq!(places.iter().map(|place| (place.generation(), place.batch())).collect::<Vec<_>>(), [(lines[0].id, batch.id)]);
    step(&store, &lines[0], |loaded| release(loaded, loaded.attempts[0].id, NOW)).await.unwrap();
    assert!(step(&store, &lines[0], |loaded| release(loaded, loaded.attempts[0].id, NOW)).await.is_none());
    assert_eq!(stored(&store, batch.id).await.places, 0);
    assert!(store.reads().places(None, 10).await.unwrap().is_empty());
    step(&store, &lines[1], intent).await.expect("the place is free");
    // It goes on, and its end frees nothing twice.
    step(&store, &lines[0], |loaded| moved(loaded, AttemptEvent::Finished)).await.unwrap();
    step(&store, &lines[0], |loaded| ended(loaded, AttemptEvent::Stored, Ending::Delivered)).await.unwrap();
    let batch = stored(&store, batch.id).await;
    assert_eq!((batch.places, batch.counts.completed), (1, 1));
    store.close().await;
}

async fn a_lines_transition_without_its_effect_is_refused(bed: &Bed) {
    let store = bed.open().await;
    let (_, lines) = loaded(&store, BatchOptions::default(), 1).await;
    assert!(matches!(journal(&store).transition(nudge(&lines[0], 1)).await, Err(StoreError::Unstorable { .. })));
    store.close().await;
}

async fn a_lost_transition_moves_no_count(bed: &Bed) {
    let store = bed.open().await;
    let (batch, lines) = loaded(&store, BatchOptions::default(), 1).await;
    let (first, second) = (entry(&store, &lines[0], intent).await, entry(&store, &lines[0], intent).await);
    assert_eq!(at_once(&journal(&store), vec![first, second]).await, [Verdict::Won, Verdict::Lost]);
    let batch = stored(&store, batch.id).await;
    assert_eq!((batch.places, batch.counts.running, batch.version), (1, 1, 1));
    store.close().await;
}

async fn lines_are_listed_by_what_they_count_as_and_in_the_order_of_their_ends(bed: &Bed) {
    let store = bed.open().await;
    let (batch, lines) = loaded(&store, BatchOptions { max_concurrency: 9, ..BatchOptions::default() }, 6).await;
    fail(&store, &lines[4]).await;
    deliver(&store, &lines[1]).await;
    step(&store, &lines[0], |loaded| dropped(loaded, &GenerationEvent::Cancel)).await.unwrap();
    step(&store, &lines[2], intent).await.unwrap();
    step(&store, &lines[3], intent).await.unwrap();
    step(&store, &lines[3], |loaded| ended(loaded, AttemptEvent::NeverSent, Ending::NeverSent)).await.unwrap();
    let listed = async |categories: &[Category], after| {
        let rows = store.reads().lines(batch.id, categories, after, 10).await.unwrap();
        rows.iter().map(|row| row.batch.as_ref().unwrap().index).collect::<Vec<_>>()
    };
    assert_eq!(listed(&[Category::Waiting], None).await, [5]);
    assert_eq!(listed(&[Category::Running], None).await, [2, 3], "one that owes its submit again is under way");
    assert_eq!(listed(&[Category::Completed, Category::Failed], None).await, [1, 4]);
    assert_eq!(listed(&[Category::Cancelled, Category::Failed], Some(0)).await, [4]);
    let ends = store.reads().ended_lines(batch.id, 0, 10).await.unwrap();
    let ends: Vec<_> = ends.iter().map(|(seq, row)| (*seq, row.batch.as_ref().unwrap().index)).collect();
    assert_eq!(ends, [(1, 4), (2, 1), (3, 0)]);
    deliver(&store, &lines[5]).await;
    let rest = store.reads().ended_lines(batch.id, 3, 10).await.unwrap();
    assert_eq!(rest.iter().map(|(seq, row)| (*seq, row.id)).collect::<Vec<_>>(), [(4, lines[5].id)]);
    store.close().await;
}
