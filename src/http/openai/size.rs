//! `size` as OpenAI's clients send it, and what a model of the catalogue makes of it: its own size, its ratio and resolution, or its
//! width and height. Pure.

use serde_json::{Map, Value};

use crate::providers::{
    catalogue::Model,
    schema::{Accepted, Input},
};

/// How far a ratio may be off: 1024x1792 is meant as 9:16, 1792x1024 as 16:9 (1.6 %); 3:2 and 4:3 are 12 % apart.
const RATIO_SLACK: f64 = 0.02;
/// How far the height of a video may be off its word: 1024 lines are meant as 1080p.
const LINES_SLACK: f64 = 0.1;
/// How far an image may be off `1k` or `2k`, which mean its area: 1536x1024 is 1.22 times 1024x1024.
const AREA_SLACK: f64 = 0.3;

/// `WIDTHxHEIGHT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    width: u32,
    height: u32,
}

impl Size {
    /// Reads `1280x720`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (width, height) = text.split_once('x')?;
        let side = |text: &str| text.parse().ok().filter(|side| (1..=100_000).contains(side));
        Some(Self { width: side(width)?, height: side(height)? })
    }

    /// The text.
    #[must_use]
    pub fn text(self) -> String {
        format!("{}x{}", self.width, self.height)
    }

    fn ratio(self) -> f64 {
        f64::from(self.width) / f64::from(self.height)
    }

    /// The word among these whose ratio is near enough, the nearest first.
    fn nearest_ratio(self, words: &[String]) -> Option<&str> {
        let off = |word: &String| Some((ratio(word)? / self.ratio()).ln().abs());
        let near = words.iter().filter_map(|word| Some((off(word)?, word))).min_by(|a, b| a.0.total_cmp(&b.0))?;
        (near.0 <= RATIO_SLACK).then_some(near.1.as_str())
    }

    /// The word among these that means about as many lines, or about as much area.
    fn nearest_resolution(self, words: &[String]) -> Option<&str> {
        let lines = f64::from(self.width.min(self.height));
        let area = (f64::from(self.width) * f64::from(self.height)).sqrt();
        let off = |word: &str| {
            let (meant, is, slack) = match word {
                // The kinds of images that are named by their area.
                "1k" => (1_024.0, area, AREA_SLACK),
                "2k" => (2_048.0, area, AREA_SLACK),
                "4k" => (2_160.0, lines, LINES_SLACK),
                _ => (word.strip_suffix('p')?.parse::<f64>().ok()?, lines, LINES_SLACK),
            };
            let off = (is / meant).ln().abs();
            (off <= slack).then_some(off)
        };
        let near = words.iter().filter_map(|word| Some((off(word)?, word))).min_by(|a, b| a.0.total_cmp(&b.0));
        near.map(|(_, word)| word.as_str())
    }
}

/// `16:9` as a number.
fn ratio(word: &str) -> Option<f64> {
    let (width, height) = word.split_once(':')?;
    let (width, height) = (width.parse::<f64>().ok()?, height.parse::<f64>().ok()?);
    (width > 0.0 && height > 0.0).then(|| width / height)
}

/// Puts a wanted size into a model's parameters. `auto` leaves the choice to the model; a ratio is taken where the model takes ratios.
/// A model that chooses its own number of pixels takes the shape alone.
///
/// # Errors
/// What the model takes instead.
pub fn fit(model: &Model, size: &str, parameters: &mut Map<String, Value>) -> Result<(), String> {
    if size == "auto" {
        return Ok(());
    }
    let input = |name: &str| model.inputs.iter().find(|input| input.name == name);
    let Some(wanted) = Size::parse(size) else {
        let shape = input("size_or_ratio").or_else(|| input("aspect_ratio"));
        let taken = shape.is_some_and(|input| input.accepted.check(&size.into()).is_ok());
        return match shape.filter(|_| taken) {
            Some(input) => set(parameters, input.name, size.into()),
            None => Err(taken_by(model)),
        };
    };
    if let (Some(width), Some(height)) = (input("width"), input("height")) {
        let fits = |input: &Input, side: u32| input.accepted.check(&side.into()).is_ok();
        if !fits(width, wanted.width) || !fits(height, wanted.height) {
            return Err(taken_by(model));
        }
        set(parameters, "width", wanted.width.into())?;
        return set(parameters, "height", wanted.height.into());
    }
    if let Some(exact) = input("size_or_ratio").filter(|input| input.accepted.check(&wanted.text().into()).is_ok()) {
        return set(parameters, exact.name, wanted.text().into());
    }
    let shape = input("size_or_ratio").or_else(|| input("aspect_ratio")).ok_or_else(|| taken_by(model))?;
    // Sizes that it could have, but not this one: a ratio would make another.
    if matches!(shape.accepted, Accepted::Size { sides: Some(_), .. }) {
        return Err(taken_by(model));
    }
    let ratio = wanted.nearest_ratio(words(&shape.accepted)).ok_or_else(|| taken_by(model))?;
    set(parameters, shape.name, ratio.into())?;
    match input("resolution") {
        Some(input) => {
            let word = wanted.nearest_resolution(words(&input.accepted)).ok_or_else(|| taken_by(model))?;
            set(parameters, "resolution", word.into())
        }
        None => Ok(()),
    }
}

