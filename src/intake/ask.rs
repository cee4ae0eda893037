//! Reads a submitted JSON object: names, spellings, types and outer limits. What the model makes of it is [`super::command`]'s
//! question. Everything wrong is reported at once, each with a JSON pointer.

use serde_json::{Map, Value};
use validator::{Validate, ValidationError};

use crate::{config::load::nearest, domain::unconfirmed::OnUnconfirmed, providers::schema::FieldError};

/// Members of the request, in the documented spelling.
const MEMBERS: [&str; 8] =
    ["modelIdentifier", "prompt", "inputImages", "numberOfOutputs", "parameters", "userId", "metadata", "onUnconfirmed"];
/// Second spellings: clients of other services send them.
const ALIASES: [(&str, &str); 3] =
    [("input_images", "inputImages"), ("number_of_outputs", "numberOfOutputs"), ("on_unconfirmed", "onUnconfirmed")];
/// Input images at most, before the model's own limit: bounds the work of reading them.
const MOST_IMAGES: usize = 100;
/// The client's notes: entries at most.
const METADATA_KEYS: usize = 50;
/// The client's notes: bytes at most, as compact JSON.
const METADATA_BYTES: usize = 16 * 1024;

/// A request whose types are right.
#[derive(Debug, Clone, Default, PartialEq, Validate)]
pub struct Ask {
    /// `modelIdentifier`.
    pub model: Option<String>,
    /// `prompt`.
    pub prompt: Option<String>,
    /// `inputImages`.
    #[validate(length(max = 100, message = "at most 100 images can be given"))]
    pub input_images: Vec<String>,
    /// `numberOfOutputs`.
    pub number_of_outputs: Option<i64>,
    /// `parameters`.
    pub parameters: Map<String, Value>,
    /// `userId`.
    #[validate(length(max = 256, message = "a userId has at most 256 characters"))]
    pub user_id: Option<String>,
    /// `metadata`.
    #[validate(custom(function = "metadata_fits"))]
    pub metadata: Option<Map<String, Value>>,
    /// `onUnconfirmed`.
    pub on_unconfirmed: Option<OnUnconfirmed>,
    /// Second spellings that the client used: (documented, given).
    pub spelled: Vec<(&'static str, &'static str)>,
}

/// Reads the members. The second value holds everything that is wrong; a member with an error is left empty.
#[must_use]
pub fn read(body: Value) -> (Ask, Vec<FieldError>) {
    let mut errors = Vec::new();
    let Value::Object(mut given) = body else {
        return (Ask::default(), vec![wrong_type("", "an object", &body)]);
    };
    let mut ask = Ask { spelled: respell(&mut given, &mut errors), ..Ask::default() };
    given.retain(|_, value| !value.is_null());
    for (name, value) in given {
        member(&mut ask, &name, value, &mut errors);
    }
    limits(&ask, &mut errors);
    for error in &mut errors {
        ask.respell(error);
    }
    (ask, errors)
}

impl Ask {
    /// Points an error at the spelling that the client used.
    pub fn respell(&self, error: &mut FieldError) {
        for (documented, used) in &self.spelled {
            let rest = error.pointer.strip_prefix("#/").and_then(|path| path.strip_prefix(documented));
            if let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with('/')) {
                error.pointer = format!("#/{used}{rest}");
            }
        }
    }
}

fn respell(given: &mut Map<String, Value>, errors: &mut Vec<FieldError>) -> Vec<(&'static str, &'static str)> {
    let mut spelled = Vec::new();
    for (alias, name) in ALIASES {
        let Some(value) = given.remove(alias) else { continue };
        match given.get(name) {
            None | Some(Value::Null) => {
                given.insert(name.to_owned(), value);
                spelled.push((name, alias));
            }
            Some(other) if *other == value || value.is_null() => {}
            Some(_) => {
                let detail = format!("`{alias}` and `{name}` are the same member and differ");
                errors.push(field(&format!("/{alias}"), "conflict", detail));
            }
        }
    }
    spelled
}

