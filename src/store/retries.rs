//! Retrying what failed in a batch: its owner carries the wish out, some lines a commit. Each line goes to a new generation, which waits
//! for the same others as the old one did; the counts move in that commit.
//!
//! What came late is used before anything is paid again: a line whose result was delivered after it had failed goes to a generation
//! that is born completed, with that result and without a submit; one of which something is still open at a provider waits for the end
//! of that. Lines that may have been paid, since nobody could find out, are retried only when that was asked for. Lines that a client
//! cancelled one by one stay so; those that the batch cancelled, because a line had failed, are retried with it.

use crate::{
    domain::{
        attempt::{AttemptState, Outcome},
        batch::{Batch, RetryWish},
        generation::{GenerationState, Progress},
        id::{AssetId, GenerationId},
        limits::{Limits, OverLimit},
        record::{Asset, AssetState, Generation},
        slots::{Slot, Slots},
        time::Timestamp,
    },
    store::{Journal, Loaded, Noted, Reads, StoreError},
};

/// Lines that one commit retries: as long as one of a load's chunks.
const PAGE: u64 = 500;

/// How far the retry of a batch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retrying {
    /// Some lines were retried; there may be more.
    More,
    /// All that can be was retried; some lines wait for something that is open, or the batch itself is being stopped.
    Later,
    /// A daily limit allows no further line today.
    OverLimit(OverLimit),
    /// Nothing is to be retried (any more); the wish was taken back.
    Done,
}

/// Lines that are retried together, and why that is allowed.
#[derive(Debug, Clone)]
pub struct Retry {
    /// The batch, as it was read.
    pub batch: Batch,
    /// The wish; it must still be there.
    pub wish: RetryWish,
    /// What may be promised a UTC day.
    pub limits: Limits,
    /// The lines.
    pub lines: Vec<RetriedLine>,
    /// When.
    pub at: Timestamp,
}

/// A line that goes to a new generation.
#[derive(Debug, Clone)]
pub struct RetriedLine {
    /// The one that failed, as it was read.
    pub old: Generation,
    /// The one that takes its line, version 0.
    pub new: Generation,
    /// The old one's files, where they came late.
    pub assets: Vec<Asset>,
    /// What the new one waits for.
    pub depends_on: Vec<GenerationId>,
}

/// What becomes of a line.
#[derive(Debug, Clone)]
enum Fate {
    /// It is retried.
    Retried(Box<RetriedLine>),
    /// It stays as it is.
    Kept,
    /// Something of it is still open at a provider.
    Open,
    /// What it depends on is to be retried first.
    Behind,
}

/// Carries the wish to retry out, at most 500 lines a call; call again after [`Retrying::More`]. Whatever interrupts it, the next call
/// goes on from the rows.
///
/// # Errors
/// The store's.
pub async fn carry_out(reads: &Reads, journal: &Journal, batch: &Batch, now: Timestamp) -> Result<Retrying, StoreError> {
    let Some(batch) = reads.batch_by_id(batch.id).await? else { return Ok(Retrying::Done) };
    let Some(wish) = batch.retry else { return Ok(Retrying::Done) };
    if batch.stopped_at.is_some() && batch.counts.waiting() > 0 {
        // What the stop cancels must be cancelled first: retrying takes the stop back.
        return Ok(Retrying::Later);
    }
    let past = batch.options.deadline.is_some_and(|deadline| now >= deadline);
    let (mut after, mut open) = (None, false);
    loop {
        if past {
            break;
        }
        let page = reads.lines_to_retry(batch.id, wish.at, after, PAGE).await?;
        let Some(last) = page.last().and_then(|row| row.batch.as_ref()) else { break };
        after = Some(last.index);
        let fates = judge(reads, &page, wish, now).await?;
        open |= fates.iter().any(|fate| matches!(fate, Fate::Open));
        let retried = |fate| if let Fate::Retried(line) = fate { Some(*line) } else { None };
        let lines: Vec<_> = fates.into_iter().filter_map(retried).collect();
        if !lines.is_empty() {
            let limits = reads.limits(batch.project, wish.key).await?;
            return match journal.retry_lines(Retry { batch, wish, limits, lines, at: now }).await {
                Ok(()) => Ok(Retrying::More),
                // Something moved meanwhile: the rows say what.
                Err(StoreError::Gone) => Ok(Retrying::More),
                Err(StoreError::OverLimit(over)) => Ok(Retrying::OverLimit(over)),
                Err(error) => Err(error),
            };
        }
    }
    if open {
        return Ok(Retrying::Later);
    }
    Ok(match journal.batch_retried(&batch, wish, now).await? {
        Noted::Changed | Noted::Unknown => Retrying::Done,
        Noted::Unchanged => Retrying::Later,
    })
}

