//! `/v1/models`: the models of the catalogue whose provider takes something now.

use actix_web::web::{Data, Json, Path};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{ErrorBody, video::unix};
use crate::{
    domain::error::ErrorCode,
    http::{Api, problem::Problem},
    providers::catalogue::Model,
};

/// The models (PyPI `openai` 3.54, `types/model.py`).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiModelList)]
pub struct ModelList {
    /// Always `list`.
    object: &'static str,
    /// Every model, by name.
    data: Vec<ModelObject>,
}

/// One model.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiModel)]
pub struct ModelObject {
    /// Give it as `model`.
    id: String,
    /// Always `model`.
    object: &'static str,
    /// Since when this server offers it, Unix seconds.
    created: i64,
    /// Provider section.
    owned_by: String,
}

/// Lists the models.
///
/// `GET /api/external/models` tells what each takes and costs.
#[utoipa::path(
    get, path = "/v1/models", operation_id = "openaiListModels", tag = "openai",
    responses(
        (status = 200, description = "Every model that takes something now.", body = ModelList),
        (status = "default", description = "What is wrong.", body = ErrorBody),
    ),
    security(("key" = []))
)]
pub async fn list(api: Data<Api>) -> Result<Json<ModelList>, Problem> {
    let data = api.catalogue.models().filter(|model| offered(&api, model)).map(|model| object(&api, model)).collect();
    Ok(Json(ModelList { object: "list", data }))
}

/// Shows a model.
#[utoipa::path(
    get, path = "/v1/models/{id}", operation_id = "openaiGetModel", tag = "openai",
    params(("id" = String, Path, description = "Its name.")),
    responses(
        (status = 200, description = "The model.", body = ModelObject),
        (status = "default", description = "What is wrong.", body = ErrorBody),
    ),
    security(("key" = []))
)]
pub async fn show(api: Data<Api>, id: Path<String>) -> Result<Json<ModelObject>, Problem> {
    match api.catalogue.model(&id).filter(|model| offered(&api, model)) {
        Some(model) => Ok(Json(object(&api, model))),
        None => {
            let shown: String = id.chars().take(100).collect();
            let problem = Problem::new(ErrorCode::NotFound, format!("there is no model `{shown}` here"));
            Err(problem.with_details(json!({"param": "model", "code": "model_not_found"})))
        }
    }
}

fn offered(api: &Api, model: &Model) -> bool {
    api.registry.provider(&model.provider).is_some_and(|provider| provider.disabled.is_none())
}

fn object(api: &Api, model: &Model) -> ModelObject {
    ModelObject { id: model.id.to_string(), object: "model", created: unix(api.started_at), owned_by: model.provider.to_string() }
}