fn member(ask: &mut Ask, name: &str, value: Value, errors: &mut Vec<FieldError>) {
    let at = format!("/{}", escaped(name));
    match name {
        "modelIdentifier" => ask.model = text(&at, value, errors),
        "prompt" => ask.prompt = text(&at, value, errors),
        "userId" => ask.user_id = text(&at, value, errors),
        "inputImages" => ask.input_images = texts(&at, value, errors),
        "numberOfOutputs" => ask.number_of_outputs = integer(&at, &value, errors),
        "parameters" => ask.parameters = object(&at, value, errors).unwrap_or_default(),
        "metadata" => ask.metadata = object(&at, value, errors),
        "onUnconfirmed" => ask.on_unconfirmed = text(&at, value, errors).and_then(|word| policy(&at, &word, errors)),
        _ => {
            let hint = nearest(name, MEMBERS).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            let shown: String = name.chars().take(64).collect();
            errors.push(field(&at, "unknown_member", format!("`{shown}` is not a member of this request{hint}")));
        }
    }
}

fn text(at: &str, value: Value, errors: &mut Vec<FieldError>) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            errors.push(wrong_type(at, "a string", &value));
            None
        }
    }
}

fn policy(at: &str, word: &str, errors: &mut Vec<FieldError>) -> Option<OnUnconfirmed> {
    let found = OnUnconfirmed::of_word(word);
    if found.is_none() {
        let words = OnUnconfirmed::ALL.map(OnUnconfirmed::as_str);
        errors.push(field(at, "not_one_of", format!("must be one of {}", words.join(", "))));
    }
    found
}

fn texts(at: &str, value: Value, errors: &mut Vec<FieldError>) -> Vec<String> {
    let Value::Array(items) = value else {
        errors.push(wrong_type(at, "an array of strings", &value));
        return Vec::new();
    };
    if items.len() > MOST_IMAGES {
        errors.push(field(at, "too_many", format!("at most {MOST_IMAGES} images can be given")));
        return Vec::new();
    }
    items.into_iter().enumerate().filter_map(|(i, item)| text(&format!("{at}/{i}"), item, errors)).collect()
}

/// `5.0` is a whole number too (RFC 8259 §6 knows one kind of number).
fn integer(at: &str, value: &Value, errors: &mut Vec<FieldError>) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "whole and far below the limit by the filter")]
    let whole = |number: f64| (number.fract() == 0.0 && number.abs() < 1e15).then_some(number as i64);
    let number = value.as_i64().or_else(|| value.as_f64().and_then(whole));
    if number.is_none() {
        errors.push(wrong_type(at, "a whole number", value));
    }
    number
}

fn object(at: &str, value: Value, errors: &mut Vec<FieldError>) -> Option<Map<String, Value>> {
    match value {
        Value::Object(map) => Some(map),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::String(_) => {
            errors.push(wrong_type(at, "an object", &value));
            None
        }
    }
}

fn limits(ask: &Ask, errors: &mut Vec<FieldError>) {
    let Err(found) = ask.validate() else { return };
    let mut found: Vec<_> = found.field_errors().into_iter().collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, problems) in found {
        let at = match &*name {
            "user_id" => "/userId",
            "input_images" => "/inputImages",
            _ => "/metadata",
        };
        for problem in problems {
            let detail = problem.message.as_deref().unwrap_or("the value is outside its limits");
            errors.push(field(at, "too_long", detail));
        }
    }
}

fn metadata_fits(metadata: &Map<String, Value>) -> Result<(), ValidationError> {
    let bytes = serde_json::to_vec(metadata).map_or(usize::MAX, |json| json.len());
    if metadata.len() > METADATA_KEYS || bytes > METADATA_BYTES {
        let message = format!("metadata has at most {METADATA_KEYS} members and {METADATA_BYTES} bytes");
        return Err(ValidationError::new("too_long").with_message(message.into()));
    }
    Ok(())
}

/// An error at a JSON pointer (RFC 6901) below the body.
pub(crate) fn field(at: &str, code: &'static str, detail: impl Into<String>) -> FieldError {
    FieldError { pointer: format!("#{at}"), code, detail: detail.into() }
}

fn wrong_type(at: &str, wanted: &str, value: &Value) -> FieldError {
    let is = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    field(at, "wrong_type", format!("must be {wanted}, is {is}"))
}

