//! The dispatcher under batches: conditions hold, what may not be submitted ends, what waited goes on. Who else waits is not held up.

use std::time::Duration;

use longtake::{
    domain::{
        batch::{Batch, BatchOptions, BatchStatus, CancelMode, CancelWish, RetryWish},
        error::ErrorCode,
        generation::GenerationState,
        id::ProjectId,
        money::Micros,
        record::Generation,
    },
    store::Birth,
    wake::Offer,
};

use super::desk::{Desk, PRICE};
use crate::store::bed::{Bed, NOW, generation};

super::on_both! {
    no_more_of_a_batch_is_in_flight_than_may_be_and_a_free_place_is_filled;
    lines_in_order_go_one_after_the_other;
    a_paused_batch_submits_nothing_new_until_it_is_resumed;
    the_first_failure_ends_what_was_not_submitted_and_what_is_paid_finishes;
    a_cancel_of_queued_lines_leaves_those_under_way_alone_and_one_of_all_does_not;
    a_deadline_ends_what_was_not_submitted;
    dependents_go_when_what_they_need_is_done_and_fail_with_it_without_an_offer;
    a_budget_that_is_used_up_pauses_and_more_of_it_goes_on;
    what_takes_too_long_gives_its_place_back;
    failed_lines_that_are_to_be_retried_go_once_more;
}

fn options() -> BatchOptions {
    BatchOptions::default()
}

/// Shows that nothing of the batch is on offer: what is born now goes next, and alone.
async fn nothing_but_a_single_goes(desk: &Desk<'_>) {
    let single = desk.born(generation(ProjectId::fresh())).await;
    desk.wake(single.id);
    let offer = desk.offer().await;
    assert_eq!(offer.generation, single.id);
    assert_eq!(desk.waiting_offers(), 0);
    desk.submitted(&offer).await;
}

async fn take(desk: &Desk<'_>, count: usize) -> Vec<Offer> {
    let mut offers = Vec::new();
    for _ in 0..count {
        let offer = desk.offer().await;
        desk.submitted(&offer).await;
        offers.push(offer);
    }
    offers
}

fn ids(offers: &[Offer]) -> Vec<longtake::domain::id::GenerationId> {
    let mut ids: Vec<_> = offers.iter().map(|offer| offer.generation).collect();
    ids.sort();
    ids
}

fn of(rows: &[Generation]) -> Vec<longtake::domain::id::GenerationId> {
    rows.iter().map(|row| row.id).collect()
}

async fn no_more_of_a_batch_is_in_flight_than_may_be_and_a_free_place_is_filled(bed: &Bed) {
    let desk = Desk::open(bed, 0, 1_000).await;
    let (batch, lines) = desk.load(options(), 20, |_: &[Generation], _: &mut Birth| {}).await;
    desk.start();
    let mut open = take(&desk, 3).await;
    assert_eq!(ids(&open), of(&lines[..3]));
    nothing_but_a_single_goes(&desk).await;
    for line in &lines[3..] {
        desk.delivered(&open.remove(0)).await;
        let offer = desk.offer().await;
        assert_eq!(offer.generation, line.id);
        desk.submitted(&offer).await;
        open.push(offer);
        assert!(desk.batch(batch.id).await.places <= 3);
    }
    for offer in open {
        desk.delivered(&offer).await;
    }
    let ended = desk.batch(batch.id).await;
    assert_eq!((ended.status(), ended.counts.completed, ended.places), (BatchStatus::Completed, 20, 0));
    desk.close().await;
}

async fn lines_in_order_go_one_after_the_other(bed: &Bed) {
    let desk = Desk::open(bed, 0, 1_000).await;
    let (_, lines) = desk.load(BatchOptions { parallel: false, ..options() }, 4, |_: &[Generation], _: &mut Birth| {}).await;
    desk.start();
    for line in &lines {
        let offer = desk.offer().await;
        assert_eq!(offer.generation, line.id);
        desk.submitted(&offer).await;
        nothing_but_a_single_goes(&desk).await;
        desk.delivered(&offer).await;
    }
    desk.close().await;
}

