//! What became known too late, or not at all.

use super::*;
use crate::{
    domain::{
        generation::{GenerationEvent, GenerationState},
        record::Kind,
        slots::Slot,
    },
    store::change::after,
    submission::{
        late::tests::{loaded, policy},
        reconcile::tests::attempt,
    },
};

const NOW: Timestamp = Timestamp(2_000_000);

fn decided(rows: &Loaded, learned: &Learned) -> Option<Loaded> {
    let (retry, policy) = (RetryConfig::default(), policy());
    let around = Around { retry: &retry, policy: &policy, bills: Bills::AtAccept, max_resubmits: 1, unit: 0.5, now: NOW };
    let newest = rows.attempts.last().unwrap().id;
    decide(rows, newest, learned, &around).map(|entry| after(rows.clone(), &entry))
}

fn accepted(id: &str) -> Learned {
    let handle = Handle { task_id: id.to_owned(), poll_url: None };
    Learned::Accepted { handle, cost: None, reason: "a test" }
}

fn unconfirmed(policy: OnUnconfirmed) -> Loaded {
    let mut rows = loaded(GenerationState::Active, "a", vec![attempt(Kind::Image)]);
    rows.generation.on_unconfirmed = policy;
    rows
}

/// The next submit of the slot, whose outcome is unknown too.
fn once_more(rows: &Loaded) -> Loaded {
    let mut rows = rows.clone();
    let progress = crate::domain::generation::apply(&rows.generation.progress, &GenerationEvent::Intent { slot: 0 }, NOW);
    rows.generation.progress = progress.unwrap();
    let n = rows.attempts.last().unwrap().n + 1;
    rows.attempts.push(Attempt { n, generation: rows.generation.id, ..attempt(Kind::Image) });
    rows
}

#[test]
fn what_nobody_could_say_fails_with_what_the_attempt_met() {
    for policy in [OnUnconfirmed::Fail, OnUnconfirmed::Hold] {
        let rows = decided(&unconfirmed(policy), &Learned::GivenUp).unwrap();
        assert_eq!(rows.generation.state(), GenerationState::Failed);
        assert_eq!(rows.generation.failure.unwrap().code, crate::domain::error::ErrorCode::SubmissionUnconfirmed);
        assert_eq!(rows.attempts[0].state, AttemptState::Ended(Outcome::GivenUp));
        assert_eq!(rows.attempts[0].lost_at, None, "its money stays at risk");
    }
}

#[test]
fn a_resubmit_is_owed_as_often_as_allowed_and_no_more() {
    let rows = decided(&unconfirmed(OnUnconfirmed::Resubmit), &Learned::GivenUp).unwrap();
    assert_eq!(rows.generation.slots().at(0), Some(Slot::Owed));
    assert_eq!(rows.generation.progress.tries, 0, "it consumes no try");
    let rows = decided(&once_more(&rows), &Learned::GivenUp).unwrap();
    assert_eq!(rows.generation.state(), GenerationState::Failed, "one resubmit is allowed");
    let mut cancelled = unconfirmed(OnUnconfirmed::Resubmit);
    cancelled.generation.cancel_requested_at = Some(NOW);
    assert_eq!(decided(&cancelled, &Learned::GivenUp).unwrap().generation.state(), GenerationState::Failed);
}

#[test]
fn late_evidence_brings_the_attempt_back_and_never_changes_the_generations_end() {
    let rows = decided(&unconfirmed(OnUnconfirmed::Fail), &Learned::GivenUp).unwrap();
    let ended_at = rows.generation.ended_at;
    let rows = decided(&rows, &accepted("a")).unwrap();
    assert_eq!((rows.generation.state(), rows.generation.ended_at), (GenerationState::Failed, ended_at));
    let attempt = &rows.attempts[0];
    assert_eq!((attempt.state, attempt.ended_at, attempt.charged), (AttemptState::Running, None, true));
    assert!(decided(&rows, &accepted("b")).is_none(), "it is adopted once");
}

#[test]
fn evidence_before_the_resubmit_leaves_saves_it() {
    let rows = decided(&unconfirmed(OnUnconfirmed::Resubmit), &Learned::GivenUp).unwrap();
    let rows = decided(&rows, &accepted("a")).unwrap();
    assert_eq!((rows.generation.state(), rows.generation.slots().at(0)), (GenerationState::Active, Some(Slot::Open)));
}

#[test]
fn what_timed_out_comes_back_by_evidence_only() {
    let mut rows = loaded(GenerationState::Failed, "f", vec![attempt(Kind::Image)]);
    rows.attempts[0].state = AttemptState::Ended(Outcome::TimedOut);
    assert_eq!(decided(&rows, &accepted("a")).unwrap().attempts[0].state, AttemptState::Running);
    for learned in [Learned::GivenUp, Learned::Lost] {
        assert!(decided(&rows, &learned).is_none(), "{learned:?}");
    }
}

#[test]
fn an_operators_word_ends_it_at_once_and_releases_the_money_once() {
    let rows = decided(&unconfirmed(OnUnconfirmed::Hold), &Learned::Lost).unwrap();
    assert_eq!(rows.generation.state(), GenerationState::Failed);
    assert_eq!((rows.attempts[0].state, rows.attempts[0].lost_at), (AttemptState::Ended(Outcome::GivenUp), Some(NOW)));
    assert!(decided(&rows, &Learned::Lost).is_none());
    // One that failed before as unconfirmed.
    let rows = decided(&unconfirmed(OnUnconfirmed::Fail), &Learned::GivenUp).unwrap();
    let ended_at = rows.attempts[0].ended_at;
    let rows = decided(&rows, &Learned::Lost).unwrap();
    assert_eq!((rows.attempts[0].lost_at, rows.attempts[0].ended_at), (Some(NOW), ended_at));
    assert!(decided(&rows, &accepted("a")).is_some(), "evidence counts against every word");
}

#[test]
fn a_resend_keeps_the_attempt_its_tag_and_its_deadline() {
    let rows = unconfirmed(OnUnconfirmed::Fail);
    let id = rows.attempts[0].id;
    let entry = resend(&rows, id, NOW.plus(std::time::Duration::from_secs(5)), NOW).unwrap();
    let again = after(rows.clone(), &entry);
    assert_eq!((again.attempts[0].state, again.attempts[0].not_after), (AttemptState::Submitting, Timestamp(2_005_000)));
    assert_eq!((&again.attempts[0].tag, again.attempts.len()), (&rows.attempts[0].tag, 1));
    assert_eq!(again.attempts[0].unconfirmed_since, Some(Timestamp(1_000)));
    let fault = fault::unusable("gone");
    let unknown = decided(&again, &of_resend(Learned::Refused(fault.clone()))).unwrap();
    assert_eq!(unknown.attempts[0].state, AttemptState::Unconfirmed, "a duplicate is refused: it may be there");
    assert_eq!(unknown.attempts[0].unconfirmed_since, Some(Timestamp(1_000)), "the deadline does not move");
    assert!(matches!(of_resend(Learned::NeverSent(fault)), Learned::Unknown(_)), "the first one may have left");
    let mut cancelled = rows;
    cancelled.generation.cancel_requested_at = Some(NOW);
    assert!(resend(&cancelled, id, NOW, NOW).is_none());
}
