//! What a key may ask of the service: requests a minute and requests at a time. Pure; each process counts for itself.

use std::time::Duration;

use crate::domain::time::Timestamp;

/// Over what span requests are counted.
pub const WINDOW: Duration = Duration::from_secs(60);

/// What a key may do, or what is said of it; `None` leaves the word to whoever comes next, `Some(0)` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quotas {
    /// Requests within a minute.
    pub per_minute: Option<u32>,
    /// Requests at a time.
    pub at_once: Option<u32>,
}

impl Quotas {
    /// What is in force for a key that says this, where all keys are told `others`; afterwards `None` is no limit.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        let limit = |own: Option<u32>, others: Option<u32>| own.or(others).filter(|limit| *limit > 0);
        Self { per_minute: limit(self.per_minute, others.per_minute), at_once: limit(self.at_once, others.at_once) }
    }

    /// Whether there is any limit.
    #[must_use]
    pub const fn any(self) -> bool {
        self.per_minute.is_some() || self.at_once.is_some()
    }
}

/// Which limit was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Requests within a minute: so many, free again after so long.
    PerMinute(u32, Duration),
    /// Requests at a time: so many.
    AtOnce(u32),
}

/// What a key has used. The minute begins with the first request of it and is counted whole, so that what is left and when it is
/// whole again can be told exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    began: Timestamp,
    used: u32,
    running: u32,
}

/// What is left of a key's quotas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Requests, and until when they count.
    pub per_minute: Option<(u32, Duration)>,
    /// Requests beside those that run.
    pub at_once: Option<u32>,
}

impl Usage {
    /// Counts a request.
    ///
    /// # Errors
    /// The limit that it would pass; then nothing is counted.
    pub fn enter(&mut self, quotas: Quotas, now: Timestamp) -> Result<(), Limit> {
        self.turn(now);
        if let Some(limit) = quotas.per_minute.filter(|limit| self.used >= *limit) {
            return Err(Limit::PerMinute(limit, self.until_next(now)));
        }
        if let Some(limit) = quotas.at_once.filter(|limit| self.running >= *limit) {
            return Err(Limit::AtOnce(limit));
        }
        self.used = self.used.saturating_add(1);
        self.running = self.running.saturating_add(1);
        Ok(())
    }

    /// Takes a request back that cost nothing, when its minute has not ended; `entered` is when it was counted.
    pub fn refund(&mut self, entered: Timestamp) {
        if entered >= self.began {
            self.used = self.used.saturating_sub(1);
        }
    }

    /// A request has ended.
    pub fn leave(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// What is left now.
    pub fn left(&mut self, quotas: Quotas, now: Timestamp) -> Left {
        self.turn(now);
        Left {
            per_minute: quotas.per_minute.map(|limit| (limit.saturating_sub(self.used), self.until_next(now))),
            at_once: quotas.at_once.map(|limit| limit.saturating_sub(self.running)),
        }
    }

    /// Begins a new minute when the last one is over.
    fn turn(&mut self, now: Timestamp) {
        if self.used == 0 || now >= self.began.plus(WINDOW) {
            (self.began, self.used) = (now, 0);
        }
    }

    fn until_next(&self, now: Timestamp) -> Duration {
        self.began.plus(WINDOW).since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn quotas(per_minute: u32, at_once: u32) -> Quotas {
        Quotas { per_minute: Some(per_minute), at_once: Some(at_once) }
    }

    fn after(seconds: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(seconds))
    }

    #[test]
    fn a_key_says_for_itself_what_the_others_are_told_otherwise() {
        let others = quotas(10, 5);
        assert_eq!(Quotas::default().or(others), others);
        assert_eq!(quotas(3, 0).or(others), Quotas { per_minute: Some(3), at_once: None });
        assert!(!Quotas::default().or(quotas(0, 0)).any());
    }

    #[test]
    fn a_minute_begins_with_its_first_request_and_gives_all_back_at_its_end() {
        let (mut usage, two) = (Usage::default(), Quotas { per_minute: Some(2), at_once: None });
        assert_eq!(usage.left(two, NOW).per_minute, Some((2, WINDOW)));
        usage.enter(two, after(5)).unwrap();
        usage.enter(two, after(10)).unwrap();
        assert_eq!(usage.left(two, after(10)).per_minute, Some((0, Duration::from_secs(55))));
        assert_eq!(usage.enter(two, after(20)), Err(Limit::PerMinute(2, Duration::from_secs(45))));
        assert_eq!(usage.enter(two, after(64)), Err(Limit::PerMinute(2, Duration::from_secs(1))));
        usage.enter(two, after(65)).unwrap();
        assert_eq!(usage.left(two, after(65)).per_minute, Some((1, WINDOW)));
    }

    #[test]
    fn what_cost_nothing_is_given_back_within_its_minute_only() {
        let (mut usage, two) = (Usage::default(), Quotas { per_minute: Some(2), at_once: None });
        usage.enter(two, NOW).unwrap();
        usage.enter(two, after(1)).unwrap();
        usage.refund(after(1));
        usage.enter(two, after(2)).unwrap();
        // A new minute: a request of the old one that ends now changes nothing in it.
        usage.enter(two, after(61)).unwrap();
        usage.refund(after(2));
        assert_eq!(usage.left(two, after(61)).per_minute, Some((1, WINDOW)));
    }

    #[test]
    fn only_so_many_run_at_once_and_one_that_is_refused_counts_for_nothing() {
        let (mut usage, one) = (Usage::default(), quotas(10, 1));
        usage.enter(one, NOW).unwrap();
        assert_eq!(usage.enter(one, NOW), Err(Limit::AtOnce(1)));
        assert_eq!((usage.left(one, NOW).per_minute, usage.left(one, NOW).at_once), (Some((9, WINDOW)), Some(0)));
        usage.leave();
        usage.enter(one, NOW).unwrap();
    }
}
