//! What is left on an account at a provider, in the provider's own unit. A credit is no currency: nothing here is converted.

use crate::domain::{money::Micros, record::ProviderName, time::Timestamp};

use std::{sync::Arc, time::Duration};

/// One amount that a provider tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balance {
    /// Which of several, such as the name of a resource pack.
    pub pack: Option<String>,
    /// In millionths of the unit.
    pub millionths: i64,
    /// The provider's word, such as `credits`.
    pub unit: Arc<str>,
}

impl Balance {
    /// So many of a unit, rounded to a millionth; none for what is no amount.
    #[must_use]
    pub fn of(pack: Option<String>, amount: f64, unit: &str) -> Option<Self> {
        // The same scale as money, and the same rounding.
        amount.is_finite().then(|| Self { pack, millionths: Micros::from_dollars(amount).0, unit: unit.into() })
    }

    /// Decimal text with six places.
    #[must_use]
    pub fn decimal(&self) -> String {
        Micros(self.millionths).decimal()
    }
}

/// What was read at one instant, beside what our own books said then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// What the provider told.
    pub balances: Vec<Balance>,
    /// Charged by this provider section since the books began, all its accounts together.
    pub charged: Micros,
    /// When.
    pub at: Timestamp,
}

/// What is known of an account's balance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountBalance {
    /// Provider section.
    pub provider: ProviderName,
    /// Account by its configured name.
    pub account: Arc<str>,
    /// The newest reading.
    pub newest: Option<Reading>,
    /// The one before.
    pub previous: Option<Reading>,
    /// Why the newest try told nothing, and when that was.
    pub error: Option<(String, Timestamp)>,
    /// No reading before this instant.
    pub due_at: Timestamp,
}

impl AccountBalance {
    /// Nothing is known yet; the first reading comes after a share of ten seconds, so that accounts are not all asked at once.
    #[must_use]
    pub fn unread(provider: ProviderName, account: Arc<str>, unit: f64, now: Timestamp) -> Self {
        let due_at = now.plus(FIRST.mul_f64(unit.clamp(0.0, 1.0)));
        Self { provider, account, newest: None, previous: None, error: None, due_at }
    }

    /// Plans the next try: the interval, a tenth more or less by the draw (0 to 1).
    pub fn plan(&mut self, every: Duration, unit: f64, now: Timestamp) {
        self.due_at = now.plus(every.mul_f64(0.9 + 0.2 * unit.clamp(0.0, 1.0)));
    }

    /// Takes in what a try told.
    pub fn take(&mut self, told: Result<Reading, String>, now: Timestamp) {
        match told {
            Ok(reading) => {
                self.previous = self.newest.take();
                self.newest = Some(reading);
                self.error = None;
            }
            Err(why) => self.error = Some((why, now)),
        }
    }

    /// Each amount of the newest reading beside the same one before; one without any where none was told yet.
    #[must_use]
    pub fn amounts(&self) -> Vec<(Option<&Balance>, Option<&Balance>)> {
        let before = |now: &Balance| {
            let same = |old: &&Balance| old.pack == now.pack && old.unit == now.unit;
            self.previous.iter().flat_map(|reading| &reading.balances).find(same)
        };
        let newest = self.newest.iter().flat_map(|reading| &reading.balances);
        let all: Vec<_> = newest.map(|now| (Some(now), before(now))).collect();
        if all.is_empty() { vec![(None, None)] } else { all }
    }

    /// What our books charged between the two readings.
    #[must_use]
    pub fn charged_between(&self) -> Option<Micros> {
        Some(self.newest.as_ref()?.charged.minus(self.previous.as_ref()?.charged))
    }
}

/// Within which the first readings after a start are spread.
const FIRST: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(credits: f64, charged: i64, at: i64) -> Reading {
        let balances = Balance::of(None, credits, "credits").into_iter().collect();
        Reading { balances, charged: Micros(charged), at: Timestamp(at) }
    }

    #[test]
    fn readings_are_spread_and_a_failed_one_keeps_what_was_known() {
        let mut known = AccountBalance::unread("flux".into(), "default".into(), 0.5, Timestamp(0));
        assert_eq!(known.due_at, Timestamp(5_000));
        known.take(Ok(reading(10.0, 0, 5_000)), Timestamp(5_000));
        known.plan(Duration::from_secs(600), 0.0, Timestamp(5_000));
        assert_eq!((known.due_at, known.charged_between()), (Timestamp(545_000), None));
        known.take(Ok(reading(7.5, 25_000, 545_000)), Timestamp(545_000));
        known.take(Err("it is closed".to_owned()), Timestamp(900_000));
        assert_eq!(known.charged_between(), Some(Micros(25_000)));
        assert_eq!(known.newest.map(|reading| reading.balances[0].decimal()), Some("7.500000".to_owned()));
        assert_eq!(known.error, Some(("it is closed".to_owned(), Timestamp(900_000))));
    }

    #[test]
    fn amounts_are_kept_to_a_millionth_of_their_unit() {
        assert_eq!(Balance::of(None, 0.1, "units").map(|balance| balance.millionths), Some(100_000));
        assert_eq!(Balance::of(None, f64::NAN, "units"), None);
    }
}
