//! The circuit breaker of an account: after some failures in a row nothing is submitted for a while, then **one** probe goes,
//! and its outcome decides. It keeps a dead provider from eating tries and deadlines; it never holds polls back.
//!
//! Submits and asks (polls, lookups, cancels) are counted apart: a provider whose polls answer while every submit fails would
//! otherwise never be seen as broken. Only a submit's outcome ends a probe.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::time::Timestamp;

/// When the circuit opens and how it comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Failures in a row that open it; 0: it never opens.
    pub failures: u32,
    /// How long it stays open before a probe.
    pub open_for: Duration,
    /// A probe without an outcome for this long is given up and another may go: it was admitted, but its submit never came.
    pub probe_patience: Duration,
}

/// Which way an outcome belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A paid call.
    Submit,
    /// A poll, lookup or cancel.
    Ask,
}

/// The breaker of one account.
#[derive(Debug)]
pub struct Breaker {
    rules: Rules,
    state: Mutex<State>,
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub const fn new(rules: Rules) -> Self {
        Self { rules, state: Mutex::new(State::CLOSED) }
    }

    /// Asks to submit. A yes while half-open **is** the probe: whoever gets it submits, or calls [`abstain`](Self::abstain).
    ///
    /// # Errors
    /// When to ask again.
    pub fn allows(&self, now: Timestamp) -> Result<(), Timestamp> {
        let mut state = self.lock();
        let (next, answer) = state.allows(now, &self.rules);
        *state = next;
        answer
    }

    /// The way worked: there was an answer that is not the provider's own failure (a 4xx is one).
    pub fn success(&self, way: Way) {
        let mut state = self.lock();
        *state = state.success(way);
    }

    /// The way failed: no connection, no clear answer, or a 5xx.
    pub fn failure(&self, way: Way, now: Timestamp) {
        let mut state = self.lock();
        *state = state.failure(way, now, &self.rules);
    }

    /// An admitted submit ended without an outcome that says anything of the provider (it was held back before it left).
    pub fn abstain(&self) {
        let mut state = self.lock();
        *state = state.abstain();
    }

    /// Until when it is open; none when submits may go.
    #[must_use]
    pub fn open_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.lock().allows(now, &self.rules).1.err()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the circuit stands: the pure half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed { submits: u32, asks: u32 },
    Open { until: Timestamp },
    HalfOpen { probe_since: Timestamp },
}

impl State {
    const CLOSED: Self = Self::Closed { submits: 0, asks: 0 };

    fn allows(self, now: Timestamp, rules: &Rules) -> (Self, Result<(), Timestamp>) {
        let probe = (Self::HalfOpen { probe_since: now }, Ok(()));
        match self {
            Self::Closed { .. } => (self, Ok(())),
            Self::Open { until } if now >= until => probe,
            Self::Open { until } => (self, Err(until)),
            Self::HalfOpen { probe_since } => match probe_since.plus(rules.probe_patience) {
                given_up if now >= given_up => probe,
                given_up => (self, Err(given_up)),
            },
        }
    }

    fn success(self, way: Way) -> Self {
        match (self, way) {
            (Self::Closed { asks, .. }, Way::Submit) => Self::Closed { submits: 0, asks },
            (Self::Closed { submits, .. }, Way::Ask) => Self::Closed { submits, asks: 0 },
            (Self::HalfOpen { .. }, Way::Submit) => Self::CLOSED,
            // A late answer to something sent before the circuit opened proves nothing about now.
            (Self::Open { .. }, _) | (Self::HalfOpen { .. }, Way::Ask) => self,
        }
    }

    fn failure(self, way: Way, now: Timestamp, rules: &Rules) -> Self {
        let open = Self::Open { until: now.plus(rules.open_for) };
        match (self, way) {
            (Self::Closed { submits, asks }, way) => {
                let (submits, asks) = match way {
                    Way::Submit => (submits.saturating_add(1), asks),
                    Way::Ask => (submits, asks.saturating_add(1)),
                };
                let full = rules.failures > 0 && submits.max(asks) >= rules.failures;
                if full { open } else { Self::Closed { submits, asks } }
            }
            (Self::HalfOpen { .. }, Way::Submit) => open,
            (Self::Open { .. }, _) | (Self::HalfOpen { .. }, Way::Ask) => self,
        }
    }

