//! What a request may ask for: each provider's outer schema, a model's narrowed inputs, and the check that runs before
//! anything is spent.
//!
//! All errors of a request are reported at once, each with a JSON pointer. What leaves here is trimmed, checked and has its
//! defaults applied, so that the answer shows what is sent. No IO: whether a URL can be fetched is the provider's question.

mod check;
mod images;
pub mod input;
pub(crate) mod narrow;
pub mod tables;
#[cfg(test)]
mod tests;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    config::{load::nearest, models::WithImages},
    domain::record::GenerationRequest,
    providers::catalogue::Model,
};

pub use input::{Accepted, Input};

/// One input of a provider's outer schema: the widest that any of its models takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InputSpec {
    /// The name in `parameters`; the adapter puts it under the wire's name.
    pub name: &'static str,
    /// Which values.
    pub form: Form,
    /// Sent when a model declares this input, gives no default of its own and the client gives no value.
    pub default: Option<DefaultValue>,
    /// What it does, and where that is said.
    pub doc: &'static str,
}

/// Which values an input takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Form {
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A whole number; `5.0` is one too (RFC 8259 §6 knows one kind of number), `"5"` is not.
    Integer {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// A number.
    Number {
        /// Smallest.
        min: f64,
        /// Largest.
        max: f64,
    },
    /// A text of at most so many characters.
    Text {
        /// Characters.
        max: usize,
    },
    /// `true` or `false`.
    Flag,
    /// A ratio of the list or, with `pixels`, `WIDTHxHEIGHT`.
    Size {
        /// Such as `16:9`.
        ratios: &'static [&'static str],
        /// Whether `WIDTHxHEIGHT` is taken.
        pixels: bool,
        /// Shortest side.
        min: u32,
        /// Longest side.
        max: u32,
        /// Both sides are multiples of this.
        multiple: u32,
    },
}

/// A default of a provider's outer schema.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DefaultValue {
    /// A word, text or size.
    Text(&'static str),
    /// A whole number.
    Integer(i64),
    /// A number.
    Number(f64),
    /// A switch.
    Flag(bool),
}

impl DefaultValue {
    /// As JSON.
    #[must_use]
    pub fn json(self) -> Value {
        match self {
            Self::Text(text) => Value::from(text),
            Self::Integer(number) => Value::from(number),
            Self::Number(number) => Value::from(number),
            Self::Flag(flag) => Value::from(flag),
        }
    }
}

/// One thing wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldError {
    /// Where, as a URI fragment (RFC 6901 §6), such as `#/parameters/duration`.
    pub pointer: String,
    /// A stable word: `required`, `empty`, `too_long`, `too_few`, `too_many`, `wrong_type`, `not_one_of`, `out_of_range`,
    /// `not_a_multiple`, `unknown_parameter`, `not_taken`, `conflict`, `not_accepted`, `invalid_url`, `invalid_data`.
    pub code: &'static str,
    /// One sentence for people.
    pub detail: String,
}

impl FieldError {
    fn new(pointer: impl Into<String>, code: &'static str, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), code, detail: detail.into() }
    }

    fn parameter(name: &str, code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(pointer(&["parameters", name]), code, detail)
    }
}

/// What a client asks for, parsed but not yet judged.
#[derive(Debug, Clone)]
pub struct Asked<'a> {
    /// `prompt`.
    pub prompt: Option<&'a str>,
    /// `inputImages`.
    pub input_images: Vec<String>,
    /// `numberOfOutputs`.
    pub number_of_outputs: Option<i64>,
    /// `parameters`; a value of `null` counts as not given.
    pub parameters: Map<String, Value>,
    /// Places of `input_images` that another generation's result will take: they count, but there is nothing to look at yet.
    pub results: Vec<usize>,
}

/// Outputs of one generation at most.
const MOST_OUTPUTS: i64 = 10;

/// Checks a request against a model, trims the prompt, folds `n` into the number of outputs and applies the defaults of the
/// inputs that the model declares. `user_id`, `metadata` and `webhook_url` are left empty. Its own result passes again unchanged.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn normalise(model: &Model, asked: Asked<'_>) -> Result<GenerationRequest, Vec<FieldError>> {
    let mut errors = Vec::new();
    let prompt = check_prompt(model, asked.prompt, &mut errors);
    images::check(model, (&asked.input_images, &asked.results), &mut errors);
    let mut given = asked.parameters;
    given.retain(|_, value| !value.is_null());
    let with_images = !asked.input_images.is_empty();
    let mut parameters = check_parameters(model, given, with_images, &mut errors);
    let number_of_outputs = outputs(asked.number_of_outputs, parameters.remove("n").as_ref(), &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(GenerationRequest {
        prompt,
        input_images: asked.input_images,
        number_of_outputs,
        parameters,
        user_id: None,
        metadata: None,
        webhook_url: None,
    })
}