fn set(parameters: &mut Map<String, Value>, name: &str, value: Value) -> Result<(), String> {
    match parameters.insert(name.to_owned(), value) {
        None => Ok(()),
        Some(_) => Err(format!("`size` and `parameters.{name}` say the same thing twice: give one of them")),
    }
}

fn words(accepted: &Accepted) -> &[String] {
    match accepted {
        Accepted::Choice(words) | Accepted::Size { words, .. } => words,
        Accepted::Integer { .. } | Accepted::Number { .. } | Accepted::Text { .. } | Accepted::Flag { .. } => &[],
    }
}

/// One sentence about the sizes a model takes.
fn taken_by(model: &Model) -> String {
    let named = ["size_or_ratio", "aspect_ratio", "width", "height", "resolution"];
    let inputs: Vec<_> = model.inputs.iter().filter(|input| named.contains(&input.name)).collect();
    if inputs.is_empty() {
        return format!("{} has one size only: leave `size` out", model.id);
    }
    let each: Vec<_> = inputs.iter().map(|input| format!("{}: {}", input.name, input.accepted.sentence())).collect();
    format!("`size` does not fit {}: WIDTHxHEIGHT is mapped onto {}", model.id, each.join("; "))
}

/// The size that these parameters ask for, as far as they say; the other way round.
#[must_use]
pub fn of_parameters(parameters: &Map<String, Value>) -> Option<String> {
    let text = |name: &str| parameters.get(name).and_then(Value::as_str);
    let side = |name: &str| parameters.get(name).and_then(Value::as_u64);
    if let (Some(width), Some(height)) = (side("width"), side("height")) {
        return Some(format!("{width}x{height}"));
    }
    let shape = text("size_or_ratio").or_else(|| text("aspect_ratio"))?;
    if Size::parse(shape).is_some() {
        return Some(shape.to_owned());
    }
    let lines = match text("resolution")? {
        "4k" => 2_160.0,
        word => word.strip_suffix('p')?.parse::<f64>().ok()?,
    };
    let ratio = ratio(shape)?;
    // Even numbers, as encoders want them.
    let even = |side: f64| (side / 2.0).round() * 2.0;
    let (width, height) = if ratio >= 1.0 { (even(lines * ratio), lines) } else { (lines, even(lines / ratio)) };
    Some(format!("{width}x{height}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{config::Config, providers::catalogue::Catalogue};

    /// The catalogue that comes with the service.
    fn catalogue() -> Catalogue {
        let config: Config = toml::from_str(include_str!("../../../config/default.toml")).unwrap();
        Catalogue::new(&config).unwrap()
    }

    fn fitted(model: &str, size: &str) -> Result<Value, String> {
        let mut parameters = Map::new();
        fit(catalogue().model(model).unwrap(), size, &mut parameters).map(|()| Value::Object(parameters))
    }

    #[test]
    fn a_size_becomes_what_the_model_has_for_it() {
        for (model, size, parameters) in [
            ("kling-2.6", "1280x720", json!({"size_or_ratio": "16:9"})),
            ("kling-2.6", "1024x1792", json!({"size_or_ratio": "9:16"})),
            ("kling-2.6", "9:16", json!({"size_or_ratio": "9:16"})),
            ("kling-2.6", "auto", json!({})),
            ("kling-3.0", "720x1280", json!({"size_or_ratio": "9:16", "resolution": "720p"})),
            ("kling-3.0", "1792x1024", json!({"size_or_ratio": "16:9", "resolution": "1080p"})),
            ("kling-image-3", "1536x1024", json!({"size_or_ratio": "3:2", "resolution": "1k"})),
            ("pollo-2.5", "720x1280", json!({"aspect_ratio": "9:16", "resolution": "720p"})),
            ("tuzi-veo-3", "1280x720", json!({"size_or_ratio": "1280x720"})),
            ("flux-pro-1.1", "1024x768", json!({"size_or_ratio": "1024x768"})),
            ("flux-pro-1.1-ultra", "1024x1024", json!({"size_or_ratio": "1:1"})),
            ("sdxl", "1024x768", json!({"width": 1024, "height": 768})),
        ] {
            assert_eq!(fitted(model, size), Ok(parameters), "{model} {size}");
        }
    }

    #[test]
    fn a_size_that_does_not_fit_names_those_that_do() {
        for (model, size, words) in [
            ("kling-2.6", "1000x300", "16:9, 9:16, 1:1"),
            ("kling-3.0", "640x360", "720p, 1080p, 4k"),
            ("tuzi-gpt-image-2", "512x512", "1024x1024, 1536x1024, 1024x1536"),
            ("flux-pro-1.1", "100x100", "sides between 256 and 1440"),
            ("sdxl", "64x4096", "width"),
            ("kling-2.6", "large", "16:9"),
        ] {
            let refused = fitted(model, size).unwrap_err();
            assert!(refused.contains(words), "{refused}");
        }
    }

    #[test]
    fn the_size_of_parameters_is_the_one_that_was_wanted() {
        for (model, size) in
            [("kling-3.0", "1280x720"), ("pollo-2.5", "720x1280"), ("flux-2-pro", "1024x768"), ("sdxl", "512x1024")]
        {
            let parameters = fitted(model, size).unwrap();
            assert_eq!(of_parameters(parameters.as_object().unwrap()).as_deref(), Some(size));
        }
        assert_eq!(of_parameters(&Map::new()), None);
    }
}
