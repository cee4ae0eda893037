//! Pollo on the wire. Unknown fields are apparently not refused there: a mis-named one runs with defaults and bills, so the
//! names by generation of the API are a table.

use serde_json::{Value, json};

use super::{
    MISSING_GRACE, OUTPUT_LIFETIME,
    errors::{FAILURES, TABLE},
};
use crate::{
    domain::{
        balance::Balance,
        error::ErrorCode,
        record::{Endpoint, Handle, Kind},
    },
    providers::adapter::{
        Call, Context, Fault, HttpCall, ImageForms, Output, Polled, Reply, Submitted, images, pick,
        pick::{id, list, text},
        place,
        table::{Said, missing, unsendable},
    },
};

/// Ours → legacy.
const LEGACY: &[(&str, &str)] = &[
    ("negative_prompt", "negativePrompt"),
    ("size_or_ratio", "aspectRatio"),
    ("aspect_ratio", "aspectRatio"),
    ("generate_audio", "generateAudio"),
    ("camera_fixed", "cameraFixed"),
    ("duration", "length"),
];

/// Ours → v1, which takes `duration` under its own name.
const V1: &[(&str, &str)] = &[
    ("negative_prompt", "negativePrompt"),
    ("size_or_ratio", "aspectRatio"),
    ("aspect_ratio", "aspectRatio"),
    ("generate_audio", "generateAudio"),
    ("camera_fixed", "cameraFixed"),
];

/// The create call.
pub fn submit(call: &Call<'_>, forms: ImageForms) -> Result<HttpCall, Fault> {
    images::admit("pollo", call.images, forms)?;
    let (template, names) = match call.endpoint.path_family.as_str() {
        "legacy" => ("/generation/{upstream}", LEGACY),
        "v1/video" => ("/v1/generation/{upstream}/video", V1),
        "v1/image" => ("/v1/generation/{upstream}/image", V1),
        other => return Err(unknown_family(other)),
    };
    let mut input = pick::renamed(call.parameters, names);
    // v1 takes lower case only; the older path lists lower case too.
    let resolution = input.get("resolution").and_then(Value::as_str).map(str::to_lowercase);
    if let Some(resolution) = resolution {
        input.insert("resolution".to_owned(), json!(resolution));
    }
    input.insert("prompt".to_owned(), json!(call.prompt));
    for (field, image) in ["image", "imageTail"].into_iter().zip(call.images) {
        input.insert(field.to_owned(), json!(image));
    }
    let mut body = json!({"input": input});
    if let (Some(url), Some(envelope)) = (call.webhook_url, body.as_object_mut()) {
        // Beside `input`, not in it.
        envelope.insert("webhookUrl".to_owned(), json!(url.as_str()));
    }
    Ok(HttpCall::post(place::url(call.endpoint, template, &[])?, body))
}

fn unknown_family(family: &str) -> Fault {
    unsendable(ErrorCode::InternalError, format!("pollo has no path family \"{family}\": legacy or v1"))
}

/// The status call; option `poll_path` is a template with `{id}` for accounts where the v1 path differs.
pub fn poll(endpoint: &Endpoint, task_id: &str) -> Result<HttpCall, Fault> {
    let own = match endpoint.path_family.as_str() {
        "legacy" => "/generation/{id}/status",
        "v1/video" | "v1/image" => "/v1/generation/{id}/status",
        other => return Err(unknown_family(other)),
    };
    let template = endpoint.options.get("poll_path").map_or(own, String::as_str);
    place::url(endpoint, template, &[("id", task_id)]).map(HttpCall::get)
}

/// The answer's content, wrapped in `data` or bare.
fn content(body: &Value) -> &Value {
    body.get("data").filter(|data| data.is_object()).unwrap_or(body)
}

fn said(reply: &Reply, body: &Value) -> Said {
    let issue = list(body, &["issues"]).first().and_then(|issue| text(issue, &["message"]));
    let message = match (pick::complaint(body), issue) {
        (Some(message), Some(issue)) if message != issue => Some(format!("{message}: {issue}")),
        (message, issue) => message.or_else(|| issue.map(str::to_owned)),
    };
    Said::of(reply).saying(pick::code(body, &["code"]), message.as_deref())
}

