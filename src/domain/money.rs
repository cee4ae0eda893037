//! Money in integer micro-units of one currency (US dollars throughout: the catalogue's prices are quoted in them).

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An amount in millionths of a US dollar. Serialises as a decimal string such as `"0.350000"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Micros(pub i64);

impl Micros {
    /// Dollars as written in configuration; rounded half away from zero to a micro-unit.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the cast saturates, and amounts lie far below the limit")]
    pub fn from_dollars(dollars: f64) -> Self {
        Self((dollars * 1_000_000.0).round() as i64)
    }

    /// The amount that many times; stops at the largest amount.
    #[must_use]
    pub fn times(self, count: u16) -> Self {
        Self(self.0.saturating_mul(i64::from(count)))
    }

    /// The sum; stops at the largest amount.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Decimal dollars with six places.
    #[must_use]
    pub fn decimal(self) -> String {
        let sign = if self.0 < 0 { "-" } else { "" };
        let amount = self.0.unsigned_abs();
        format!("{sign}{}.{:06}", amount / 1_000_000, amount % 1_000_000)
    }
}

impl Serialize for Micros {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&self.decimal())
    }
}

impl<'de> Deserialize<'de> for Micros {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        text.parse().map(Self::from_dollars).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::Micros;

    #[test]
    fn amounts_print_every_micro_unit() {
        assert_eq!(Micros::from_dollars(0.35).decimal(), "0.350000");
        assert_eq!(Micros(-1_500_001).decimal(), "-1.500001");
        assert_eq!(Micros(7).times(3), Micros(21));
    }
}
