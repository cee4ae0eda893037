//! Status, progress, admission and effects of a batch.

use super::*;
use crate::domain::id::GenerationId;

fn batch(total: u32) -> Batch {
    let owner = (ProjectId::fresh(), KeyId::fresh());
    let mut batch = Batch::loading(BatchId::fresh(), owner, 1, BatchOptions::default(), Timestamp(1_000));
    batch.visible_at = Some(Timestamp(1_000));
    batch.counts.total = total;
    batch
}

fn ended(completed: u32, failed: u32, cancelled: u32) -> Batch {
    let counts = Counts { completed, failed, cancelled, ..Counts::NONE };
    let mut batch = batch(completed + failed + cancelled);
    batch.counts = Counts { total: batch.counts.total, ..counts };
    batch.completed_at = Some(Timestamp(5_000));
    batch
}

fn effect(batch: &Batch, from: Category, to: Category) -> BatchEffect {
    BatchEffect { to, ..BatchEffect::none(batch.id, from, Timestamp(2_000)) }
}

#[test]
fn an_open_batch_says_what_holds_it() {
    let mut batch = batch(3);
    assert_eq!(batch.status(), BatchStatus::Processing);
    batch.over_budget_at = Some(Timestamp(1));
    assert_eq!(batch.status(), BatchStatus::Paused);
    batch.over_budget_at = None;
    batch.paused_at = Some(Timestamp(1));
    assert_eq!(batch.status(), BatchStatus::Paused);
    batch.cancel = Some(CancelWish { at: Timestamp(2), mode: CancelMode::Queued });
    assert_eq!(batch.status(), BatchStatus::Cancelling);
}

#[test]
fn an_ended_batch_says_how() {
    assert_eq!(ended(3, 0, 0).status(), BatchStatus::Completed);
    assert_eq!(ended(1, 1, 1).status(), BatchStatus::PartialFailed);
    assert_eq!(ended(0, 2, 1).status(), BatchStatus::Failed);
    assert_eq!(ended(0, 0, 2).status(), BatchStatus::Cancelled, "each by its own cancel");
    let wish = CancelWish { at: Timestamp(2), mode: CancelMode::All };
    for (mut batch, status) in [
        (ended(3, 0, 0), BatchStatus::Completed),
        (ended(1, 1, 1), BatchStatus::Cancelled),
        (ended(0, 2, 0), BatchStatus::Cancelled),
    ] {
        batch.cancel = Some(wish);
        assert_eq!(batch.status(), status);
    }
    let mut late = ended(0, 0, 2);
    late.options.deadline = Some(Timestamp(5_000));
    assert_eq!(late.status(), BatchStatus::Failed, "the deadline cancelled it, not the client");
    late.options.deadline = Some(Timestamp(5_001));
    assert_eq!(late.status(), BatchStatus::Cancelled);
}

#[test]
fn a_retry_that_was_asked_for_is_processing_from_the_answer_on() {
    let mut batch = ended(1, 1, 0);
    batch.retry = Some(RetryWish { at: Timestamp(6_000), forced: false, key: batch.key });
    assert_eq!((batch.status(), batch.end()), (BatchStatus::Processing, BatchStatus::PartialFailed));
}

#[test]
fn money_of_a_replaced_generation_leaves_the_counts_alone() {
    // Its line failed, was retried, and succeeded: the batch has no failed line any more.
    let mut batch = ended(2, 0, 0);
    let spent = Micros(-350_000);
    let lost = BatchEffect { spent, ..BatchEffect::none(batch.id, Category::Failed, Timestamp(6_000)) };
    batch.take(&lost);
    assert_eq!((batch.counts, batch.spent), (ended(2, 0, 0).counts, spent));
}

#[test]
fn progress_is_rounded_down_and_full_only_at_the_end() {
    let mut batch = batch(1_000);
    assert_eq!(batch.progress(), 0);
    batch.counts.completed = 999;
    assert_eq!(batch.progress(), 99);
    batch.counts.cancelled = 1;
    assert_eq!(batch.progress(), 100);
}

