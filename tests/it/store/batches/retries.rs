//! Retrying failed lines: counted by the newest, a late result first, force for what may have been paid, limits as at the accept.

use std::time::Duration;

use longtake::{
    domain::{
        attempt::AttemptEvent,
        batch::{BatchOptions, BatchStatus, CancelMode, CancelWish, Category, Counts, RetryWish},
        generation::{GenerationEvent, GenerationState},
        id::{KeyId, ProjectId},
        limits::Limits,
        money::Micros,
        record::{AssetState, Generation},
        settle::Ending,
        time::Timestamp,
    },
    store::{
        Load, Loaded, Noted, Store, Transition,
        change::Change,
        lines::resolve,
        retries::{Retrying, carry_out},
    },
};

use super::{HOOK, PRICE, deliver, dropped, ended, fail, intent, line, loaded, loading, moved, step, stored, telling};
use crate::store::bed::{Bed, NOW, asset, born, journal, request};

crate::store::on_both! {
    each_failed_line_goes_to_a_new_generation_and_counts_by_it;
    who_is_told_of_a_line_is_told_of_its_retry;
    a_late_result_is_taken_over_and_one_that_is_under_way_waited_for;
    what_may_have_been_paid_is_retried_only_by_force;
    a_stopped_batch_goes_on_with_what_the_stop_cancelled;
    a_retry_keeps_within_the_daily_limits;
    a_cancel_takes_the_wish_back;
    dependents_are_retried_behind_what_they_depend_on;
    more_lines_than_one_commit_takes_are_retried_by_several_calls;
}

const LATER: Timestamp = Timestamp(NOW.0 + 60_000);

/// Wishes it and carries it out to its end; how it ended.
async fn retry(store: &Store, batch: &longtake::domain::batch::Batch, forced: bool, at: Timestamp) -> Retrying {
    let wish = RetryWish { at, forced, key: batch.key };
    assert_eq!(journal(store).retry_batch(batch.id, batch.project, wish).await.unwrap(), Noted::Changed);
    go_on(store, batch, at).await
}

async fn go_on(store: &Store, batch: &longtake::domain::batch::Batch, at: Timestamp) -> Retrying {
    loop {
        let done = carry_out(&store.reads(), &journal(store), batch, at).await.unwrap();
        if done != Retrying::More {
            return done;
        }
    }
}

async fn newest(store: &Store, batch: &longtake::domain::batch::Batch) -> Vec<Generation> {
    store.reads().lines(batch.id, &[], None, 1_000).await.unwrap()
}

async fn each_failed_line_goes_to_a_new_generation_and_counts_by_it(bed: &Bed) {
    let store = bed.open().await;
    let (batch, lines) = loaded(&store, BatchOptions::default(), 3).await;
    deliver(&store, &lines[0]).await;
    fail(&store, &lines[1]).await;
    fail(&store, &lines[2]).await;
    let failed = stored(&store, batch.id).await;
    let other = KeyId::fresh();
    let wish = RetryWish { at: LATER, forced: false, key: other };
    journal(&store).retry_batch(batch.id, batch.project, wish).await.unwrap();
    assert_eq!(go_on(&store, &batch, LATER).await, Retrying::Done);
    let now = stored(&store, batch.id).await;
    assert_eq!(now.counts, Counts { total: 3, completed: 1, ..Counts::NONE });
    assert_eq!((now.status(), now.completed_at, now.retry), (BatchStatus::Processing, None, None));
    assert_eq!((now.spent, now.version), (failed.spent, failed.version + 1), "one commit for both");
    let rows = newest(&store, &batch).await;
    assert_eq!(rows[0].id, lines[0].id);
    for (old, new) in lines.iter().zip(&rows).skip(1) {
        assert_eq!((new.retry_of, &new.batch, new.key), (Some(old.id), &old.batch, other));
        assert_eq!((new.state(), new.created_at), (GenerationState::Queued, LATER));
        let old = store.reads().generation(old.id).await.unwrap().unwrap();
        assert_eq!((old.state(), old.replaced_by), (GenerationState::Failed, Some(new.id)));
        assert_eq!(store.reads().request(new.id).await.unwrap(), Some(request()));
    }
    assert_eq!(store.reads().ended_lines(batch.id, 0, 10).await.unwrap().len(), 1, "what was replaced is no line any more");
    deliver(&store, &rows[1]).await;
    deliver(&store, &rows[2]).await;
    let over = stored(&store, batch.id).await;
    assert_eq!((over.status(), over.counts.completed, over.ended), (BatchStatus::Completed, 3, 5));
    assert!(over.completed_at.is_some());
    let held = "SELECT CAST(sum(held) AS bigint) FROM spend_days";
    assert_eq!(bed.number(held).await, bed.number("SELECT CAST(sum(held) AS bigint) FROM ledger").await);
    store.close().await;
}

