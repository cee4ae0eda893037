//! The catalogue: the models of the configuration, checked against the outer schemas when the service starts, so that a wrong
//! entry is said at once and never found by a paid request. Immutable; no IO.

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value, json};

use crate::{
    config::{
        Config,
        load::nearest,
        models::{ImageForm, ModelConfig, PriceConfig},
        polling::StrategyName,
    },
    domain::{
        money::Micros,
        record::{Kind, ProviderName},
    },
    providers::schema::{Input, InputSpec, narrow::narrow, tables},
};

/// Every model by its `modelIdentifier`.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    models: BTreeMap<Arc<str>, Arc<Model>>,
}

/// One model, ready to be asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// `modelIdentifier`.
    pub id: Arc<str>,
    /// Provider section.
    pub provider: ProviderName,
    /// The provider's own name of it.
    pub upstream: String,
    /// What it makes.
    pub kind: Kind,
    /// Path family of the adapter; none means the adapter's default.
    pub family: Option<String>,
    /// What a call costs.
    pub price: PriceConfig,
    /// Longest prompt, in characters.
    pub max_prompt: usize,
    /// Outputs it makes in one call.
    pub outputs_per_call: u16,
    /// Input images it needs at least.
    pub min_images: usize,
    /// Input images it takes at most.
    pub max_images: usize,
    /// Forms of input images it takes.
    pub image_forms: Vec<ImageForm>,
    /// Its declared parameters, narrowed, in the provider's order.
    pub inputs: Vec<Input>,
    /// Polling strategy; none means `[polling] strategy`.
    pub strategy: Option<StrategyName>,
    /// Overdue after this, seconds; none means by kind.
    pub max_duration_s: Option<u64>,
}

impl Catalogue {
    /// Checks every entry.
    ///
    /// # Errors
    /// Every problem of every entry, each a sentence that begins with its place.
    pub fn new(config: &Config) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let mut models = BTreeMap::new();
        for (id, entry) in &config.models {
            let mut found = Vec::new();
            let model = model(config, id, entry, &mut found);
            problems.extend(found.into_iter().map(|problem| format!("models.\"{id}\": {problem}")));
            models.insert(Arc::clone(&model.id), Arc::new(model));
        }
        if problems.is_empty() { Ok(Self { models }) } else { Err(problems) }
    }

    /// The model of that name.
    #[must_use]
    pub fn model(&self, id: &str) -> Option<&Arc<Model>> {
        self.models.get(id)
    }

    /// Every model, by name.
    pub fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.models.values()
    }

    /// The name that a wrong one was most likely meant to be.
    #[must_use]
    pub fn nearest(&self, id: &str) -> Option<&str> {
        nearest(id, self.models.keys().map(AsRef::as_ref))
    }
}

fn model(config: &Config, id: &str, entry: &ModelConfig, problems: &mut Vec<String>) -> Model {
    check_limits(id, entry, problems);
    check_price(&entry.price, problems);
    let inputs = match table(config, &entry.provider) {
        Ok(table) => inputs(table, entry, problems),
        Err(problem) => {
            problems.push(problem);
            Vec::new()
        }
    };
    Model {
        id: id.into(),
        provider: entry.provider.as_str().into(),
        upstream: entry.upstream.clone(),
        kind: entry.kind,
        family: entry.family.clone(),
        price: entry.price.clone(),
        max_prompt: entry.max_prompt,
        outputs_per_call: entry.outputs_per_call,
        min_images: entry.min_images,
        max_images: entry.max_images,
        image_forms: entry.image_forms.clone(),
        inputs,
        strategy: entry.strategy,
        max_duration_s: entry.max_duration_s,
    }
}

/// The outer schema of a provider section.
fn table(config: &Config, section: &str) -> Result<&'static [InputSpec], String> {
    let Some(provider) = config.providers.get(section) else {
        let near = nearest(section, config.providers.keys().map(String::as_str));
        let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        return Err(format!("there is no section [providers.{section}]{hint}"));
    };
    let adapter = provider.adapter.as_deref().unwrap_or(section);
    tables::of(adapter)
        .ok_or_else(|| format!("its provider's adapter `{adapter}` is unknown; there are {}", tables::ADAPTERS.join(", ")))
}

