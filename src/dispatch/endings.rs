//! The work at the end of the line: what may not be submitted any more ends, what waited for others goes on or fails with them, what
//! takes too long gives its place in its batch back. A bounded number of rows a round, all of them in as few commits as the journal
//! makes of them; what is left is done in the next round. A row that cannot be moved holds up no other.

use std::{collections::BTreeSet, time::Duration};

use futures_util::{StreamExt as _, stream};

use crate::{
    dispatch::{dispatcher::Dispatch, unsubmitted},
    domain::{
        batch::{Batch, CancelMode},
        id::{AttemptId, GenerationId},
        record::Kind,
        time::Timestamp,
    },
    store::{
        Loaded, StoreError, Transition,
        change::{Start, commit},
        lines, loads,
        reads::PlaceRow,
        retries::{self, Retrying},
    },
};

/// Rows a round moves of each kind.
const ROWS: u64 = 500;

/// Entries handed in at once: one group commit's worth.
const AT_ONCE: usize = 128;

/// Batches looked at in a round.
const BATCHES: u64 = 1_000;

/// A load to which nothing was added for so long is abandoned: a client may be silent for a minute at most.
const ABANDONED: Duration = Duration::from_secs(600);

/// How far sweeps have come in what they look through a page at a time.
#[derive(Debug, Default)]
pub struct Cursors {
    waiting: Option<GenerationId>,
    places: Option<AttemptId>,
}

/// Everything that a sweep ends or moves on.
pub async fn sweep(dispatch: &Dispatch, cursors: &mut Cursors) {
    unsubmitted(dispatch).await;
    batches(dispatch).await;
    waiting(dispatch, cursors).await;
    overdue(dispatch, cursors).await;
    let now = dispatch.clock.now();
    told(loads::sweep(&dispatch.reads, &dispatch.journal, now.minus(ABANDONED), now).await, "abandoned loads");
}

/// Ends what a client cancelled, and what was not submitted in time.
async fn unsubmitted(dispatch: &Dispatch) {
    let now = dispatch.clock.now();
    let found = async {
        let mut ids: BTreeSet<_> = dispatch.reads.cancel_owed(ROWS).await?.into_iter().collect();
        ids.extend(dispatch.reads.queue_expired(now, ROWS).await?);
        Ok::<_, StoreError>(ids.into_iter().collect::<Vec<_>>())
    };
    cancelled(dispatch, &told(found.await, "what is to be ended").unwrap_or_default()).await;
}

/// Ends those of these that a client cancelled, or that were not submitted in time: who cancels hears of it at once, not by the sweep.
pub async fn cancelled(dispatch: &Dispatch, ids: &[GenerationId]) {
    let now = dispatch.clock.now();
    for ids in ids.chunks(AT_ONCE) {
        wake(dispatch, &moved(dispatch, ids, |loaded| unsubmitted::end(loaded, None, now)).await);
    }
}

/// Ends the unsubmitted lines of batches that are cancelled, stopped or too late, wants those under way cancelled where that was asked
/// for, and tries again what failed where that was.
pub async fn batches(dispatch: &Dispatch) {
    let now = dispatch.clock.now();
    let acting = told(dispatch.reads.batches_to_act(now, BATCHES).await, "batches that end").unwrap_or_default();
    for batch in acting.iter().filter(|batch| unsubmitted::over(batch, now).is_some()) {
        end_lines(dispatch, batch, now).await;
    }
    for batch in acting.iter().filter(|batch| batch.retry.is_some()) {
        let retrying = retries::carry_out(&dispatch.reads, &dispatch.journal, batch, now).await;
        match told(retrying, "lines that are to be retried") {
            // At once, and what was retried now may go.
            Some(Retrying::More) => dispatch.wakes.dispatch.everywhere(),
            Some(Retrying::Later | Retrying::OverLimit(_) | Retrying::Done) | None => {}
        }
    }
}

async fn end_lines(dispatch: &Dispatch, batch: &Batch, now: Timestamp) {
    let Some(owed) = told(dispatch.reads.owed_lines(batch.id, ROWS).await, "lines that end") else { return };
    let ended = moved(dispatch, &owed, |loaded| unsubmitted::end(loaded, Some(batch), now)).await;
    if full(&owed) && !ended.is_empty() {
        dispatch.wakes.dispatch.everywhere();
    } else if batch.cancel.is_some_and(|wish| wish.mode == CancelMode::All) {
        cancel_active(dispatch, batch, now).await;
    }
}

/// Wants what is under way cancelled: the same fact that a client's cancel of the single generation writes.
async fn cancel_active(dispatch: &Dispatch, batch: &Batch, now: Timestamp) {
    let Some(active) = told(dispatch.reads.active_lines(batch.id, ROWS).await, "lines under way") else { return };
    for id in active {
        if told(dispatch.journal.request_cancel(id, batch.project, now).await, "a wish to cancel").is_none() {
            return;
        }
        dispatch.wakes.cancel.one(id);
    }
}