async fn who_is_told_of_a_line_is_told_of_its_retry(bed: &Bed) {
    let store = bed.open().await;
    let mut load = Load::begin(&journal(&store), loading(ProjectId::fresh(), BatchOptions::default())).await.unwrap();
    let births = [telling(line(load.batch(), 0)), line(load.batch(), 1)];
    let lines = births.each_ref().map(|birth| birth.generation.clone());
    load.add(births.into(), NOW).await.unwrap();
    let batch = load.publish(Limits::default(), None, NOW).await.unwrap();
    for row in &lines {
        fail(&store, row).await;
    }
    assert_eq!(retry(&store, &batch, false, LATER).await, Retrying::Done);
    let ids: Vec<_> = newest(&store, &batch).await.iter().map(|row| row.id).collect();
    let told = store.reads().webhook_urls(&ids).await.unwrap();
    assert_eq!((told.len(), told.get(&ids[0]).map(String::as_str)), (1, Some(HOOK)));
    store.close().await;
}

/// The submit is given up: nobody knows whether it was paid.
fn given_up(loaded: &Loaded) -> Option<Transition> {
    ended(loaded, AttemptEvent::GivenUp, Ending::Final)
}

async fn unconfirmed(store: &Store, line: &Generation) {
    step(store, line, intent).await.unwrap();
    step(store, line, |loaded| moved(loaded, AttemptEvent::OutcomeUnknown)).await.unwrap();
    step(store, line, given_up).await.unwrap();
}

/// The result of an attempt that was given up is stored after all.
fn late(loaded: &Loaded) -> Option<Transition> {
    let mut entry = ended(loaded, AttemptEvent::Stored, Ending::Delivered)?;
    let mut file = asset(loaded.attempts.last()?, 0);
    (file.state, file.storage_key) = (AssetState::Stored, Some("kling/late.mp4".to_owned()));
    entry.new_assets = vec![file];
    Some(entry)
}

async fn a_late_result_is_taken_over_and_one_that_is_under_way_waited_for(bed: &Bed) {
    let store = bed.open().await;
    let (batch, lines) = loaded(&store, BatchOptions::default(), 2).await;
    for line in &lines {
        unconfirmed(&store, line).await;
        step(&store, line, |loaded| moved(loaded, AttemptEvent::Accepted)).await.unwrap();
        step(&store, line, |loaded| moved(loaded, AttemptEvent::Finished)).await.unwrap();
    }
    step(&store, &lines[0], late).await.unwrap();
    assert_eq!(stored(&store, batch.id).await.counts.failed, 2, "late evidence changes no status");
    let spent = stored(&store, batch.id).await.spent;
    assert_eq!(retry(&store, &batch, false, LATER).await, Retrying::Later);
    let now = stored(&store, batch.id).await;
    assert_eq!(now.counts, Counts { total: 2, completed: 1, failed: 1, ..Counts::NONE });
    assert_eq!((now.spent, now.status()), (spent, BatchStatus::Processing));
    let taken = store.reads().load(newest(&store, &batch).await[0].id).await.unwrap().unwrap();
    assert_eq!((taken.generation.state(), taken.attempts.len()), (GenerationState::Completed, 0));
    assert_eq!(taken.assets[0].storage_key.as_deref(), Some("kling/late.mp4"));
    let ends = store.reads().ended_lines(batch.id, 2, 10).await.unwrap();
    assert_eq!(ends.iter().map(|(seq, row)| (*seq, row.id)).collect::<Vec<_>>(), [(3, taken.generation.id)]);
    step(&store, &lines[1], late).await.unwrap();
    assert_eq!(go_on(&store, &batch, LATER).await, Retrying::Done);
    let over = stored(&store, batch.id).await;
    assert_eq!((over.status(), over.retry, over.completed_at), (BatchStatus::Completed, None, Some(LATER)));
    assert_eq!(bed.number("SELECT count(*) FROM attempts").await, 2, "nothing was paid again");
    assert_eq!(bed.number("SELECT count(*) FROM events WHERE kind = 'batch.completed'").await, 1);
    store.close().await;
}

