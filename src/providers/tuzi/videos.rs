//! Styles `videos` (OpenAI's former video call, used for images too) and the polls of `bfl`.

use serde_json::Value;
use url::Url;

use super::{
    MISSING_GRACE, OUTPUT_LIFETIME,
    errors::{TABLE, explicit, said},
};
use crate::{
    domain::record::Handle,
    providers::{
        adapter::{
            Body, Call, Context, Fault, HttpCall, ImageForms, Output, Polled, Reply, Submitted, images, pick,
            pick::{id, number, text},
            place,
            table::{Said, missing},
        },
        flux::wire,
    },
};

/// Ours → the form's.
const NAMES: &[(&str, &str)] = &[("size_or_ratio", "size"), ("duration", "seconds")];

/// The submit call: a form of text fields.
pub fn submit(call: &Call<'_>, forms: ImageForms) -> Result<HttpCall, Fault> {
    images::admit("tuzi", call.images, forms)?;
    let mut fields = vec![("model".to_owned(), call.endpoint.upstream.clone()), ("prompt".to_owned(), call.prompt.to_owned())];
    fields.extend(pick::renamed(call.parameters, NAMES).into_iter().map(|(name, value)| (name, plain(&value))));
    fields.extend(call.images.iter().map(|image| ("input_reference".to_owned(), image.clone())));
    let url = place::url(call.endpoint, "/v1/videos", &[])?;
    Ok(HttpCall { method: http::Method::POST, url, body: Body::Form(fields) })
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Reads its answer.
pub fn read_submit(reply: &Reply) -> Submitted {
    let body = reply.json().unwrap_or_default();
    let said = said(reply, &body);
    if explicit(reply, &body) {
        return Submitted::Fault(TABLE.refusal(said));
    }
    let found = id(&body, &["id"]).or_else(|| id(&body, &["task_id"])).or_else(|| id(&body, &["data", "id"]));
    match found.filter(|_| reply.status.is_success()) {
        Some(task_id) => Submitted::Accepted { handle: Handle { task_id, poll_url: None }, cost: None },
        None => Submitted::Fault(TABLE.unclear(said, "it answered without a task id")),
    }
}

/// The poll call.
pub fn poll(context: &Context<'_>) -> Result<HttpCall, Fault> {
    place::url(context.endpoint, "/v1/videos/{id}", &[("id", &context.handle.task_id)]).map(HttpCall::get)
}

/// Reads its answer.
pub fn read_poll(context: &Context<'_>, reply: &Reply) -> Polled {
    if let Some(lost) = lost(context, reply) {
        return lost;
    }
    let body = reply.json().unwrap_or_default();
    let said = said(reply, &body);
    let task = body.get("data").filter(|data| data.is_object()).unwrap_or(&body);
    let Some(word) = text(task, &["status"]).filter(|_| reply.status.is_success()) else {
        return Polled::Unclear(TABLE.unclear(said, "it answered without a status"));
    };
    let progress = number(task, &["progress"]).map(|percent| pick::percent(percent / 100.0));
    let again_after = said.retry_after;
    let pending = |unknown_word| Polled::Pending { progress, again_after, unknown_word };
    match word {
        "queued" | "in_progress" => pending(None),
        "completed" => Polled::Done { outputs: outputs(task, context), cost: None },
        "failed" => Polled::Failed(TABLE.failure(said_of_task(task, said))),
        other => pending(Some(other.to_owned())),
    }
}

/// The relay's own words for a task that it does not know. A 404 about the path proves nothing.
fn lost(context: &Context<'_>, reply: &Reply) -> Option<Polled> {
    let said = said(reply, &reply.json()?);
    let unknown_task = said.code.as_deref() == Some("task_not_exist") || mentions_a_lost_task(said.message.as_deref());
    if !reply.status.is_client_error() || !unknown_task {
        return None;
    }
    let fault = TABLE.unclear(said, "it does not know the task");
    Some(Polled::Missing(missing(fault, context.submitted_at, reply.at, MISSING_GRACE)))
}

fn mentions_a_lost_task(message: Option<&str>) -> bool {
    let lower = message.unwrap_or_default().to_lowercase();
    (lower.contains("task") || lower.contains("video")) && (lower.contains("not exist") || lower.contains("not found"))
}

/// HTTP 200 carries the failure: the status of the answer must not pick a row.
fn said_of_task(task: &Value, said: Said) -> Said {
    said.saying(pick::code(task, &["error", "code"]), pick::complaint(task).as_deref())
}

fn outputs(task: &Value, context: &Context<'_>) -> Vec<Output> {
    let address = ["video_url", "url", "image_url"].iter().find_map(|key| text(task, &[key]));
    address.and_then(|address| pick::output(address, context.kind, OUTPUT_LIFETIME)).into_iter().collect()
}

/// Reads the answer to a submit of style `bfl`. What the original would cost says nothing about the relay's price.
pub fn read_submit_bfl(reply: &Reply) -> Submitted {
    match wire::read_submit(reply, TABLE) {
        Submitted::Accepted { handle, .. } => Submitted::Accepted { handle, cost: None },
        other @ (Submitted::Done { .. } | Submitted::Fault(_)) => other,
    }
}

/// Reads the answer to a poll of style `bfl`.
pub fn read_poll_bfl(context: &Context<'_>, reply: &Reply) -> Polled {
    if let Some(lost) = lost(context, reply) {
        return lost;
    }
    match wire::read_poll(context, reply, TABLE) {
        Polled::Done { outputs, .. } => Polled::Done { outputs, cost: None },
        other @ (Polled::Pending { .. } | Polled::Failed(_) | Polled::Next(_) | Polled::Missing(_) | Polled::Unclear(_)) => other,
    }
}

/// The poll call of style `bfl`: the polling URL where it lies on the relay's own host, else the relay's own path. The relay's
/// key never goes to another host.
pub fn poll_bfl(context: &Context<'_>) -> Result<HttpCall, Fault> {
    let id = context.handle.task_id.as_str();
    let own = context.handle.poll_url.as_deref().and_then(|given| Url::parse(given).ok());
    match own.filter(|url| place::same_origin(url, &context.endpoint.base_url)) {
        Some(url) => Ok(HttpCall::get(wire::with_id(url, id))),
        None => place::url(context.endpoint, "/flux/v1/get_result?id={id}", &[("id", id)]).map(HttpCall::get),
    }
}
