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
    /// For each second of `duration`.
    pub per_second: f64,
}

/// How a model narrows one input.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InputConfig {
    /// The only values it takes.
    pub values: Option<Vec<Value>>,
    /// Smallest.
    pub min: Option<f64>,
    /// Largest.
    pub max: Option<f64>,
    /// Sent when the client gives none; without it nothing is sent.
    pub default: Option<Value>,
    /// Must be given.
    pub required: bool,
}

const fn one() -> u16 {
    1
}

const fn prompt_limit() -> usize {
    2_000
}
