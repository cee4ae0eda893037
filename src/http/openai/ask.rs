//! From the members that OpenAI's clients send to what intake is asked: a model of the catalogue and its own parameters. What does not
//! fit is refused with the values that would; nothing is dropped in silence but what means "as you like". Pure.

use serde_json::{Map, Value};

use super::size;
use crate::{
    config::load::nearest,
    domain::record::Kind,
    intake::ask::Ask,
    providers::{
        catalogue::{Catalogue, Model},
        schema::{Accepted, FieldError, Input},
    },
};

/// What a route reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// What its models make.
    pub kind: Kind,
    /// The members that it knows (PyPI `openai` 3.54, `types/*_params.py`), and ours: `parameters`.
    pub members: &'static [&'static str],
}

/// `POST /v1/videos`.
pub const VIDEO: Shape = Shape {
    kind: Kind::Video,
    members: &["model", "prompt", "seconds", "size", "input_reference", "quality", "n", "user", "parameters"],
};

/// `POST /v1/images/generations`.
pub const IMAGE: Shape = Shape {
    kind: Kind::Image,
    members: &[
        "model",
        "prompt",
        "n",
        "size",
        "quality",
        "style",
        "background",
        "moderation",
        "output_format",
        "output_compression",
        "response_format",
        "stream",
        "partial_images",
        "complexity",
        "frame_count",
        "frame_duration_ms",
        "svg",
        "user",
        "safety_identifier",
        "parameters",
    ],
};

/// Why a request is refused before intake sees it.
#[derive(Debug, Clone, PartialEq)]
pub enum Wrong {
    /// There is no such model here: a sentence.
    Model(String),
    /// Everything else that is wrong.
    Values(Vec<FieldError>),
}

/// One member that is being read.
struct Reading<'a> {
    model: &'a Model,
    ask: Ask,
    errors: Vec<FieldError>,
}

/// Reads the members of a request.
///
/// # Errors
/// An unknown model alone; else everything that is wrong with the values, at once.
pub fn read(given: Map<String, Value>, shape: Shape, catalogue: &Catalogue) -> Result<Ask, Wrong> {
    let model = model(given.get("model"), shape.kind, catalogue)?;
    let ask = Ask { model: Some(model.id.to_string()), ..Ask::default() };
    let mut reading = Reading { model, ask, errors: Vec::new() };
    let mut given: Map<String, Value> = given.into_iter().filter(|(_, value)| !value.is_null()).collect();
    given.remove("model");
    // First, so that a size that says the same again is noticed.
    if let Some(parameters) = given.remove("parameters").filter(|_| shape.members.contains(&"parameters")) {
        reading.parameters(parameters);
    }
    for (name, value) in given {
        match shape.members.iter().find(|member| **member == name) {
            Some(_) => reading.member(&name, &value),
            None => reading.refuse(&name, "unknown_parameter", unknown(&name, shape.members)),
        }
    }
    if reading.errors.is_empty() { Ok(reading.ask) } else { Err(Wrong::Values(reading.errors)) }
}

fn unknown(name: &str, known: &[&str]) -> String {
    let shown: String = name.chars().take(64).collect();
    let hint = nearest(&shown, known.iter().copied()).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    format!("`{shown}` is not a member of this request{hint}")
}

fn model<'a>(given: Option<&Value>, kind: Kind, catalogue: &'a Catalogue) -> Result<&'a Model, Wrong> {
    let makes = |kind: Kind| match kind {
        Kind::Image => "images",
        Kind::Video => "videos",
    };
    let names = || catalogue.models().filter(|model| model.kind == kind).map(|model| &*model.id).collect::<Vec<_>>().join(", ");
    let wrong = |code, detail| Wrong::Values(vec![field("model", code, detail)]);
    let id = match given {
        None | Some(Value::Null) => return Err(wrong("required", format!("`model` must be one of {}", names()))),
        Some(Value::String(id)) => id,
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            return Err(wrong("wrong_type", "`model` must be a string".to_owned()));
        }
    };
    match catalogue.model(id) {
        Some(model) if model.kind == kind => Ok(model),
        Some(model) => {
            let detail = format!("`{id}` makes {}; for {} there are {}", makes(model.kind), makes(kind), names());
            Err(wrong("not_one_of", detail))
        }
        None => {
            let shown: String = id.chars().take(100).collect();
            Err(Wrong::Model(format!("there is no model `{shown}` here; for {} there are {}", makes(kind), names())))
        }
    }
}

