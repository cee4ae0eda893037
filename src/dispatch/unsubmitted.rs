//! Ending what was not submitted: the client cancelled, its batch takes nothing any more, or the queue's deadline passed. Pure. What
//! is paid is never touched here.

use crate::{
    domain::{
        batch::{Batch, Held},
        error::{ErrorCode, Failure},
        generation::{GenerationEvent, GenerationState},
        time::Timestamp,
    },
    store::{Loaded, Transition, change::Change},
};

/// The transition that ends what is owed; none when nothing is, or when it may still be submitted.
#[must_use]
pub fn end(loaded: &Loaded, batch: Option<&Batch>, now: Timestamp) -> Option<Transition> {
    let generation = &loaded.generation;
    match generation.state() {
        GenerationState::Waiting | GenerationState::Preparing | GenerationState::Queued => {}
        GenerationState::Active | GenerationState::Completed | GenerationState::Failed | GenerationState::Cancelled => {
            return None;
        }
    }
    let mut change = Change::of(generation, now);
    let cancelled = |detail: &str| Some(Failure::new(ErrorCode::TaskCancelled, detail));
    let done = if generation.cancel_requested_at.is_some() {
        let failure = cancelled("cancelled at the client's request before it was submitted");
        change.advance(&GenerationEvent::Cancel, failure, "the client cancelled")
    } else if let Some((reason, detail)) = batch.and_then(|batch| over(batch, now)) {
        change.advance(&GenerationEvent::Cancel, cancelled(detail), reason)
    } else if generation.queue_deadline <= now {
        let late = Failure::new(ErrorCode::TaskTimeout, "it could not be submitted before its queue deadline");
        // The newest refusal, if there was one, says more than the deadline.
        let failure = generation.failure.clone().unwrap_or(late);
        change.advance(&GenerationEvent::Drop, Some(failure), "the queue deadline passed")
    } else {
        return None;
    };
    done.ok().map(|()| change.entry())
}

/// Whether a batch submits nothing any more, for good: a reason for the history, a sentence for the client.
#[must_use]
pub fn over(batch: &Batch, now: Timestamp) -> Option<(&'static str, &'static str)> {
    match batch.runs(now).err()? {
        Held::Cancelled => Some(("the client cancelled the batch", "its batch was cancelled before it was submitted")),
        Held::Stopped => Some(("a line of the batch failed", "its batch stopped at a line that failed, before it was submitted")),
        Held::Deadline => Some(("the batch's deadline passed", "the deadline of its batch passed before it was submitted")),
        Held::Loading | Held::Paused | Held::Order | Held::Concurrency | Held::Budget => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        batch::{BatchOptions, CancelMode, CancelWish},
        id::{BatchId, KeyId, ProjectId},
        record::tests::generation,
    };

    const NOW: Timestamp = Timestamp(5_000);

    fn queued() -> Loaded {
        let mut row = generation();
        row.queue_deadline = Timestamp(9_000);
        Loaded { generation: row, attempts: Vec::new(), assets: Vec::new() }
    }

    fn batch(options: BatchOptions) -> Batch {
        let mut batch = Batch::loading(BatchId::fresh(), (ProjectId::fresh(), KeyId::fresh()), 1, options, Timestamp(0));
        batch.visible_at = Some(Timestamp(0));
        batch
    }

    fn ended(loaded: &Loaded, batch: Option<&Batch>) -> Option<(GenerationState, ErrorCode)> {
        let row = end(loaded, batch, NOW)?.generation?;
        Some((row.state(), row.failure?.code))
    }

    #[test]
    fn what_may_still_be_submitted_stays_also_under_a_pause() {
        let mut paused = batch(BatchOptions { deadline: Some(Timestamp(5_001)), ..BatchOptions::default() });
        paused.paused_at = Some(Timestamp(1));
        assert_eq!((ended(&queued(), None), ended(&queued(), Some(&paused))), (None, None));
    }

    #[test]
    fn a_batch_that_is_cancelled_stopped_or_too_late_cancels_what_it_did_not_submit() {
        let mut cancelled = batch(BatchOptions::default());
        cancelled.cancel = Some(CancelWish { at: Timestamp(1), mode: CancelMode::Queued });
        let mut stopped = batch(BatchOptions::default());
        stopped.stopped_at = Some(Timestamp(1));
        let late = batch(BatchOptions { deadline: Some(NOW), ..BatchOptions::default() });
        for batch in [cancelled, stopped, late] {
            assert_eq!(ended(&queued(), Some(&batch)), Some((GenerationState::Cancelled, ErrorCode::TaskCancelled)));
            let mut active = queued();
            active.generation.progress.state = GenerationState::Active;
            assert_eq!(ended(&active, Some(&batch)), None, "what is paid is never touched");
        }
    }

    #[test]
    fn the_queue_deadline_fails_and_a_wish_to_cancel_goes_first() {
        let mut late = queued();
        late.generation.queue_deadline = NOW;
        assert_eq!(ended(&late, None), Some((GenerationState::Failed, ErrorCode::TaskTimeout)));
        late.generation.cancel_requested_at = Some(Timestamp(1));
        assert_eq!(ended(&late, None), Some((GenerationState::Cancelled, ErrorCode::TaskCancelled)));
    }
}
