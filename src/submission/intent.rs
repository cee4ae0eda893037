//! The intent: the attempt's row, committed before a byte leaves. Pure.

use std::time::Duration;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::{
    domain::{
        attempt::AttemptState,
        generation::{GenerationEvent, GenerationState},
        record::{Attempt, Endpoint, Generation},
        slots::outputs_of,
        time::Timestamp,
    },
    providers::{
        adapter::{Body, HttpCall},
        catalogue::Model,
        schema::input::Accepted,
    },
    store::{Loaded, NewAttempt, Transition, change::Change},
    wake::Offer,
};

/// The input by which models take a seed.
pub const SEED: &str = "seed";

/// Everything that goes into an intent beside the rows.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    /// The offer: generation, attempt id, account.
    pub offer: &'a Offer,
    /// Where it goes.
    pub endpoint: &'a Endpoint,
    /// The request, without credential.
    pub call: &'a HttpCall,
    /// Its digest, by which equal submits are found.
    pub digest: String,
    /// Correlation tag.
    pub tag: &'a str,
    /// How soon after the commit the POST must leave.
    pub not_after: Duration,
    /// Now.
    pub now: Timestamp,
}

/// The slot that the next submit of this generation works for; none when it owes none, or the client cancelled.
#[must_use]
pub fn owed_slot(generation: &Generation) -> Option<u16> {
    let queued = generation.state() == GenerationState::Queued;
    let wanted = generation.cancel_requested_at.is_none();
    (queued && wanted).then(|| generation.slots().first_owed()).flatten()
}

/// The tag that a provider echoes; unguessable, unique over all our installations that share an account.
#[must_use]
pub fn tag(offer: &Offer) -> String {
    format!("lt-{}", offer.attempt.0.simple())
}

/// The intent's entry; none when the generation does not owe this submit any more.
#[must_use]
pub fn intent(loaded: &Loaded, slot: u16, plan: &Plan<'_>) -> Option<Transition> {
    if owed_slot(&loaded.generation) != Some(slot) {
        return None;
    }
    let n = loaded.attempts.iter().map(|attempt| attempt.n).max().unwrap_or(0).saturating_add(1);
    let reason = format!("attempt {n} through account {}", plan.offer.account);
    let mut change = Change::of(&loaded.generation, plan.now);
    change.advance(&GenerationEvent::Intent { slot }, None, &reason).ok()?;
    change.intent(NewAttempt { attempt: attempt(&loaded.generation, n, slot, plan), request: request(plan.call) }, &reason);
    Some(change.entry())
}

fn attempt(generation: &Generation, n: u16, slot: u16, plan: &Plan<'_>) -> Attempt {
    let (first_output, output_count) = outputs_of(slot, generation.outputs, generation.per_call);
    Attempt {
        id: plan.offer.attempt,
        generation: generation.id,
        n,
        shard: generation.shard,
        version: 0,
        state: AttemptState::Submitting,
        slot,
        first_output,
        output_count,
        provider: generation.provider.clone(),
        account: plan.offer.account.clone(),
        kind: generation.kind,
        model: generation.model.clone(),
        endpoint: plan.endpoint.clone(),
        tag: plan.tag.to_owned(),
        request_digest: plan.digest.clone(),
        not_after: plan.now.plus(plan.not_after),
        handle: None,
        created_at: plan.now,
        submitted_at: None,
        unconfirmed_since: None,
        updated_at: plan.now,
        ended_at: None,
        price: generation.call_price,
        cost: None,
        charged: false,
        failure: None,
        lost_at: None,
        released_at: None,
    }
}

/// A seed of our own, where the model declares one and the client gave none: so that no two submits have the same input, and each is
/// found again by it. It follows from the tag; below 2^31, which every model takes.
#[must_use]
pub fn own_seed(model: &Model, parameters: &Map<String, Value>, tag: &str) -> Option<i64> {
    let input = model.inputs.iter().find(|input| input.name == SEED).filter(|_| !parameters.contains_key(SEED))?;
    let Accepted::Integer { min, max, values: None } = &input.accepted else { return None };
    let (min, max) = (*min.max(&0), *max.min(&i64::from(i32::MAX)));
    let drawn = Sha256::digest(tag.as_bytes()).iter().take(6).fold(0_i64, |sum, byte| sum * 256 + i64::from(*byte));
    (min < max).then(|| min + drawn % (max - min + 1))
}

/// The request as it is kept, without credential.
#[must_use]
pub fn request(call: &HttpCall) -> Value {
    let body = match &call.body {
        Body::Empty => Value::Null,
        Body::Json(body) => body.clone(),
        Body::Form(fields) => json!(fields),
    };
    json!({ "method": call.method.as_str(), "url": call.url.as_str(), "body": body })
}

/// The request as it was kept; none when it is something else.
#[must_use]
pub fn call(kept: &Value) -> Option<HttpCall> {
    let text = |name: &str| kept.get(name).and_then(Value::as_str);
    let body = match kept.get("body")? {
        Value::Null => Body::Empty,
        Value::Array(fields) => {
            let field = |field: &Value| Some((field.get(0)?.as_str()?.to_owned(), field.get(1)?.as_str()?.to_owned()));
            Body::Form(fields.iter().map(field).collect::<Option<_>>()?)
        }
        body @ (Value::Object(_) | Value::Bool(_) | Value::Number(_) | Value::String(_)) => Body::Json(body.clone()),
    };
    Some(HttpCall { method: text("method")?.parse().ok()?, url: text("url")?.parse().ok()?, body })
}

/// SHA-256 of a request, in hexadecimal digits.
#[must_use]
pub fn digest(call: &HttpCall) -> String {
    Sha256::digest(request(call).to_string().as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_request_reads_back_as_it_was_sent() {
        let url: url::Url = "https://api.example.com/v1/videos?x=1".parse().unwrap();
        let form = Body::Form(vec![("model".to_owned(), "m".to_owned()), ("prompt".to_owned(), "a fox".to_owned())]);
        for body in [Body::Empty, Body::Json(json!({"prompt": "a fox", "n": 1})), form] {
            let sent = HttpCall { method: http::Method::POST, url: url.clone(), body };
            assert_eq!(call(&request(&sent)), Some(sent));
        }
        assert_eq!(call(&json!({"url": "https://x.test/", "body": null})), None);
    }
}