#[test]
fn every_condition_holds_a_submit_back_by_its_own_word() {
    let (at, price) = (Timestamp(3_000), Micros(100));
    let judged = |change: fn(&mut Batch)| {
        let mut batch = batch(3);
        change(&mut batch);
        batch.admits(Category::Waiting, price, at)
    };
    assert_eq!(judged(|_| {}), Ok(()));
    assert_eq!(judged(|batch| batch.visible_at = None), Err(Held::Loading));
    let cancel = |batch: &mut Batch| batch.cancel = Some(CancelWish { at: Timestamp(1), mode: CancelMode::Queued });
    assert_eq!(judged(cancel), Err(Held::Cancelled));
    assert_eq!(judged(|batch| batch.stopped_at = Some(Timestamp(1))), Err(Held::Stopped));
    assert_eq!(judged(|batch| batch.options.deadline = Some(Timestamp(3_000))), Err(Held::Deadline));
    assert_eq!(judged(|batch| batch.options.deadline = Some(Timestamp(3_001))), Ok(()));
    assert_eq!(judged(|batch| batch.paused_at = Some(Timestamp(1))), Err(Held::Paused));
    assert_eq!(judged(|batch| batch.places = 3), Err(Held::Concurrency));
    assert_eq!(judged(|batch| batch.places = 2), Ok(()));
    let spent = |batch: &mut Batch, spent| (batch.options.budget, batch.spent) = (Some(Micros(1_000)), Micros(spent));
    assert_eq!(judged(|batch| batch.options.budget = Some(Micros(99))), Err(Held::Budget));
    let mut rich = batch(3);
    spent(&mut rich, 900);
    assert_eq!(rich.admits(Category::Waiting, price, at), Ok(()), "to the last unit");
    spent(&mut rich, 901);
    assert_eq!(rich.admits(Category::Waiting, price, at), Err(Held::Budget));
}

#[test]
fn lines_in_order_begin_only_when_the_one_before_has_ended() {
    let mut batch = batch(3);
    batch.options.parallel = false;
    assert_eq!(batch.admits(Category::Waiting, Micros(0), Timestamp(0)), Ok(()));
    batch.counts.running = 1;
    assert_eq!(batch.admits(Category::Waiting, Micros(0), Timestamp(0)), Err(Held::Order));
    assert_eq!(batch.admits(Category::Running, Micros(0), Timestamp(0)), Ok(()), "its further calls");
    batch.places = 1;
    assert_eq!(batch.admits(Category::Running, Micros(0), Timestamp(0)), Err(Held::Concurrency));
}

#[test]
fn the_first_failure_stops_and_the_last_end_completes() {
    let mut batch = batch(2);
    batch.options.stop_on_error = true;
    assert_eq!(batch.take(&effect(&batch, Category::Waiting, Category::Running)), BatchNews::default());
    let news = batch.take(&effect(&batch, Category::Running, Category::Failed));
    assert_eq!((news.ended, news.events), (Some(1), vec!["batch.stopped"]));
    assert_eq!(batch.stopped_at, Some(Timestamp(2_000)));
    assert_eq!(batch.counts, Counts { total: 2, failed: 1, ..Counts::NONE });
    let news = batch.take(&effect(&batch, Category::Waiting, Category::Cancelled));
    assert_eq!((news.ended, news.events), (Some(2), vec!["batch.failed"]));
    assert_eq!(batch.completed_at, Some(Timestamp(2_000)));
}

#[test]
fn money_given_back_lets_dispatch_look_at_the_budget_again() {
    let mut batch = batch(2);
    batch.over_budget_at = Some(Timestamp(1));
    let more = BatchEffect { spent: Micros(5), places: 1, ..effect(&batch, Category::Waiting, Category::Running) };
    batch.take(&more);
    assert!(batch.over_budget_at.is_some());
    let less = BatchEffect { spent: Micros(-5), places: -1, ..effect(&batch, Category::Running, Category::Running) };
    batch.take(&less);
    assert_eq!((batch.over_budget_at, batch.spent, batch.places), (None, Micros(0), 0));
}

#[test]
fn an_attempt_holds_a_place_until_it_is_stored_ended_or_released() {
    let mut attempt = crate::domain::record::tests::attempt(GenerationId::fresh());
    let held: Vec<_> = AttemptState::ALL
        .into_iter()
        .filter(|state| {
            attempt.state = *state;
            holds_place(&attempt)
        })
        .collect();
    assert_eq!(held, [AttemptState::Submitting, AttemptState::Unconfirmed, AttemptState::Running]);
    attempt.state = AttemptState::Running;
    attempt.released_at = Some(Timestamp(1));
    assert!(!holds_place(&attempt));
}
