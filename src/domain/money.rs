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

    /// The difference; stops at the smallest amount.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Reads decimal dollars such as `12`, `0.5` or `1000.000001`, exactly; none for anything else, also for a sign, an exponent or
    /// more than six places.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').map_or((text, ""), |(whole, fraction)| (whole, fraction));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || fraction.len() > 6 || text.ends_with('.') || !digits(whole) || !digits(fraction) {
            return None;
        }
        format!("{whole}{fraction:0<6}").parse().ok().map(Self)
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
        let positive = text.strip_prefix('-');
        let amount = Self::parse(positive.unwrap_or(&text)).ok_or_else(|| serde::de::Error::custom("not decimal dollars"))?;
        Ok(if positive.is_some() { Self(0).minus(amount) } else { amount })
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

    #[test]
    fn decimal_text_is_read_to_the_unit_or_not_at_all() {
        assert_eq!(Micros::parse("12"), Some(Micros(12_000_000)));
        assert_eq!(Micros::parse("0.5"), Some(Micros(500_000)));
        assert_eq!(Micros::parse("9007199254.740993"), Some(Micros(9_007_199_254_740_993)));
        for wrong in ["", ".", ".5", "5.", "-1", "+1", "1e3", "1,5", "0.1234567", "99999999999999999999"] {
            assert_eq!(Micros::parse(wrong), None, "{wrong}");
        }
    }
}