async fn what_may_have_been_paid_is_retried_only_by_force(bed: &Bed) {
    let store = bed.open().await;
    let (batch, lines) = loaded(&store, BatchOptions::default(), 1).await;
    unconfirmed(&store, &lines[0]).await;
    let before = stored(&store, batch.id).await;
    assert_eq!(retry(&store, &batch, false, LATER).await, Retrying::Done);
    assert_eq!(stored(&store, batch.id).await, before, "nothing was retried, the wish is gone");
    assert_eq!(retry(&store, &batch, true, LATER).await, Retrying::Done);
    assert_eq!(stored(&store, batch.id).await.status(), BatchStatus::Processing);
    assert_eq!(newest(&store, &batch).await[0].retry_of, Some(lines[0].id));
    store.close().await;
}

async fn a_stopped_batch_goes_on_with_what_the_stop_cancelled(bed: &Bed) {
    let store = bed.open().await;
    let options = BatchOptions { stop_on_error: true, ..BatchOptions::default() };
    let (batch, lines) = loaded(&store, options, 3).await;
    fail(&store, &lines[0]).await;
    assert_eq!(retry(&store, &batch, false, LATER).await, Retrying::Later, "the stop is not carried out yet");
    for line in &lines[1..] {
        step(&store, line, |loaded| dropped(loaded, &GenerationEvent::Cancel)).await.unwrap();
    }
    assert_eq!(go_on(&store, &batch, LATER).await, Retrying::Done);
    let now = stored(&store, batch.id).await;
    assert_eq!((now.stopped_at, now.counts.waiting()), (None, 3));
    deliver(&store, &newest(&store, &batch).await[2]).await;
    store.close().await;
}

async fn a_retry_keeps_within_the_daily_limits(bed: &Bed) {
    let store = bed.open().await;
    let project = store.keys().create_project("limited").await.unwrap().id;
    let mut load = Load::begin(&journal(&store), loading(project, BatchOptions::default())).await.unwrap();
    let births: Vec<_> = (0..2).map(|index| line(load.batch(), index)).collect();
    let lines: Vec<_> = births.iter().map(|birth| birth.generation.clone()).collect();
    load.add(births, NOW).await.unwrap();
    let batch = load.publish(Limits::default(), None, NOW).await.unwrap();
    deliver(&store, &lines[0]).await;
    fail(&store, &lines[1]).await;
    store.keys().limit_project(project, Some(Micros(2 * PRICE.0 - 1))).await.unwrap();
    let Retrying::OverLimit(over) = retry(&store, &batch, false, LATER).await else { panic!("one call is too much") };
    assert_eq!((over.spent, over.asked), (PRICE, PRICE));
    let held = stored(&store, batch.id).await;
    assert!(held.retry.is_some(), "the wish stays");
    // The next UTC day has a limit of its own.
    let tomorrow = LATER.plus(Duration::from_secs(86_400));
    assert_eq!(go_on(&store, &batch, tomorrow).await, Retrying::Done);
    assert_eq!(stored(&store, batch.id).await.counts.waiting(), 1);
    store.close().await;
}

async fn a_cancel_takes_the_wish_back(bed: &Bed) {
    let store = bed.open().await;
    let (batch, lines) = loaded(&store, BatchOptions::default(), 2).await;
    fail(&store, &lines[0]).await;
    let wish = RetryWish { at: LATER, forced: false, key: batch.key };
    journal(&store).retry_batch(batch.id, batch.project, wish).await.unwrap();
    let cancel = CancelWish { at: LATER, mode: CancelMode::Queued };
    journal(&store).cancel_batch(batch.id, batch.project, cancel).await.unwrap();
    assert_eq!(go_on(&store, &batch, LATER).await, Retrying::Done);
    assert_eq!(journal(&store).retry_batch(batch.id, batch.project, wish).await.unwrap(), Noted::Unchanged);
    assert_eq!(stored(&store, batch.id).await.counts.failed, 1);
    store.close().await;
}

