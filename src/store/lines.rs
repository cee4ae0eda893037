//! What the owner of a batch does to its lines beyond submitting them: release the place of one that takes too long, let one go that
//! waited for others, or end it with them. Pure.

use crate::{
    domain::{
        attempt::AttemptState,
        batch::holds_place,
        error::{ErrorCode, Failure},
        generation::{GenerationEvent, GenerationState},
        id::AttemptId,
        record::Generation,
        time::Timestamp,
    },
    store::{Loaded, Transition, change::Change},
};

/// Frees the place in its batch of an attempt that is overdue; it goes on all the same. None when it holds none, or does not run.
#[must_use]
pub fn release(loaded: &Loaded, attempt: AttemptId, now: Timestamp) -> Option<Transition> {
    let attempt = loaded.attempts.iter().find(|known| known.id == attempt)?;
    if attempt.state != AttemptState::Running || !holds_place(attempt) {
        return None;
    }
    let mut attempt = attempt.clone();
    (attempt.released_at, attempt.updated_at) = (Some(now), now);
    let mut change = Change::of(&loaded.generation, now);
    change.note(&attempt, "it is overdue: its place in the batch is free");
    change.hold(&attempt);
    Some(change.entry())
}

/// Moves a waiting generation on by what became of all it depends on, each as the newest of its line: it is queued (or prepared, when
/// its images must be made fit) once all of them succeeded, and fails with the first that did not. None while neither is known.
#[must_use]
pub fn resolve(loaded: &Loaded, on: &[Generation], prepare: bool, now: Timestamp) -> Option<Transition> {
    if loaded.generation.state() != GenerationState::Waiting {
        return None;
    }
    let mut change = Change::of(&loaded.generation, now);
    let ended_badly = |row: &&Generation| row.state().terminal() && row.state() != GenerationState::Completed;
    if let Some(failed) = on.iter().find(ended_badly) {
        let name = failed.batch.as_ref().and_then(|place| place.custom_id.as_deref());
        let what = name.map_or_else(|| failed.id.to_string(), |name| format!("`{name}` ({})", failed.id));
        let why = format!("{what}, which it depends on, is {}", failed.state().as_str());
        let failure = Failure::new(ErrorCode::DependencyFailed, why.clone());
        change.advance(&GenerationEvent::Drop, Some(failure), &why).ok()?;
    } else if on.iter().all(|row| row.state() == GenerationState::Completed) {
        change.advance(&GenerationEvent::DependencyMet { prepare }, None, "what it depends on succeeded").ok()?;
    } else {
        return None;
    }
    Some(change.entry())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::record::tests::generation;

    fn waiting() -> Loaded {
        let mut row = generation();
        row.progress.state = GenerationState::Waiting;
        Loaded { generation: row, attempts: Vec::new(), assets: Vec::new() }
    }

    fn on(states: &[GenerationState]) -> Vec<Generation> {
        let row = |state: &GenerationState| {
            let mut row = generation();
            row.progress.state = *state;
            row
        };
        states.iter().map(row).collect()
    }

    fn state(on: &[Generation], prepare: bool) -> Option<GenerationState> {
        Some(resolve(&waiting(), on, prepare, Timestamp(9_000))?.generation?.state())
    }

    #[test]
    fn a_dependent_goes_when_all_succeeded_and_fails_with_the_first_that_did_not() {
        use GenerationState as S;
        assert_eq!(state(&on(&[S::Completed, S::Completed]), false), Some(S::Queued));
        assert_eq!(state(&on(&[S::Completed]), true), Some(S::Preparing));
        assert_eq!(state(&on(&[S::Completed, S::Active]), false), None);
        for end in [S::Failed, S::Cancelled] {
            assert_eq!(state(&on(&[S::Active, end]), false), Some(S::Failed));
        }
        let failed = resolve(&waiting(), &on(&[S::Failed]), false, Timestamp(9_000)).unwrap().generation.unwrap();
        assert_eq!(failed.failure.map(|failure| failure.code), Some(ErrorCode::DependencyFailed));
        assert_eq!(failed.ended_at, Some(Timestamp(9_000)));
    }

    #[test]
    fn only_what_waits_is_moved() {
        let mut queued = waiting();
        queued.generation.progress.state = GenerationState::Queued;
        assert!(resolve(&queued, &[], false, Timestamp(0)).is_none());
    }
}
