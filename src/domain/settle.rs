//! What the end of an attempt means for its slot: owe the output again, or end it. One pure rule, applied in the commit that
//! ends the attempt.

use std::time::Duration;

use crate::domain::{generation::Settlement, retry::RetryPolicy};

/// How an attempt ended, as far as paying again is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Its outputs are there.
    Delivered,
    /// No byte left us: nothing was paid.
    NeverSent,
    /// The provider asked us to come later and billed nothing. Consumes no try; the queue deadline bounds it.
    Throttled {
        /// How long it asked for.
        asked: Option<Duration>,
    },
    /// An explicit end that the provider's table calls unbilled and worth another try.
    Unbilled {
        /// How long it asked for.
        asked: Option<Duration>,
    },
    /// An end that may have been paid, or that would repeat itself.
    Final,
    /// Nobody could say whether it was paid, and the client asked for another submit in that case. Consumes no try: these have a
    /// count of their own.
    Resubmit,
    /// The provider cancelled it for us.
    Cancelled,
}

/// What the rule looks at besides the ending.
#[derive(Debug, Clone)]
pub struct Standing<'a> {
    /// Tries consumed so far, this attempt not included.
    pub tries: u16,
    /// Attempts of this generation so far, this one included: the wait after throttles grows with it.
    pub attempts: u16,
    /// Whether the client wants no further submit.
    pub cancel_requested: bool,
    /// The provider's rules.
    pub policy: &'a RetryPolicy,
    /// A draw in 0..1 for the jitter.
    pub unit: f64,
}

/// Decides what follows for the slot.
#[must_use]
pub fn settle(ending: Ending, standing: &Standing<'_>) -> Settlement {
    let (asked, counts) = match ending {
        Ending::Delivered => return Settlement::Delivered,
        Ending::Cancelled => return Settlement::Cancelled,
        Ending::Final => return Settlement::Failed,
        // What may have been paid does not end as cancelled.
        Ending::Resubmit if standing.cancel_requested => return Settlement::Failed,
        Ending::Resubmit => (None, false),
        Ending::NeverSent => (None, true),
        Ending::Throttled { asked } => (asked, false),
        Ending::Unbilled { asked } => (asked, true),
    };
    if standing.cancel_requested {
        return Settlement::Cancelled;
    }
    let made = standing.tries.saturating_add(u16::from(counts));
    if counts && made >= standing.policy.max_attempts.max(1) {
        return Settlement::Failed;
    }
    let step = if counts { made } else { standing.attempts.max(1) };
    Settlement::Owe { wait: standing.policy.delay(step, standing.unit, asked), counts }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> RetryPolicy {
        RetryPolicy {
            max_attempts: 3,
            initial_delay: Duration::from_secs(1),
            multiplier: 2.0,
            max_delay: Duration::from_secs(30),
            jitter: false,
        }
    }

    fn after(ending: Ending, tries: u16, cancel_requested: bool) -> Settlement {
        settle(ending, &Standing { tries, attempts: tries + 1, cancel_requested, policy: &policy(), unit: 0.5 })
    }

    #[test]
    fn an_unbilled_end_is_tried_again_until_the_tries_are_used_up() {
        let wait = Duration::from_secs(1);
        assert_eq!(after(Ending::Unbilled { asked: None }, 0, false), Settlement::Owe { wait, counts: true });
        assert_eq!(after(Ending::NeverSent, 1, false), Settlement::Owe { wait: wait * 2, counts: true });
        assert_eq!(after(Ending::NeverSent, 2, false), Settlement::Failed);
    }

    #[test]
    fn a_throttle_consumes_no_try_and_the_provider_says_when() {
        let asked = Some(Duration::from_secs(7));
        let owed = Settlement::Owe { wait: Duration::from_secs(7), counts: false };
        assert_eq!(after(Ending::Throttled { asked }, 2, false), owed);
        assert_eq!(after(Ending::Throttled { asked }, 99, false), owed);
    }

    #[test]
    fn what_may_have_been_paid_is_never_submitted_again() {
        assert_eq!(after(Ending::Final, 0, false), Settlement::Failed);
        assert_eq!(after(Ending::Resubmit, 0, true), Settlement::Failed, "nor once the client cancelled");
    }

    #[test]
    fn nothing_is_submitted_again_once_the_client_cancelled() {
        for ending in [Ending::NeverSent, Ending::Throttled { asked: None }, Ending::Unbilled { asked: None }] {
            assert_eq!(after(ending, 0, true), Settlement::Cancelled);
        }
        assert_eq!(after(Ending::Delivered, 0, true), Settlement::Delivered);
    }

    #[test]
    fn a_resubmit_that_was_asked_for_is_owed_and_consumes_no_try() {
        let owed = Settlement::Owe { wait: Duration::from_secs(1), counts: false };
        assert_eq!(after(Ending::Resubmit, 0, false), owed);
        assert!(matches!(after(Ending::Resubmit, 9, false), Settlement::Owe { counts: false, .. }));
    }
}
