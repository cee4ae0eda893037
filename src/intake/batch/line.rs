//! One request of a batch: what it has beyond a single one. `customId`, `dependsOn` and references to other lines' results are taken
//! out here; the rest is read by [`crate::intake::ask`].

use serde_json::{Map, Value};

use crate::{
    intake::ask::{self, Ask, field},
    providers::schema::FieldError,
};

/// Members beyond those of a single request.
pub(super) const MEMBERS: [&str; 2] = ["customId", "dependsOn"];
/// Second spellings.
pub(super) const ALIASES: [(&str, &str); 2] = [("custom_id", "customId"), ("depends_on", "dependsOn")];
/// Longest customId, in characters.
const LONGEST_ID: usize = 128;
/// Other lines that one may wait for: as many as any model takes images, and then some.
const MOST_DEPENDENCIES: usize = 20;

/// A line whose types are right.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Line {
    /// `customId`.
    pub custom_id: Option<String>,
    /// `dependsOn`: each name with its pointer.
    pub depends_on: Vec<(String, String)>,
    /// Input images that other lines make.
    pub references: Vec<Reference>,
    /// What a single request has.
    pub ask: Ask,
}

/// `{"$result": customId, "index": 0}` in the place of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Which of the input images.
    pub place: usize,
    /// Who makes it.
    pub custom_id: String,
    /// Which of its outputs, from 0.
    pub index: u16,
    /// Where it was written.
    pub pointer: String,
}

/// Reads a line. The second value holds everything that is wrong; a member with an error is left empty.
#[must_use]
pub fn read(value: Value) -> (Line, Vec<FieldError>) {
    let mut errors = Vec::new();
    let Value::Object(mut given) = value else {
        return (Line::default(), vec![ask::wrong_type("", "an object", &value)]);
    };
    let spelled = ask::respell(&mut given, &ALIASES, &mut errors);
    let custom_id = given.remove("customId").filter(|value| !value.is_null());
    let custom_id = custom_id.and_then(|value| ask::text("/customId", value, &mut errors)).and_then(|id| named(id, &mut errors));
    let depends_on = given.remove("dependsOn").filter(|value| !value.is_null());
    let depends_on = depends_on.map(|value| names(value, &mut errors)).unwrap_or_default();
    let references = references(&mut given, &mut errors);
    for error in &mut errors {
        ask::point_at_spelling(&spelled, error);
    }
    let (mut ask, found) = ask::read(Value::Object(given));
    ask.results = references.iter().map(|reference| reference.place).collect();
    errors.extend(found);
    (Line { custom_id, depends_on, references, ask }, errors)
}

/// The rules of a customId: it stands in answers, tables and file names.
fn named(id: String, errors: &mut Vec<FieldError>) -> Option<String> {
    let fault = match id.chars().count() {
        0 => ("empty", "a customId holds at least one character".to_owned()),
        count if count > LONGEST_ID => ("too_long", format!("a customId has at most {LONGEST_ID} characters, this one {count}")),
        _ if id.chars().any(char::is_control) || id.trim().len() < id.len() => {
            ("invalid_text", "a customId has no control characters, and no white space at its ends".to_owned())
        }
        _ => return Some(id),
    };
    errors.push(field("/customId", fault.0, fault.1));
    None
}

fn names(value: Value, errors: &mut Vec<FieldError>) -> Vec<(String, String)> {
    let Value::Array(items) = value else {
        errors.push(ask::wrong_type("/dependsOn", "an array of customIds", &value));
        return Vec::new();
    };
    if items.len() > MOST_DEPENDENCIES {
        errors.push(field("/dependsOn", "too_many", format!("a request depends on at most {MOST_DEPENDENCIES} others")));
        return Vec::new();
    }
    let one = |(i, item)| {
        let at = format!("/dependsOn/{i}");
        ask::text(&at, item, errors).map(|name| (name, format!("#{at}")))
    };
    items.into_iter().enumerate().filter_map(one).collect()
}

/// Takes references out of the input images; an empty text holds their place.
fn references(given: &mut Map<String, Value>, errors: &mut Vec<FieldError>) -> Vec<Reference> {
    let mut found = Vec::new();
    for name in ["inputImages", "input_images"] {
        let Some(Value::Array(images)) = given.get_mut(name) else { continue };
        for (place, image) in images.iter_mut().enumerate() {
            if !image.is_object() {
                continue;
            }
            let taken = std::mem::replace(image, Value::from(""));
            match reference(&taken) {
                Ok((custom_id, index)) => found.push(Reference { place, custom_id, index, pointer: format!("#/{name}/{place}") }),
                Err(mut error) => {
                    error.pointer = format!("#/{name}/{place}{}", error.pointer.trim_start_matches('#'));
                    errors.push(error);
                }
            }
        }
    }
    // Both spellings may be given when they are equal.
    found.sort_by_key(|reference| reference.place);
    found.dedup_by_key(|reference| reference.place);
    found
}

