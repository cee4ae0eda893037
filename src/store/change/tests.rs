//! The books balance after every commit, whatever happens in whatever order, also when decisions were made on rows that were not
//! the newest.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::domain::{
    attempt::{AttemptState, Outcome},
    effects::{EntryKind, LedgerEntry, Position},
    generation::Progress,
    id::{AttemptId, KeyId, ProjectId},
    money::Micros,
    record::{Endpoint, Kind},
    slots::Slots,
    unconfirmed::OnUnconfirmed,
};

const NOW: Timestamp = Timestamp(1_780_000_000_000);
const PRICE: Micros = Micros(350_000);

/// What may happen, by numbers that fit whatever there is.
#[derive(Debug, Clone)]
struct Step {
    /// Which attempt; a new one when it is too large.
    attempt: usize,
    event: AttemptEvent,
    ending: Ending,
    cost: Option<i64>,
    /// The provider bills when it accepts.
    at_accept: bool,
    /// Its table calls the failure unbilled.
    unbilled: bool,
    /// What is owed is dropped, or cancelled.
    drop: Option<bool>,
    /// Decided on the rows as they were this many commits ago.
    stale: usize,
    /// Decided so many milliseconds before others that were committed earlier.
    early: i64,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ending = prop_oneof![
        Just(Ending::NeverSent),
        Just(Ending::Throttled { asked: None }),
        Just(Ending::Unbilled { asked: None }),
        Just(Ending::Final),
        Just(Ending::Cancelled),
    ];
    let event = prop_oneof![
        3 => Just(AttemptEvent::Accepted),
        2 => Just(AttemptEvent::Finished),
        2 => Just(AttemptEvent::OutcomeUnknown),
        6 => proptest::sample::select(AttemptEvent::ALL.to_vec()),
    ];
    let drop = prop_oneof![12 => Just(None), 1 => any::<bool>().prop_map(Some)];
    let cost = prop_oneof![3 => Just(None), 1 => (0_i64..900_000).prop_map(Some)];
    let stale = prop_oneof![5 => Just(0_usize), 1 => 1_usize..4];
    let step = (0_usize..6, event, ending, cost, any::<bool>(), any::<bool>(), drop, stale, 0_i64..3);
    let step = step.prop_map(|(attempt, event, ending, cost, at_accept, unbilled, drop, stale, early)| Step {
        attempt,
        event,
        ending,
        cost,
        at_accept,
        unbilled,
        drop,
        stale,
        early,
    });
    proptest::collection::vec(step, 1..40)
}

fn born(outputs: u16) -> Loaded {
    let generation = Generation {
        id: GenerationId::fresh(),
        shard: 3,
        project: ProjectId::fresh(),
        key: KeyId::fresh(),
        version: 0,
        progress: Progress { state: GenerationState::Queued, slots: Slots::owed(outputs, 1), not_before: NOW, tries: 0 },
        born_state: GenerationState::Queued,
        outputs,
        per_call: 1,
        provider: "kling".into(),
        model: "kling-2.6".into(),
        kind: Kind::Video,
        priority: 5,
        call_price: PRICE,
        queue_deadline: NOW,
        created_at: NOW,
        updated_at: NOW,
        ended_at: None,
        cancel_requested_at: None,
        failure: None,
        request_id: Arc::from("r"),
        on_unconfirmed: OnUnconfirmed::Fail,
        batch: None,
        retry_of: None,
        replaced_by: None,
    };
    Loaded { generation, attempts: Vec::new(), assets: Vec::new() }
}

fn policy() -> RetryPolicy {
    RetryPolicy { max_attempts: 3, initial_delay: Duration::ZERO, multiplier: 1.0, max_delay: Duration::ZERO, jitter: false }
}

fn new_attempt(generation: &Generation, n: u16, slot: u16) -> NewAttempt {
    let attempt = Attempt {
        id: AttemptId::fresh(),
        generation: generation.id,
        n,
        shard: generation.shard,
        version: 0,
        state: AttemptState::Submitting,
        slot,
        first_output: slot,
        output_count: 1,
        provider: generation.provider.clone(),
        account: "main".into(),
        kind: generation.kind,
        model: generation.model.clone(),
        endpoint: Endpoint {
            base_url: String::new(),
            path_family: String::new(),
            upstream: String::new(),
            options: Default::default(),
        },
        tag: String::new(),
        request_digest: String::new(),
        not_after: NOW,
        handle: None,
        created_at: NOW,
        submitted_at: None,
        unconfirmed_since: None,
        updated_at: NOW,
        ended_at: None,
        price: generation.call_price,
        cost: None,
        charged: false,
        failure: None,
        lost_at: None,
        released_at: None,
    };
    NewAttempt { attempt, request: serde_json::Value::Null }
}

