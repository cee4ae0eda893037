//! Which lines a retry takes, and how each begins anew.

mod histories;

use super::*;
use crate::domain::{
    id::KeyId,
    record::tests::{attempt, generation},
};

fn wish(forced: bool) -> RetryWish {
    RetryWish { at: Timestamp(5_000), forced, key: KeyId::fresh() }
}

fn failed() -> Loaded {
    let mut row = generation();
    row.progress.state = GenerationState::Failed;
    row.progress.slots = Slots::parse("ff").unwrap();
    (row.outputs, row.ended_at, row.version) = (2, Some(Timestamp(4_000)), 3);
    row.queue_deadline = row.created_at.plus(std::time::Duration::from_secs(60));
    Loaded { generation: row, attempts: Vec::new(), assets: Vec::new() }
}

fn with(mut loaded: Loaded, state: AttemptState, slot: u16) -> Loaded {
    let mut row = attempt(loaded.generation.id);
    (row.state, row.slot) = (state, slot);
    loaded.attempts.push(row);
    loaded
}

fn fate(loaded: &Loaded, on: &[Generation], forced: bool) -> Fate {
    decide(loaded, on, wish(forced), Timestamp(9_000))
}

fn retried(fate: Fate) -> RetriedLine {
    let Fate::Retried(line) = fate else { panic!("{fate:?}") };
    *line
}

#[test]
fn a_failed_line_begins_anew_with_its_place_and_as_much_time() {
    let old = failed();
    let line = retried(fate(&with(old.clone(), AttemptState::Ended(Outcome::Failed), 0), &[], false));
    assert_eq!((line.new.state(), line.new.slots().to_string().as_str()), (GenerationState::Queued, "oo"));
    assert_eq!((line.new.retry_of, &line.new.batch), (Some(old.generation.id), &old.generation.batch));
    assert_eq!(line.new.queue_deadline, Timestamp(69_000));
    assert_eq!((line.new.version, line.new.failure, line.new.ended_at), (0, None, None));
}

#[test]
fn what_ended_after_the_wish_or_was_cancelled_by_its_client_stays() {
    let mut late = failed();
    late.generation.ended_at = Some(Timestamp(5_001));
    assert!(matches!(fate(&late, &[], true), Fate::Kept), "it was retried and failed again");
    let mut cancelled = failed();
    cancelled.generation.progress.state = GenerationState::Cancelled;
    assert!(matches!(fate(&cancelled, &[], false), Fate::Retried(_)), "the stop of its batch cancelled it");
    cancelled.generation.cancel_requested_at = Some(Timestamp(3_000));
    assert!(matches!(fate(&cancelled, &[], true), Fate::Kept));
}

#[test]
fn what_may_have_been_paid_is_retried_only_by_force() {
    let unknown = with(failed(), AttemptState::Ended(Outcome::GivenUp), 0);
    assert!(matches!(fate(&unknown, &[], false), Fate::Kept));
    assert!(matches!(fate(&unknown, &[], true), Fate::Retried(_)));
    let mut lost = unknown;
    lost.attempts[0].lost_at = Some(Timestamp(4_500));
    assert!(matches!(fate(&lost, &[], false), Fate::Retried(_)), "an operator says that it never was");
}

#[test]
fn what_is_open_at_a_provider_is_waited_for() {
    for state in [AttemptState::Submitting, AttemptState::Unconfirmed, AttemptState::Running, AttemptState::Storing] {
        assert!(matches!(fate(&with(failed(), state, 0), &[], true), Fate::Open), "{state:?}");
    }
}

#[test]
fn a_late_result_is_used_and_nothing_is_paid_again() {
    let mut loaded = with(failed(), AttemptState::Ended(Outcome::Delivered), 1);
    let mut file = Asset { state: AssetState::Stored, ..file(&loaded) };
    file.storage_key = Some("a/1.png".to_owned());
    loaded.assets = vec![file.clone(), Asset { id: AssetId::fresh(), state: AssetState::Failed, ..file.clone() }];
    let line = retried(fate(&loaded, &[], false));
    assert_eq!((line.new.state(), line.new.slots().to_string().as_str()), (GenerationState::Completed, "fd"));
    assert_eq!(line.new.ended_at, Some(Timestamp(9_000)));
    assert_eq!(line.assets.len(), 1);
    assert_eq!((line.assets[0].generation, line.assets[0].attempt), (line.new.id, file.attempt));
    assert_ne!(line.assets[0].id, file.id);
}

fn file(loaded: &Loaded) -> Asset {
    let attempt = &loaded.attempts[0];
    Asset {
        id: AssetId::fresh(),
        generation: attempt.generation,
        attempt: attempt.id,
        idx: 1,
        shard: attempt.shard,
        version: 2,
        state: AssetState::Pending,
        kind: attempt.kind,
        source_url: None,
        staged_key: None,
        expires_at: None,
        storage_key: None,
        content_type: None,
        width: None,
        height: None,
        duration_ms: None,
        bytes: None,
        sha256: None,
        failure: None,
    }
}

#[test]
fn a_line_that_depends_on_another_goes_behind_it() {
    let mut on = failed().generation;
    assert!(matches!(fate(&failed(), &[on.clone()], false), Fate::Behind));
    on.ended_at = Some(Timestamp(6_000));
    assert!(matches!(fate(&failed(), &[on.clone()], false), Fate::Kept), "that was retried and failed again");
    on.progress.state = GenerationState::Queued;
    on.ended_at = None;
    let line = retried(fate(&failed(), &[on.clone()], false));
    assert_eq!((line.new.state(), line.depends_on), (GenerationState::Waiting, vec![on.id]));
}
