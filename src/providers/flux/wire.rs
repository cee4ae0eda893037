//! BFL on the wire; the relay style that copies it goes through here too.

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use url::Url;

use super::{
    MISSING_GRACE, OUTPUT_LIFETIME,
    errors::FAILURES,
    model::{ImageField, Shape, SizeField},
};
use crate::{
    domain::{
        balance::Balance,
        error::ErrorCode,
        money::Micros,
        record::{Endpoint, Handle},
    },
    providers::adapter::{
        Body, Call, Context, Fault, HttpCall, Polled, Reply, Submitted, Then, images,
        pick::{self, id, number, text},
        place,
        table::{Said, Table, missing, unsendable},
    },
};

/// One credit in dollars (BFL pricing, 2026).
const CREDIT_DOLLARS: f64 = 0.01;

/// Path where the answer gave no polling URL.
const POLL_PATH: &str = "/v1/get_result?id={id}";

/// The host whose answers may lie at another, regional one.
const GLOBAL_HOST: &str = "api.bfl.ai";

/// The submit call. One image a request.
pub fn submit(call: &Call<'_>, template: &str) -> Result<HttpCall, Fault> {
    let shape = Shape::of(&call.endpoint.upstream);
    images::admit("flux", call.images, shape.forms())?;
    let mut body = pick::renamed(call.parameters, &[("generateAudio", "generate_audio")]);
    size(&mut body, shape)?;
    body.insert("prompt".to_owned(), json!(call.prompt));
    put_images(&mut body, shape, call.images);
    if let Some(url) = call.webhook_url.filter(|_| host_is_pinned(call.endpoint)) {
        body.insert("webhook_url".to_owned(), json!(url.as_str()));
    }
    Ok(HttpCall::post(place::url(call.endpoint, template, &[])?, Value::Object(body)))
}

/// Adds the secret that BFL is to sign its webhooks with, where it is given a webhook.
pub fn seal(mut call: HttpCall, webhook_secret: Option<&SecretString>) -> HttpCall {
    if let (Body::Json(Value::Object(body)), Some(secret)) = (&mut call.body, webhook_secret)
        && body.contains_key("webhook_url")
    {
        body.insert("webhook_secret".to_owned(), json!(secret.expose_secret()));
    }
    call
}

/// Reads a webhook. The polling URL is not in it: it came with the answer to the submit, or there is none.
pub fn read_webhook(body: &[u8]) -> Option<Handle> {
    let body: Value = serde_json::from_slice(body).ok()?;
    id(&body, &["id"]).map(|task_id| Handle { task_id, poll_url: None })
}

/// With a webhook BFL answers without a polling URL, and the global host may not find a task of a region: a webhook is only
/// asked for where the configured host is itself the one to poll.
fn host_is_pinned(endpoint: &Endpoint) -> bool {
    place::host(&endpoint.base_url).is_some_and(|host| host != GLOBAL_HOST)
}

fn size(body: &mut Map<String, Value>, shape: Shape) -> Result<(), Fault> {
    let Some(asked) = body.remove("size_or_ratio") else {
        return Ok(());
    };
    let parsed = asked.as_str().and_then(images::Size::parse);
    let parsed = parsed.ok_or_else(|| {
        unsendable(ErrorCode::InvalidParameters, "size_or_ratio is neither a ratio such as 16:9 nor a size such as 1024x768")
    })?;
    match shape.size {
        SizeField::Pixels { step, most } => {
            let (width, height) = parsed.pixels(step, most);
            body.insert("width".to_owned(), json!(width));
            body.insert("height".to_owned(), json!(height));
        }
        SizeField::Ratio => {
            body.insert("aspect_ratio".to_owned(), json!(parsed.ratio()));
        }
        SizeField::Image => {}
    }
    Ok(())
}

fn put_images(body: &mut Map<String, Value>, shape: Shape, images: &[String]) {
    for (n, image) in images.iter().enumerate() {
        let field = match shape.images {
            ImageField::Base64(name) => name.to_owned(),
            ImageField::Inputs(_) if n == 0 => "input_image".to_owned(),
            ImageField::Inputs(_) => format!("input_image_{}", n + 1),
            ImageField::Nothing => return,
        };
        body.insert(field, json!(images::bare(image)));
    }
}

fn said(reply: &Reply, body: &Value) -> Said {
    Said::of(reply).saying(None, pick::complaint(body).as_deref()).waiting(number(body, &["retry_after"]))
}