fn field(name: &str, code: &'static str, detail: String) -> FieldError {
    let shown: String = name.chars().take(64).collect();
    FieldError { pointer: format!("#/{shown}"), code, detail }
}

impl Reading<'_> {
    fn refuse(&mut self, name: &str, code: &'static str, detail: String) {
        self.errors.push(field(name, code, detail));
    }

    fn member(&mut self, name: &str, value: &Value) {
        match name {
            "prompt" => self.ask.prompt = self.text(name, value),
            "user" | "safety_identifier" => self.ask.user_id = self.text(name, value).or(self.ask.user_id.take()),
            "n" => self.ask.number_of_outputs = self.number(name, value),
            "seconds" => self.seconds(value),
            "size" => self.size(value),
            "quality" => self.quality(value),
            "input_reference" => self.reference(value),
            "output_format" => self.format(value),
            "output_compression" => self.compression(value),
            "style" => self.passed_on(name, value),
            "background" => self.only(name, value, &["auto", "opaque"]),
            "moderation" => self.only(name, value, &["auto"]),
            "stream" => self.only_false(name, value),
            "partial_images" => self.only_zero(name, value),
            // Read by the route: it decides about the answer, not about the generation.
            "response_format" => {}
            _ => self.refuse(name, "not_taken", format!("{} takes no `{name}`", self.model.id)),
        }
    }

    fn text(&mut self, name: &str, value: &Value) -> Option<String> {
        let text = value.as_str().map(str::to_owned);
        if text.is_none() {
            self.refuse(name, "wrong_type", format!("`{name}` must be a string"));
        }
        text
    }

    /// A form sends numbers as texts, and so do these clients where they mean an enumeration (`seconds`).
    fn number(&mut self, name: &str, value: &Value) -> Option<i64> {
        let number = value.as_i64().or_else(|| value.as_str()?.trim().parse().ok());
        if number.is_none() {
            self.refuse(name, "wrong_type", format!("`{name}` must be a whole number"));
        }
        number
    }

    fn input(&self, name: &str) -> Option<Input> {
        self.model.inputs.iter().find(|input| input.name == name).cloned()
    }

    /// The value of one input under the client's name for it; a parameter of the same name may not say it again.
    fn put(&mut self, name: &str, input: &Input, value: Value) {
        match input.accepted.check(&value) {
            Err(fault) => self.refuse(name, fault.code, format!("`{name}` {}", fault.detail)),
            Ok(value) => {
                if self.ask.parameters.insert(input.name.to_owned(), value).is_some() {
                    let detail = format!("`{name}` and `parameters.{}` say the same thing twice: give one of them", input.name);
                    self.refuse(name, "conflict", detail);
                }
            }
        }
    }

    fn seconds(&mut self, value: &Value) {
        let Some(seconds) = self.number("seconds", value) else { return };
        match self.input("duration") {
            Some(input) => self.put("seconds", &input, seconds.into()),
            None => {
                let detail = format!("{} makes clips of one length only: leave `seconds` out", self.model.id);
                self.refuse("seconds", "not_taken", detail);
            }
        }
    }

    fn size(&mut self, value: &Value) {
        let Some(size) = self.text("size", value) else { return };
        if let Err(detail) = size::fit(self.model, size.trim(), &mut self.ask.parameters) {
            self.refuse("size", "not_one_of", detail);
        }
    }

    /// `quality` where the model has it; Kling's two modes otherwise. `auto` leaves it to the model.
    fn quality(&mut self, value: &Value) {
        let Some(word) = self.text("quality", value) else { return };
        if let Some(input) = self.input("quality") {
            if word != "auto" || input.accepted.check(value).is_ok() {
                self.put("quality", &input, word.into());
            }
            return;
        }
        match (self.input("mode"), word.as_str()) {
            (_, "auto") => {}
            (Some(input), "standard" | "low" | "medium") => self.put("quality", &input, "standard".into()),
            (Some(input), "hd" | "high") => self.put("quality", &input, "pro".into()),
            (Some(_), _) => {
                let detail = format!("`quality` of {} is auto, standard (low, medium) or hd (high)", self.model.id);
                self.refuse("quality", "not_one_of", detail);
            }
            // What the retired models called their ordinary quality.
            (None, "standard") => {}
            (None, _) => {
                self.refuse("quality", "not_taken", format!("{} has one quality only: leave `quality` out", self.model.id))
            }
        }
    }

    /// A URL, or a file that the form turned into a `data:` URL.
    fn reference(&mut self, value: &Value) {
        let url = match value {
            Value::String(url) => Some(url),
            Value::Object(members) => match members.get("image_url") {
                Some(Value::String(url)) => Some(url),
                Some(_) | None => None,
            },
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
        };
        match url {
            Some(url) => self.ask.input_images = vec![url.clone()],
            None => {
                let detail = "`input_reference` is a file of the form, or {\"image_url\": \"https://… or data:image/…\"}; there are no stored files here";
                self.refuse("input_reference", "wrong_type", detail.to_owned());
            }
        }
    }

    /// JPEG has two names.
    fn format(&mut self, value: &Value) {
        let other = if value == "jpeg" { "jpg" } else { "jpeg" };
        let spelled = match self.input("output_format") {
            Some(input) if input.accepted.check(value).is_err() && ["jpeg", "jpg"].iter().any(|word| value == word) => {
                other.into()
            }
            Some(_) | None => value.clone(),
        };
        self.passed_on("output_format", &spelled);
    }

    fn compression(&mut self, value: &Value) {
        let Some(percent) = self.number("output_compression", value) else { return };
        match self.input("output_quality") {
            Some(input) => self.put("output_compression", &input, percent.into()),
            None if percent == 100 => {}
            None => self.refuse("output_compression", "not_taken", format!("{} takes no `output_compression`", self.model.id)),
        }
    }

    /// An input that the model has under the same name.
    fn passed_on(&mut self, name: &str, value: &Value) {
        match self.input(name) {
            Some(input) => self.put(name, &input, value.clone()),
            None => self.refuse(name, "not_taken", format!("{} takes no `{name}`", self.model.id)),
        }
    }

    fn only(&mut self, name: &str, value: &Value, words: &[&str]) {
        if !words.iter().any(|word| value == word) {
            self.refuse(name, "not_one_of", format!("`{name}` can only be {} here", words.join(" or ")));
        }
    }

    fn only_false(&mut self, name: &str, value: &Value) {
        if *value != Value::Bool(false) {
            self.refuse(name, "not_taken", format!("`{name}` can only be false: images are answered whole"));
        }
    }

    fn only_zero(&mut self, name: &str, value: &Value) {
        if value.as_i64() != Some(0) {
            self.refuse(name, "not_taken", format!("`{name}` can only be 0: images are answered whole"));
        }
    }

    /// The model's own parameters, for what OpenAI's have no word for. A form sends every value as text.
    fn parameters(&mut self, value: Value) {
        let Value::Object(parameters) = value else {
            return self.refuse("parameters", "wrong_type", "`parameters` must be an object".to_owned());
        };
        for (name, value) in parameters {
            let value = match self.input(&name) {
                Some(input) => typed(&input.accepted, value),
                None => value,
            };
            self.ask.parameters.insert(name, value);
        }
    }
}

