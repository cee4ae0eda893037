//! Ending what was not submitted: the client cancelled, or the queue's deadline passed. Pure. What is paid is never touched here.

use crate::{
    domain::{
        error::{ErrorCode, Failure},
        generation::{GenerationEvent, GenerationState},
        time::Timestamp,
    },
    store::{Loaded, Transition, change::Change},
};

/// The transition that ends what is owed; none when nothing is, or when it may still be submitted.
#[must_use]
pub fn end(loaded: &Loaded, now: Timestamp) -> Option<Transition> {
    let generation = &loaded.generation;
    match generation.state() {
        GenerationState::Waiting | GenerationState::Preparing | GenerationState::Queued => {}
        GenerationState::Active | GenerationState::Completed | GenerationState::Failed | GenerationState::Cancelled => {
            return None;
        }
    }
    let mut change = Change::of(generation, now);
    let done = if generation.cancel_requested_at.is_some() {
        let failure = Failure::new(ErrorCode::TaskCancelled, "cancelled at the client's request before it was submitted");
        change.advance(&GenerationEvent::Cancel, Some(failure), "the client cancelled")
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
