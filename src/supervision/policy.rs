//! How often a child may be restarted, and how soon: pure, with time as an argument.

use std::time::{Duration, Instant};

use crate::config::supervision::SupervisionConfig;

/// What a supervisor grants to each of its children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// First wait.
    pub backoff: Duration,
    /// Longest wait.
    pub max_backoff: Duration,
    /// Restarts within the window; the next failure escalates.
    pub restarts: u32,
    /// The window.
    pub within: Duration,
}

impl Limits {
    /// For a child that does work.
    #[must_use]
    pub const fn of_workers(config: &SupervisionConfig) -> Self {
        Self {
            backoff: Duration::from_millis(config.backoff_ms),
            max_backoff: Duration::from_millis(config.max_backoff_ms),
            restarts: config.restarts,
            within: Duration::from_secs(config.within_s),
        }
    }

    /// For a supervisor.
    #[must_use]
    pub const fn of_supervisors(config: &SupervisionConfig) -> Self {
        Self {
            restarts: config.supervisor_restarts,
            within: Duration::from_secs(config.supervisor_within_s),
            ..Self::of_workers(config)
        }
    }
}

/// What follows a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Start it again after this wait.
    Restart {
        /// The wait.
        after: Duration,
    },
    /// It failed too often: its supervisor has failed.
    Escalate,
}

/// Decides after a failure at `now`; `history` holds the earlier failures that were answered by a restart.
///
/// The wait doubles with each of them still within the window, so an actor that lived quietly for long starts at the first wait.
#[must_use]
pub fn next(history: &[Instant], now: Instant, limits: &Limits) -> Next {
    let recent = history.iter().filter(|at| is_recent(**at, now, limits)).count();
    let recent = u32::try_from(recent).unwrap_or(u32::MAX);
    if recent >= limits.restarts {
        return Next::Escalate;
    }
    let after = limits.backoff.saturating_mul(2_u32.saturating_pow(recent)).min(limits.max_backoff);
    Next::Restart { after }
}

/// Whether a failure still counts; what does not may be forgotten.
#[must_use]
pub fn is_recent(failure: Instant, now: Instant, limits: &Limits) -> bool {
    now.saturating_duration_since(failure) < limits.within
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::{Limits, Next, next};
    use crate::config::supervision::SupervisionConfig;

    /// Lives through failures `gaps` apart (each counted from the restart before) and returns when each restart was made.
    fn live(limits: &Limits, gaps: impl Iterator<Item = Duration>) -> (Vec<Instant>, bool) {
        let (mut now, mut history) = (Instant::now(), Vec::new());
        for gap in gaps {
            now += gap;
            match next(&history, now, limits) {
                Next::Restart { after } => {
                    history.push(now);
                    now += after;
                }
                Next::Escalate => return (history, true),
            }
        }
        (history, false)
    }

    fn limits() -> impl Strategy<Value = Limits> {
        (0_u64..200, 0_u64..5_000, 0_u32..12, 1_u64..20_000).prop_map(|(backoff, max, restarts, within)| Limits {
            backoff: Duration::from_millis(backoff),
            max_backoff: Duration::from_millis(max),
            restarts,
            within: Duration::from_millis(within),
        })
    }

    proptest! {
        #[test]
        fn no_window_ever_holds_more_restarts_than_allowed(limits in limits(), gaps in prop::collection::vec(0_u64..3_000, 0..80)) {
            let (history, _) = live(&limits, gaps.into_iter().map(Duration::from_millis));
            for at in &history {
                let inside = history.iter().filter(|other| **other >= *at && other.duration_since(*at) < limits.within).count();
                prop_assert!(inside <= limits.restarts as usize);
            }
        }

        #[test]
        fn waits_start_at_the_first_double_and_stop_at_the_longest(limits in limits(), earlier in 0_usize..12) {
            let now = Instant::now();
            match next(&vec![now; earlier], now, &limits) {
                Next::Restart { after } => {
                    let doubled = limits.backoff * 2_u32.pow(u32::try_from(earlier).unwrap());
                    prop_assert_eq!(after, doubled.min(limits.max_backoff));
                    prop_assert!(earlier < limits.restarts as usize);
                }
                Next::Escalate => prop_assert!(earlier >= limits.restarts as usize),
            }
        }

        #[test]
        fn failures_older_than_the_window_change_nothing(limits in limits(), old in 0_usize..50, recent in 0_usize..12) {
            let start = Instant::now();
            let now = start + limits.within;
            let mut history = vec![start; old];
            history.extend(vec![now; recent]);
            prop_assert_eq!(next(&history, now, &limits), next(&vec![now; recent], now, &limits));
        }
    }

    #[test]
    fn with_the_default_configuration_an_actor_that_always_dies_at_once_ends_the_process() {
        let config = SupervisionConfig::default();
        let forever = || std::iter::repeat_n(Duration::ZERO, 10_000);
        let (history, escalated) = live(&Limits::of_workers(&config), forever());
        assert!(escalated);
        let lived = *history.last().unwrap() - *history.first().unwrap();
        let (_, ended) = live(&Limits::of_supervisors(&config), forever().map(|_| lived));
        assert!(ended, "each escalation takes {lived:?}");
    }
}
