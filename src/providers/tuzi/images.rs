//! Style `images`: OpenAI's image call. The answer is the result, so whatever is not clearly a refusal leaves the outcome
//! unknown: the job behind it may have run, and was billed then.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    OUTPUT_LIFETIME,
    errors::{TABLE, explicit, said},
};
use crate::{
    domain::record::Kind,
    providers::adapter::{
        Call, Fault, HttpCall, ImageForms, Output, OutputSource, Reply, Submitted,
        images::{Size, admit, from_base64},
        pick::{self, list, text},
        place,
    },
};

/// The call.
pub fn submit(call: &Call<'_>, forms: ImageForms) -> Result<HttpCall, Fault> {
    admit("tuzi", call.images, forms)?;
    let mut body = pick::renamed(call.parameters, &[]);
    if let Some(size) = body.remove("size_or_ratio") {
        let ratio = size.as_str().and_then(Size::parse).is_some_and(|size| matches!(size, Size::Ratio(..)));
        body.insert(if ratio { "aspect_ratio" } else { "size" }.to_owned(), size);
    }
    let prompt: Vec<&str> = call.images.iter().map(String::as_str).chain([call.prompt]).collect();
    body.insert("model".to_owned(), json!(call.endpoint.upstream));
    body.insert("prompt".to_owned(), json!(prompt.join(" ")));
    body.insert("n".to_owned(), json!(call.outputs));
    let format = call.endpoint.options.get("response_format").map_or("url", String::as_str);
    body.insert("response_format".to_owned(), json!(format));
    Ok(HttpCall::post(place::url(call.endpoint, "/v1/images/generations", &[])?, Value::Object(body)))
}

/// Reads the answer.
pub fn read(kind: Kind, reply: &Reply) -> Submitted {
    let body = reply.json().unwrap_or_default();
    let said = said(reply, &body);
    if explicit(reply, &body) {
        return Submitted::Fault(TABLE.refusal(said));
    }
    if !reply.status.is_success() {
        return Submitted::Fault(TABLE.unclear(said, "it failed; the job may have run"));
    }
    let outputs: Vec<Output> = list(&body, &["data"]).iter().filter_map(|item| output(item, kind)).collect();
    if outputs.is_empty() {
        return Submitted::Fault(TABLE.unclear(said, "it answered without an image"));
    }
    Submitted::Done { outputs, cost: None }
}

fn output(item: &Value, kind: Kind) -> Option<Output> {
    let inline = text(item, &["b64_json"]).and_then(from_base64).map(|bytes| Output {
        source: OutputSource::Inline(Bytes::from(bytes)),
        kind,
        lifetime: OUTPUT_LIFETIME,
        duration_seconds: None,
    });
    inline.or_else(|| pick::output(text(item, &["url"])?, kind, OUTPUT_LIFETIME))
}