/// Reads the credits that are left: `{"credits": n}`.
pub fn read_balance(reply: &Reply, table: Table) -> Result<Vec<Balance>, Fault> {
    let body = reply.json().unwrap_or_default();
    let left = number(&body, &["credits"]).filter(|_| reply.status.is_success());
    let balance = left.and_then(|left| Balance::of(None, left, "credits"));
    balance.map(|balance| vec![balance]).ok_or_else(|| table.unclear(said(reply, &body), "it did not tell its credits"))
}

fn cost(body: &Value) -> Option<Micros> {
    number(body, &["cost"]).map(|credits| Micros::from_dollars(credits * CREDIT_DOLLARS))
}

/// Reads the answer to a submit: with `polling_url`, or without one where a webhook was asked for.
pub fn read_submit(reply: &Reply, table: Table) -> Submitted {
    let body = reply.json().unwrap_or_default();
    if !reply.status.is_success() {
        return Submitted::Fault(table.refusal(said(reply, &body)));
    }
    match id(&body, &["id"]) {
        Some(task_id) => {
            let poll_url = text(&body, &["polling_url"]).map(str::to_owned);
            Submitted::Accepted { handle: Handle { task_id, poll_url }, cost: cost(&body) }
        }
        None => Submitted::Fault(table.unclear(said(reply, &body), "it accepted without telling an id")),
    }
}

/// The poll call: the polling URL as given, if the key may go there.
pub fn poll(context: &Context<'_>) -> Result<HttpCall, Fault> {
    let Some(given) = &context.handle.poll_url else {
        return place::url(context.endpoint, POLL_PATH, &[("id", &context.handle.task_id)]).map(HttpCall::get);
    };
    let url = Url::parse(given).ok().filter(|url| at_bfl(url) || place::same_origin(url, &context.endpoint.base_url));
    match url {
        Some(url) => Ok(HttpCall::get(with_id(url, &context.handle.task_id))),
        None => {
            let message = "flux: the polling URL is not at BFL nor at the configured host: the key is not sent there";
            Err(Fault { then: Then::Unclear, ..unsendable(ErrorCode::ProviderError, message) })
        }
    }
}

/// https under bfl.ai, as litellm checks it.
fn at_bfl(url: &Url) -> bool {
    url.scheme() == "https" && url.host_str().is_some_and(|host| host == "bfl.ai" || host.ends_with(".bfl.ai"))
}

/// Normally the id is in the query; where it is missing it is added, as vercel/ai does.
pub fn with_id(mut url: Url, task_id: &str) -> Url {
    if !url.as_str().contains(task_id) && !url.query_pairs().any(|(name, _)| name == "id") {
        url.query_pairs_mut().append_pair("id", task_id);
    }
    url
}

/// Reads the answer to a poll.
pub fn read_poll(context: &Context<'_>, reply: &Reply, table: Table) -> Polled {
    let body = reply.json().unwrap_or_default();
    // "Task not found" may come with a 404; a word beside any other error status is not trusted.
    let trusted = reply.status.is_success() || reply.status.as_u16() == 404;
    let Some(word) = text(&body, &["status"]).filter(|_| trusted) else {
        return Polled::Unclear(table.unclear(said(reply, &body), "it answered without a status"));
    };
    let again_after = Said::of(reply).retry_after;
    let pending = |unknown_word| Polled::Pending { progress: progress(&body), again_after, unknown_word };
    match word {
        "Pending" => pending(None),
        "Ready" => Polled::Done {
            outputs: text(&body, &["result", "sample"])
                .and_then(|sample| pick::output(sample, context.kind, OUTPUT_LIFETIME))
                .into_iter()
                .collect(),
            cost: cost(&body),
        },
        "Request Moderated" | "Content Moderated" | "Error" | "Failed" => {
            let reason = reason(&body);
            let said = Said::of(reply).saying(Some(word.to_owned()), reason.as_deref());
            Polled::Failed(FAILURES.failure(said))
        }
        "Task not found" => {
            let fault = table.unclear(said(reply, &body), "it does not know the task");
            Polled::Missing(missing(fault, context.submitted_at, reply.at, MISSING_GRACE))
        }
        other => pending(Some(other.to_owned())),
    }
}

/// `details` is an object in the OpenAPI and a text in some answers.
fn reason(body: &Value) -> Option<String> {
    match body.get("details") {
        Some(Value::String(words)) => Some(words.clone()),
        Some(object @ Value::Object(fields)) if !fields.is_empty() => Some(object.to_string()),
        Some(Value::Object(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_)) | None => {
            pick::complaint(body)
        }
    }
}

fn progress(body: &Value) -> Option<u8> {
    number(body, &["progress"]).map(pick::percent)
}