async fn a_paused_batch_submits_nothing_new_until_it_is_resumed(bed: &Bed) {
    let desk = Desk::open(bed, 0, 1_000).await;
    let (batch, lines) = desk.load(options(), 6, |_: &[Generation], _: &mut Birth| {}).await;
    desk.start();
    let open = take(&desk, 3).await;
    desk.journal.pause_batch(batch.id, batch.project, NOW).await.unwrap();
    for offer in &open {
        desk.delivered(offer).await;
    }
    nothing_but_a_single_goes(&desk).await;
    assert_eq!(desk.batch(batch.id).await.counts.completed, 3, "what was submitted finished");
    desk.journal.resume_batch(batch.id, batch.project, None, NOW).await.unwrap();
    desk.everywhere();
    assert_eq!(ids(&take(&desk, 3).await), of(&lines[3..]));
    desk.close().await;
}

async fn the_first_failure_ends_what_was_not_submitted_and_what_is_paid_finishes(bed: &Bed) {
    let desk = Desk::open(bed, 0, 1_000).await;
    let (batch, lines) =
        desk.load(BatchOptions { stop_on_error: true, ..options() }, 1_200, |_: &[Generation], _: &mut Birth| {}).await;
    desk.start();
    let open = take(&desk, 3).await;
    desk.failed(&open[0]).await;
    desk.until("the rest is cancelled", async || desk.batch(batch.id).await.counts.cancelled == 1_197).await;
    desk.delivered(&open[1]).await;
    desk.delivered(&open[2]).await;
    let ended = desk.batch(batch.id).await;
    assert_eq!((ended.counts.completed, ended.counts.failed, ended.status()), (2, 1, BatchStatus::PartialFailed));
    let last = desk.row(lines[1_199].id).await;
    assert_eq!((last.state(), last.failure.unwrap().code), (GenerationState::Cancelled, ErrorCode::TaskCancelled));
    assert_eq!(bed.number("SELECT count(*) FROM attempts").await, 3);
    desk.close().await;
}

async fn a_cancel_of_queued_lines_leaves_those_under_way_alone_and_one_of_all_does_not(bed: &Bed) {
    let desk = Desk::open(bed, 0, 1_000).await;
    let (batch, _) = desk.load(options(), 600, |_: &[Generation], _: &mut Birth| {}).await;
    desk.start();
    let open = take(&desk, 3).await;
    let cancel = async |mode| {
        desk.journal.cancel_batch(batch.id, batch.project, CancelWish { at: NOW, mode }).await.unwrap();
        desk.everywhere();
    };
    cancel(CancelMode::Queued).await;
    desk.until("the rest is cancelled", async || desk.batch(batch.id).await.counts.cancelled == 597).await;
    assert_eq!(desk.batch(batch.id).await.status(), BatchStatus::Cancelling);
    let wished = "SELECT count(*) FROM generations WHERE cancel_requested_at IS NOT NULL";
    assert_eq!(bed.number(wished).await, 0);
    cancel(CancelMode::All).await;
    desk.until("those under way are to be cancelled", async || bed.number(wished).await == 3).await;
    for offer in &open {
        desk.delivered(offer).await;
    }
    assert_eq!(desk.batch(batch.id).await.status(), BatchStatus::Cancelled);
    desk.close().await;
}

async fn a_deadline_ends_what_was_not_submitted(bed: &Bed) {
    let desk = Desk::open(bed, 0, 1_000).await;
    let deadline = Some(NOW.plus(Duration::from_secs(1)));
    let (batch, _) = desk.load(BatchOptions { deadline, ..options() }, 5, |_: &[Generation], _: &mut Birth| {}).await;
    desk.start();
    let open = take(&desk, 3).await;
    // The first sweep is over.
    nothing_but_a_single_goes(&desk).await;
    desk.sweep();
    desk.until("the rest is cancelled", async || desk.batch(batch.id).await.counts.cancelled == 2).await;
    for offer in &open {
        desk.delivered(offer).await;
    }
    assert_eq!(desk.batch(batch.id).await.status(), BatchStatus::PartialFailed);
    desk.close().await;
}