async fn judge(reads: &Reads, page: &[Generation], wish: RetryWish, now: Timestamp) -> Result<Vec<Fate>, StoreError> {
    let ids: Vec<GenerationId> = page.iter().map(|row| row.id).collect();
    let on = reads.dependencies(&ids).await?;
    let loaded = reads.loads(&ids).await?;
    let fate = |loaded: &Loaded| {
        let on = on.get(&loaded.generation.id).map(Vec::as_slice).unwrap_or_default();
        decide(loaded, on, wish, now)
    };
    Ok(loaded.iter().map(fate).collect())
}

/// Whether a line of this newest generation is meant by the wish.
fn meant(row: &Generation, wish: RetryWish) -> bool {
    let failed = match row.state() {
        GenerationState::Failed => true,
        GenerationState::Cancelled => row.cancel_requested_at.is_none(),
        GenerationState::Waiting
        | GenerationState::Preparing
        | GenerationState::Queued
        | GenerationState::Active
        | GenerationState::Completed => false,
    };
    failed && row.ended_at.is_some_and(|at| at <= wish.at)
}

fn decide(loaded: &Loaded, on: &[Generation], wish: RetryWish, now: Timestamp) -> Fate {
    let old = &loaded.generation;
    if !meant(old, wish) {
        return Fate::Kept;
    }
    if loaded.attempts.iter().any(|attempt| !attempt.state.ended()) {
        return Fate::Open;
    }
    let delivered = |slot: u16| {
        let of_slot = |state| loaded.attempts.iter().any(|attempt| attempt.slot == slot && attempt.state == state);
        of_slot(AttemptState::Ended(Outcome::Delivered))
    };
    if (0..old.slots().len()).any(delivered) {
        return adopted(loaded, delivered, wish, now);
    }
    let ended_badly = |row: &&Generation| row.state().terminal() && row.state() != GenerationState::Completed;
    let bad: Vec<_> = on.iter().filter(ended_badly).collect();
    if bad.iter().any(|row| !meant(row, wish)) {
        // It would fail again for the same reason.
        return Fate::Kept;
    }
    if !bad.is_empty() {
        return Fate::Behind;
    }
    let unknown = AttemptState::Ended(Outcome::GivenUp);
    if !wish.forced && loaded.attempts.iter().any(|attempt| attempt.state == unknown && attempt.lost_at.is_none()) {
        return Fate::Kept;
    }
    let state = if on.is_empty() { GenerationState::Queued } else { GenerationState::Waiting };
    let new = born(old, wish, Slots::owed(old.outputs, old.per_call), (state, now));
    let depends_on = on.iter().map(|row| row.id).collect();
    Fate::Retried(Box::new(RetriedLine { old: old.clone(), new, assets: Vec::new(), depends_on }))
}

/// What came late is the result of the new one; nothing is submitted.
fn adopted(loaded: &Loaded, delivered: impl Fn(u16) -> bool, wish: RetryWish, now: Timestamp) -> Fate {
    let old = &loaded.generation;
    let slots = (0..old.slots().len())
        .fold(old.slots().clone(), |slots, slot| slots.with(slot, if delivered(slot) { Slot::Delivered } else { Slot::Failed }));
    let mut new = born(old, wish, slots, (GenerationState::Completed, now));
    new.ended_at = Some(now);
    let there = |asset: &&Asset| matches!(asset.state, AssetState::Stored | AssetState::Linked);
    let copy = |asset: &Asset| Asset { id: AssetId::fresh(), generation: new.id, version: 0, ..asset.clone() };
    let assets = loaded.assets.iter().filter(there).map(copy).collect();
    Fate::Retried(Box::new(RetriedLine { old: old.clone(), new, assets, depends_on: Vec::new() }))
}

/// The same wish of the client once more, with as much time as the first had.
fn born(old: &Generation, wish: RetryWish, slots: Slots, (state, now): (GenerationState, Timestamp)) -> Generation {
    Generation {
        id: GenerationId::fresh(),
        key: wish.key,
        version: 0,
        progress: Progress { state, slots, not_before: now, tries: 0 },
        born_state: state,
        queue_deadline: now.plus(old.queue_deadline.since(old.created_at)),
        created_at: now,
        updated_at: now,
        ended_at: None,
        cancel_requested_at: None,
        failure: None,
        retry_of: Some(old.id),
        replaced_by: None,
        ..old.clone()
    }
}

#[cfg(test)]
mod tests;
