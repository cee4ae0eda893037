//! One request for many rows. In the template's texts `{{name}}` stands for a row's value, and `{{name.part}}` for a part of it; a text
//! that is nothing but a placeholder takes the value as it is, with its type. What a row gives under the name of a request's member
//! replaces that member (`parameters` one by one), unless the template has a placeholder of that name.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::{
    intake::{
        ask::{self, field},
        batch::line,
    },
    providers::schema::FieldError,
};

/// Largest request that a template may make, in bytes of text: the default limit of a whole body.
const LARGEST: usize = 16 * 1024 * 1024;

/// A template that was understood.
#[derive(Debug, Clone, Default)]
pub struct Template {
    body: Map<String, Value>,
    /// The first parts of all placeholders.
    names: BTreeSet<String>,
}

/// Which text an error of an expanded request belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The row's; where within it.
    Row(String),
    /// The template's own: the same for every row.
    Template,
}

impl Template {
    /// Reads a template; the pointers begin at it.
    ///
    /// # Errors
    /// It is no object, or some `{{…}}` is no placeholder.
    pub fn read(value: Value) -> Result<Self, Vec<FieldError>> {
        let Value::Object(body) = value else {
            return Err(vec![ask::wrong_type("", "an object", &value)]);
        };
        let (mut names, mut errors) = (BTreeSet::new(), Vec::new());
        for (name, value) in &body {
            collect(value, &format!("/{}", ask::escaped(name)), &mut names, &mut errors);
        }
        if errors.is_empty() { Ok(Self { body, names }) } else { Err(errors) }
    }

    /// The request for a row; the pointers begin at the row.
    ///
    /// # Errors
    /// Everything that is wrong with the row.
    pub fn fill(&self, row: &Map<String, Value>) -> Result<Value, Vec<FieldError>> {
        let mut filling = Filling { row, room: LARGEST, errors: Vec::new() };
        for name in self.names.iter().filter(|name| !row.contains_key(*name)) {
            filling.errors.push(field("", "required", format!("the row has no `{name}`, which the template names")));
        }
        let mut request = Map::new();
        if filling.errors.is_empty() {
            request = self.body.iter().map(|(name, value)| (name.clone(), filling.value(value))).collect();
        }
        for (name, value) in row.iter().filter(|(name, _)| !self.names.contains(*name)) {
            filling.replace(&mut request, name, value);
        }
        if filling.errors.is_empty() { Ok(Value::Object(request)) } else { Err(filling.errors) }
    }

    /// Whose text is at a pointer into the request of a row.
    #[must_use]
    pub fn origin(&self, row: &Map<String, Value>, pointer: &str) -> Origin {
        let mut parts = pointer.trim_start_matches("#/").split('/');
        let first = parts.next().unwrap_or_default();
        let inner = parts.clone().next();
        if let Some((name, given)) = row.iter().find(|(name, _)| same_member(name, first) && !self.names.contains(*name)) {
            let whole = first != "parameters" || inner.is_none_or(|inner| given.get(inner).is_some());
            if whole {
                return Origin::Row(format!(
                    "/{}{}",
                    ask::escaped(name),
                    pointer.trim_start_matches("#/").trim_start_matches(first)
                ));
            }
        }
        let mut at = self.body.iter().find(|(name, _)| same_member(name, first)).map(|(_, value)| value);
        for part in parts {
            at = match at {
                Some(Value::Object(members)) => members.get(part),
                Some(Value::Array(items)) => part.parse::<usize>().ok().and_then(|index| items.get(index)),
                other => other,
            };
        }
        let name = at.and_then(Value::as_str).and_then(|text| pieces(text).find_map(Piece::path)).map(root);
        name.map_or(Origin::Template, |name| Origin::Row(format!("/{}", ask::escaped(name))))
    }
}

/// Whether two names are one member, in whichever spelling.
fn same_member(one: &str, other: &str) -> bool {
    let documented =
        |name| line::ALIASES.iter().chain(&ask::ALIASES).find(|(alias, _)| *alias == name).map_or(name, |(_, name)| *name);
    documented(one) == documented(other)
}

fn is_member(name: &str) -> bool {
    let aliases = line::ALIASES.iter().chain(&ask::ALIASES).map(|(alias, _)| *alias);
    ask::MEMBERS.into_iter().chain(line::MEMBERS).chain(aliases).any(|known| known == name)
}

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    /// What stands between the braces, trimmed.
    Placeholder(&'a str),
}

impl<'a> Piece<'a> {
    const fn path(self) -> Option<&'a str> {
        match self {
            Self::Placeholder(path) => Some(path),
            Self::Text(_) => None,
        }
    }
}

