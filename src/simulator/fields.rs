//! Typed reading of request fields: each sandbox maps a `Wrong` to its provider's own error body.

use serde_json::Value;

/// Says what kind of mistake a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Required, but not there.
    Missing,
    /// Of another JSON type.
    Type,
    /// Right type, value not allowed.
    Value,
}

/// Says what is wrong with which field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) field: String,
    pub(super) kind: Kind,
    pub(super) message: String,
}

/// Builds a `Wrong` for a value that is not allowed.
pub(super) fn wrong(field: &str, message: impl Into<String>) -> Wrong {
    Wrong { field: field.to_owned(), kind: Kind::Value, message: message.into() }
}

/// Reads the fields of one object; `null` counts as absent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a Value);

impl<'a> Fields<'a> {
    pub(super) fn raw(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn has(self, name: &str) -> bool {
        self.raw(name).is_some()
    }

    fn typed<T>(self, name: &str, kind: &str, read: impl FnOnce(&'a Value) -> Option<T>) -> Result<Option<T>, Wrong> {
        let Some(value) = self.raw(name) else { return Ok(None) };
        let mistake = || Wrong { field: name.to_owned(), kind: Kind::Type, message: format!("{name} must be {kind}") };
        read(value).map(Some).ok_or_else(mistake)
    }

    pub(super) fn text(self, name: &str) -> Result<Option<&'a str>, Wrong> {
        self.typed(name, "a string", Value::as_str)
    }

    /// A string that must be there and not empty, of at most `max` characters.
    pub(super) fn required_text(self, name: &str, max: usize) -> Result<&'a str, Wrong> {
        let missing = || Wrong { field: name.to_owned(), kind: Kind::Missing, message: format!("{name} is required") };
        let text = self.bounded_text(name, max)?.filter(|text| !text.is_empty()).ok_or_else(missing)?;
        Ok(text)
    }

    pub(super) fn bounded_text(self, name: &str, max: usize) -> Result<Option<&'a str>, Wrong> {
        match self.text(name)? {
            Some(text) if text.chars().count() > max => Err(wrong(name, format!("{name} exceeds {max} characters"))),
            other => Ok(other),
        }
    }

    pub(super) fn int(self, name: &str, min: u32, max: u32) -> Result<Option<u32>, Wrong> {
        let Some(value) = self.typed(name, "an integer", Value::as_i64)? else { return Ok(None) };
        let value = u32::try_from(value).ok().filter(|value| (min..=max).contains(value));
        value.map(Some).ok_or_else(|| wrong(name, format!("{name} must be between {min} and {max}")))
    }

    /// An integer of any size.
    pub(super) fn any_int(self, name: &str) -> Result<Option<&'a Value>, Wrong> {
        self.typed(name, "an integer", |value| (value.is_i64() || value.is_u64()).then_some(value))
    }

    pub(super) fn float(self, name: &str, min: f64, max: f64) -> Result<Option<f64>, Wrong> {
        match self.typed(name, "a number", Value::as_f64)? {
            Some(value) if !(min..=max).contains(&value) => Err(wrong(name, format!("{name} must be between {min} and {max}"))),
            other => Ok(other),
        }
    }

    pub(super) fn flag(self, name: &str) -> Result<Option<bool>, Wrong> {
        self.typed(name, "a boolean", Value::as_bool)
    }

    pub(super) fn object(self, name: &str) -> Result<Option<Fields<'a>>, Wrong> {
        self.typed(name, "an object", |value| value.is_object().then_some(Fields(value)))
    }

    pub(super) fn list(self, name: &str, max: usize) -> Result<Option<&'a Vec<Value>>, Wrong> {
        match self.typed(name, "an array", Value::as_array)? {
            Some(list) if list.len() > max => Err(wrong(name, format!("{name} takes at most {max} items"))),
            other => Ok(other),
        }
    }

    pub(super) fn one_of(self, name: &str, allowed: &[&str]) -> Result<Option<&'a str>, Wrong> {
        match self.text(name)? {
            Some(text) if !allowed.contains(&text) => Err(wrong(name, format!("{name} must be one of {}", allowed.join(", ")))),
            other => Ok(other),
        }
    }

    /// An absolute http(s) URL.
    pub(super) fn url(self, name: &str) -> Result<Option<&'a str>, Wrong> {
        match self.text(name)? {
            Some(text) if !is_url(text) => Err(wrong(name, format!("{name} is not a valid URL"))),
            other => Ok(other),
        }
    }
}

/// Tells whether a text is an absolute http(s) URL.
pub(super) fn is_url(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
}

/// Pixels of an aspect ratio like `16:9` whose shorter side is `short`; square when it is not understood. Sides are even.
pub(super) fn pixels(ratio: &str, short: u32) -> (u32, u32) {
    let parts = ratio.split_once(':').and_then(|(w, h)| Some((w.parse::<u32>().ok()?, h.parse::<u32>().ok()?)));
    let (w, h) = parts.filter(|(w, h)| (1..=100).contains(w) && (1..=100).contains(h)).unwrap_or((1, 1));
    let scale = |side: u32| (short * side / w.min(h)) & !1;
    (scale(w), scale(h))
}