    fn abstain(self) -> Self {
        match self {
            // The next one who asks is the probe.
            Self::HalfOpen { probe_since } => Self::Open { until: probe_since },
            Self::Closed { .. } | Self::Open { .. } => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{Breaker, Rules, Way};
    use crate::domain::time::Timestamp;

    const RULES: Rules = Rules { failures: 3, open_for: Duration::from_secs(30), probe_patience: Duration::from_secs(60) };

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1000)
    }

    fn opened_at(seconds: i64) -> Breaker {
        let breaker = Breaker::new(RULES);
        for _ in 0..3 {
            breaker.failure(Way::Submit, at(seconds));
        }
        breaker
    }

    #[test]
    fn it_opens_only_after_failures_in_a_row_of_one_way() {
        let breaker = Breaker::new(RULES);
        for way in [Way::Submit, Way::Submit, Way::Ask, Way::Ask] {
            breaker.failure(way, at(0));
        }
        breaker.success(Way::Ask);
        assert_eq!(breaker.allows(at(0)), Ok(()));
        breaker.failure(Way::Submit, at(0));
        assert_eq!(breaker.allows(at(29)), Err(at(30)));
    }

    #[test]
    fn half_open_lets_exactly_one_probe_through_and_its_success_closes() {
        let breaker = opened_at(0);
        assert_eq!(breaker.allows(at(30)), Ok(()));
        assert_eq!(breaker.allows(at(31)), Err(at(90)));
        breaker.success(Way::Ask);
        assert_eq!(breaker.allows(at(31)), Err(at(90)));
        breaker.success(Way::Submit);
        assert_eq!(breaker.allows(at(31)), Ok(()));
        assert_eq!(breaker.allows(at(31)), Ok(()));
    }

    #[test]
    fn a_failed_probe_opens_it_again_and_one_failure_is_enough() {
        let breaker = opened_at(0);
        assert_eq!(breaker.allows(at(30)), Ok(()));
        breaker.failure(Way::Submit, at(40));
        assert_eq!(breaker.allows(at(69)), Err(at(70)));
        assert_eq!(breaker.allows(at(70)), Ok(()));
    }

    #[test]
    fn a_probe_that_never_came_is_given_up_and_one_that_was_held_back_frees_its_place() {
        let breaker = opened_at(0);
        assert_eq!(breaker.allows(at(30)), Ok(()));
        assert_eq!(breaker.allows(at(90)), Ok(()));
        assert_eq!(breaker.allows(at(91)), Err(at(150)));
        breaker.abstain();
        assert_eq!(breaker.allows(at(91)), Ok(()));
    }

    #[test]
    fn looking_takes_no_probe_and_late_failures_do_not_lengthen_the_pause() {
        let breaker = opened_at(0);
        breaker.failure(Way::Submit, at(20));
        breaker.success(Way::Submit);
        assert_eq!(breaker.open_until(at(20)), Some(at(30)));
        assert_eq!(breaker.open_until(at(30)), None);
        assert_eq!(breaker.open_until(at(30)), None);
        assert_eq!(breaker.allows(at(30)), Ok(()));
    }

    #[test]
    fn without_a_limit_it_never_opens() {
        let breaker = Breaker::new(Rules { failures: 0, ..RULES });
        for _ in 0..100 {
            breaker.failure(Way::Submit, at(0));
        }
        assert_eq!(breaker.allows(at(0)), Ok(()));
    }

    proptest! {
        #[test]
        fn once_open_no_two_probes_go_without_an_outcome_or_the_patience_between(
            steps in prop::collection::vec((0u8..5, 0i64..20), 1..200)
        ) {
            let breaker = opened_at(0);
            let (mut now, mut probe): (i64, Option<i64>) = (0, None);
            for (step, pass) in steps {
                now += pass;
                match step {
                    0 => if breaker.allows(at(now)).is_ok() {
                        prop_assert!(probe.is_none_or(|since| now - since >= 60));
                        probe = Some(now);
                    },
                    1 => breaker.success(Way::Ask),
                    2 => breaker.failure(Way::Ask, at(now)),
                    3 => { breaker.failure(Way::Submit, at(now)); probe = None; }
                    _ => { breaker.abstain(); probe = None; }
                }
            }
        }
    }
}