async fn dependents_go_when_what_they_need_is_done_and_fail_with_it_without_an_offer(bed: &Bed) {
    let desk = Desk::open(bed, 0, 1_000).await;
    // 0 ← 1 ← 2 ← 3
    let (batch, lines) = desk
        .load(options(), 4, |before: &[Generation], birth| {
            if let Some(last) = before.last() {
                birth.depends_on = vec![last.id];
                birth.generation.progress.state = GenerationState::Waiting;
                birth.generation.born_state = GenerationState::Waiting;
            }
        })
        .await;
    desk.start();
    let first = take(&desk, 1).await;
    assert_eq!(ids(&first), [lines[0].id]);
    nothing_but_a_single_goes(&desk).await;
    desk.delivered(&first[0]).await;
    let second = take(&desk, 1).await;
    assert_eq!(ids(&second), [lines[1].id]);
    desk.failed(&second[0]).await;
    desk.until("the others fail with it", async || desk.batch(batch.id).await.counts.failed == 3).await;
    for line in &lines[2..] {
        assert_eq!(desk.row(line.id).await.failure.unwrap().code, ErrorCode::DependencyFailed);
    }
    let ended = desk.batch(batch.id).await;
    assert_eq!((ended.status(), ended.spent), (BatchStatus::PartialFailed, PRICE), "nothing was spent on them");
    nothing_but_a_single_goes(&desk).await;
    desk.close().await;
}

async fn a_budget_that_is_used_up_pauses_and_more_of_it_goes_on(bed: &Bed) {
    let desk = Desk::open(bed, 0, 1_000).await;
    let budget = Some(Micros(PRICE.0 * 2 + PRICE.0 / 2));
    let (batch, lines) =
        desk.load(BatchOptions { budget, max_concurrency: 1, ..options() }, 4, |_: &[Generation], _: &mut Birth| {}).await;
    desk.start();
    for _ in 0..2 {
        let offer = take(&desk, 1).await;
        desk.delivered(&offer[0]).await;
    }
    desk.sweep();
    desk.until("it is paused", async || desk.batch(batch.id).await.status() == BatchStatus::Paused).await;
    nothing_but_a_single_goes(&desk).await;
    let more = Some(Micros(PRICE.0 * 4));
    desk.journal.resume_batch(batch.id, batch.project, more, NOW).await.unwrap();
    desk.everywhere();
    assert_eq!(ids(&take(&desk, 1).await), [lines[2].id]);
    desk.close().await;
}

async fn what_takes_too_long_gives_its_place_back(bed: &Bed) {
    let desk = Desk::open(bed, 0, 1_000).await;
    let (batch, lines) =
        desk.load(BatchOptions { max_concurrency: 1, ..options() }, 2, |_: &[Generation], _: &mut Birth| {}).await;
    desk.start();
    let slow = take(&desk, 1).await;
    desk.accepted(&slow[0]).await;
    nothing_but_a_single_goes(&desk).await;
    // Past what a video may take, before its queue deadline.
    desk.pass(Duration::from_secs(1_300));
    let next = take(&desk, 1).await;
    assert_eq!(ids(&next), [lines[1].id]);
    let now: Batch = desk.batch(batch.id).await;
    assert_eq!((now.places, now.counts.running), (1, 2));
    desk.close().await;
}

async fn failed_lines_that_are_to_be_retried_go_once_more(bed: &Bed) {
    let desk = Desk::open(bed, 0, 1_000).await;
    let (batch, lines) = desk.load(options(), 3, |_: &[Generation], _: &mut Birth| {}).await;
    desk.start();
    let open = take(&desk, 3).await;
    desk.delivered(&open[0]).await;
    desk.failed(&open[1]).await;
    desk.failed(&open[2]).await;
    assert_eq!(desk.batch(batch.id).await.status(), BatchStatus::PartialFailed);
    let wish = RetryWish { at: NOW.plus(Duration::from_secs(1)), forced: false, key: batch.key };
    desk.journal.retry_batch(batch.id, batch.project, wish).await.unwrap();
    desk.everywhere();
    let again = take(&desk, 2).await;
    for offer in &again {
        let row = desk.row(offer.generation).await;
        assert!(lines.iter().any(|line| Some(line.id) == row.retry_of), "{row:?}");
        desk.delivered(offer).await;
    }
    let ended = desk.batch(batch.id).await;
    assert_eq!((ended.status(), ended.counts.completed, ended.retry), (BatchStatus::Completed, 3, None));
    desk.close().await;
}
