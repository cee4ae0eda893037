//! Whether a value is one that an input takes. Pure; hands back the value as it is stored and sent.

use serde_json::Value;

use crate::providers::schema::input::{Accepted, Sides};

/// What is wrong with a value; the detail continues a sentence that began with the input's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueFault {
    /// A stable word.
    pub code: &'static str,
    /// Such as `must be a whole number`.
    pub detail: String,
}

/// Longest part of a client's value that an error repeats, in characters.
const VALUE_SHOWN: usize = 64;

impl Accepted {
    /// The value as it is kept: whole numbers lose a decimal point, words and sizes stay as written.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, value: &Value) -> Result<Value, ValueFault> {
        match self {
            Self::Choice(words) => self.word(value, words),
            Self::Integer { min, max, values } => self.integer(value, (*min, *max), values.as_deref()),
            Self::Number { min, max } => match value.as_f64() {
                Some(number) if number >= *min && number <= *max => Ok(value.clone()),
                Some(_) => Err(self.fault("out_of_range", value)),
                None => Err(self.fault("wrong_type", value)),
            },
            Self::Text { max } => match value.as_str().map(|text| text.chars().count()) {
                Some(length) if length <= *max => Ok(value.clone()),
                Some(length) => {
                    Err(ValueFault { code: "too_long", detail: format!("has {length} characters; at most {max} are taken") })
                }
                None => Err(self.fault("wrong_type", value)),
            },
            Self::Flag { values } => match value.as_bool() {
                Some(flag) if values.contains(&flag) => Ok(value.clone()),
                Some(_) => Err(self.fault("not_one_of", value)),
                None => Err(self.fault("wrong_type", value)),
            },
            Self::Size { words, sides } => self.size(value, words, *sides),
        }
    }

    fn word(&self, value: &Value, words: &[String]) -> Result<Value, ValueFault> {
        match value.as_str() {
            Some(text) if words.iter().any(|word| word == text) => Ok(value.clone()),
            Some(_) => Err(self.fault("not_one_of", value)),
            None => Err(self.fault("wrong_type", value)),
        }
    }

    fn integer(&self, value: &Value, (min, max): (i64, i64), values: Option<&[i64]>) -> Result<Value, ValueFault> {
        let Some(number) = whole(value) else {
            // A number that is whole but beyond 64 bits is a wrong value, not a wrong kind of value.
            let huge = value.as_f64().is_some_and(|number| number.fract() == 0.0);
            return Err(self.fault(if huge { "out_of_range" } else { "wrong_type" }, value));
        };
        if values.is_some_and(|values| !values.contains(&number)) {
            return Err(self.fault("not_one_of", value));
        }
        if number < min || number > max {
            return Err(self.fault("out_of_range", value));
        }
        Ok(Value::from(number))
    }

    fn size(&self, value: &Value, words: &[String], sides: Option<Sides>) -> Result<Value, ValueFault> {
        let Some(text) = value.as_str() else {
            return Err(self.fault("wrong_type", value));
        };
        if words.iter().any(|word| word == text) {
            return Ok(value.clone());
        }
        match (sides, pixels(text)) {
            (Some(sides), Some((width, height))) => match sides.fault(width, height) {
                None => Ok(value.clone()),
                Some(code) => Err(self.fault(code, value)),
            },
            (None, _) | (_, None) => Err(self.fault("not_one_of", value)),
        }
    }

    fn fault(&self, code: &'static str, value: &Value) -> ValueFault {
        let mut shown: String = value.to_string().chars().take(VALUE_SHOWN).collect();
        if shown.len() < value.to_string().len() {
            shown.push('…');
        }
        ValueFault { code, detail: format!("cannot be {shown}: {}", self.sentence()) }
    }
}

impl Sides {
    /// The code of what is wrong with a size, if anything is.
    fn fault(self, width: u32, height: u32) -> Option<&'static str> {
        let within = |side: u32| side >= self.min && side <= self.max;
        let area = u64::from(width).saturating_mul(u64::from(height));
        if !within(width) || !within(height) || self.max_pixels.is_some_and(|most| area > most) {
            Some("out_of_range")
        } else if [width, height].iter().any(|side| side.checked_rem(self.multiple) != Some(0)) {
            Some("not_a_multiple")
        } else {
            None
        }
    }
}

/// A whole number, also when written with a fraction of zero.
pub(super) fn whole(value: &Value) -> Option<i64> {
    // Beyond 2^53 a float no longer names one whole number.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    value.as_i64().or_else(|| {
        let number = value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < EXACT)?;
        format!("{number:.0}").parse().ok()
    })
}

/// `WIDTHxHEIGHT` in plain decimal digits, as pixels.
pub(super) fn pixels(text: &str) -> Option<(u32, u32)> {
    let (width, height) = text.split_once('x')?;
    let side = |digits: &str| {
        let plain = digits.len() <= 5 && !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse().ok()).flatten()
    };
    Some((side(width)?, side(height)?))
}