/// Reads the credits that are left, wrapped in `data` or bare (client source).
pub fn read_balance(reply: &Reply) -> Result<Vec<Balance>, Fault> {
    let body = reply.json().unwrap_or_default();
    let left = pick::number(content(&body), &["availableCredits"]).filter(|_| reply.status.is_success());
    let balance = left.and_then(|left| Balance::of(None, left, "credits"));
    balance.map(|balance| vec![balance]).ok_or_else(|| TABLE.unclear(said(reply, &body), "it did not tell its credits"))
}

/// Reads the answer to a create call. Neither shape with a task id is a refusal only where status and JSON both say so.
pub fn read_submit(reply: &Reply) -> Submitted {
    let Some(body) = reply.json().filter(Value::is_object) else {
        // A page of the gateway in front (HTML), whatever its status: it says nothing about what lies behind.
        return Submitted::Fault(TABLE.unclear(Said::of(reply), "it answered with something that is not its JSON"));
    };
    let said = said(reply, &body);
    if reply.status.is_success() {
        return match id(content(&body), &["taskId"]) {
            Some(task_id) => Submitted::Accepted { handle: Handle { task_id, poll_url: None }, cost: None },
            None => Submitted::Fault(TABLE.unclear(said, "it accepted without telling a task id")),
        };
    }
    if reply.status.is_client_error() {
        return Submitted::Fault(TABLE.refusal(said));
    }
    Submitted::Fault(TABLE.unclear(said, "it failed"))
}

/// Reads a webhook.
pub fn read_webhook(body: &[u8]) -> Option<Handle> {
    let body: Value = serde_json::from_slice(body).ok()?;
    id(content(&body), &["taskId"]).map(|task_id| Handle { task_id, poll_url: None })
}

/// Reads the answer to a status call.
pub fn read_poll(context: &Context<'_>, reply: &Reply) -> Polled {
    let Some(body) = reply.json().filter(Value::is_object) else {
        return Polled::Unclear(TABLE.unclear(Said::of(reply), "it answered with something that is not its JSON"));
    };
    let said = said(reply, &body);
    // v1's status path is not documented for every model: a 404 there may mean the path, and must not fail what is paid.
    let path_is_known = context.endpoint.path_family == "legacy" || context.endpoint.options.contains_key("poll_path");
    if reply.status.as_u16() == 404 && path_is_known {
        let fault = TABLE.unclear(said, "it does not know the task");
        return Polled::Missing(missing(fault, context.submitted_at, reply.at, MISSING_GRACE));
    }
    let content = content(&body);
    let about_a_task = ["taskId", "generations", "result"].iter().any(|key| content.get(key).is_some());
    if !reply.status.is_success() || !about_a_task {
        return Polled::Unclear(TABLE.unclear(said, "it answered without a status"));
    }
    let generations = match list(content, &["generations"]) {
        [] => list(content, &["result"]),
        found => found,
    };
    judged(generations, said, context.kind)
}

/// There is no status of the whole on a GET: each generation has its own, and none yet means queued.
fn judged(generations: &[Value], said: Said, kind: Kind) -> Polled {
    let words: Vec<_> = generations.iter().map(|one| text(one, &["status"])).collect();
    let terminal = |word: &Option<&str>| matches!(word, Some("succeed" | "failed"));
    if words.is_empty() || !words.iter().all(terminal) {
        let known = |word: &&str| ["waiting", "processing", "succeed", "failed"].contains(word);
        let unknown_word = words.into_iter().flatten().find(|word| !known(word)).map(str::to_owned);
        return Polled::Pending { progress: None, again_after: said.retry_after, unknown_word };
    }
    let succeeded = || generations.iter().filter(|one| text(one, &["status"]) == Some("succeed"));
    if succeeded().next().is_some() {
        // One success is a success: what failed beside it is missing from the outputs.
        return Polled::Done { outputs: succeeded().filter_map(|one| output(one, kind)).collect(), cost: None };
    }
    let reason = generations.iter().find_map(|one| text(one, &["failMsg"]));
    Polled::Failed(FAILURES.failure(Said { code: None, message: None, ..said }.saying(None, reason)))
}

fn output(generation: &Value, kind: Kind) -> Option<Output> {
    let kind = match text(generation, &["mediaType"]) {
        None => kind,
        Some("video") => Kind::Video,
        Some("image") => Kind::Image,
        // Text and audio are nothing that we deliver.
        Some(_) => return None,
    };
    pick::output(text(generation, &["url"])?, kind, OUTPUT_LIFETIME)
}
