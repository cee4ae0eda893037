//! The limits hold under any order of calls, and the sentences read as documented.

use std::{collections::HashSet, time::Duration};

use proptest::prelude::*;

use super::{Budget, Limits, Wait};
use crate::domain::{id::AttemptId, time::Timestamp};

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).expect("an instant")
}

fn limits(requests_per_minute: u32, concurrency: u32) -> Limits {
    Limits { requests_per_minute, polls_per_minute: 0, concurrency }
}

#[test]
fn full_slots_say_how_many_and_name_no_instant() {
    let budget = Budget::new("kling", limits(0, 2));
    let (first, second) = (AttemptId::fresh(), AttemptId::fresh());
    assert_eq!(budget.try_take(first, Timestamp(0)), Ok(()));
    assert_eq!(budget.try_take(second, Timestamp(0)), Ok(()));
    let wait = Wait { until: None, why: "kling: 2 of 2 slots in use".to_owned() };
    assert_eq!(budget.try_take(AttemptId::fresh(), Timestamp(0)), Err(wait));
    budget.release(first);
    budget.release(first);
    assert_eq!(budget.in_use(), (1, 2));
    assert_eq!(budget.try_take(AttemptId::fresh(), Timestamp(0)), Ok(()));
}

#[test]
fn a_pause_says_until_when_and_ends_then() {
    let budget = Budget::new("kling", limits(0, 0));
    budget.hold_until(at("2026-11-21T12:03:09.200Z"));
    budget.hold_until(at("2026-11-21T12:01:00Z"));
    let wait = budget.try_take(AttemptId::fresh(), at("2026-11-21T12:00:00Z")).expect_err("held");
    assert_eq!(wait.why, "provider asked to wait until 12:03:10Z");
    assert_eq!(wait.until, Some(at("2026-11-21T12:03:09.200Z")));
    assert_eq!(budget.try_poll(at("2026-11-21T12:00:00Z")), Ok(()));
    assert_eq!(budget.try_take(AttemptId::fresh(), at("2026-11-21T12:03:09.200Z")), Ok(()));
}

#[test]
fn a_pause_of_a_year_is_cut_to_an_hour() {
    let budget = Budget::new("kling", limits(0, 0));
    budget.hold_until(at("2027-11-21T12:00:00Z"));
    let wait = budget.try_take(AttemptId::fresh(), at("2026-11-21T12:00:00Z")).expect_err("held");
    assert_eq!(wait.until, Some(at("2026-11-21T13:00:00Z")));
    assert_eq!(budget.try_take(AttemptId::fresh(), at("2026-11-21T13:00:00Z")), Ok(()));
}

#[test]
fn a_used_up_minute_says_when_the_next_one_is_free() {
    let budget = Budget::new("kling", limits(60, 0));
    let now = at("2026-11-21T12:00:00Z");
    for _ in 0..10 {
        assert_eq!(budget.try_take(AttemptId::fresh(), now), Ok(()));
    }
    let wait = budget.try_take(AttemptId::fresh(), now).expect_err("used up");
    assert_eq!(wait.why, "kling: 60 requests a minute are used up until 12:00:01Z");
    assert_eq!(wait.until, Some(now.plus(Duration::from_secs(1))));
    assert_eq!(budget.try_take(AttemptId::fresh(), now.plus(Duration::from_secs(1))), Ok(()));
    assert_eq!(budget.in_use(), (11, 0));
}

#[test]
fn a_slot_that_cannot_be_had_costs_nothing_of_the_minute() {
    let budget = Budget::new("kling", limits(1, 1));
    let first = AttemptId::fresh();
    budget.occupy(first);
    for _ in 0..5 {
        assert!(budget.try_take(AttemptId::fresh(), Timestamp(0)).is_err());
    }
    budget.release(first);
    assert_eq!(budget.try_take(AttemptId::fresh(), Timestamp(0)), Ok(()));
}

