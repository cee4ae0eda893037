//! When the next poll of a waiting attempt is due: a pure function of when it was submitted, so that nothing is persisted
//! per poll, nothing is reset by a restart, and restarts do not fall in phase (design: waiting).

pub mod course;
pub mod expectation;
pub mod histogram;

use std::time::Duration;

use course::Course;

use crate::domain::time::Timestamp;

/// How polls follow each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Strategy {
    /// Growing gaps.
    Exponential(Growth),
    /// Where ends are likely, by what was learned of the model; growing gaps while too little is known.
    Adaptive(Growth),
    /// Equal gaps.
    Fixed {
        /// The gap.
        every: Duration,
    },
}

/// Gaps that grow by a factor up to a cap.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Growth {
    /// First gap.
    pub base: Duration,
    /// Factor from one gap to the next, at least 1.
    pub factor: f64,
    /// Longest gap.
    pub cap: Duration,
    /// Share in 0..1 by which a gap may vary.
    pub jitter: f64,
}

/// The shortest gap ever used: a mistaken configuration must not turn polling into a busy loop.
const SHORTEST_GAP: Duration = Duration::from_millis(10);

/// The first poll after `now` of an attempt submitted at `submitted`. `seed` spreads attempts (a hash of the id); `course` is what
/// was learned of its model, which only the adaptive strategy follows.
#[must_use]
pub fn next_poll(strategy: Strategy, course: Option<&Course>, submitted: Timestamp, seed: u64, now: Timestamp) -> Timestamp {
    match (strategy, course) {
        (Strategy::Fixed { every }, _) => fixed(every, submitted, seed, now),
        (Strategy::Adaptive(_), Some(course)) => submitted.plus(course.next(seed, now.since(submitted))),
        (Strategy::Exponential(growth) | Strategy::Adaptive(growth), _) => exponential(growth, submitted, seed, now),
    }
}

fn fixed(every: Duration, submitted: Timestamp, seed: u64, now: Timestamp) -> Timestamp {
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

fn exponential(growth: Growth, submitted: Timestamp, seed: u64, now: Timestamp) -> Timestamp {
    let (base, cap) = growth.bounds();
    let mut due = submitted;
    let mut gap = base.as_secs_f64();
    for step in 0u64.. {
        due = due.plus(growth.varied(gap, seed, step));
        if due > now {
            break;
        }
        gap = (gap * growth.factor.max(1.0)).min(cap.as_secs_f64());
    }
    due
}

impl Growth {
    fn bounds(self) -> (Duration, Duration) {
        let base = self.base.max(SHORTEST_GAP);
        (base, self.cap.max(base))
    }

    fn varied(self, gap: f64, seed: u64, step: u64) -> Duration {
        let share = self.jitter.clamp(0.0, 0.9) * (2.0 * unit(seed, step) - 1.0);
        Duration::from_secs_f64(gap * (1.0 + share)).max(SHORTEST_GAP)
    }

    /// The ages of its polls without jitter, seconds, for ever.
    fn ages(self) -> impl Iterator<Item = f64> {
        let (base, cap) = self.bounds();
        let first = (base.as_secs_f64(), base.as_secs_f64());
        let next = move |(age, gap): &(f64, f64)| {
            let gap = (gap * self.factor.max(1.0)).min(cap.as_secs_f64());
            Some((age + gap, gap))
        };
        std::iter::successors(Some(first), next).map(|(age, _)| age)
    }

    /// The age of the last poll before this age; zero before the first.
    #[must_use]
    pub fn last_before(self, age: Duration) -> Duration {
        let before = self.ages().take_while(|poll| *poll < age.as_secs_f64()).last();
        before.map_or(Duration::ZERO, Duration::from_secs_f64)
    }

    /// The gap that is open at this age, seconds.
    fn gap_at(self, age: f64) -> f64 {
        let (base, cap) = self.bounds();
        let (mut end, mut gap) = (base.as_secs_f64(), base.as_secs_f64());
        while end < age {
            gap = (gap * self.factor.max(1.0)).min(cap.as_secs_f64());
            end += gap;
        }
        gap
    }

    /// Goes on from the poll at `last` with growing gaps, both seconds; the first one after `age`.
    fn first_after(self, last: f64, gap: f64, seed: u64, age: Duration) -> Duration {
        let (mut due, mut gap, cap) = (last, gap, self.bounds().1.as_secs_f64());
        for step in 0u64.. {
            due += self.varied(gap, seed, step).as_secs_f64();
            if whole_millis(due) > age {
                break;
            }
            gap = (gap * self.factor.max(1.0)).min(cap);
        }
        whole_millis(due)
    }
}

/// Instants are whole milliseconds; rounded up.
fn whole_millis(seconds: f64) -> Duration {
    let exact = Duration::from_secs_f64(seconds.max(0.0));
    Duration::from_millis(u64::try_from(exact.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
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
mod tests;
