//! When the next poll of a waiting attempt is due: a pure function of when it was submitted, so that nothing is persisted
//! per poll, nothing is reset by a restart, and restarts do not fall in phase (design: waiting).

use std::time::Duration;

use crate::domain::time::Timestamp;

/// How polls follow each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Strategy {
    /// Gaps grow by a factor up to a cap; jitter in 0..1 shortens or lengthens each gap by up to that share.
    Exponential {
        /// First gap.
        base: Duration,
        /// Factor from one gap to the next, at least 1.
        factor: f64,
        /// Longest gap.
        cap: Duration,
        /// Share by which a gap may vary.
        jitter: f64,
    },
    /// Equal gaps.
    Fixed {
        /// The gap.
        every: Duration,
    },
}

/// The shortest gap ever used: a mistaken configuration must not turn polling into a busy loop.
const SHORTEST_GAP: Duration = Duration::from_millis(10);

/// The first poll after `now` of an attempt submitted at `submitted`. `seed` spreads attempts (a hash of the id).
#[must_use]
pub fn next_poll(strategy: Strategy, submitted: Timestamp, seed: u64, now: Timestamp) -> Timestamp {
    match strategy {
        Strategy::Fixed { every } => {
            let every = every.max(SHORTEST_GAP);
            let gap = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
            // The phase spreads attempts that were submitted in one burst over the gap.
            let phase = Duration::from_millis(seed % gap);
            let first = submitted.plus(every);
            if now < first {
                return first;
            }
            let base = submitted.plus(phase);
            let passed = u64::try_from(now.since(base).as_millis()).unwrap_or(u64::MAX) / gap;
            base.plus(Duration::from_millis((passed + 1).saturating_mul(gap)))
        }
        Strategy::Exponential { base, factor, cap, jitter } => {
            let (base, cap) = (base.max(SHORTEST_GAP), cap.max(base).max(SHORTEST_GAP));
            let mut due = submitted;
            let mut gap = base.as_secs_f64();
            for step in 0u64.. {
                let unit = unit(seed, step);
                let varied = Duration::from_secs_f64(gap * (1.0 + jitter.clamp(0.0, 0.9) * (2.0 * unit - 1.0)));
                due = due.plus(varied.max(SHORTEST_GAP));
                if due > now {
                    break;
                }
                gap = (gap * factor.max(1.0)).min(cap.as_secs_f64());
            }
            due
        }
    }
}

/// A number in 0..1 that depends on nothing but its arguments (`SplitMix64`; Steele, Lea and Flood 2014).
fn unit(seed: u64, step: u64) -> f64 {
    let mut z = seed.wrapping_add(step.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    let high = u32::try_from(z >> 32).unwrap_or(0);
    f64::from(high) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Strategy, *};

    const DEFAULT: Strategy =
        Strategy::Exponential { base: Duration::from_secs(5), factor: 1.5, cap: Duration::from_secs(60), jitter: 0.0 };

    fn all_until(strategy: Strategy, seed: u64, end: i64) -> Vec<i64> {
        let mut at = Timestamp(0);
        let mut polls = Vec::new();
        while at.0 < end {
            at = next_poll(strategy, Timestamp(0), seed, at);
            polls.push(at.0);
        }
        polls
    }

    #[test]
    fn exponential_gaps_grow_to_the_cap() {
        let polls = all_until(DEFAULT, 1, 400_000);
        let gaps: Vec<_> = polls.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(polls[0], 5_000);
        assert_eq!(gaps[..3], [7_500, 11_250, 16_875]);
        assert_eq!(*gaps.last().unwrap(), 60_000);
    }

    #[test]
    fn fixed_gaps_are_equal_after_the_first() {
        let polls = all_until(Strategy::Fixed { every: Duration::from_secs(60) }, 12_345, 600_000);
        assert_eq!(polls[0], 60_000);
        assert!(polls[1..].windows(2).all(|pair| pair[1] - pair[0] == 60_000));
    }

    proptest! {
        #[test]
        fn the_next_poll_is_always_later_and_a_restart_changes_nothing(
            seed: u64, now in 0i64..3_600_000, jitter in 0.0f64..0.9
        ) {
            let strategy = Strategy::Exponential {
                base: Duration::from_secs(5), factor: 1.5, cap: Duration::from_secs(60), jitter,
            };
            let due = next_poll(strategy, Timestamp(0), seed, Timestamp(now));
            prop_assert!(due.0 > now);
            prop_assert!(due.0 <= now + 60_000 * 2);
            // Any instant before it that was not itself followed by another poll leads to the same one.
            prop_assert_eq!(next_poll(strategy, Timestamp(0), seed, Timestamp(due.0 - 1)), due);
        }
    }
}
