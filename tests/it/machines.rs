//! Random walks over both machines, alone and together: what must hold after every step of any of them.

use std::time::Duration;

use longtake::domain::{
    attempt::{self, AttemptEvent, AttemptState, Outcome},
    generation::{self, GenerationEvent, GenerationState, Progress, Settlement},
    retry::RetryPolicy,
    settle::{Ending, Standing, settle},
    slots::{Slot, Slots},
    time::Timestamp,
};
use proptest::prelude::*;

const STATES: [Slot; 5] = [Slot::Owed, Slot::Open, Slot::Delivered, Slot::Failed, Slot::Cancelled];

fn born() -> impl Strategy<Value = Progress> {
    let state = prop::sample::select(vec![GenerationState::Waiting, GenerationState::Preparing, GenerationState::Queued]);
    (state, 1_u16..=10, 1_u16..=4).prop_map(|(state, outputs, per_call)| Progress {
        state,
        slots: Slots::owed(outputs, per_call),
        not_before: Timestamp(0),
        tries: 0,
    })
}

fn settlement() -> impl Strategy<Value = Settlement> {
    prop_oneof![
        Just(Settlement::Delivered),
        Just(Settlement::Failed),
        Just(Settlement::Cancelled),
        (0_u64..90_000, any::<bool>())
            .prop_map(|(wait_ms, counts)| Settlement::Owe { wait: Duration::from_millis(wait_ms), counts }),
    ]
}

fn event() -> impl Strategy<Value = GenerationEvent> {
    // One slot more than there can be: a slot that is not there must be refused.
    let slot = 0_u16..=10;
    prop_oneof![
        1 => any::<bool>().prop_map(|prepare| GenerationEvent::DependencyMet { prepare }),
        1 => Just(GenerationEvent::Prepared),
        6 => slot.clone().prop_map(|slot| GenerationEvent::Intent { slot }),
        6 => (slot.clone(), settlement()).prop_map(|(slot, settlement)| GenerationEvent::AttemptEnded { slot, settlement }),
        2 => slot.clone().prop_map(|slot| GenerationEvent::Reclaimed { slot }),
        1 => Just(GenerationEvent::Drop),
        1 => Just(GenerationEvent::Cancel),
    ]
}

/// What a state says of the slots, and they of it.
fn agrees(now: &Progress) -> bool {
    let count = |state| now.slots.count(state);
    let (owed, open, delivered, cancelled) =
        (count(Slot::Owed), count(Slot::Open), count(Slot::Delivered), count(Slot::Cancelled));
    match now.state {
        GenerationState::Waiting | GenerationState::Preparing => owed == usize::from(now.slots.len()),
        GenerationState::Queued => owed > 0,
        GenerationState::Active => owed == 0 && open > 0,
        GenerationState::Completed => owed + open == 0 && delivered > 0,
        GenerationState::Cancelled => owed + open + delivered == 0 && cancelled > 0,
        GenerationState::Failed => owed + open + delivered + cancelled == 0,
    }
}

/// A slot that was settled for good stays so; an open one was owed before, and an owed one is new or was open.
fn follows(before: Slot, after: Slot) -> bool {
    match before {
        Slot::Delivered | Slot::Failed | Slot::Cancelled => after == before,
        Slot::Owed => matches!(after, Slot::Owed | Slot::Open | Slot::Failed | Slot::Cancelled),
        Slot::Open => true,
    }
}

/// Drops what is owed and fails what is open: any generation can be brought to its end.
fn brought_to_an_end(mut now: Progress) -> Progress {
    for slot in 0..now.slots.len() {
        if now.slots.at(slot) == Some(Slot::Open) {
            let ended = GenerationEvent::AttemptEnded { slot, settlement: Settlement::Failed };
            now = generation::apply(&now, &ended, Timestamp(0)).expect("an open slot takes the end of its attempt");
        }
    }
    if now.state.terminal() { now } else { generation::apply(&now, &GenerationEvent::Drop, Timestamp(0)).expect("it owes") }
}

fn policy() -> RetryPolicy {
    RetryPolicy {
        max_attempts: 3,
        initial_delay: Duration::from_millis(100),
        multiplier: 2.0,
        max_delay: Duration::from_secs(2),
        jitter: true,
    }
}

