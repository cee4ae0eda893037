//! Replicate on the wire: one prediction object for create, get and cancel.

use secrecy::SecretString;
use serde_json::{Map, Value, json};

use super::{
    MISSING_GRACE, OUTPUT_LIFETIME,
    errors::{FAILURES, TABLE},
};
use crate::{
    domain::{
        error::ErrorCode,
        record::{Endpoint, Handle, Kind},
    },
    providers::adapter::{
        Body, Call, Cancelled, Context, Fault, HttpCall, ImageForms, Output, Polled, Reply, Submitted, Then, images, pick,
        pick::{id, number, text},
        place,
        table::{Said, missing, unsendable},
    },
};

/// Ours → the usual names of models' inputs.
const NAMES: &[(&str, &str)] = &[("size_or_ratio", "aspect_ratio"), ("generateAudio", "generate_audio")];

/// How deep URLs are looked for in an output (a list of objects of lists is the most that models use).
const OUTPUT_DEPTH: u8 = 4;

/// Under which input names a model takes images: every model names its own.
#[derive(Debug, PartialEq, Eq)]
pub enum ImageFields<'a> {
    /// One name for each image.
    Each(Vec<&'a str>),
    /// One name for a list of all.
    List(&'a str),
}

impl ImageFields<'_> {
    /// How many images fit.
    pub const fn most(&self) -> usize {
        match self {
            Self::Each(names) => names.len(),
            // The largest list that a known model takes.
            Self::List(_) => 10,
        }
    }
}

/// Option `image_field.<upstream>`, else `image_field`, else `image`: `start_image,end_image` names one input each,
/// `image_input[]` names one that takes a list.
pub fn image_fields(endpoint: &Endpoint) -> ImageFields<'_> {
    let own = endpoint.options.get(&format!("image_field.{}", endpoint.upstream));
    let names = own.or_else(|| endpoint.options.get("image_field")).map_or("image", String::as_str);
    match names.strip_suffix("[]") {
        Some(name) => ImageFields::List(name),
        None => ImageFields::Each(names.split(',').map(str::trim).filter(|name| !name.is_empty()).collect()),
    }
}

/// The create call.
pub fn submit(call: &Call<'_>, forms: ImageForms) -> Result<HttpCall, Fault> {
    images::admit("replicate", call.images, forms)?;
    let mut body = Map::new();
    let template = match call.endpoint.path_family.as_str() {
        "predictions" => {
            body.insert("version".to_owned(), json!(call.endpoint.upstream));
            "/predictions"
        }
        "models" => "/models/{upstream}/predictions",
        "deployments" => "/deployments/{upstream}/predictions",
        other => {
            let message = format!("replicate has no path family \"{other}\": predictions, models or deployments");
            return Err(unsendable(ErrorCode::InternalError, message));
        }
    };
    body.insert("input".to_owned(), Value::Object(input(call)));
    if let Some(url) = call.webhook_url {
        body.insert("webhook".to_owned(), json!(url.as_str()));
        // `start` brings the id early when the answer was lost.
        body.insert("webhook_events_filter".to_owned(), json!(["start", "completed"]));
    }
    Ok(HttpCall::post(place::url(call.endpoint, template, &[])?, Value::Object(body)))
}

fn input(call: &Call<'_>) -> Map<String, Value> {
    let mut input = pick::renamed(call.parameters, NAMES);
    input.insert("prompt".to_owned(), json!(call.prompt));
    match image_fields(call.endpoint) {
        ImageFields::Each(names) => {
            input.extend(names.into_iter().map(str::to_owned).zip(call.images.iter().map(|image| json!(image))));
        }
        ImageFields::List(name) if !call.images.is_empty() => {
            input.insert(name.to_owned(), json!(call.images));
        }
        ImageFields::List(_) => {}
    }
    if call.outputs > 1 {
        let name = call.endpoint.options.get("outputs_field").map_or("num_outputs", String::as_str);
        input.insert(name.to_owned(), json!(call.outputs));
    }
    input
}

fn said(reply: &Reply, body: &Value) -> Said {
    let message = text(body, &["detail"]).map(str::to_owned).or_else(|| pick::complaint(body));
    Said::of(reply).saying(None, message.as_deref()).waiting(number(body, &["retry_after"]))
}

/// Reads the answer to a create. Output in it is ignored: only a poll that says `succeeded` makes it final.
pub fn read_submit(reply: &Reply) -> Submitted {
    let body = reply.json().unwrap_or_default();
    let said = said(reply, &body);
    if !reply.status.is_success() {
        return Submitted::Fault(TABLE.refusal(said));
    }
    match id(&body, &["id"]) {
        Some(task_id) => Submitted::Accepted { handle: Handle { task_id, poll_url: None }, cost: None },
        None => Submitted::Fault(TABLE.unclear(said, "it accepted without telling a prediction id")),
    }
}

