//! Tolerant reading of JSON answers. Providers add, drop and retype fields without notice, and one odd field must not hide a
//! paid task id: so answers are picked apart field by field instead of being deserialised into one strict type.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use serde_json::{Map, Value};

use super::{Output, OutputSource, images};
use crate::domain::record::Kind;

/// The text at a path of keys; none when it is empty or no text.
#[must_use]
pub fn text<'a>(value: &'a Value, path: &[&str]) -> Option<&'a str> {
    at(value, path)?.as_str().map(str::trim).filter(|text| !text.is_empty())
}

/// The value at a path of keys.
#[must_use]
pub fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(key))
}

/// A task id as text. Ids are decimal strings beyond 2^53: a JSON number is taken only where it is exact.
#[must_use]
pub fn id(value: &Value, path: &[&str]) -> Option<String> {
    match at(value, path)? {
        Value::String(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
        Value::Number(number) if number.is_u64() => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A code as text, whether it is written as text or as a number.
#[must_use]
pub fn code(value: &Value, path: &[&str]) -> Option<String> {
    match at(value, path)? {
        Value::String(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A finite number that is not negative, written as a number or as text.
#[must_use]
pub fn number(value: &Value, path: &[&str]) -> Option<f64> {
    let found = at(value, path)?;
    let number = found.as_f64().or_else(|| found.as_str()?.trim().parse().ok())?;
    (number.is_finite() && number >= 0.0).then_some(number)
}

/// The list at a path of keys; empty when there is none.
#[must_use]
pub fn list<'a>(value: &'a Value, path: &[&str]) -> &'a [Value] {
    at(value, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A share (0 to 1) as whole percent.
#[must_use]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=100 before the cast")]
pub fn percent(share: f64) -> u8 {
    (share * 100.0).clamp(0.0, 100.0) as u8
}

/// An output at a URL, or in a `data:` URL; none for anything else.
#[must_use]
pub fn output(address: &str, kind: Kind, lifetime: Duration) -> Option<Output> {
    let source = if address.starts_with("https://") || address.starts_with("http://") {
        OutputSource::Url(address.to_owned())
    } else {
        OutputSource::Inline(Bytes::from(images::decoded(address)?))
    };
    Some(Output { source, kind, lifetime, duration_seconds: None })
}

/// What a provider says of an error, under the keys that providers use for it.
#[must_use]
pub fn complaint(value: &Value) -> Option<String> {
    const KEYS: [&str; 6] = ["message", "detail", "error", "msg", "error_message", "title"];
    let found = KEYS.iter().find_map(|key| value.get(key).filter(|found| !found.is_null()));
    match found? {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        inner @ Value::Object(_) => complaint(inner).or_else(|| Some(inner.to_string())),
        inner @ Value::Array(_) => Some(inner.to_string()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// Parameters under the wire's names: renamed where `names` says so, otherwise as they are. Without `n`, which is folded into
/// the call's outputs.
#[must_use]
pub fn renamed(parameters: &Map<String, Value>, names: &[(&str, &str)]) -> Map<String, Value> {
    let wire = |name: &str| names.iter().find(|(ours, _)| *ours == name).map_or(name.to_owned(), |(_, wire)| (*wire).to_owned());
    parameters.iter().filter(|(name, _)| *name != "n").map(|(name, value)| (wire(name), value.clone())).collect()
}

/// Whether an option is switched on.
#[must_use]
pub fn switched_on(options: &BTreeMap<String, String>, name: &str) -> bool {
    options.get(name).is_some_and(|value| value == "true")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_id_beyond_two_to_the_fifty_third_is_kept_digit_by_digit_or_not_at_all() {
        let read = |text: &str| id(&serde_json::from_str(text).unwrap(), &["id"]);
        assert_eq!(read(r#"{"id":"9007199254740993"}"#).as_deref(), Some("9007199254740993"));
        assert_eq!(read(r#"{"id":9007199254740993}"#).as_deref(), Some("9007199254740993"));
        assert_eq!(read(r#"{"id":99007199254740993990071992547409}"#), None, "it would lose digits as a float");
        assert_eq!(read(r#"{"id":""}"#), None);
    }

    #[test]
    fn numbers_are_read_from_text_and_numbers_alike() {
        assert_eq!(number(&json!({"d": "5.1"}), &["d"]), Some(5.1));
        assert_eq!(number(&json!({"d": 5}), &["d"]), Some(5.0));
        assert_eq!(number(&json!({"d": "NaN"}), &["d"]), None);
        assert_eq!(number(&json!({"d": -1}), &["d"]), None);
        assert_eq!((percent(0.4), percent(7.0), percent(f64::NAN)), (40, 100, 0));
    }

    #[test]
    fn a_complaint_is_found_under_every_key_in_use() {
        assert_eq!(complaint(&json!({"error": {"message": "no"}})).as_deref(), Some("no"));
        assert_eq!(complaint(&json!({"detail": [{"msg": "bad"}]})).as_deref(), Some(r#"[{"msg":"bad"}]"#));
        assert_eq!(complaint(&json!({"message": null, "detail": "gone"})).as_deref(), Some("gone"));
    }
}