fn check_limits(id: &str, entry: &ModelConfig, problems: &mut Vec<String>) {
    let mut refuse = |when: bool, problem: &str| {
        if when {
            problems.push(problem.to_owned());
        }
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    refuse(id.is_empty() || !id.chars().all(plain), "an identifier has letters, digits, `-`, `.` and `_` only");
    refuse(entry.upstream.trim().is_empty(), "upstream is empty");
    refuse(entry.max_prompt == 0, "max_prompt is 0: every request needs a prompt");
    refuse(!(1..=10).contains(&entry.outputs_per_call), "outputs_per_call must be between 1 and 10");
    refuse(entry.min_images > entry.max_images, "min_images is above max_images");
    refuse(entry.max_images > 0 && entry.image_forms.is_empty(), "image_forms is empty although images are taken");
    refuse(entry.max_duration_s == Some(0), "max_duration_s is 0: everything would be overdue at once");
}

fn check_price(price: &PriceConfig, problems: &mut Vec<String>) {
    let variants = price.variants.iter().flat_map(|other| [other.per_call, other.per_output, other.per_second]);
    let amounts = [price.per_call, price.per_output, price.per_second].into_iter().chain(variants);
    if amounts.into_iter().any(|amount| !amount.is_finite() || amount < 0.0) {
        problems.push("a price is negative or not a number".to_owned());
    }
}

/// In the provider's order, so that answers and schemas read alike for all its models.
fn inputs(table: &'static [InputSpec], entry: &ModelConfig, problems: &mut Vec<String>) -> Vec<Input> {
    for name in entry.inputs.keys().filter(|name| !table.iter().any(|spec| spec.name == name.as_str())) {
        let near = nearest(name, table.iter().map(|spec| spec.name));
        let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        problems.push(format!("inputs.{name}: the provider's schema has no such input{hint}"));
    }
    let mut inputs = Vec::new();
    for spec in table {
        match entry.inputs.get(spec.name).map(|config| narrow(spec, config)) {
            Some(Ok(input)) => inputs.push(input),
            Some(Err(found)) => problems.extend(found.into_iter().map(|problem| format!("inputs.{} {problem}", spec.name))),
            None => {}
        }
    }
    check_variants(entry, &inputs, problems);
    inputs
}

/// A price that no request can reach is a mistake in somebody's bill.
fn check_variants(entry: &ModelConfig, inputs: &[Input], problems: &mut Vec<String>) {
    for (name, value) in entry.price.variants.iter().flat_map(|variant| &variant.when) {
        let input = inputs.iter().find(|input| input.name == name);
        if input.is_none_or(|input| input.accepted.check(value).is_err()) {
            problems.push(format!("price.variants: no request can have {name} = {value}"));
        }
    }
    if entry.price.variants.iter().any(|variant| variant.when.is_empty()) {
        problems.push("price.variants: a variant without `when` would always apply".to_owned());
    }
}

impl Model {
    /// What one call for that many outputs costs with these (normalised) parameters, as the catalogue knows it.
    #[must_use]
    pub fn call_price(&self, parameters: &Map<String, Value>, outputs: u16) -> Micros {
        let price = &self.price;
        let fits = |when: &BTreeMap<String, Value>| when.iter().all(|(name, value)| parameters.get(name) == Some(value));
        let (per_call, per_output, per_second) = price
            .variants
            .iter()
            .find(|variant| fits(&variant.when))
            .map_or((price.per_call, price.per_output, price.per_second), |v| (v.per_call, v.per_output, v.per_second));
        let seconds = parameters.get("duration").and_then(Value::as_f64).unwrap_or(0.0);
        let each = Micros::from_dollars(per_second * seconds).plus(Micros::from_dollars(per_output));
        Micros::from_dollars(per_call).plus(each.times(outputs))
    }

    /// JSON Schema (2020-12) of `parameters`.
    #[must_use]
    pub fn schema_json(&self) -> Value {
        let properties: Map<String, Value> =
            self.inputs.iter().map(|input| (input.name.to_owned(), input.schema_json())).collect();
        let required: Vec<&str> = self.inputs.iter().filter(|input| input.required).map(|input| input.name).collect();
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        })
    }
}