/// Braces that are never closed are text.
fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let opened = rest.find("{{").and_then(|open| Some((open, open + rest.get(open..)?.find("}}")?)));
        let (piece, after) = match opened {
            Some((0, close)) => (Piece::Placeholder(rest.get(2..close).unwrap_or_default().trim()), close.saturating_add(2)),
            Some((open, _)) => (Piece::Text(rest.get(..open).unwrap_or_default()), open),
            None => (Piece::Text(rest), rest.len()),
        };
        rest = rest.get(after..).unwrap_or_default();
        Some(piece)
    })
}

fn root(path: &str) -> &str {
    path.split('.').next().unwrap_or(path)
}

/// Letters of any language, digits, `_` and `-`, with dots between parts.
fn is_path(path: &str) -> bool {
    path.split('.').all(|part| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-'))
}

fn collect(value: &Value, at: &str, names: &mut BTreeSet<String>, errors: &mut Vec<FieldError>) {
    match value {
        Value::String(text) => {
            for path in pieces(text).filter_map(Piece::path) {
                if is_path(path) {
                    names.insert(root(path).to_owned());
                } else {
                    let shown: String = path.chars().take(64).collect();
                    let detail = format!("`{{{{{shown}}}}}` is no placeholder: write {{{{name}}}} or {{{{name.part}}}}");
                    errors.push(field(at, "invalid_placeholder", detail));
                }
            }
        }
        Value::Array(items) => items.iter().enumerate().for_each(|(i, item)| collect(item, &format!("{at}/{i}"), names, errors)),
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| collect(value, &format!("{at}/{}", ask::escaped(name)), names, errors));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// One request in the making.
struct Filling<'a> {
    row: &'a Map<String, Value>,
    /// Bytes of text that may still be made: a template may repeat a row's text many times.
    room: usize,
    errors: Vec<FieldError>,
}

impl Filling<'_> {
    fn value(&mut self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.text(text),
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), self.value(value))).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    fn text(&mut self, text: &str) -> Value {
        let mut pieces = pieces(text);
        match (pieces.next(), pieces.next()) {
            (Some(Piece::Placeholder(path)), None) => {
                let value = self.look_up(path).cloned();
                self.spend(value.as_ref().map_or(0, weight), path);
                return value.unwrap_or_default();
            }
            (Some(Piece::Text(_)) | None, None) => {
                self.spend(text.len(), text);
                return Value::from(text);
            }
            (_, Some(_)) => {}
        }
        let mut made = String::new();
        for piece in self::pieces(text) {
            let part = match piece {
                Piece::Text(part) => part.to_owned(),
                Piece::Placeholder(path) => self.in_text(path),
            };
            self.spend(part.len(), text);
            if self.room == 0 {
                break;
            }
            made.push_str(&part);
        }
        Value::from(made)
    }

    /// A value within a text.
    fn in_text(&mut self, path: &str) -> String {
        match self.look_up(path) {
            Some(Value::String(text)) => text.clone(),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
            Some(value @ (Value::Null | Value::Array(_) | Value::Object(_))) => {
                let at = format!("/{}", ask::escaped(root(path)));
                let error = ask::wrong_type(&at, "text, a number, true or false, because it stands within a text", value);
                self.errors.push(error);
                String::new()
            }
            None => String::new(),
        }
    }

    fn look_up(&mut self, path: &str) -> Option<&Value> {
        let mut parts = path.split('.');
        let found = self.row.get(parts.next().unwrap_or_default());
        let found = parts.try_fold(found?, |value, part| value.get(part));
        if found.is_none() {
            let at = format!("/{}", ask::escaped(root(path)));
            self.errors.push(field(&at, "required", format!("there is no `{path}`, which the template names")));
        }
        found
    }

    fn spend(&mut self, bytes: usize, of: &str) {
        match self.room.checked_sub(bytes) {
            Some(left) => self.room = left,
            None if self.room == 0 => {}
            None => {
                self.room = 0;
                let shown: String = of.chars().take(64).collect();
                let detail = format!("with this row a request is larger than {LARGEST} bytes, at `{shown}`");
                self.errors.push(field("", "too_large", detail));
            }
        }
    }

    /// Puts a row's member in the place of the template's.
    fn replace(&mut self, request: &mut Map<String, Value>, name: &str, value: &Value) {
        if !is_member(name) {
            let detail = "names neither a placeholder of the template nor a member of a request";
            self.errors.push(field(&format!("/{}", ask::escaped(name)), "unknown_member", detail));
            return;
        }
        self.spend(weight(value), name);
        match (request.get_mut(name), value) {
            (Some(Value::Object(known)), Value::Object(given)) if name == "parameters" => known.extend(given.clone()),
            _ => {
                request.retain(|known, _| !same_member(known, name));
                request.insert(name.to_owned(), value.clone());
            }
        }
    }
}

