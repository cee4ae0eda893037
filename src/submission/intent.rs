//! The intent: the attempt's row, committed before a byte leaves. Pure.

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    domain::{
        attempt::AttemptState,
        generation::{GenerationEvent, GenerationState},
        record::{Attempt, Endpoint, Generation},
        slots::outputs_of,
        time::Timestamp,
    },
    providers::adapter::{Body, HttpCall},
    store::{Loaded, NewAttempt, Transition, change::Change},
    wake::Offer,
};

/// Everything that goes into an intent beside the rows.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    /// The offer: generation, attempt id, account.
    pub offer: &'a Offer,
    /// Where it goes.
    pub endpoint: &'a Endpoint,
    /// The request, without credential.
    pub call: &'a HttpCall,
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
        request_digest: digest(plan.call),
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
    }
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

fn digest(call: &HttpCall) -> String {
    Sha256::digest(request(call).to_string().as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
