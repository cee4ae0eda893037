//! How long to wait before trying again. Pure: the jitter is an argument.

use std::time::Duration;

/// A provider's retry rules.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// Tries in all, the first included; at least 1.
    pub max_attempts: u16,
    /// Wait before the second try.
    pub initial_delay: Duration,
    /// Factor from one wait to the next.
    pub multiplier: f64,
    /// Longest wait.
    pub max_delay: Duration,
    /// Whether waits vary by up to a quarter either way, so that many clients do not come back at once.
    pub jitter: bool,
}

impl RetryPolicy {
    /// The wait after `tries` tries were made (at least 1), for `unit` in 0..1 drawn by the caller. What the provider
    /// asked for wins.
    #[must_use]
    pub fn delay(&self, tries: u16, unit: f64, asked: Option<Duration>) -> Duration {
        let exponent = i32::from(tries.clamp(1, 64)) - 1;
        let grown = self.initial_delay.as_secs_f64() * self.multiplier.powi(exponent);
        let capped = grown.min(self.max_delay.as_secs_f64()).max(0.0);
        let factor = if self.jitter { 0.75 + 0.5 * unit.clamp(0.0, 1.0) } else { 1.0 };
        let own = Duration::from_secs_f64(capped * factor);
        asked.unwrap_or(own)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy(jitter: bool) -> RetryPolicy {
        RetryPolicy {
            max_attempts: 3,
            initial_delay: Duration::from_secs(1),
            multiplier: 2.0,
            max_delay: Duration::from_secs(30),
            jitter,
        }
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let waits: Vec<_> = (1..=7).map(|tries| policy(false).delay(tries, 0.5, None).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
    }

    proptest! {
        #[test]
        fn jitter_stays_within_a_quarter_and_the_provider_wins(tries in 1u16..200, unit in 0.0f64..1.0, asked in 0u64..100) {
            let plain = policy(false).delay(tries, unit, None);
            let varied = policy(true).delay(tries, unit, None);
            prop_assert!(varied >= plain.mul_f64(0.7499) && varied <= plain.mul_f64(1.2501));
            let asked = Duration::from_secs(asked);
            prop_assert_eq!(policy(true).delay(tries, unit, Some(asked)), asked);
        }
    }
}
