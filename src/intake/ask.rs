//! Reads a submitted JSON object: names, spellings, types and outer limits. What the model makes of it is [`super::command`]'s
//! question. Everything wrong is reported at once, each with a JSON pointer.

use serde_json::{Map, Value};
use url::Url;
use validator::{Validate, ValidationError};

use crate::{
    config::load::nearest,
    domain::unconfirmed::OnUnconfirmed,
    net::guard::{Allow, check_url},
    providers::schema::FieldError,
};

/// Members of the request, in the documented spelling.
pub(super) const MEMBERS: [&str; 10] = [
    "modelIdentifier",
    "prompt",
    "inputImages",
    "numberOfOutputs",
    "parameters",
    "userId",
    "metadata",
    "onUnconfirmed",
    "priority",
    "webhookUrl",
];
/// Second spellings: clients of other services send them.
pub(super) const ALIASES: [(&str, &str); 4] = [
    ("input_images", "inputImages"),
    ("number_of_outputs", "numberOfOutputs"),
    ("on_unconfirmed", "onUnconfirmed"),
    ("webhook_url", "webhookUrl"),
];
/// Priorities by word; 1 is most urgent, 10 least.
const PRIORITIES: [(&str, u8); 5] = [("urgent", 1), ("high", 3), ("normal", 5), ("low", 7), ("background", 10)];
/// Longest webhook URL, in bytes: what browsers and proxies take everywhere.
const LONGEST_WEBHOOK_URL: usize = 2_048;
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
    /// `priority`: 1 (most urgent) to 10.
    pub priority: Option<u8>,
    /// `webhookUrl`.
    pub webhook_url: Option<String>,
    /// Places of `input_images` that hold another generation's result instead of an image; set by [`super::batch`] only.
    pub results: Vec<usize>,
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
    let mut ask = Ask { spelled: respell(&mut given, &ALIASES, &mut errors), ..Ask::default() };
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
        point_at_spelling(&self.spelled, error);
    }
}

/// Points an error at the spelling that the client used; `spelled` is what [`respell`] answered.
pub(super) fn point_at_spelling(spelled: &[(&'static str, &'static str)], error: &mut FieldError) {
    for (documented, used) in spelled {
        let rest = error.pointer.strip_prefix("#/").and_then(|path| path.strip_prefix(documented));
        if let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with('/')) {
            error.pointer = format!("#/{used}{rest}");
        }
    }
}

/// Brings second spellings to the documented one; says which were used: (documented, given).
pub(super) fn respell(
    given: &mut Map<String, Value>,
    aliases: &[(&'static str, &'static str)],
    errors: &mut Vec<FieldError>,
) -> Vec<(&'static str, &'static str)> {
    let mut spelled = Vec::new();
    for &(alias, name) in aliases {
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
        "priority" => ask.priority = priority(&at, &value, errors),
        "webhookUrl" => ask.webhook_url = text(&at, value, errors).and_then(|url| webhook_url(&at, url, errors)),
        _ => errors.push(unknown_member(&at, name, "this request", &MEMBERS)),
    }
}

/// Says that nothing has this name, and what may have been meant.
pub(crate) fn unknown_member(at: &str, name: &str, of: &str, known: &[&str]) -> FieldError {
    let hint = nearest(name, known.iter().copied()).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    let shown: String = name.chars().take(64).collect();
    field(at, "unknown_member", format!("`{shown}` is not a member of {of}{hint}"))
}

/// 1 to 10, or a word.
pub(super) fn priority(at: &str, value: &Value, errors: &mut Vec<FieldError>) -> Option<u8> {
    let by_word = value.as_str().and_then(|word| PRIORITIES.into_iter().find(|(known, _)| *known == word));
    let number = || value.as_i64().and_then(|number| u8::try_from(number).ok()).filter(|number| (1..=10).contains(number));
    let found = by_word.map(|(_, number)| number).or_else(number);
    if found.is_none() {
        let words = PRIORITIES.map(|(word, number)| format!("{word} ({number})"));
        let detail = format!("must be a whole number from 1 (most urgent) to 10, or one of {}", words.join(", "));
        errors.push(field(at, "not_one_of", detail));
    }
    found
}