/// Says of batches whose budget suffices for nothing they owe that it is used up.
pub async fn budgets(dispatch: &Dispatch) {
    let now = dispatch.clock.now();
    let budgeted = told(dispatch.reads.budgeted_batches(BATCHES).await, "budgets").unwrap_or_default();
    for batch in budgeted.iter().filter(|batch| batch.runs(now).is_ok() && batch.places < batch.concurrency()) {
        let cheapest = told(dispatch.reads.cheapest_owed(batch.id).await, "what a batch owes").flatten();
        if let Some(price) = cheapest.filter(|price| !batch.affords(*price)) {
            told(dispatch.journal.batch_over_budget(batch, price, now).await, "a budget that is used up");
        }
    }
}

/// Moves on what waited for one of these.
pub async fn dependents(dispatch: &Dispatch, ended: &[GenerationId]) {
    let none = ended.is_empty() || told(dispatch.reads.anything_waits().await, "what waits for others") == Some(false);
    if none {
        return;
    }
    // Only lines of batches are waited for.
    let rows = told(dispatch.reads.loads(ended).await, "what ended").unwrap_or_default().into_iter();
    for row in rows.map(|loaded| loaded.generation).filter(|row| row.batch.is_some() && row.state().terminal()) {
        let found = told(dispatch.reads.dependents(&row).await, "what waits for others").unwrap_or_default();
        settle(dispatch, &found).await;
    }
}

/// Looks at the next ones of all that may wait no longer, whether or not anybody told of these.
async fn waiting(dispatch: &Dispatch, cursors: &mut Cursors) {
    let page = told(dispatch.reads.dependents_due(cursors.waiting, ROWS).await, "what waits for others").unwrap_or_default();
    cursors.waiting = page.last().copied().filter(|_| full(&page));
    settle(dispatch, &page).await;
}

async fn settle(dispatch: &Dispatch, ids: &[GenerationId]) {
    if ids.is_empty() {
        return;
    }
    let Some(needs) = told(dispatch.reads.dependencies(ids).await, "dependencies") else { return };
    let now = dispatch.clock.now();
    let decided = |loaded: &Loaded| lines::resolve(loaded, needs.get(&loaded.generation.id)?, false, now);
    // What may go now is found by the look that follows; others may have waited for what failed.
    let mut moved = moved(dispatch, ids, decided).await;
    moved.retain(|loaded| loaded.generation.state().terminal());
    wake(dispatch, &moved);
}

/// Gives the places of what takes longer than it should back to its batch.
async fn overdue(dispatch: &Dispatch, cursors: &mut Cursors) {
    let any = told(dispatch.reads.open_batches(None, 1).await, "open batches").unwrap_or_default();
    if any.is_empty() {
        return;
    }
    let page = told(dispatch.reads.places(cursors.places, ROWS).await, "places in batches").unwrap_or_default();
    cursors.places = page.last().map(PlaceRow::id).filter(|_| full(&page));
    let now = dispatch.clock.now();
    for place in page.iter().filter(|place| place.submitted_at().plus(longest(dispatch, place)) <= now) {
        let id = place.id();
        wake(dispatch, &moved(dispatch, &[place.generation()], |loaded| lines::release(loaded, id, now)).await);
    }
}

/// How long it may run before it is overdue, as the poller has it.
fn longest(dispatch: &Dispatch, place: &PlaceRow) -> Duration {
    let polling = &dispatch.config.polling;
    let by_model = dispatch.catalogue.model(&place.model).and_then(|model| model.max_duration_s);
    Duration::from_secs(by_model.unwrap_or(match place.kind() {
        Some(Kind::Image) => polling.max_image_s,
        Some(Kind::Video) | None => polling.max_video_s,
    }))
}

/// Hands in what is decided of each, and answers those that moved.
async fn moved(dispatch: &Dispatch, ids: &[GenerationId], decide: impl Fn(&Loaded) -> Option<Transition>) -> Vec<Loaded> {
    if ids.is_empty() {
        return Vec::new();
    }
    let Some(loaded) = told(dispatch.reads.loads(ids).await, "rows") else { return Vec::new() };
    let decide = &decide;
    let one = |loaded: Loaded| commit(&dispatch.reads, &dispatch.journal, Start::Known(Box::new(loaded)), decide);
    let mut commits = stream::iter(loaded).map(one).buffer_unordered(AT_ONCE);
    let mut moved = Vec::new();
    while let Some(done) = commits.next().await {
        moved.extend(told(done, "a row").flatten());
    }
    for loaded in moved.iter().filter(|loaded| loaded.generation.state().terminal()) {
        dispatch.live.forget(loaded.generation.id);
    }
    moved
}

/// Others may have waited for these.
fn wake(dispatch: &Dispatch, moved: &[Loaded]) {
    moved.iter().for_each(|loaded| dispatch.wakes.dispatch.one(loaded.generation.id));
}

/// Whether there may be more.
fn full<T>(page: &[T]) -> bool {
    u64::try_from(page.len()).is_ok_and(|found| found >= ROWS)
}

/// The value; an error is logged, and the next round finds the same again.
fn told<T>(result: Result<T, StoreError>, what: &'static str) -> Option<T> {
    result.map_err(|error| tracing::warn!(error = %error, what, "work at the end of the line was put off")).ok()
}