/// What dispatch does with one that waits.
async fn resolved(store: &Store, line: &Generation) -> Option<Loaded> {
    let on = store.reads().dependencies(&[line.id]).await.unwrap().remove(&line.id).unwrap();
    step(store, line, |loaded| resolve(loaded, &on, false, LATER)).await
}

async fn dependents_are_retried_behind_what_they_depend_on(bed: &Bed) {
    let store = bed.open().await;
    let mut load = Load::begin(&journal(&store), loading(ProjectId::fresh(), BatchOptions::default())).await.unwrap();
    let (mut second, mut third, first) = (line(load.batch(), 0), line(load.batch(), 1), line(load.batch(), 2));
    // Against the order of the lines: 2, then 0, then 1 on both.
    for waiting in [&mut second, &mut third] {
        waiting.generation.progress.state = GenerationState::Waiting;
        waiting.generation.born_state = GenerationState::Waiting;
    }
    second.depends_on = vec![first.generation.id];
    third.depends_on = vec![second.generation.id, first.generation.id];
    let rows = [first.generation.clone(), second.generation.clone(), third.generation.clone()];
    load.add(vec![second, third, first], NOW).await.unwrap();
    let batch = load.publish(Limits::default(), None, NOW).await.unwrap();
    let [first, second, third] = &rows;
    assert!(resolved(&store, second).await.is_none(), "nothing is known yet");
    assert!(step(&store, second, intent).await.is_none(), "it waits");
    fail(&store, first).await;
    assert_eq!(store.reads().dependents(first).await.unwrap().len(), 2);
    assert_eq!(store.reads().dependents_due(None, 10).await.unwrap().len(), 2);
    for waiting in [second, third] {
        assert_eq!(resolved(&store, waiting).await.unwrap().generation.state(), GenerationState::Failed);
    }
    assert_eq!(stored(&store, batch.id).await.counts.failed, 3);
    assert_eq!(bed.number("SELECT count(*) FROM attempts").await, 1, "what depends on a failure spends nothing");
    assert_eq!(retry(&store, &batch, false, LATER).await, Retrying::Done);
    let again = newest(&store, &batch).await;
    let states: Vec<_> = again.iter().map(Generation::state).collect();
    assert_eq!(states, [GenerationState::Waiting, GenerationState::Waiting, GenerationState::Queued]);
    deliver(&store, &again[2]).await;
    assert_eq!(store.reads().dependents(&again[2]).await.unwrap().len(), 2, "the new ones, by its line");
    assert!(resolved(&store, &again[1]).await.is_none(), "it waits for the other, too");
    assert_eq!(resolved(&store, &again[0]).await.unwrap().generation.state(), GenerationState::Queued);
    assert_eq!(store.reads().lines(batch.id, &[Category::Waiting], None, 10).await.unwrap().len(), 2);
    store.close().await;
}

async fn more_lines_than_one_commit_takes_are_retried_by_several_calls(bed: &Bed) {
    let store = bed.open().await;
    let (batch, lines) = loaded(&store, BatchOptions::default(), 1_000).await;
    for some in lines.chunks(100) {
        let all = some.iter().map(|line| step(&store, line, |loaded| dropped(loaded, &GenerationEvent::Drop)));
        futures_util::future::join_all(all).await;
    }
    assert_eq!(stored(&store, batch.id).await.counts.failed, 1_000);
    let wish = RetryWish { at: LATER, forced: false, key: batch.key };
    journal(&store).retry_batch(batch.id, batch.project, wish).await.unwrap();
    for waiting in [500, 1_000] {
        let done = carry_out(&store.reads(), &journal(&store), &batch, LATER).await.unwrap();
        assert_eq!((done, stored(&store, batch.id).await.counts.waiting()), (Retrying::More, waiting));
    }
    assert_eq!(carry_out(&store.reads(), &journal(&store), &batch, LATER).await.unwrap(), Retrying::Done);
    // One outside of any batch goes its way all the same.
    let single = born(&journal(&store)).await;
    let mut change = Change::of(&single, NOW);
    change.advance(&GenerationEvent::Cancel, None, "cancelled").unwrap();
    assert_eq!(journal(&store).transition(change.entry()).await.unwrap(), longtake::store::Verdict::Won);
    store.close().await;
}
