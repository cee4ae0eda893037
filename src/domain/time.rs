//! Instants and spans as the store keeps them: whole milliseconds since the Unix epoch, UTC.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instant in milliseconds since the Unix epoch. Serialises as RFC 3339 with milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The later instant; stops at the end of representable time instead of wrapping.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }

    /// The earlier instant; stops at the beginning of representable time instead of wrapping.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(millis(span)))
    }

    /// How long after `earlier` this instant lies; zero when it does not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The UTC day it lies in, counted from the epoch's; negative before it.
    #[must_use]
    pub fn day(self) -> i32 {
        i32::try_from(self.0.div_euclid(DAY_MS)).unwrap_or(i32::MAX)
    }

    /// The beginning of a UTC day, counted from the epoch's.
    #[must_use]
    pub fn of_day(day: i32) -> Self {
        Self(i64::from(day).saturating_mul(DAY_MS))
    }

    /// Its UTC day, such as `2026-11-21`.
    #[must_use]
    pub fn date(self) -> String {
        DateTime::<Utc>::from_timestamp_millis(self.0).unwrap_or_default().date_naive().to_string()
    }

    /// Reads a UTC day such as `2026-11-21`; counted from the epoch's.
    #[must_use]
    pub fn parse_day(text: &str) -> Option<i32> {
        let whole = text.len() == "2026-11-21".len();
        whole.then(|| Self::parse(&format!("{text}T00:00:00Z"))).flatten().map(Self::day)
    }

    /// RFC 3339 in UTC with milliseconds; the epoch itself for instants no calendar holds.
    #[must_use]
    pub fn rfc3339(self) -> String {
        DateTime::<Utc>::from_timestamp_millis(self.0).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Millis, true)
    }

    /// Reads RFC 3339 with any offset.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        DateTime::parse_from_rfc3339(text).ok().map(|at| Self(at.timestamp_millis()))
    }
}

/// Milliseconds of a UTC day (no leap seconds in Unix time).
const DAY_MS: i64 = 86_400_000;

/// A span in whole milliseconds, capped at the largest the store can hold.
#[must_use]
pub fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&self.rfc3339())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not an RFC 3339 instant"))
    }
}

#[cfg(test)]
mod tests {
    use super::Timestamp;

    #[test]
    fn days_are_those_of_utc_and_read_back() {
        let late = Timestamp::parse("2026-11-21T23:59:59.999Z").unwrap();
        let next = Timestamp(late.0 + 1);
        assert_eq!((next.day() - late.day(), late.date().as_str(), next.date().as_str()), (1, "2026-11-21", "2026-11-22"));
        assert_eq!((Timestamp::parse_day("2026-11-21"), Timestamp::of_day(next.day())), (Some(late.day()), next));
        assert_eq!((Timestamp(-1).day(), Timestamp(0).day()), (-1, 0));
        for wrong in ["", "2026-11-31", "2026-11-2", "21.11.2026", "2026-11-21T"] {
            assert_eq!(Timestamp::parse_day(wrong), None, "{wrong}");
        }
    }
}