/// Bytes of text in a value; what is no text counts as a word.
#[must_use]
pub fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(weight).fold(0, usize::saturating_add),
        Value::Object(members) => members.iter().map(|(name, value)| name.len() + weight(value)).fold(0, usize::saturating_add),
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template(value: Value) -> Template {
        Template::read(value).unwrap()
    }

    fn row(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn fill(with: Value, of: Value) -> Result<Value, Vec<(String, &'static str)>> {
        let filled = template(with).fill(&row(of));
        filled.map_err(|errors| errors.into_iter().map(|error| (error.pointer, error.code)).collect())
    }

    #[test]
    fn placeholders_take_a_rows_values_within_texts_and_with_their_types() {
        let made = fill(
            json!({"prompt": "{{ product.name }}, {{angle}}, {{n}} of 3", "inputImages": ["{{product.image}}"],
                "parameters": {"seed": "{{n}}", "raw": true}, "customId": "{{product.sku}}-{{angle}}"}),
            json!({"product": {"name": "Stiefel", "sku": "s1", "image": "https://a/b"}, "angle": "vorn", "n": 2}),
        );
        let wanted = json!({"prompt": "Stiefel, vorn, 2 of 3", "inputImages": ["https://a/b"],
            "parameters": {"seed": 2, "raw": true}, "customId": "s1-vorn"});
        assert_eq!(made, Ok(wanted));
    }

    #[test]
    fn a_rows_members_replace_the_templates_and_parameters_one_by_one() {
        let made = fill(
            json!({"modelIdentifier": "a", "input_images": ["x"], "parameters": {"seed": 1, "raw": true}}),
            json!({"modelIdentifier": "b", "inputImages": ["y"], "prompt": "p", "parameters": {"seed": 2}}),
        );
        let wanted = json!({"modelIdentifier": "b", "inputImages": ["y"], "prompt": "p", "parameters": {"seed": 2, "raw": true}});
        assert_eq!(made, Ok(wanted));
    }

    #[test]
    fn a_placeholder_goes_before_the_member_of_its_name() {
        assert_eq!(fill(json!({"prompt": "a {{prompt}}"}), json!({"prompt": "cat"})), Ok(json!({"prompt": "a cat"})));
    }

    #[test]
    fn what_is_missing_or_unknown_in_a_row_is_named() {
        assert_eq!(
            fill(json!({"prompt": "{{a}}"}), json!({"b": 1})),
            Err(vec![("#".to_owned(), "required"), ("#/b".to_owned(), "unknown_member")])
        );
        assert_eq!(fill(json!({"prompt": "{{a.b}}"}), json!({"a": {"c": 1}})), Err(vec![("#/a".to_owned(), "required")]));
        assert_eq!(fill(json!({"prompt": "a {{a}}"}), json!({"a": [1]})), Err(vec![("#/a".to_owned(), "wrong_type")]));
    }

    #[test]
    fn braces_that_are_no_placeholder_are_refused_and_single_or_open_ones_are_text() {
        for wrong in ["{{}}", "{{a b}}", "{{a..b}}", "{{{a}}}", "x {{#if}}"] {
            let errors = Template::read(json!({"parameters": {"x": [wrong]}})).unwrap_err();
            assert_eq!((errors[0].pointer.as_str(), errors[0].code), ("#/parameters/x/0", "invalid_placeholder"), "{wrong}");
        }
        for text in ["{a}", "{{a", "a}}", "{ {a} }", ""] {
            assert_eq!(fill(json!({"prompt": text}), json!({})), Ok(json!({"prompt": text})));
        }
    }

    #[test]
    fn a_template_cannot_blow_a_row_up_without_bound() {
        let text = "{{a}}".repeat(10_000);
        let errors = fill(json!({"prompt": text, "userId": "{{a}}"}), json!({"a": "x".repeat(10_000)})).unwrap_err();
        assert_eq!(errors, [("#".to_owned(), "too_large")]);
    }

    #[test]
    fn an_error_is_told_to_belong_to_the_row_or_to_the_template() {
        let template = template(json!({"modelIdentifier": "m", "prompt": "a {{thing}}", "input_images": ["{{thing}}", "x"],
            "parameters": {"seed": 1, "size": "{{size}}"}}));
        let row = row(json!({"thing": "t", "size": 3, "parameters": {"raw": 1}, "userId": 7}));
        for (pointer, wanted) in [
            ("#/modelIdentifier", Origin::Template),
            ("#/prompt", Origin::Row("/thing".to_owned())),
            ("#/inputImages/0", Origin::Row("/thing".to_owned())),
            ("#/input_images/1", Origin::Template),
            ("#/parameters/seed", Origin::Template),
            ("#/parameters/size", Origin::Row("/size".to_owned())),
            ("#/parameters/raw", Origin::Row("/parameters/raw".to_owned())),
            ("#/userId", Origin::Row("/userId".to_owned())),
            ("#/metadata", Origin::Template),
        ] {
            assert_eq!(template.origin(&row, pointer), wanted, "{pointer}");
        }
    }
}