#[test]
fn a_clock_set_back_stops_an_account_for_no_longer_than_its_burst() {
    let budget = Budget::new("kling", limits(60, 0));
    let late = at("2026-11-21T12:00:00Z");
    for _ in 0..10 {
        assert_eq!(budget.try_take(AttemptId::fresh(), late), Ok(()));
    }
    let early = at("2026-11-21T09:00:00Z");
    let wait = budget.try_take(AttemptId::fresh(), early).expect_err("used up");
    assert_eq!(wait.until, Some(early.plus(Duration::from_secs(1))));
}

#[derive(Debug, Clone)]
enum Step {
    Take(usize),
    Release(usize),
    Poll,
    Hold(u64),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0usize..12).prop_map(Step::Take),
        4 => (0usize..12).prop_map(Step::Release),
        2 => Just(Step::Poll),
        1 => (0u64..20_000).prop_map(Step::Hold),
        4 => (0u64..5_000).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..300)
}

/// What the test keeps by itself, to compare with.
#[derive(Default)]
struct Seen {
    in_flight: HashSet<usize>,
    taken: Vec<Timestamp>,
    polled: Vec<Timestamp>,
}

fn within_a_minute(times: &[Timestamp]) -> usize {
    let ending = |end: &Timestamp| times.iter().filter(|at| *at <= end && end.0 - at.0 < 60_000).count();
    times.iter().map(ending).max().unwrap_or(0)
}

proptest! {
    #[test]
    fn never_more_in_flight_than_slots_and_never_more_a_minute_than_rate_and_burst(
        steps in steps(), rate in 1u32..40, slots in 1u32..8
    ) {
        let budget = Budget::new("kling", Limits { requests_per_minute: rate, polls_per_minute: rate, concurrency: slots });
        let ids: Vec<_> = (0..12).map(|_| AttemptId::fresh()).collect();
        let mut now = Timestamp(1_000_000);
        let mut held = now;
        let mut seen = Seen::default();
        for step in steps {
            match step {
                Step::Take(who) => {
                    let had = seen.in_flight.contains(&who);
                    let answer = budget.try_take(ids[who], now);
                    prop_assert!(!had || answer.is_ok(), "a second take must change nothing");
                    if answer.is_ok() && !had {
                        prop_assert!(now >= held, "taken during a pause");
                        seen.in_flight.insert(who);
                        seen.taken.push(now);
                    }
                    if let Err(Wait { until: Some(until), .. }) = answer {
                        prop_assert!(until > now, "a wait must lie ahead");
                    }
                }
                Step::Release(who) => {
                    budget.release(ids[who]);
                    seen.in_flight.remove(&who);
                }
                Step::Poll => {
                    if budget.try_poll(now).is_ok() {
                        seen.polled.push(now);
                    }
                }
                Step::Hold(span) => {
                    held = held.max(now.plus(Duration::from_millis(span)));
                    budget.hold_until(now.plus(Duration::from_millis(span)));
                }
                Step::Pass(span) => now = now.plus(Duration::from_millis(span)),
            }
            prop_assert_eq!(budget.in_use(), (seen.in_flight.len(), slots));
            prop_assert!(seen.in_flight.len() <= slots as usize);
        }
        let most = (rate + rate.min(10)) as usize;
        prop_assert!(within_a_minute(&seen.taken) <= most);
        prop_assert!(within_a_minute(&seen.polled) <= most);
    }

    #[test]
    fn the_full_rate_can_be_used(rate in 1u32..5_000) {
        let budget = Budget::new("kling", Limits { requests_per_minute: 0, polls_per_minute: rate, concurrency: 0 });
        let mut now = Timestamp(0);
        let mut taken = 0u32;
        while now.0 < 60_000 {
            match budget.try_poll(now) {
                Ok(()) => taken += 1,
                Err(next) => {
                    prop_assert!(next > now);
                    now = next;
                }
            }
        }
        // Whole milliseconds and a rounded interval may cost a little, never a tenth.
        prop_assert!(taken >= rate - rate / 10 - 1, "{taken} of {rate}");
    }
}
