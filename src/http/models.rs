//! `/api/external/models`: what can be asked for, at which price.

use std::collections::BTreeMap;

use actix_web::web::{Data, Json};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    domain::{money::Micros, record::Kind},
    http::{
        Api,
        dto::KindWord,
        problem::{Problem, ProblemBody},
    },
    providers::catalogue::Model,
};

/// The catalogue.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelList {
    /// Every model, by name.
    pub data: Vec<ModelView>,
}

/// One model.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Model)]
pub struct ModelView {
    /// What to give as `modelIdentifier`.
    pub model_identifier: String,
    /// What it makes.
    #[schema(value_type = KindWord)]
    pub kind: Kind,
    /// Provider section.
    pub provider: String,
    /// Whether its provider takes anything now.
    pub available: bool,
    /// Why it does not.
    pub unavailable_reason: Option<String>,
    /// What a call costs.
    pub price: PriceView,
    /// Longest prompt, in characters.
    pub max_prompt: usize,
    /// Outputs it makes in one call; more become several calls.
    pub outputs_per_call: u16,
    /// Input images it needs at least.
    pub min_images: usize,
    /// Input images it takes at most.
    pub max_images: usize,
    /// JSON Schema (2020-12) of `parameters`.
    #[schema(value_type = Object)]
    pub parameters: Value,
}

/// What a call costs; the parts add up.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Price)]
pub struct PriceView {
    /// For each call.
    #[schema(value_type = String, example = "0.040000")]
    pub per_call: Micros,
    /// For each output.
    #[schema(value_type = String)]
    pub per_output: Micros,
    /// For each second of each output.
    #[schema(value_type = String)]
    pub per_second: Micros,
    /// Of all amounts.
    pub currency: &'static str,
    /// Prices that hold instead, where a request has these parameters; the first that fits counts.
    pub variants: Vec<PriceVariantView>,
}

/// Prices for some parameters.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PriceVariant)]
pub struct PriceVariantView {
    /// The parameters.
    #[schema(value_type = Object)]
    pub when: BTreeMap<String, Value>,
    /// For each call.
    #[schema(value_type = String)]
    pub per_call: Micros,
    /// For each output.
    #[schema(value_type = String)]
    pub per_output: Micros,
    /// For each second of each output.
    #[schema(value_type = String)]
    pub per_second: Micros,
}

/// Lists the models.
#[utoipa::path(
    get, path = "/api/external/models", operation_id = "listModels", tag = "models",
    responses(
        (status = 200, description = "Every model.", body = ModelList),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub async fn list(api: Data<Api>) -> Result<Json<ModelList>, Problem> {
    Ok(Json(ModelList { data: api.catalogue.models().map(|model| view(&api, model)).collect() }))
}

fn view(api: &Api, model: &Model) -> ModelView {
    let unavailable_reason = match api.registry.provider(&model.provider) {
        None => Some("its provider is not configured".to_owned()),
        Some(provider) => provider.disabled.clone(),
    };
    ModelView {
        model_identifier: model.id.to_string(),
        kind: model.kind,
        provider: model.provider.to_string(),
        available: unavailable_reason.is_none(),
        unavailable_reason,
        price: price(model),
        max_prompt: model.max_prompt,
        outputs_per_call: model.outputs_per_call,
        min_images: model.min_images,
        max_images: model.max_images,
        parameters: model.schema_json(),
    }
}

fn price(model: &Model) -> PriceView {
    let dollars = Micros::from_dollars;
    let variants = model.price.variants.iter().map(|variant| PriceVariantView {
        when: variant.when.clone(),
        per_call: dollars(variant.per_call),
        per_output: dollars(variant.per_output),
        per_second: dollars(variant.per_second),
    });
    PriceView {
        per_call: dollars(model.price.per_call),
        per_output: dollars(model.price.per_output),
        per_second: dollars(model.price.per_second),
        currency: "USD",
        variants: variants.collect(),
    }
}
