//! What became of telling clients, and telling them once more.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Json, Path, Payload},
};
use serde_json::{Map, Value};
use url::form_urlencoded;

use super::{
    dto::{DeliveryList, DeliveryView, ReplayBody, ReplayView},
    object, parse,
};
use crate::{
    domain::{id::DeliveryId, time::Timestamp, webhook::DeliveryState},
    http::{
        Api,
        auth::Caller,
        problem::{Problem, ProblemBody},
    },
    intake::{ask, webhooks::Refusal},
    providers::schema::FieldError,
    store::DeliveryFilter,
};

/// Deliveries on a page, without `limit` and at most.
const PAGE: (u64, u64) = (20, 100);

/// Lists deliveries.
///
/// The newest first.
#[utoipa::path(
    get, path = "/api/external/webhooks/deliveries", operation_id = "listWebhookDeliveries", tag = "events",
    params(
        ("endpoint" = Option<String>, Query, description = "Only to this endpoint."),
        ("generation" = Option<String>, Query, description = "Only of this generation."),
        ("batch" = Option<String>, Query, description = "Only of this batch and its generations."),
        ("status" = Option<String>, Query, description = "Only `pending`, `delivered`, `failed` or `dropped`."),
        ("before" = Option<String>, Query, description = "`nextCursor` of the page before."),
        ("limit" = Option<u64>, Query, description = "1 to 100; default 20.")),
    responses(
        (status = 200, description = "A page.", body = DeliveryList),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub async fn list(api: Data<Api>, caller: Caller, request: HttpRequest) -> Result<Json<DeliveryList>, Problem> {
    let (filter, limit) = filter(request.query_string()).map_err(Problem::invalid)?;
    page(&api, caller, filter, limit).await
}

/// Lists the deliveries to an endpoint.
///
/// The newest first.
#[utoipa::path(
    get, path = "/api/external/webhooks/{id}/deliveries", operation_id = "listDeliveriesOfWebhook", tag = "events",
    params(("id" = String, Path, description = "Id of the endpoint."),
        ("generation" = Option<String>, Query, description = "Only of this generation."),
        ("batch" = Option<String>, Query, description = "Only of this batch and its generations."),
        ("status" = Option<String>, Query, description = "Only `pending`, `delivered`, `failed` or `dropped`."),
        ("before" = Option<String>, Query, description = "`nextCursor` of the page before."),
        ("limit" = Option<u64>, Query, description = "1 to 100; default 20.")),
    responses(
        (status = 200, description = "A page.", body = DeliveryList),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub async fn of_endpoint(
    api: Data<Api>,
    caller: Caller,
    id: Path<String>,
    request: HttpRequest,
) -> Result<Json<DeliveryList>, Problem> {
    let (clerk, id) = (api.clerk.clone(), parse(&id)?);
    api.hop(async move { clerk.find(caller.project, id).await }).await?;
    let (mut filter, limit) = filter(request.query_string()).map_err(Problem::invalid)?;
    // One that named another endpoint finds nothing.
    if filter.endpoint.is_some_and(|named| named != id) {
        return Ok(Json(DeliveryList { data: Vec::new(), next_cursor: None, has_more: false }));
    }
    filter.endpoint = Some(id);
    page(&api, caller, filter, limit).await
}

async fn page(api: &Api, caller: Caller, filter: DeliveryFilter, limit: u64) -> Result<Json<DeliveryList>, Problem> {
    let (webhooks, project) = (api.clerk.webhooks.clone(), caller.project);
    let mut rows = api.hop(async move { webhooks.deliveries(project, &filter, limit.saturating_add(1)).await }).await?;
    let size = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > size;
    rows.truncate(size);
    let next = rows.last().filter(|_| more).map(|last| last.id.to_string());
    Ok(Json(DeliveryList { data: rows.iter().map(DeliveryView::of).collect(), next_cursor: next, has_more: more }))
}

/// Sends a delivery once more.
///
/// Whatever became of it, with the same `webhook-id` and a new schedule.
#[utoipa::path(
    post, path = "/api/external/webhooks/deliveries/{id}/replay", operation_id = "replayWebhookDelivery", tag = "events",
    params(("id" = String, Path, description = "Id of the delivery.")),
    responses(
        (status = 202, description = "It is on its way.", body = DeliveryView),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub async fn replay(api: Data<Api>, caller: Caller, id: Path<String>) -> Result<HttpResponse, Problem> {
    let id: DeliveryId = id.parse().map_err(|_| Problem::from(Refusal::Unknown))?;
    let (clerk, now) = (api.clerk.clone(), api.clock.now());
    let delivery = api.hop(async move { clerk.replay(caller.project, id, now).await }).await?;
    Ok(HttpResponse::Accepted().json(DeliveryView::of(&delivery)))
}

/// Sends everything once more that an endpoint did not take.
///
/// All deliveries to it that ended as `status` says and were made since an instant: each with the same `webhook-id` and a new schedule. For
/// a receiver that was broken for a while. Repeatable: what is on its way again is not begun once more.
#[utoipa::path(
    post, path = "/api/external/webhooks/{id}/replay", operation_id = "replayWebhook", tag = "events", request_body = ReplayBody,
    params(("id" = String, Path, description = "Id of the endpoint.")),
    responses(
        (status = 202, description = "They are on their way.", body = ReplayView),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub async fn replay_since(
    api: Data<Api>,
    caller: Caller,
    id: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let which = wanted(object(&api, &request, payload).await?).map_err(Problem::invalid)?;
    let (clerk, id, now) = (api.clerk.clone(), parse(&id)?, api.clock.now());
    let replayed = api.hop(async move { clerk.replay_since((caller.project, id), which, now).await }).await?;
    Ok(HttpResponse::Accepted().json(ReplayView { replayed }))
}

/// What is to be sent once more.
fn wanted(members: Map<String, Value>) -> Result<(DeliveryState, Timestamp), Vec<FieldError>> {
    let (mut since, mut state, mut errors) = (None, DeliveryState::Failed, Vec::new());
    for (name, value) in &members {
        let (text, at) = (value.as_str().unwrap_or_default(), format!("/{}", ask::escaped(name)));
        match name.as_str() {
            "since" => match Timestamp::parse(text) {
                Some(instant) => since = Some(instant),
                None => errors.push(ask::field(&at, "wrong_type", "must be an RFC 3339 instant such as 2026-11-21T12:00:00Z")),
            },
            "status" => match text {
                "failed" => state = DeliveryState::Failed,
                "dropped" => state = DeliveryState::Dropped,
                _ => errors.push(ask::field(&at, "not_one_of", "must be failed or dropped")),
            },
            _ => errors.push(ask::unknown_member(&at, name, "this request", &["since", "status"])),
        }
    }
    if !members.contains_key("since") {
        errors.push(ask::field("/since", "required", "since when; an RFC 3339 instant such as 2026-11-21T12:00:00Z"));
    }
    match since {
        Some(since) if errors.is_empty() => Ok((state, since)),
        Some(_) | None => Err(errors),
    }
}

fn filter(query: &str) -> Result<(DeliveryFilter, u64), Vec<FieldError>> {
    let (mut filter, mut limit, mut errors) = (DeliveryFilter::default(), PAGE.0, Vec::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let taken = match &*name {
            "generation" => value.parse().map(|id| filter.generation = Some(id)).map_err(|_| "must be the id of a generation"),
            "batch" => value.parse().map(|id| filter.batch = Some(id)).map_err(|_| "must be the id of a batch"),
            "endpoint" => value.parse().map(|id| filter.endpoint = Some(id)).map_err(|_| "must be the id of an endpoint"),
            "status" => {
                let state = DeliveryState::ALL.into_iter().find(|state| state.as_str() == value);
                state.map(|state| filter.state = Some(state)).ok_or("must be pending, delivered, failed or dropped")
            }
            "before" => value.parse().map(|id| filter.before = Some(id)).map_err(|_| "must be a cursor of this list"),
            "limit" => {
                let given = value.parse().ok().filter(|given| (1..=PAGE.1).contains(given));
                given.map(|given| limit = given).ok_or("must be between 1 and 100")
            }
            _ => Err("is unknown; there are endpoint, generation, batch, status, before and limit"),
        };
        if let Err(detail) = taken {
            let pointer = format!("?{}", name.chars().take(64).collect::<String>());
            errors.push(FieldError { pointer, code: "invalid_value", detail: format!("`{name}` {detail}") });
        }
    }
    if errors.is_empty() { Ok((filter, limit)) } else { Err(errors) }
}