/// What a stage would make of the step; none when the machines do not allow it.
fn decide(loaded: &Loaded, step: &Step) -> Option<Transition> {
    let mut change = Change::of(&loaded.generation, Timestamp(NOW.0 - step.early));
    if let Some(cancel) = step.drop {
        let event = if cancel { GenerationEvent::Cancel } else { GenerationEvent::Drop };
        change.advance(&event, None, "dropped").ok()?;
        return Some(change.entry());
    }
    let Some(known) = loaded.attempts.get(step.attempt) else {
        let slot = loaded.generation.slots().first_owed()?;
        let n = u16::try_from(loaded.attempts.len() + 1).unwrap();
        change.advance(&GenerationEvent::Intent { slot }, None, "intent").ok()?;
        change.intent(new_attempt(&loaded.generation, n, slot), "intent");
        return Some(change.entry());
    };
    let mut attempt = known.clone();
    attempt.cost = step.cost.map(Micros).or(attempt.cost);
    match step.event {
        AttemptEvent::Accepted => attempt.charged = step.at_accept,
        AttemptEvent::Finished => attempt.charged = true,
        AttemptEvent::Lost => attempt.lost_at = Some(NOW),
        AttemptEvent::Failed | AttemptEvent::Cancelled => attempt.charged &= !step.unbilled,
        AttemptEvent::OutcomeUnknown
        | AttemptEvent::Resend
        | AttemptEvent::Refused
        | AttemptEvent::NeverSent
        | AttemptEvent::TimedOut
        | AttemptEvent::OutputsExpired
        | AttemptEvent::Stored
        | AttemptEvent::GivenUp => {}
    }
    let after = attempt::apply(attempt.state, step.event).ok()?;
    if !after.ended() {
        change.attempt(&mut attempt, step.event, "moved").ok()?;
        return Some(change.entry());
    }
    let ending = if after == AttemptState::Ended(Outcome::Delivered) { Ending::Delivered } else { step.ending };
    let policy = policy();
    let end = End { event: step.event, ending, failure: None, shown: None, policy: &policy, unit: 0.5, reason: "ended" };
    change.end(loaded, &mut attempt, &end).ok()?;
    Some(change.entry())
}

/// The compare-and-set of the journal.
fn wins(now: &Loaded, entry: &Transition) -> bool {
    let same = |row: &Attempt| now.attempts.iter().any(|known| known.id == row.id && known.version == row.version);
    entry.generation.as_ref().is_none_or(|row| row.version == now.generation.version) && entry.attempts.iter().all(same)
}

fn sum(ledger: &[LedgerEntry]) -> Position {
    ledger.iter().map(|entry| entry.delta).fold(Position::ZERO, Position::plus)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn the_ledger_says_what_the_rows_say_after_every_commit(steps in steps(), outputs in 1_u16..4) {
        let mut past = vec![born(outputs)];
        let mut ledger: Vec<_> = effects::birth(&past[0].generation).into_iter().collect();
        let mut keys = BTreeSet::from([(0, EntryKind::Hold, 0)]);
        for step in steps {
            let now = past.last().unwrap();
            let seen = &past[past.len().saturating_sub(1 + step.stale)];
            let Some(mut entry) = decide(seen, &step) else { continue };
            entry.booking = booking(seen, &entry);
            if !wins(now, &entry) {
                continue;
            }
            for row in entry.booking.iter().flat_map(|booking| &booking.entries) {
                prop_assert!(keys.insert((row.attempt, row.kind, row.seq)), "a key twice: {row:?}");
                prop_assert!(row.delta != Position::ZERO);
                ledger.push(*row);
            }
            let next = after(now.clone(), &entry);
            let stands = effects::standing(&next.generation, &next.attempts);
            prop_assert_eq!(sum(&ledger), stands);
            prop_assert!(stands.held.0 >= 0 && stands.charged.0 >= 0 && stands.at_risk.0 >= 0);
            for attempt in &next.attempts {
                let mine: Vec<_> = ledger.iter().filter(|entry| entry.attempt == attempt.n).copied().collect();
                prop_assert_eq!(sum(&mine).charged, effects::of_attempt(attempt).charged, "of attempt {}", attempt.n);
                prop_assert_eq!(sum(&mine).at_risk, effects::of_attempt(attempt).at_risk, "of attempt {}", attempt.n);
            }
            if next.generation.state().terminal() && next.attempts.iter().all(|attempt| attempt.state.ended()) {
                prop_assert_eq!(stands.held, Micros(0), "nothing is held once all is over");
            }
            past.push(next);
        }
    }
}

/// The kinds of the rows that these steps leave, each with its amounts: held, charged, at risk.
fn kinds(steps: &[Step]) -> Vec<(u16, &'static str, i64, i64, i64)> {
    let mut loaded = born(1);
    let mut rows: Vec<_> = effects::birth(&loaded.generation).into_iter().collect();
    for step in steps {
        let mut entry = decide(&loaded, step).expect("a step of the machines");
        entry.booking = booking(&loaded, &entry);
        rows.extend(entry.booking.iter().flat_map(|booking| booking.entries.clone()));
        loaded = after(loaded, &entry);
    }
    let told = |row: &LedgerEntry| (row.attempt, row.kind.as_str(), row.delta.held.0, row.delta.charged.0, row.delta.at_risk.0);
    rows.iter().map(told).collect()
}

