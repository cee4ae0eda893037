//! What clients wish of a batch: each one statement, none bumps the version, each is told.

use std::time::Duration;

use longtake::{
    domain::{
        batch::{Batch, BatchOptions, BatchStatus, CancelMode, CancelWish, Held, RetryWish},
        generation::GenerationEvent,
        id::{BatchId, ProjectId},
        money::Micros,
        time::Timestamp,
    },
    store::{Noted, Verdict, change},
};

use super::{PRICE, deliver, dropped, fail, intent, loaded, step, stored};
use crate::store::bed::{Bed, NOW, journal};

crate::store::on_both! {
    a_pause_is_noted_once_and_holds_submits_back_until_it_is_taken_back;
    a_cancel_goes_only_farther_and_holds_submits_back;
    what_has_ended_takes_no_wish_but_a_retry;
    a_budget_that_is_used_up_pauses_until_money_comes_back_or_more_is_given;
    a_wish_to_retry_is_taken_back_only_as_it_was_carried_out;
    nobody_wishes_anything_of_another_projects_batch;
}

fn later(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

async fn events(bed: &Bed, kind: &str) -> i64 {
    bed.number(&format!("SELECT count(*) FROM events WHERE kind = '{kind}'")).await
}

async fn a_pause_is_noted_once_and_holds_submits_back_until_it_is_taken_back(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let (batch, lines) = loaded(&store, BatchOptions::default(), 2).await;
    assert_eq!(journal.pause_batch(batch.id, batch.project, NOW).await.unwrap(), Noted::Changed);
    assert_eq!(journal.pause_batch(batch.id, batch.project, later(5)).await.unwrap(), Noted::Unchanged);
    let paused = Batch { paused_at: Some(NOW), ..batch.clone() };
    assert_eq!(stored(&store, batch.id).await, paused, "a fact leaves everything else as it is");
    assert_eq!((paused.status(), events(bed, "batch.paused").await), (BatchStatus::Paused, 1));
    assert!(step(&store, &lines[0], intent).await.is_none());
    let entry = store.reads().load(lines[0].id).await.unwrap().unwrap();
    let mut refused = intent(&entry).unwrap();
    refused.effect = change::effect(&entry, &refused);
    assert_eq!(journal.transition(refused).await.unwrap(), Verdict::Held(Held::Paused));
    assert_eq!(journal.resume_batch(batch.id, batch.project, None, later(6)).await.unwrap(), Noted::Changed);
    assert_eq!(journal.resume_batch(batch.id, batch.project, None, later(7)).await.unwrap(), Noted::Unchanged);
    assert_eq!(stored(&store, batch.id).await, batch);
    deliver(&store, &lines[0]).await;
    store.close().await;
}

async fn a_cancel_goes_only_farther_and_holds_submits_back(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let (batch, lines) = loaded(&store, BatchOptions::default(), 2).await;
    let wish = |at, mode| CancelWish { at, mode };
    let cancel = async |at, mode| journal.cancel_batch(batch.id, batch.project, wish(at, mode)).await.unwrap();
    assert_eq!(cancel(NOW, CancelMode::Queued).await, Noted::Changed);
    assert_eq!(cancel(later(1), CancelMode::Queued).await, Noted::Unchanged);
    assert_eq!(cancel(later(2), CancelMode::All).await, Noted::Changed);
    assert_eq!(cancel(later(3), CancelMode::Queued).await, Noted::Unchanged);
    let stored_now = stored(&store, batch.id).await;
    assert_eq!((stored_now.cancel, stored_now.status()), (Some(wish(NOW, CancelMode::All)), BatchStatus::Cancelling));
    assert_eq!(journal.pause_batch(batch.id, batch.project, NOW).await.unwrap(), Noted::Unchanged);
    assert_eq!(store.reads().batches_to_act(NOW, 10).await.unwrap(), [stored_now]);
    assert!(step(&store, &lines[0], intent).await.is_none());
    for line in &lines {
        step(&store, line, |loaded| dropped(loaded, &GenerationEvent::Cancel)).await.unwrap();
    }
    let ended = stored(&store, batch.id).await;
    assert_eq!((ended.status(), ended.completed_at), (BatchStatus::Cancelled, Some(NOW)));
    assert_eq!((events(bed, "batch.cancelling").await, events(bed, "batch.cancelled").await), (2, 1));
    assert_eq!(store.reads().batches_to_act(NOW, 10).await.unwrap(), []);
    store.close().await;
}

async fn what_has_ended_takes_no_wish_but_a_retry(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let (batch, lines) = loaded(&store, BatchOptions::default(), 2).await;
    deliver(&store, &lines[0]).await;
    fail(&store, &lines[1]).await;
    assert_eq!(stored(&store, batch.id).await.status(), BatchStatus::PartialFailed);
    let wish = CancelWish { at: NOW, mode: CancelMode::All };
    assert_eq!(journal.pause_batch(batch.id, batch.project, NOW).await.unwrap(), Noted::Unchanged);
    assert_eq!(journal.cancel_batch(batch.id, batch.project, wish).await.unwrap(), Noted::Unchanged);
    let retry = RetryWish { at: NOW, forced: false, key: batch.key };
    assert_eq!(journal.retry_batch(batch.id, batch.project, retry).await.unwrap(), Noted::Changed);
    let retried = stored(&store, batch.id).await;
    assert_eq!((retried.retry, retried.status()), (Some(retry), BatchStatus::Processing));
    assert_eq!(store.reads().open_batches(None, 10).await.unwrap(), [retried]);
    let (good, lines) = loaded(&store, BatchOptions::default(), 1).await;
    deliver(&store, &lines[0]).await;
    assert_eq!(journal.retry_batch(good.id, good.project, retry).await.unwrap(), Noted::Unchanged, "nothing failed");
    store.close().await;
}

async fn a_budget_that_is_used_up_pauses_until_money_comes_back_or_more_is_given(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let options = BatchOptions { budget: Some(Micros(2 * PRICE.0 - 1)), ..BatchOptions::default() };
    let (batch, lines) = loaded(&store, options, 3).await;
    assert_eq!(journal.batch_over_budget(&batch, PRICE, NOW).await.unwrap(), Noted::Unchanged, "one is affordable");
    step(&store, &lines[0], intent).await.unwrap();
    assert!(step(&store, &lines[1], intent).await.is_none(), "a unit is missing");
    assert_eq!(journal.batch_over_budget(&batch, PRICE, NOW).await.unwrap(), Noted::Changed);
    assert_eq!(stored(&store, batch.id).await.status(), BatchStatus::Paused);
    // What was held is given back when the attempt is refused.
    step(&store, &lines[0], |loaded| {
        super::ended(loaded, longtake::domain::attempt::AttemptEvent::Refused, longtake::domain::settle::Ending::Final)
    })
    .await
    .unwrap();
    assert_eq!(stored(&store, batch.id).await.status(), BatchStatus::Processing);
    deliver(&store, &lines[1]).await;
    assert_eq!(journal.batch_over_budget(&batch, PRICE, NOW).await.unwrap(), Noted::Changed);
    let more = Some(Micros(2 * PRICE.0));
    assert_eq!(journal.resume_batch(batch.id, batch.project, more, NOW).await.unwrap(), Noted::Changed);
    deliver(&store, &lines[2]).await;
    let ended = stored(&store, batch.id).await;
    assert_eq!((ended.spent, ended.charged, ended.places), (Micros(2 * PRICE.0), Micros(2 * PRICE.0), 0));
    store.close().await;
}

async fn a_wish_to_retry_is_taken_back_only_as_it_was_carried_out(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let (batch, lines) = loaded(&store, BatchOptions::default(), 1).await;
    fail(&store, &lines[0]).await;
    let wish = |at, forced| RetryWish { at, forced, key: batch.key };
    journal.retry_batch(batch.id, batch.project, wish(NOW, false)).await.unwrap();
    assert_eq!(journal.retry_batch(batch.id, batch.project, wish(later(1), false)).await.unwrap(), Noted::Unchanged);
    assert_eq!(journal.retry_batch(batch.id, batch.project, wish(later(2), true)).await.unwrap(), Noted::Changed);
    let now = stored(&store, batch.id).await;
    assert_eq!(now.retry, Some(wish(later(2), true)));
    assert_eq!(journal.batch_retried(&now, wish(NOW, false), later(3)).await.unwrap(), Noted::Unchanged);
    assert_eq!(journal.batch_retried(&now, wish(later(2), true), later(3)).await.unwrap(), Noted::Changed);
    assert_eq!(stored(&store, batch.id).await.retry, None);
    assert_eq!((events(bed, "batch.processing").await, events(bed, "batch.failed").await), (2, 2));
    store.close().await;
}

async fn nobody_wishes_anything_of_another_projects_batch(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let (batch, _) = loaded(&store, BatchOptions::default(), 1).await;
    let (other, id) = (ProjectId::fresh(), batch.id);
    let cancel = CancelWish { at: NOW, mode: CancelMode::All };
    let retry = RetryWish { at: NOW, forced: true, key: batch.key };
    assert_eq!(journal.pause_batch(id, other, NOW).await.unwrap(), Noted::Unknown);
    assert_eq!(journal.resume_batch(id, other, Some(Micros(1)), NOW).await.unwrap(), Noted::Unknown);
    assert_eq!(journal.cancel_batch(id, other, cancel).await.unwrap(), Noted::Unknown);
    assert_eq!(journal.retry_batch(id, other, retry).await.unwrap(), Noted::Unknown);
    assert_eq!(journal.pause_batch(BatchId::fresh(), batch.project, NOW).await.unwrap(), Noted::Unknown);
    assert_eq!(stored(&store, id).await, batch);
    store.close().await;
}