/// Reads a prediction.
pub fn read_poll(context: &Context<'_>, reply: &Reply) -> Polled {
    let body = reply.json().unwrap_or_default();
    let said = said(reply, &body);
    if reply.status.as_u16() == 404 && body.is_object() {
        let fault = TABLE.unclear(said, "it does not know the prediction");
        return Polled::Missing(missing(fault, context.submitted_at, reply.at, MISSING_GRACE));
    }
    let word = text(&body, &["status"]).filter(|_| reply.status.is_success());
    let Some(word) = word else {
        return Polled::Unclear(TABLE.unclear(said, "it answered without a status"));
    };
    match word {
        "starting" | "processing" => pending(&body, &said, None),
        "succeeded" => Polled::Done { outputs: outputs(&body, context.kind), cost: None },
        "failed" => {
            let reason = text(&body, &["error"]);
            Polled::Failed(FAILURES.failure(Said { message: None, ..said }.saying(None, reason)))
        }
        "canceled" => Polled::Failed(ended(said, ErrorCode::TaskCancelled, Then::Final, "the prediction was canceled")),
        // A deadline passed before it started: not billed (prediction lifecycle).
        "aborted" => Polled::Failed(ended(said, ErrorCode::TaskFailed, Then::RetryUnbilled, "it was aborted before it started")),
        other => pending(&body, &said, Some(other.to_owned())),
    }
}

fn ended(said: Said, code: ErrorCode, then: Then, means: &str) -> Fault {
    Fault { code, then, ..TABLE.unclear(said, means) }
}

fn pending(body: &Value, said: &Said, unknown_word: Option<String>) -> Polled {
    let progress = progress(text(body, &["logs"]).unwrap_or_default());
    Polled::Pending { progress, again_after: said.retry_after, unknown_word }
}

/// The last "40%|####" that a progress bar wrote into the logs, as Replicate's own clients read it.
fn progress(logs: &str) -> Option<u8> {
    let (before, _) = logs.rsplit_once("%|")?;
    let digits = before.rfind(|c: char| !c.is_ascii_digit()).map_or(before, |at| before.split_at(at).1);
    digits.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().ok().filter(|percent| *percent <= 100)
}

fn outputs(prediction: &Value, kind: Kind) -> Vec<Output> {
    // After an hour the prediction stays `succeeded` and its files are gone.
    if prediction.get("data_removed") == Some(&Value::Bool(true)) {
        return Vec::new();
    }
    let mut found = Vec::new();
    gather(prediction.get("output").unwrap_or(&Value::Null), kind, OUTPUT_DEPTH, &mut found);
    found
}

fn gather(value: &Value, kind: Kind, depth: u8, found: &mut Vec<Output>) {
    if depth == 0 {
        return;
    }
    match value {
        Value::String(address) => found.extend(pick::output(address, kind, OUTPUT_LIFETIME)),
        Value::Array(items) => items.iter().for_each(|item| gather(item, kind, depth - 1, found)),
        Value::Object(fields) => fields.values().for_each(|item| gather(item, kind, depth - 1, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Reads a webhook: the prediction.
pub fn read_webhook(body: &[u8]) -> Option<Handle> {
    let body: Value = serde_json::from_slice(body).ok()?;
    id(&body, &["id"]).map(|task_id| Handle { task_id, poll_url: None })
}

/// Reads what signs the account's webhooks: `{"key": "whsec_…"}` (Replicate's JS client, `webhooks.default.secret.get`).
pub fn read_signing_secret(reply: &Reply) -> Result<SecretString, Fault> {
    let body = reply.json().unwrap_or_default();
    let said = said(reply, &body);
    match text(&body, &["key"]).filter(|key| reply.status.is_success() && !key.is_empty()) {
        Some(key) => Ok(SecretString::from(key.to_owned())),
        None => Err(TABLE.unclear(said, "it did not tell what signs its webhooks")),
    }
}

/// The cancel call.
pub fn cancel(context: &Context<'_>) -> Result<HttpCall, Fault> {
    let url = place::url(context.endpoint, "/predictions/{id}/cancel", &[("id", &context.handle.task_id)])?;
    Ok(HttpCall { method: http::Method::POST, url, body: Body::Empty })
}

/// Reads its answer: the prediction, `canceled` at once.
pub fn read_cancel(reply: &Reply) -> Cancelled {
    let body = reply.json().unwrap_or_default();
    let said = said(reply, &body);
    match (reply.status.as_u16(), text(&body, &["status"])) {
        (200..=299, Some("canceled" | "aborted")) => Cancelled::Yes,
        (200..=299, Some("succeeded" | "failed")) => Cancelled::No,
        (404, _) if body.is_object() => Cancelled::No,
        _ => Cancelled::Unclear(TABLE.unclear(said, "it did not say that it canceled")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_the_last_bar_of_the_logs() {
        assert_eq!(progress("Using seed: 4\n  0%|   | 0/50\n 42%|██  | 21/50"), Some(42));
        assert_eq!(progress("100%|"), Some(100));
        assert_eq!(progress("7% done"), None);
        assert_eq!(progress("é%|"), None);
        assert_eq!(progress("999%|"), None);
    }

    #[test]
    fn image_fields_are_named_by_option_and_by_model() {
        let options = [("image_field", "a, b"), ("image_field.o/m", "list[]")];
        let options = options.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let endpoint = |upstream: &str| Endpoint {
            base_url: String::new(),
            path_family: String::new(),
            upstream: upstream.to_owned(),
            options: std::collections::BTreeMap::clone(&options),
        };
        assert_eq!(image_fields(&endpoint("x/y")), ImageFields::Each(vec!["a", "b"]));
        assert_eq!(image_fields(&endpoint("o/m")), ImageFields::List("list"));
    }
}
