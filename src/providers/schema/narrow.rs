//! How a catalogue entry narrows an input of its provider's outer schema. Narrowing only: what the outer schema does not take,
//! no model can take. Every problem is said, so that a catalogue is mended in one go.

use serde_json::Value;

use crate::{
    config::models::InputConfig,
    providers::schema::{
        Form, InputSpec,
        check::{pixels, whole},
        input::{Accepted, Input, Sides},
    },
};

/// The input as the model takes it.
///
/// # Errors
/// What is wrong with the narrowing, each a sentence that continues the input's name.
pub(crate) fn narrow(spec: &InputSpec, config: &InputConfig) -> Result<Input, Vec<String>> {
    let mut problems = Vec::new();
    let accepted = accepted(spec.form, config, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let default = match (&config.default, spec.default) {
        (Some(own), _) => Some(own.clone()),
        (None, Some(outer)) if !config.required => Some(outer.json()),
        (None, Some(_) | None) => None,
    };
    let default = default.map(|value| match accepted.check(&value) {
        Ok(value) => value,
        Err(fault) if config.default.is_some() => {
            problems.push(format!("has a default that {}", fault.detail));
            value
        }
        Err(fault) => {
            let ways = "give a default of its own, or required = true";
            problems.push(format!("inherits the provider's default, which {}; {ways}", fault.detail));
            value
        }
    });
    if config.required && config.default.is_some() {
        problems.push("is required and has a default; only one can be".to_owned());
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let (required, with_images) = (config.required, config.with_images);
    Ok(Input { name: spec.name, accepted, default, required, with_images, doc: spec.doc })
}

fn accepted(form: Form, config: &InputConfig, problems: &mut Vec<String>) -> Accepted {
    let outer = widest(form);
    if !matches!(form, Form::Size { .. }) && (config.multiple.is_some() || config.pixels.is_some() || config.max_pixels.is_some())
    {
        problems.push("is not a size: multiple, pixels and max_pixels do not apply".to_owned());
    }
    let bounded = config.min.is_some() || config.max.is_some();
    match outer {
        Accepted::Choice(words) => {
            refuse(bounded, "min and max do not apply to words", problems);
            Accepted::Choice(chosen(config, &Accepted::Choice(words.clone()), problems).map_or(words, texts))
        }
        Accepted::Integer { min, max, .. } => integer(config, (min, max), problems),
        Accepted::Number { min, max } => {
            refuse(config.values.is_some(), "values do not apply to numbers: give min and max", problems);
            let (min, max) = bounds(config, (min, max), problems);
            Accepted::Number { min, max }
        }
        Accepted::Text { max } => {
            refuse(config.values.is_some() || config.min.is_some(), "only max (characters) applies to a text", problems);
            let longest = config.max.and_then(|max| whole(&Value::from(max))).and_then(|max| usize::try_from(max).ok());
            refuse(longest.is_none() && config.max.is_some(), "has a max that is not a whole number", problems);
            refuse(longest.is_some_and(|own| own > max || own == 0), "has a max outside the provider's", problems);
            Accepted::Text { max: longest.unwrap_or(max) }
        }
        Accepted::Flag { values } => {
            refuse(bounded, "min and max do not apply to a switch", problems);
            let own = chosen(config, &Accepted::Flag { values: values.clone() }, problems);
            Accepted::Flag { values: own.map_or(values, |own| own.iter().filter_map(Value::as_bool).collect()) }
        }
        Accepted::Size { words, sides } => size(config, words, sides, problems),
    }
}

/// A provider's form with nothing narrowed.
fn widest(form: Form) -> Accepted {
    match form {
        Form::Choice(words) => Accepted::Choice(words.iter().map(|word| (*word).to_owned()).collect()),
        Form::Integer { min, max } => Accepted::Integer { min, max, values: None },
        Form::Number { min, max } => Accepted::Number { min, max },
        Form::Text { max } => Accepted::Text { max },
        Form::Flag => Accepted::Flag { values: vec![false, true] },
        Form::Size { ratios, pixels, min, max, multiple } => Accepted::Size {
            words: ratios.iter().map(|ratio| (*ratio).to_owned()).collect(),
            sides: pixels.then_some(Sides { min, max, multiple, max_pixels: None }),
        },
    }
}

fn refuse(when: bool, problem: &str, problems: &mut Vec<String>) {
    if when {
        problems.push(format!("is declared wrongly: {problem}"));
    }
}

/// The model's own values, each one that the provider takes.
fn chosen(config: &InputConfig, outer: &Accepted, problems: &mut Vec<String>) -> Option<Vec<Value>> {
    let values = config.values.as_ref()?;
    refuse(values.is_empty(), "values is empty", problems);
    let mut own = Vec::new();
    for value in values {
        match outer.check(value) {
            Ok(value) => own.push(value),
            Err(fault) => problems.push(format!("has a value that {}", fault.detail)),
        }
    }
    Some(own)
}

fn texts(values: Vec<Value>) -> Vec<String> {
    values.into_iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
}

/// The model's own bounds, within the provider's.
fn bounds(config: &InputConfig, (min, max): (f64, f64), problems: &mut Vec<String>) -> (f64, f64) {
    let (low, high) = (config.min.unwrap_or(min), config.max.unwrap_or(max));
    if !(low >= min && high <= max && low <= high) {
        problems.push(format!("narrows to {low} to {high}, which is not within the provider's {min} to {max}"));
    }
    (low, high)
}

fn integer(config: &InputConfig, (min, max): (i64, i64), problems: &mut Vec<String>) -> Accepted {
    let mut bound = |own: Option<f64>, outer: i64| match own.map(|own| whole(&Value::from(own))) {
        Some(Some(own)) => own,
        Some(None) => {
            problems.push("has a bound that is not a whole number".to_owned());
            outer
        }
        None => outer,
    };
    let (low, high) = (bound(config.min, min), bound(config.max, max));
    if low < min || high > max || low > high {
        problems.push(format!("narrows to {low} to {high}, which is not within the provider's {min} to {max}"));
    }
    let own = chosen(config, &Accepted::Integer { min: low, max: high, values: None }, problems);
    let values = own.map(|own| own.iter().filter_map(Value::as_i64).collect());
    Accepted::Integer { min: low, max: high, values }
}

fn size(config: &InputConfig, words: Vec<String>, sides: Option<Sides>, problems: &mut Vec<String>) -> Accepted {
    let outer = Accepted::Size { words: words.clone(), sides };
    let own = chosen(config, &outer, problems).map(texts);
    // Listed values are the only ones; free sizes beside them must be asked for.
    let free = config.pixels.unwrap_or(sides.is_some() && config.values.is_none());
    refuse(free && sides.is_none(), "the provider takes no WIDTHxHEIGHT here", problems);
    let narrowed = sides.filter(|_| free).map(|sides| narrowed_sides(config, sides, problems));
    let words = own.unwrap_or(words);
    let bounded = config.min.is_some() || config.max.is_some() || config.multiple.is_some() || config.max_pixels.is_some();
    refuse(bounded && narrowed.is_none(), "bounds apply to free sizes only (pixels = true)", problems);
    for word in &words {
        if let (Some(sides), Some(_)) = (narrowed, pixels(word))
            && (Accepted::Size { words: Vec::new(), sides: Some(sides) }).check(&Value::from(word.as_str())).is_err()
        {
            problems.push(format!("lists {word}, which its own bounds refuse"));
        }
    }
    Accepted::Size { words, sides: narrowed }
}

fn narrowed_sides(config: &InputConfig, outer: Sides, problems: &mut Vec<String>) -> Sides {
    let (low, high) = bounds(config, (f64::from(outer.min), f64::from(outer.max)), problems);
    let mut side = |own: f64, otherwise: u32| {
        let whole = whole(&Value::from(own)).and_then(|own| u32::try_from(own).ok());
        refuse(whole.is_none(), "a side is not a whole number", problems);
        whole.unwrap_or(otherwise)
    };
    let (min, max) = (side(low, outer.min), side(high, outer.max));
    let multiple = config.multiple.unwrap_or(outer.multiple);
    refuse(
        multiple == 0 || multiple.checked_rem(outer.multiple) != Some(0),
        &format!("multiple must be a multiple of the provider's {}", outer.multiple),
        problems,
    );
    Sides { min, max, multiple, max_pixels: config.max_pixels }
}