/// An http(s) URL that carries no password. Whether it may be called is [`may_be_called`]'s question.
pub(super) fn webhook_url(at: &str, url: String, errors: &mut Vec<FieldError>) -> Option<String> {
    let fault = match Url::parse(&url) {
        _ if url.len() > LONGEST_WEBHOOK_URL => Some("has at most 2,048 bytes"),
        Ok(parsed) if !["http", "https"].contains(&parsed.scheme()) => Some("begins with https:// or http://"),
        Ok(parsed) if parsed.host_str().is_none_or(str::is_empty) => Some("names a host"),
        Ok(parsed) if !parsed.username().is_empty() || parsed.password().is_some() => Some("carries no user name or password"),
        Ok(_) => None,
        Err(_) => Some("is an absolute URL such as https://example.com/hook"),
    };
    match fault {
        None => Some(url),
        Some(rule) => {
            errors.push(field(at, "invalid_url", format!("a webhook URL {rule}")));
            None
        }
    }
}

/// Refuses what would never be sent: the scheme, or an address that stands in the URL. Where a name leads is asked when it is called.
pub(super) fn may_be_called(at: &str, url: &str, allow: &Allow) -> Result<(), FieldError> {
    let parsed = Url::parse(url).map_err(|error| field(at, "invalid_url", error.to_string()))?;
    check_url(&parsed, allow).map_err(|refused| field(at, "not_allowed", refused.to_string()))
}

pub(super) fn text(at: &str, value: Value, errors: &mut Vec<FieldError>) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            errors.push(wrong_type(at, "a string", &value));
            None
        }
    }
}

pub(super) fn policy(at: &str, word: &str, errors: &mut Vec<FieldError>) -> Option<OnUnconfirmed> {
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
pub(super) fn integer(at: &str, value: &Value, errors: &mut Vec<FieldError>) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "whole and far below the limit by the filter")]
    let whole = |number: f64| (number.fract() == 0.0 && number.abs() < 1e15).then_some(number as i64);
    let number = value.as_i64().or_else(|| value.as_f64().and_then(whole));
    if number.is_none() {
        errors.push(wrong_type(at, "a whole number", value));
    }
    number
}

pub(super) fn object(at: &str, value: Value, errors: &mut Vec<FieldError>) -> Option<Map<String, Value>> {
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

pub(super) fn metadata_fits(metadata: &Map<String, Value>) -> Result<(), ValidationError> {
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

pub(crate) fn wrong_type(at: &str, wanted: &str, value: &Value) -> FieldError {
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
pub(crate) fn escaped(name: &str) -> String {
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
    fn a_priority_is_a_number_or_a_word() {
        for (given, wanted) in [(json!(1), 1), (json!(10), 10), (json!("urgent"), 1), (json!("background"), 10)] {
            assert_eq!(read(json!({"priority": given})).0.priority, Some(wanted));
        }
        for wrong in [json!(0), json!(11), json!("5"), json!(2.5), json!("hurry"), json!([])] {
            assert_eq!(pointers(json!({"priority": wrong})), [("#/priority".to_owned(), "not_one_of")]);
        }
    }

    #[test]
    fn a_webhook_goes_to_an_absolute_url_without_a_password() {
        let (ask, errors) = read(json!({"webhook_url": "https://example.com/hook?a=1"}));
        assert_eq!((errors, ask.webhook_url.as_deref()), (vec![], Some("https://example.com/hook?a=1")));
        let long = format!("https://example.com/{}", "x".repeat(2_048));
        for wrong in ["", "/hook", "ftp://example.com/", "https://u:p@example.com/", long.as_str()] {
            assert_eq!(pointers(json!({"webhookUrl": wrong})), [("#/webhookUrl".to_owned(), "invalid_url")], "{wrong}");
        }
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