/// A text as the input's own type, where it reads as one.
fn typed(accepted: &Accepted, value: Value) -> Value {
    let Some(text) = value.as_str() else { return value };
    let read = match accepted {
        Accepted::Integer { .. } => text.parse::<i64>().ok().map(Value::from),
        Accepted::Number { .. } => text.parse::<f64>().ok().map(Value::from),
        Accepted::Flag { .. } => text.parse::<bool>().ok().map(Value::from),
        Accepted::Choice(_) | Accepted::Text { .. } | Accepted::Size { .. } => None,
    };
    read.unwrap_or(value)
}

/// The client's own name in what intake finds wrong.
pub fn rename(error: &mut FieldError) {
    let ours = error.pointer.trim_start_matches("#/");
    let name = match ours {
        "parameters/duration" => "seconds",
        "parameters/size_or_ratio"
        | "parameters/aspect_ratio"
        | "parameters/resolution"
        | "parameters/width"
        | "parameters/height" => "size",
        "parameters/quality" | "parameters/mode" => "quality",
        "parameters/n" | "numberOfOutputs" => "n",
        "modelIdentifier" => "model",
        "userId" => "user",
        _ if ours.starts_with("inputImages") => "input_reference",
        _ => ours,
    };
    error.pointer = format!("#/{name}");
}

#[cfg(test)]
mod tests;