/// How the end of an attempt reads to the rule that settles its slot.
fn ending(outcome: Outcome, unbilled: bool) -> Ending {
    match outcome {
        Outcome::Delivered => Ending::Delivered,
        Outcome::NeverSent => Ending::NeverSent,
        Outcome::Cancelled => Ending::Cancelled,
        Outcome::Refused if unbilled => Ending::Throttled { asked: None },
        Outcome::Failed if unbilled => Ending::Unbilled { asked: None },
        Outcome::Refused | Outcome::Failed | Outcome::TimedOut | Outcome::Expired | Outcome::GivenUp => Ending::Final,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn a_generation_keeps_its_slots_and_its_end_whatever_happens(
        start in born(),
        walk in prop::collection::vec((event(), 0_i64..100_000), 0..60),
    ) {
        let mut now = start;
        for (event, at) in walk {
            let Ok(after) = generation::apply(&now, &event, Timestamp(at)) else { continue };
            prop_assert!(!now.state.terminal(), "{:?} took {event:?}", now.state);
            prop_assert_eq!(after.slots.len(), now.slots.len());
            let sum: usize = STATES.iter().map(|state| after.slots.count(*state)).sum();
            prop_assert_eq!(sum, usize::from(after.slots.len()));
            prop_assert!(agrees(&after), "{:?} with slots {}", after.state, after.slots);
            for slot in 0..now.slots.len() {
                let (before, after) = (now.slots.at(slot).unwrap(), after.slots.at(slot).unwrap());
                prop_assert!(follows(before, after), "slot {slot}: {before:?} became {after:?} by {event:?}");
            }
            prop_assert!(after.not_before >= now.not_before && (now.tries..=now.tries + 1).contains(&after.tries));
            now = after;
        }
        prop_assert!(brought_to_an_end(now).state.terminal());
    }

    #[test]
    fn an_attempt_that_ended_stays_ended_but_for_late_evidence(
        walk in prop::collection::vec(prop::sample::select(AttemptEvent::ALL.to_vec()), 0..40),
    ) {
        let mut state = AttemptState::Submitting;
        let mut paid = false;
        for event in walk {
            let Ok(after) = attempt::apply(state, event) else { continue };
            if state.ended() {
                let doubted = matches!(state, AttemptState::Ended(Outcome::GivenUp | Outcome::TimedOut));
                let late = doubted && event == AttemptEvent::Accepted && after == AttemptState::Running;
                // An operator's word ends the doubt, not the attempt.
                let declared = event == AttemptEvent::Lost && state == AttemptState::Ended(Outcome::GivenUp) && after == state;
                prop_assert!(late || declared, "{state:?} became {after:?} by {event:?}");
            }
            // What the provider has for certain is never submitted again, nor doubted, nor called unsent.
            let denied = matches!(
                after,
                AttemptState::Submitting
                    | AttemptState::Unconfirmed
                    | AttemptState::Ended(Outcome::NeverSent | Outcome::Refused | Outcome::GivenUp)
            );
            prop_assert!(!(paid && denied), "paid, then {after:?} by {event:?}");
            if after == AttemptState::Submitting {
                prop_assert_eq!((state, event), (AttemptState::Unconfirmed, AttemptEvent::Resend));
            }
            paid |= matches!(after, AttemptState::Running | AttemptState::Storing);
            prop_assert_eq!(AttemptState::of_number(after.number()), Some(after));
            state = after;
        }
    }

    #[test]
    fn both_machines_together_leave_no_slot_without_its_attempt(
        start in born(),
        walk in prop::collection::vec((0_usize..12, prop::sample::select(AttemptEvent::ALL.to_vec()), any::<bool>()), 0..80),
    ) {
        let policy = policy();
        let mut now = Progress { state: GenerationState::Queued, ..start };
        // Each attempt with its slot, and whether the slot still waits for it.
        let mut attempts: Vec<(AttemptState, u16, bool)> = Vec::new();
        for (at, event, flag) in walk {
            if let Some((state, slot, holds)) = attempts.get(at).copied() {
                let Ok(after) = attempt::apply(state, event) else { continue };
                attempts[at].0 = after;
                if let (AttemptState::Ended(outcome), true) = (after, holds) {
                    let tried = u16::try_from(attempts.len()).unwrap();
                    let standing =
                        Standing { tries: now.tries, attempts: tried, cancel_requested: false, policy: &policy, unit: 0.5 };
                    let settlement = settle(ending(outcome, flag), &standing);
                    let ended = GenerationEvent::AttemptEnded { slot, settlement };
                    now = generation::apply(&now, &ended, Timestamp(0)).expect("its slot is open");
                    attempts[at].2 = false;
                }
            } else if let Some(slot) = now.slots.first_owed() {
                now = generation::apply(&now, &GenerationEvent::Intent { slot }, Timestamp(0)).expect("it owes this submit");
                attempts.push((AttemptState::Submitting, slot, true));
            }
            let holding = attempts.iter().filter(|(_, _, holds)| *holds).count();
            prop_assert_eq!(now.slots.count(Slot::Open), holding, "an open slot is exactly one attempt that has not ended");
            for slot in 0..now.slots.len() {
                let delivered = attempts
                    .iter()
                    .filter(|(state, of, holds)| *of == slot && !holds && *state == AttemptState::Ended(Outcome::Delivered));
                // A late result beside a slot that ended otherwise is shown as late, so at most the slot's own counts here.
                if now.slots.at(slot) == Some(Slot::Delivered) {
                    prop_assert!(delivered.count() >= 1);
                }
            }
            prop_assert!(agrees(&now));
            prop_assert!(now.tries <= policy.max_attempts * now.slots.len());
        }
    }
}