fn reference(image: &Value) -> Result<(String, u16), FieldError> {
    let members = image.as_object().into_iter().flatten();
    if let Some((name, _)) = members.into_iter().find(|(name, _)| !["$result", "index"].contains(&name.as_str())) {
        let at = format!("/{}", ask::escaped(name));
        return Err(ask::unknown_member(&at, name, "a reference to a result", &["$result", "index"]));
    }
    let Some(name) = image.get("$result").and_then(Value::as_str) else {
        return Err(field("/$result", "required", "an image is a URL, or {\"$result\": customId, \"index\": 0}"));
    };
    let index = match image.get("index") {
        None | Some(Value::Null) => Some(0),
        Some(index) => index.as_u64().and_then(|index| u16::try_from(index).ok()),
    };
    match index {
        Some(index) => Ok((name.to_owned(), index)),
        None => Err(field("/index", "wrong_type", "must be the number of an output, from 0")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn errors(value: Value) -> Vec<(String, &'static str)> {
        read(value).1.into_iter().map(|error| (error.pointer, error.code)).collect()
    }

    #[test]
    fn a_line_is_a_request_with_a_name_and_what_it_waits_for() {
        let (line, errors) = read(json!({
            "custom_id": "b", "depends_on": ["a"], "modelIdentifier": "m", "prompt": "p",
            "inputImages": ["https://a/b", {"$result": "a", "index": 2}, {"$result": "c"}],
        }));
        assert_eq!((errors, line.custom_id.as_deref()), (vec![], Some("b")));
        assert_eq!(line.depends_on, [("a".to_owned(), "#/dependsOn/0".to_owned())]);
        let found: Vec<_> =
            line.references.iter().map(|r| (r.place, r.custom_id.as_str(), r.index, r.pointer.as_str())).collect();
        assert_eq!(found, [(1, "a", 2, "#/inputImages/1"), (2, "c", 0, "#/inputImages/2")]);
        assert_eq!((line.ask.results, line.ask.input_images.len()), (vec![1, 2], 3));
    }

    #[test]
    fn a_name_is_one_line_of_bounded_length() {
        assert_eq!(errors(json!({"customId": "ü".repeat(128)})), []);
        assert_eq!(errors(json!({"customId": null})), []);
        for (wrong, code) in [
            (json!(""), "empty"),
            (json!("x".repeat(129)), "too_long"),
            (json!("a\nb"), "invalid_text"),
            (json!(" a"), "invalid_text"),
            (json!(17), "wrong_type"),
        ] {
            assert_eq!(errors(json!({"customId": wrong})), [("#/customId".to_owned(), code)]);
        }
        assert_eq!(errors(json!({"custom_id": ""})), [("#/custom_id".to_owned(), "empty")]);
        assert_eq!(errors(json!({"custom_id": "a", "customId": "b"})), [("#/custom_id".to_owned(), "conflict")]);
    }

    #[test]
    fn references_that_are_none_say_what_they_should_be() {
        for (wrong, pointer, code) in [
            (json!({}), "#/inputImages/0/$result", "required"),
            (json!({"$result": 3}), "#/inputImages/0/$result", "required"),
            (json!({"$result": "a", "index": -1}), "#/inputImages/0/index", "wrong_type"),
            (json!({"$result": "a", "idx": 0}), "#/inputImages/0/idx", "unknown_member"),
        ] {
            assert_eq!(errors(json!({"inputImages": [wrong]})), [(pointer.to_owned(), code)]);
        }
        assert_eq!(errors(json!({"dependsOn": "a"})), [("#/dependsOn".to_owned(), "wrong_type")]);
        assert_eq!(errors(json!({"dependsOn": vec!["a"; 21]})), [("#/dependsOn".to_owned(), "too_many")]);
        assert_eq!(errors(json!({"dependsOn": ["a", 1]})), [("#/dependsOn/1".to_owned(), "wrong_type")]);
    }

    #[test]
    fn what_is_wrong_with_the_rest_is_said_together() {
        let mut found = errors(json!({"customId": 1, "promt": "x", "inputImages": [{"$result": "a"}, 5]}));
        found.sort();
        assert_eq!(found.iter().map(|(at, _)| at.as_str()).collect::<Vec<_>>(), ["#/customId", "#/inputImages/1", "#/promt"]);
    }
}
