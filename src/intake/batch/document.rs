//! Reads the forms in which requests come: `requests`, `template` with `rows`, `template` with `matrix`; and of a body of lines the
//! first, when it holds what belongs to all.

use serde_json::{Map, Value};

use crate::{
    intake::{
        ask::{self, field},
        batch::{
            expansion::{Expansion, Rows},
            template::Template,
        },
    },
    providers::schema::FieldError,
};

/// A JSON body.
#[derive(Debug, Clone)]
pub struct Document {
    /// `options`.
    pub options: Map<String, Value>,
    /// The requests.
    pub form: Form,
}

/// The requests of a JSON body.
#[derive(Debug, Clone)]
pub enum Form {
    /// One by one.
    Requests(Vec<Value>),
    /// From a template.
    Expansion(Expansion),
}

/// What the first line may say of all that follow.
#[derive(Debug, Clone, Default)]
pub struct Head {
    /// `options`.
    pub options: Map<String, Value>,
    /// `template`: then every further line is a row.
    pub template: Option<Template>,
    /// `template` with `matrix`: then no further line follows.
    pub expansion: Option<Expansion>,
}

impl Form {
    /// How many requests there are.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Requests(requests) => requests.len(),
            Self::Expansion(expansion) => expansion.count(),
        }
    }
}

/// Reads a JSON body.
///
/// # Errors
/// Everything that is wrong with its frame; the requests themselves are not looked at.
pub fn read(body: Value) -> Result<Document, Vec<FieldError>> {
    let Value::Object(mut given) = body else {
        return Err(vec![ask::wrong_type("", "an object with `requests`, or with `template` and `rows` or `matrix`", &body)]);
    };
    let mut errors = Vec::new();
    let options = options(&mut given, &mut errors);
    let [requests, template, rows, matrix] = ["requests", "template", "rows", "matrix"].map(|name| taken(&mut given, name));
    unknown(&given, &["options", "requests", "template", "rows", "matrix"], &mut errors);
    let form = match (requests, template, rows, matrix) {
        (Some(requests), None, None, None) => array("/requests", requests, &mut errors).map(Form::Requests),
        (None, Some(template), Some(rows), None) => {
            let template = below("/template", Template::read(template), &mut errors);
            let rows = array("/rows", rows, &mut errors).map(Rows::Given);
            template.zip(rows).map(|(template, rows)| Form::Expansion(Expansion::new(template, rows)))
        }
        (None, template, None, Some(matrix)) => of_matrix(template, matrix, &mut errors).map(Form::Expansion),
        _ => {
            let detail =
                "give `requests`; or `template` with `rows`; or `matrix`, with a `template` where its axes are not enough";
            errors.push(field("", "required", detail));
            None
        }
    };
    match form {
        Some(form) if errors.is_empty() => Ok(Document { options, form }),
        _ => Err(errors),
    }
}

/// Reads the first line of a body of lines; none when it is a request like the others.
///
/// # Errors
/// Everything that is wrong with it.
pub fn head(line: &Value) -> Option<Result<Head, Vec<FieldError>>> {
    let members = line.as_object()?;
    if !["options", "template", "matrix"].iter().any(|name| members.contains_key(*name)) {
        return None;
    }
    let (mut given, mut errors) = (members.clone(), Vec::new());
    let options = options(&mut given, &mut errors);
    let (template, matrix) = (taken(&mut given, "template"), taken(&mut given, "matrix"));
    unknown(&given, &["options", "template", "matrix"], &mut errors);
    let mut head = Head { options, ..Head::default() };
    match (template, matrix) {
        (template, Some(matrix)) => head.expansion = of_matrix(template, matrix, &mut errors),
        (Some(template), None) => head.template = below("/template", Template::read(template), &mut errors),
        (None, None) => {}
    }
    Some(if errors.is_empty() { Ok(head) } else { Err(errors) })
}