/// A name within a pointer that is a URI fragment: what is not plain is percent-encoded; a very long name is cut.
fn escaped(name: &str) -> String {
    let pointer: String = name.chars().take(64).collect::<String>().replace('~', "~0").replace('/', "~1");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    pointer.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pointers(body: Value) -> Vec<(String, &'static str)> {
        read(body).1.into_iter().map(|error| (error.pointer, error.code)).collect()
    }

    #[test]
    fn both_spellings_are_one_member() {
        let (ask, errors) = read(json!({"input_images": ["https://a/b"], "number_of_outputs": 2, "prompt": "x"}));
        assert_eq!((errors, ask.input_images.len(), ask.number_of_outputs), (vec![], 1, Some(2)));
        let (ask, errors) = read(json!({"numberOfOutputs": 2, "number_of_outputs": 2}));
        assert_eq!((errors, ask.number_of_outputs), (vec![], Some(2)));
    }

    #[test]
    fn the_policy_for_unknown_submits_is_one_of_three_words_in_either_spelling() {
        let (ask, errors) = read(json!({"on_unconfirmed": "hold"}));
        assert_eq!((errors, ask.on_unconfirmed), (vec![], Some(OnUnconfirmed::Hold)));
        assert_eq!(pointers(json!({"onUnconfirmed": "retry"})), [("#/onUnconfirmed".to_owned(), "not_one_of")]);
        assert_eq!(pointers(json!({"on_unconfirmed": 1})), [("#/on_unconfirmed".to_owned(), "wrong_type")]);
    }

    #[test]
    fn spellings_that_differ_are_an_error() {
        assert_eq!(
            pointers(json!({"numberOfOutputs": 2, "number_of_outputs": 3})),
            [("#/number_of_outputs".to_owned(), "conflict")]
        );
    }

    #[test]
    fn every_wrong_type_is_reported_at_once_where_the_client_wrote_it() {
        let found = pointers(json!({"modelIdentifier": 1, "prompt": [], "input_images": ["a", 2], "parameters": "x",
            "metadata": [], "userId": {}, "numberOfOutputs": "2"}));
        let mut places: Vec<_> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
        places.sort_unstable();
        let expected =
            ["#/input_images/1", "#/metadata", "#/modelIdentifier", "#/numberOfOutputs", "#/parameters", "#/prompt", "#/userId"];
        assert_eq!(places, expected);
        assert!(found.iter().all(|(_, code)| *code == "wrong_type"));
    }

    #[test]
    fn an_unknown_member_names_the_nearest_known_one() {
        let (_, errors) = read(json!({"promt": "x"}));
        assert!(errors[0].detail.contains("did you mean `prompt`?"), "{errors:?}");
        assert_eq!(pointers(json!({"a/b ~": 1})), [("#/a~1b%20~0".to_owned(), "unknown_member")]);
    }

    #[test]
    fn a_null_counts_as_not_given_and_five_point_zero_is_whole() {
        let (ask, errors) = read(json!({"prompt": null, "numberOfOutputs": 5.0}));
        assert_eq!((errors, ask.prompt, ask.number_of_outputs), (vec![], None, Some(5)));
        assert_eq!(pointers(json!({"numberOfOutputs": 1.5})).len(), 1);
    }

    #[test]
    fn notes_and_user_have_limits() {
        let many: Map<String, Value> = (0..51).map(|i| (i.to_string(), json!(1))).collect();
        let found = pointers(json!({"userId": "u".repeat(257), "metadata": many}));
        let mut places: Vec<_> = found.into_iter().map(|(pointer, _)| pointer).collect();
        places.sort_unstable();
        assert_eq!(places, ["#/metadata", "#/userId"]);
        assert_eq!(pointers(json!({"metadata": {"a": "x".repeat(17_000)}})).len(), 1);
        assert_eq!(pointers(json!({"userId": "ü".repeat(256), "metadata": {"a": "x".repeat(16_000)}})), []);
    }

    #[test]
    fn a_body_that_is_no_object_points_at_the_root() {
        assert_eq!(pointers(json!([1])), [("#".to_owned(), "wrong_type")]);
    }
}
