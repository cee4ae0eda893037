//! `/api/external/webhooks…`: where a project wants to be told of events, and what became of telling it. Webhooks that providers send to
//! us are [`super::hooks`].

pub mod deliveries;
mod dto;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::LOCATION,
    web::{Data, Json, Path, Payload},
};
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};

use crate::{
    domain::{error::ErrorCode, id::EndpointId},
    http::{
        Api,
        auth::Caller,
        body,
        problem::{Problem, ProblemBody},
    },
    intake::webhooks::{Refusal, Rotate},
};
use dto::{DeliveryView, EndpointList, EndpointView, NewEndpoint, SecretView};

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unknown => Self::new(ErrorCode::NotFound, "the project has no such endpoint or delivery"),
            Refusal::Disabled => {
                Self::new(ErrorCode::Conflict, "the endpoint is disabled; take it up again first (`enabled: true`)")
            }
            Refusal::Full => Self::new(ErrorCode::Conflict, "the project has as many endpoints as it may have"),
            Refusal::Invalid(errors) => Self::invalid(errors),
            Refusal::Store(error) => error.into(),
        }
    }
}

/// Makes an endpoint.
///
/// From now on it is sent every event of the project that it wants, signed as Standard Webhooks 1.0.0 says (`webhook-id`,
/// `webhook-timestamp`, `webhook-signature`). The answer holds its secret.
#[utoipa::path(
    post, path = "/api/external/webhooks", operation_id = "createWebhook", tag = "events", request_body = NewEndpoint,
    responses(
        (status = 201, description = "Made.", body = EndpointView, headers(("Location" = String, description = "Where it is."))),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub async fn create(api: Data<Api>, caller: Caller, request: HttpRequest, payload: Payload) -> Result<HttpResponse, Problem> {
    let members = object(&api, &request, payload).await?;
    let (clerk, project, now) = (api.clerk.clone(), caller.project, api.clock.now());
    let (endpoint, shown) = api
        .hop(async move {
            let endpoint = clerk.create(project, members, now).await?;
            let shown = clerk.secret(project, Some(endpoint.id), Rotate::No, now).await?;
            Ok::<_, Refusal>((endpoint, shown))
        })
        .await?;
    let mut view = EndpointView::of(&endpoint);
    view.secret = Some(shown.secret.expose_secret().to_owned());
    let location = format!("{}/api/external/webhooks/{}", api.base_url(), endpoint.id);
    Ok(HttpResponse::Created().insert_header((LOCATION, location)).json(view))
}

/// Lists the project's endpoints.
#[utoipa::path(
    get, path = "/api/external/webhooks", operation_id = "listWebhooks", tag = "events",
    responses(
        (status = 200, description = "All of them, by age.", body = EndpointList),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub async fn list(api: Data<Api>, caller: Caller) -> Result<Json<EndpointList>, Problem> {
    let (webhooks, project) = (api.clerk.webhooks.clone(), caller.project);
    let endpoints = api.hop(async move { webhooks.endpoints(project).await }).await?;
    Ok(Json(EndpointList { data: endpoints.iter().map(EndpointView::of).collect() }))
}

/// Shows an endpoint.
#[utoipa::path(
    get, path = "/api/external/webhooks/{id}", operation_id = "getWebhook", tag = "events",
    params(("id" = String, Path, description = "Id of the endpoint.")),
    responses(
        (status = 200, description = "As it stands.", body = EndpointView),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub async fn show(api: Data<Api>, caller: Caller, id: Path<String>) -> Result<Json<EndpointView>, Problem> {
    let (clerk, id) = (api.clerk.clone(), parse(&id)?);
    let endpoint = api.hop(async move { clerk.find(caller.project, id).await }).await?;
    Ok(Json(EndpointView::of(&endpoint)))
}

/// Changes an endpoint.
///
/// What is not given stays. `enabled: true` takes a disabled one up again.
#[utoipa::path(
    patch, path = "/api/external/webhooks/{id}", operation_id = "updateWebhook", tag = "events", request_body = NewEndpoint,
    params(("id" = String, Path, description = "Id of the endpoint.")),
    responses(
        (status = 200, description = "As it stands.", body = EndpointView),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub async fn change(
    api: Data<Api>,
    caller: Caller,
    id: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> Result<Json<EndpointView>, Problem> {
    let members = object(&api, &request, payload).await?;
    let (clerk, id, now) = (api.clerk.clone(), parse(&id)?, api.clock.now());
    let endpoint = api.hop(async move { clerk.change((caller.project, id), members, now).await }).await?;
    Ok(Json(EndpointView::of(&endpoint)))
}

/// Deletes an endpoint.
///
/// What was on its way to it is dropped.
#[utoipa::path(
    delete, path = "/api/external/webhooks/{id}", operation_id = "deleteWebhook", tag = "events",
    params(("id" = String, Path, description = "Id of the endpoint.")),
    responses(
        (status = 204, description = "It is gone."),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub async fn delete(api: Data<Api>, caller: Caller, id: Path<String>) -> Result<HttpResponse, Problem> {
    let (clerk, id) = (api.clerk.clone(), parse(&id)?);
    api.hop(async move { clerk.delete(caller.project, id).await }).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Shows the secret of an endpoint.
#[utoipa::path(
    get, path = "/api/external/webhooks/{id}/secret", operation_id = "getWebhookSecret", tag = "events",
    params(("id" = String, Path, description = "Id of the endpoint.")),
    responses(
        (status = 200, description = "What signs.", body = SecretView),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub async fn secret(api: Data<Api>, caller: Caller, id: Path<String>) -> Result<Json<SecretView>, Problem> {
    let id = parse(&id)?;
    shown(&api, caller, Some(id), Rotate::No).await
}

/// Rotates the secret of an endpoint.
///
/// The one before signs along for a day.
#[utoipa::path(
    post, path = "/api/external/webhooks/{id}/rotate", operation_id = "rotateWebhookSecret", tag = "events",
    params(("id" = String, Path, description = "Id of the endpoint.")),
    responses(
        (status = 200, description = "What signs from now on.", body = SecretView),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub async fn rotate(api: Data<Api>, caller: Caller, id: Path<String>) -> Result<Json<SecretView>, Problem> {
    let id = parse(&id)?;
    shown(&api, caller, Some(id), Rotate::Now).await
}

/// Shows the secret of the project.
///
/// It signs what is sent to a `webhookUrl` that was named with a generation or a batch.
#[utoipa::path(
    get, path = "/api/external/webhooks/secret", operation_id = "getProjectWebhookSecret", tag = "events",
    responses(
        (status = 200, description = "What signs.", body = SecretView),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub async fn project_secret(api: Data<Api>, caller: Caller) -> Result<Json<SecretView>, Problem> {
    shown(&api, caller, None, Rotate::No).await
}

/// Rotates the secret of the project.
///
/// The one before signs along for a day.
#[utoipa::path(
    post, path = "/api/external/webhooks/secret/rotate", operation_id = "rotateProjectWebhookSecret", tag = "events",
    responses(
        (status = 200, description = "What signs from now on.", body = SecretView),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub async fn rotate_project(api: Data<Api>, caller: Caller) -> Result<Json<SecretView>, Problem> {
    shown(&api, caller, None, Rotate::Now).await
}

/// Sends an endpoint a `webhook.test`.
///
/// Once; the delivery shows what came of it.
#[utoipa::path(
    post, path = "/api/external/webhooks/{id}/test", operation_id = "testWebhook", tag = "events",
    params(("id" = String, Path, description = "Id of the endpoint.")),
    responses(
        (status = 202, description = "It is on its way.", body = DeliveryView),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub async fn test(api: Data<Api>, caller: Caller, id: Path<String>) -> Result<HttpResponse, Problem> {
    let (clerk, id, now) = (api.clerk.clone(), parse(&id)?, api.clock.now());
    let delivery = api.hop(async move { clerk.test(caller.project, id, now).await }).await?;
    Ok(HttpResponse::Accepted().json(DeliveryView::of(&delivery)))
}

async fn shown(api: &Api, caller: Caller, endpoint: Option<EndpointId>, rotate: Rotate) -> Result<Json<SecretView>, Problem> {
    let (clerk, now) = (api.clerk.clone(), api.clock.now());
    let shown = api.hop(async move { clerk.secret(caller.project, endpoint, rotate, now).await }).await?;
    let secret = shown.secret.expose_secret().to_owned();
    Ok(Json(SecretView { secret, previous_until: shown.previous_until }))
}

async fn object(api: &Api, request: &HttpRequest, payload: Payload) -> Result<Map<String, Value>, Problem> {
    match body::json(request, payload, &api.config.server).await? {
        Value::Object(members) => Ok(members),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(Problem::new(ErrorCode::InvalidRequest, "the body must be a JSON object"))
        }
    }
}

fn parse(id: &str) -> Result<EndpointId, Problem> {
    id.parse().map_err(|_| Refusal::Unknown.into())
}