fn of_matrix(template: Option<Value>, matrix: Value, errors: &mut Vec<FieldError>) -> Option<Expansion> {
    let template = template.map_or(Some(Template::default()), |template| below("/template", Template::read(template), errors));
    let rows = below("/matrix", Rows::matrix(matrix), errors);
    template.zip(rows).map(|(template, rows)| Expansion::new(template, rows))
}

fn taken(given: &mut Map<String, Value>, name: &str) -> Option<Value> {
    given.remove(name).filter(|value| !value.is_null())
}

fn options(given: &mut Map<String, Value>, errors: &mut Vec<FieldError>) -> Map<String, Value> {
    taken(given, "options").and_then(|value| ask::object("/options", value, errors)).unwrap_or_default()
}

fn unknown(given: &Map<String, Value>, known: &[&str], errors: &mut Vec<FieldError>) {
    for name in given.keys() {
        errors.push(ask::unknown_member(&format!("/{}", ask::escaped(name)), name, "a batch", known));
    }
}

fn array(at: &str, value: Value, errors: &mut Vec<FieldError>) -> Option<Vec<Value>> {
    match value {
        Value::Array(items) => Some(items),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            errors.push(ask::wrong_type(at, "an array", &value));
            None
        }
    }
}

/// Keeps a value, or its errors with their pointers below `at`.
fn below<T>(at: &str, read: Result<T, Vec<FieldError>>, errors: &mut Vec<FieldError>) -> Option<T> {
    match read {
        Ok(value) => Some(value),
        Err(found) => {
            errors.extend(
                found
                    .into_iter()
                    .map(|error| FieldError { pointer: format!("#{at}{}", error.pointer.trim_start_matches('#')), ..error }),
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn errors(body: Value) -> Vec<(String, &'static str)> {
        read(body).unwrap_err().into_iter().map(|error| (error.pointer, error.code)).collect()
    }

    #[test]
    fn requests_come_in_three_forms() {
        for (body, count) in [
            (json!({"requests": [{}, {}], "options": {"name": "x"}}), 2),
            (json!({"template": {"prompt": "{{a}}"}, "rows": [{"a": 1}], "options": null}), 1),
            (json!({"template": {"prompt": "{{a}}"}, "matrix": {"a": [1, 2], "userId": ["x", "y"]}}), 4),
            (json!({"matrix": {"prompt": ["p"], "modelIdentifier": ["m", "n"]}}), 2),
        ] {
            assert_eq!(read(body).unwrap().form.count(), count);
        }
    }

    #[test]
    fn a_frame_that_is_wrong_says_all_of_it() {
        for body in [json!({}), json!({"requests": [], "rows": []}), json!({"template": {}}), json!({"rows": []})] {
            assert_eq!(errors(body), [("#".to_owned(), "required")]);
        }
        assert_eq!(errors(json!([])), [("#".to_owned(), "wrong_type")]);
        let found = errors(json!({"template": {"prompt": "{{}}"}, "rows": {}, "options": 1, "request": []}));
        let places: Vec<&str> = found.iter().map(|(at, _)| at.as_str()).collect();
        assert_eq!(places, ["#/options", "#/request", "#/template/prompt", "#/rows"]);
    }

    #[test]
    fn the_first_line_may_speak_for_all() {
        assert!(head(&json!({"modelIdentifier": "m", "prompt": "p"})).is_none());
        assert!(head(&json!(3)).is_none());
        let options = head(&json!({"options": {"name": "x"}})).unwrap().unwrap();
        assert_eq!((options.options.len(), options.template.is_some(), options.expansion.is_some()), (1, false, false));
        assert!(head(&json!({"template": {"prompt": "{{a}}"}})).unwrap().unwrap().template.is_some());
        assert_eq!(head(&json!({"matrix": {"prompt": ["a"]}})).unwrap().unwrap().expansion.unwrap().count(), 1);
        let wrong = head(&json!({"options": {}, "requests": []})).unwrap().unwrap_err();
        assert_eq!((wrong[0].pointer.as_str(), wrong[0].code), ("#/requests", "unknown_member"));
    }
}
