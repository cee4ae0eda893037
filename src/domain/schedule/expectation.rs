//! How much longer a task of a model is likely to run, given how long it ran already: a small extract of what was learned, for those who
//! tell clients when to ask again. Pure.

use std::time::Duration;

use super::histogram::Histogram;

/// From one age to the next: this share more …
const STEP: f64 = 0.1;
/// … and this many seconds.
const LEAST: f64 = 0.25;
/// Behind this share of tasks that still run there is nothing to go by: stragglers take as long as they like.
const TAIL: f64 = 0.01;

/// Ages and the share of tasks that still run at each.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation {
    alive: Box<[(f64, f64)]>,
}

impl Expectation {
    /// None while too little is known.
    #[must_use]
    pub fn of(known: &Histogram) -> Option<Self> {
        if !known.warm() {
            return None;
        }
        let ages: Vec<f64> =
            std::iter::successors(Some(0.0), |age: &f64| Some(age.mul_add(1.0 + STEP, LEAST))).take(96).collect();
        let survival = known.survival(&ages);
        // With the first age in the tail: it is where the last of the others have ended.
        let end = survival.partition_point(|alive| *alive > TAIL).saturating_add(1);
        Some(Self { alive: ages.into_iter().zip(survival).take(end).collect() })
    }

    /// How long a task that ran for `age` runs on, as likely as not: half of those that ran so long have ended by then. None when it
    /// ran longer than nearly all.
    #[must_use]
    pub fn left(&self, age: Duration) -> Option<Duration> {
        let age = age.as_secs_f64();
        let half = self.alive_at(age)? / 2.0;
        let after = self.alive.iter().find(|(at, alive)| *at >= age && *alive <= half)?;
        Some(Duration::from_secs_f64(after.0 - age))
    }

    fn alive_at(&self, age: f64) -> Option<f64> {
        let next = self.alive.partition_point(|(at, _)| *at <= age);
        let (from, before) = *self.alive.get(next.checked_sub(1)?)?;
        let (to, after) = *self.alive.get(next)?;
        Some(before + (after - before) * (age - from) / (to - from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Tasks that take 80 to 120 seconds, evenly.
    fn known() -> Histogram {
        let mut known = Histogram::default();
        for n in 0..400 {
            let end = 80 + n * 7 % 41;
            known.passed(seconds(0), seconds(end - 1));
            known.finished(seconds(end - 1), seconds(end));
        }
        known
    }

    #[test]
    fn half_of_the_time_is_right_at_any_age() {
        let expectation = Expectation::of(&known()).unwrap();
        let left = |age| expectation.left(seconds(age)).unwrap().as_secs();
        assert!((90..=112).contains(&left(0)), "{}", left(0));
        assert!((40..=62).contains(&left(50)), "{}", left(50));
        assert!((2..=20).contains(&left(100)), "{}", left(100));
    }

    #[test]
    fn of_a_straggler_and_of_an_unknown_model_nothing_is_said() {
        assert_eq!(Expectation::of(&known()).unwrap().left(seconds(500)), None);
        assert_eq!(Expectation::of(&Histogram::default()), None);
    }
}