fn step(event: AttemptEvent) -> Step {
    Step {
        attempt: 0,
        event,
        ending: Ending::Final,
        cost: None,
        at_accept: true,
        unbilled: false,
        drop: None,
        stale: 0,
        early: 0,
    }
}

const P: i64 = PRICE.0;

#[test]
fn a_plain_generation_leaves_two_rows_and_a_told_cost_corrects_the_second() {
    let submit = step(AttemptEvent::Accepted);
    let finish = Step { cost: Some(400_000), ..step(AttemptEvent::Finished) };
    let rows = kinds(&[submit.clone(), submit, finish, step(AttemptEvent::Stored)]);
    assert_eq!(rows, [(0, "hold", P, 0, 0), (1, "charge", -P, P, 0), (1, "charge", 0, 50_000, 0)]);
}

#[test]
fn what_bills_at_completion_is_held_until_then_and_a_failure_is_released() {
    let submit = Step { at_accept: false, ..step(AttemptEvent::Accepted) };
    let rows = kinds(&[submit.clone(), submit.clone(), step(AttemptEvent::Finished)]);
    assert_eq!(rows, [(0, "hold", P, 0, 0), (1, "charge", -P, P, 0)]);
    let rows = kinds(&[submit.clone(), submit, step(AttemptEvent::Failed)]);
    assert_eq!(rows, [(0, "hold", P, 0, 0), (1, "release", -P, 0, 0)]);
}

#[test]
fn an_unbilled_end_keeps_the_hold_for_the_further_submit_and_a_last_one_releases_it() {
    let refused = Step { ending: Ending::Unbilled { asked: None }, ..step(AttemptEvent::Refused) };
    let again = Step { attempt: 9, ..step(AttemptEvent::Accepted) };
    let rows = kinds(&[again.clone(), refused, again, Step { attempt: 1, ..step(AttemptEvent::Refused) }]);
    assert_eq!(rows, [(0, "hold", P, 0, 0), (2, "release", -P, 0, 0)]);
}

#[test]
fn a_lost_answer_is_at_risk_until_late_evidence_charges_it_and_a_resubmit_holds_its_own() {
    let (new, unknown) = (step(AttemptEvent::Accepted), step(AttemptEvent::OutcomeUnknown));
    let rows = kinds(&[new.clone(), unknown.clone(), step(AttemptEvent::GivenUp), step(AttemptEvent::Accepted)]);
    assert_eq!(rows, [(0, "hold", P, 0, 0), (1, "risk", -P, 0, P), (1, "charge", 0, P, -P)]);
    let resubmit = Step { ending: Ending::Unbilled { asked: None }, ..step(AttemptEvent::GivenUp) };
    let rows = kinds(&[new, unknown, resubmit]);
    assert_eq!(rows, [(0, "hold", P, 0, 0), (1, "risk", -P, 0, P), (1, "hold", P, 0, 0)]);
}

#[test]
fn what_is_dropped_before_a_submit_is_released() {
    let dropped = Step { drop: Some(false), ..step(AttemptEvent::Accepted) };
    assert_eq!(kinds(&[dropped]), [(0, "hold", P, 0, 0), (0, "release", -P, 0, 0)]);
}

#[test]
fn ends_have_the_order_of_their_commits_whatever_the_clock_said_before() {
    let (mut loaded, late) = (born(2), "generation.late_result");
    let of = |attempt, event| Step { attempt, ..step(event) };
    let own = |attempt| [AttemptEvent::Accepted, AttemptEvent::Finished].map(|event| of(attempt, event));
    let submits = [of(9, AttemptEvent::Accepted), of(9, AttemptEvent::Accepted)];
    let first = Step { early: 1, ..of(0, AttemptEvent::Stored) };
    for step in submits.into_iter().chain(own(0)).chain(own(1)).chain([of(1, AttemptEvent::Stored), first]) {
        let entry = decide(&loaded, &step).unwrap();
        assert!(entry.events.iter().all(|event| event.kind != late));
        loaded = after(loaded, &entry);
    }
    let end = loaded.generation.ended_at.unwrap();
    assert!(loaded.attempts.iter().all(|attempt| attempt.ended_at.unwrap() <= end), "{:?} {end:?}", loaded.attempts);
    // A second task of one submit, which was delivered while that end was decided.
    let mut second = new_attempt(&loaded.generation, 3, 0).attempt;
    second.state = AttemptState::Storing;
    loaded.attempts.push(second);
    let entry = decide(&loaded, &Step { early: 1, ..of(2, AttemptEvent::Stored) }).unwrap();
    assert_eq!(entry.events.iter().map(|event| event.kind).collect::<Vec<_>>(), [late]);
    assert!(entry.attempts[0].ended_at.unwrap() > end);
}
