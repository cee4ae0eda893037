//! A second task of one submit, made an attempt of its own exactly once.

use serde_json::json;

use super::*;
use crate::{
    domain::{
        attempt::AttemptEvent,
        generation::{GenerationState, Progress},
        id::{GenerationId, KeyId, ProjectId},
        money::Micros,
        record::{Generation, Kind},
        retry::RetryPolicy,
        settle::Ending,
        slots::Slots,
        unconfirmed::OnUnconfirmed,
    },
    store::change::{End, after},
    submission::reconcile::tests::attempt,
};

const NOW: Timestamp = Timestamp(100_000);

fn handle(id: &str) -> Handle {
    Handle { task_id: id.to_owned(), poll_url: None }
}

pub(in crate::submission) fn loaded(state: GenerationState, slots: &str, attempts: Vec<Attempt>) -> Loaded {
    let id = attempts.first().map_or_else(GenerationId::fresh, |attempt| attempt.generation);
    let generation = Generation {
        id,
        shard: 0,
        project: ProjectId::fresh(),
        key: KeyId::fresh(),
        version: 0,
        progress: Progress { state, slots: Slots::parse(slots).unwrap(), not_before: Timestamp(0), tries: 0 },
        born_state: GenerationState::Queued,
        outputs: u16::try_from(slots.len()).unwrap(),
        per_call: 1,
        provider: "kling".into(),
        model: "m".into(),
        kind: Kind::Image,
        priority: 5,
        call_price: Micros(1),
        queue_deadline: Timestamp(1_000_000),
        created_at: Timestamp(0),
        updated_at: Timestamp(0),
        ended_at: state.terminal().then_some(Timestamp(50_000)),
        cancel_requested_at: None,
        failure: None,
        request_id: "r".into(),
        on_unconfirmed: OnUnconfirmed::Fail,
        batch: None,
        retry_of: None,
        replaced_by: None,
    };
    Loaded { generation, attempts, assets: Vec::new() }
}

pub(in crate::submission) fn policy() -> RetryPolicy {
    crate::config::providers::RetryConfig { jitter: false, ..Default::default() }.policy()
}

fn running(task: &str) -> Attempt {
    Attempt {
        state: AttemptState::Running,
        handle: Some(handle(task)),
        submitted_at: Some(Timestamp(2_000)),
        ..attempt(Kind::Image)
    }
}

fn end<'a>(event: AttemptEvent, ending: Ending, policy: &'a RetryPolicy) -> End<'a> {
    End { event, ending, failure: None, shown: None, policy, unit: 0.5, reason: "a test" }
}

fn make(rows: &Loaded, of: AttemptId, task: &str) -> Option<Loaded> {
    let found = Second { handle: &handle(task), request: &json!({"body": null}), charged: true, now: NOW };
    let entry = second(rows, of, &found)?;
    Some(after(rows.clone(), &entry))
}

#[test]
fn a_second_task_becomes_an_attempt_that_runs_and_is_made_once() {
    let first = running("a");
    let rows = loaded(GenerationState::Active, "a", vec![first.clone()]);
    assert!(make(&rows, first.id, "a").is_none(), "its own task is no second one");
    let both = make(&rows, first.id, "b").unwrap();
    assert_eq!(both.attempts.len(), 2);
    let sibling = &both.attempts[1];
    assert_eq!((sibling.n, sibling.state, sibling.charged), (2, AttemptState::Running, true));
    assert_eq!((sibling.handle.clone(), sibling.slot), (Some(handle("b")), first.slot));
    assert!(make(&both, first.id, "b").is_none(), "once");
    assert_eq!(make(&both, first.id, "c").unwrap().attempts[2].n, 3);
}

#[test]
fn an_attempt_that_may_still_take_the_task_gets_it_itself() {
    for state in [AttemptState::Submitting, AttemptState::Unconfirmed, AttemptState::Ended(Outcome::GivenUp)] {
        let first = Attempt { state, ..attempt(Kind::Image) };
        let rows = loaded(GenerationState::Active, "a", vec![first.clone()]);
        assert!(make(&rows, first.id, "b").is_none(), "{state:?}");
    }
    // What the provider refused, and has all the same.
    let refused = Attempt { state: AttemptState::Ended(Outcome::Refused), ..attempt(Kind::Image) };
    let rows = loaded(GenerationState::Failed, "f", vec![refused.clone()]);
    assert!(make(&rows, refused.id, "b").is_some());
}

#[test]
fn of_two_tasks_the_first_delivered_settles_the_slot_and_the_other_is_late() {
    let (policy, first) = (policy(), running("a"));
    let rows = make(&loaded(GenerationState::Active, "a", vec![first.clone()]), first.id, "b").unwrap();
    let storing = |attempt: &Attempt| Attempt { state: AttemptState::Storing, ..attempt.clone() };
    let mut change = Change::of(&rows.generation, NOW);
    change.end(&rows, &mut storing(&rows.attempts[1]), &end(AttemptEvent::Stored, Ending::Delivered, &policy)).unwrap();
    let entry = change.entry();
    assert_eq!(entry.generation.as_ref().unwrap().state(), GenerationState::Completed);
    let rows = after(rows, &entry);
    let mut change = Change::of(&rows.generation, NOW);
    change.end(&rows, &mut storing(&rows.attempts[0]), &end(AttemptEvent::Stored, Ending::Delivered, &policy)).unwrap();
    let entry = change.entry();
    assert!(entry.generation.is_none(), "a terminal generation never changes");
    assert_eq!(entry.events.iter().map(|event| event.kind).collect::<Vec<_>>(), ["generation.late_result"]);
}

#[test]
fn one_that_fails_while_another_of_its_slot_is_open_settles_nothing() {
    let (policy, first) = (policy(), running("a"));
    let rows = make(&loaded(GenerationState::Active, "a", vec![first.clone()]), first.id, "b").unwrap();
    for ending in [Ending::Final, Ending::Unbilled { asked: None }] {
        let mut change = Change::of(&rows.generation, NOW);
        change.end(&rows, &mut rows.attempts[0].clone(), &end(AttemptEvent::Failed, ending, &policy)).unwrap();
        let entry = change.entry();
        assert!(entry.generation.is_none() && entry.attempts.len() == 1);
        let rows = after(rows.clone(), &entry);
        let mut change = Change::of(&rows.generation, NOW);
        change.end(&rows, &mut rows.attempts[1].clone(), &end(AttemptEvent::Failed, Ending::Final, &policy)).unwrap();
        assert_eq!(change.entry().generation.unwrap().state(), GenerationState::Failed, "the last one does");
    }
}