/// What is wrong with a request whatever its model, for one that names none that we know: so that one answer says everything.
#[must_use]
pub fn wrong_for_any_model(asked: &Asked<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    some_prompt(asked.prompt, &mut errors);
    images::check_forms((&asked.input_images, &asked.results), &mut errors);
    outputs(asked.number_of_outputs, None, &mut errors);
    errors
}

fn check_prompt(model: &Model, prompt: Option<&str>, errors: &mut Vec<FieldError>) -> String {
    let prompt = some_prompt(prompt, errors);
    let length = prompt.chars().count();
    if length > model.max_prompt {
        let detail = format!("the prompt has {length} characters; {} takes at most {}", model.id, model.max_prompt);
        errors.push(FieldError::new(PROMPT, "too_long", detail));
    }
    prompt.to_owned()
}

const PROMPT: &str = "#/prompt";

/// The prompt, trimmed; there must be one.
fn some_prompt<'a>(prompt: Option<&'a str>, errors: &mut Vec<FieldError>) -> &'a str {
    let trimmed = prompt.map(str::trim);
    match trimmed {
        None => errors.push(FieldError::new(PROMPT, "required", "a prompt must be given")),
        Some("") => {
            errors.push(FieldError::new(PROMPT, "empty", "the prompt must hold at least one character besides white space"));
        }
        Some(_) => {}
    }
    trimmed.unwrap_or_default()
}

/// Declared inputs in the model's order, then what is unknown.
fn check_parameters(
    model: &Model,
    mut given: Map<String, Value>,
    with_images: bool,
    errors: &mut Vec<FieldError>,
) -> Map<String, Value> {
    let mut accepted = Map::new();
    for input in &model.inputs {
        let rule = if with_images { input.with_images } else { WithImages::Taken };
        match one(input, given.remove(input.name), rule) {
            Ok(Some(value)) => drop(accepted.insert(input.name.to_owned(), value)),
            Ok(None) => {}
            Err((code, detail)) => errors.push(FieldError::parameter(input.name, code, format!("`{}` {detail}", input.name))),
        }
    }
    errors.extend(given.keys().map(|name| unknown(model, name)));
    accepted
}

/// The value to send for one declared input, if any.
fn one(input: &Input, given: Option<Value>, rule: WithImages) -> Result<Option<Value>, (&'static str, String)> {
    match (given, rule) {
        (Some(_), WithImages::Refused) => Err(("not_taken", "is not taken together with input images".to_owned())),
        (Some(value), WithImages::Taken | WithImages::NoDefault) => {
            input.accepted.check(&value).map(Some).map_err(|fault| (fault.code, fault.detail))
        }
        (None, WithImages::Refused | WithImages::NoDefault) => Ok(None),
        (None, WithImages::Taken) if input.required && input.default.is_none() => {
            Err(("required", format!("must be given: {}", input.accepted.sentence())))
        }
        (None, WithImages::Taken) => Ok(input.default.clone()),
    }
}

fn outputs(asked: Option<i64>, alias: Option<&Value>, errors: &mut Vec<FieldError>) -> u16 {
    let n = alias.and_then(Value::as_i64);
    if let (Some(asked), Some(n)) = (asked, n)
        && asked != n
    {
        let detail = format!("`n` is another name of `numberOfOutputs`: they say {n} and {asked}");
        errors.push(FieldError::parameter("n", "conflict", detail));
    }
    let count = asked.or(n).unwrap_or(1);
    match u16::try_from(count) {
        Ok(count) if (1..=MOST_OUTPUTS).contains(&i64::from(count)) => count,
        Ok(_) | Err(_) => {
            let detail = format!("the number of outputs must be between 1 and {MOST_OUTPUTS}; {count} was given");
            errors.push(FieldError::new("#/numberOfOutputs", "out_of_range", detail));
            1
        }
    }
}

/// Longest part of a client's own name that an error repeats, in characters: no answer grows with a hostile request.
const NAME_SHOWN: usize = 64;

fn unknown(model: &Model, name: &str) -> FieldError {
    let shown: String = name.chars().take(NAME_SHOWN).collect();
    let known: Vec<&str> = model.inputs.iter().map(|input| input.name).collect();
    let hint = nearest(&shown, known.iter().copied()).map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
    let taken = if known.is_empty() { "no parameters".to_owned() } else { known.join(", ") };
    FieldError::parameter(&shown, "unknown_parameter", format!("`{shown}` is unknown; {hint}{} takes: {taken}", model.id))
}

/// A JSON pointer as a URI fragment: `~` and `/` by RFC 6901 §3, then percent-encoded where RFC 3986 §3.5 asks for it.
fn pointer(segments: &[&str]) -> String {
    let mut text = String::from("#");
    for segment in segments {
        text.push('/');
        for byte in segment.replace('~', "~0").replace('/', "~1").bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte) {
                text.push(char::from(byte));
            } else {
                text.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    text
}
