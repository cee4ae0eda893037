//! `[models."<modelIdentifier>"]`: the catalogue. An entry can only narrow or enable inputs that its provider's schema declares.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{config::polling::StrategyName, domain::record::Kind};

/// One model of the catalogue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Section name under `[providers]`.
    pub provider: String,
    /// The provider's own name of it.
    pub upstream: String,
    /// `image` or `video`.
    pub kind: Kind,
    /// Path family of the adapter (`legacy`, `v1`, `model`, `deployment`, …); none means the adapter's default.
    #[serde(default)]
    pub family: Option<String>,
    /// What a call costs.
    #[serde(default)]
    pub price: PriceConfig,
    /// Longest prompt in characters. Default 2,000.
    #[serde(default = "prompt_limit")]
    pub max_prompt: usize,
    /// Outputs the model makes in one call. Default 1.
    #[serde(default = "one")]
    pub outputs_per_call: u16,
    /// Input images it takes at most. Default 0.
    #[serde(default)]
    pub max_images: usize,
    /// Input images it needs at least. Default 0.
    #[serde(default)]
    pub min_images: usize,
    /// Forms of input images it takes. Default both.
    #[serde(default = "every_form")]
    pub image_forms: Vec<ImageForm>,
    /// Declared parameters: each narrows or enables an input of the provider's schema.
    #[serde(default)]
    pub inputs: BTreeMap<String, InputConfig>,
    /// Polling strategy; none means `[polling] strategy`.
    #[serde(default)]
    pub strategy: Option<StrategyName>,
    /// Overdue after this, seconds; none means by kind.
    #[serde(default)]
    pub max_duration_s: Option<u64>,
}

/// What a call of a model costs, in US dollars; the parts add up.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PriceConfig {
    /// For each call.
    pub per_call: f64,
    /// For each output.
    pub per_output: f64,
    /// For each second of `duration` of each output.
    pub per_second: f64,
    /// Other prices at certain parameters; the first that fits replaces the three above.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub variants: Vec<PriceVariant>,
}

impl PriceConfig {
    /// Whether no amount is known: nothing is held or charged by it.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        let variants = self.variants.iter().flat_map(|other| [other.per_call, other.per_output, other.per_second]);
        [self.per_call, self.per_output, self.per_second].into_iter().chain(variants).all(|amount| amount <= 0.0)
    }
}

/// Another price, when all of these parameters have these values.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PriceVariant {
    /// Parameters and their values, such as `mode = "pro"`.
    pub when: BTreeMap<String, Value>,
    /// For each call.
    pub per_call: f64,
    /// For each output.
    pub per_output: f64,
    /// For each second of `duration` of each output.
    pub per_second: f64,
}

/// A form in which an input image is handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageForm {
    /// An http(s) URL that the provider fetches.
    Url,
    /// Inline: `data:image/…;base64,…`.
    Data,
}

impl ImageForm {
    /// The form in a sentence.
    #[must_use]
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::Url => "http(s) URLs",
            Self::Data => "data:image/(png|jpeg|jpg|webp);base64,… (inline)",
        }
    }
}

/// How a model narrows one input.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InputConfig {
    /// The only values it takes; for a size: ratios and exact sizes.
    pub values: Option<Vec<Value>>,
    /// Smallest; for a size: shortest side.
    pub min: Option<f64>,
    /// Largest; for a text: characters; for a size: longest side.
    pub max: Option<f64>,
    /// A size: both sides are multiples of this.
    pub multiple: Option<u32>,
    /// A size: whether free `WIDTHxHEIGHT` is taken. Default: as the provider, but not beside `values`.
    pub pixels: Option<bool>,
    /// A size: width times height at most.
    pub max_pixels: Option<u64>,
    /// Sent when the client gives none. Default: the provider's default of this input; where it has none, nothing is sent.
    pub default: Option<Value>,
    /// Must be given; no default applies.
    pub required: bool,
    /// What becomes of it when input images are given. Default `taken`.
    pub with_images: WithImages,
}

/// What becomes of an input when input images are given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WithImages {
    /// The images change nothing.
    #[default]
    Taken,
    /// Its default is not applied: the provider follows the image.
    NoDefault,
    /// It is refused: the provider would ignore it.
    Refused,
}

fn every_form() -> Vec<ImageForm> {
    vec![ImageForm::Url, ImageForm::Data]
}

const fn one() -> u16 {
    1
}

const fn prompt_limit() -> usize {
    2_000
}
