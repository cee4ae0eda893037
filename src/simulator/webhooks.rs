//! Webhooks as the providers send them: the right body and signature, again after a pause when unanswered, no redirects.
//!
//! One future per task that asked for it, on the worker that took the submit. It dies with the simulator; `resume` starts
//! those anew that had not ended when a simulator with a ledger file was killed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use uuid::Uuid;

use super::state::Sim;
use super::tasks::{End, Hook, Phase, Task};
use super::{Provider, clock, files, flux, kling, pollo, replicate, spawn};

/// Builds the client that delivers.
///
/// # Errors
/// The TLS backend cannot be set up.
pub(super) fn client() -> io::Result<reqwest::Client> {
    // Err means that another part of the program has installed one: equally good.
    rustls::crypto::ring::default_provider().install_default().ok();
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().map_err(io::Error::other)
}

/// HMAC-SHA256. A key of any length is valid, so an error cannot occur.
fn hmac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

/// HMAC-SHA256 for JWTs.
pub(super) fn hs256(key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac(key, &[message])
}

/// Signs as Standard Webhooks do, in base64 without the version.
fn base64_signature(secret: &str, id: &str, timestamp: &str, body: &[u8]) -> String {
    let encoded = secret.split_once('_').map_or(secret, |(_, key)| key);
    let key = STANDARD.decode(encoded).unwrap_or_default();
    STANDARD.encode(hmac(&key, &[id.as_bytes(), b".", timestamp.as_bytes(), b".", body]))
}

/// Signs as BFL does: hexadecimal, over the body alone.
fn hex_signature(secret: &str, body: &[u8]) -> String {
    format!("sha256={}", files::hex(&hmac(secret.as_bytes(), &[body])))
}

/// Signature headers of a delivery.
fn headers(sim: &Sim, task: &Task, hook: &Hook, id: &str, body: &[u8]) -> Vec<(&'static str, String)> {
    let at = (clock::now_ms() / 1_000).to_string();
    let standard = |secret: &str| {
        let signature = format!("v1,{}", base64_signature(secret, id, &at, body));
        vec![("webhook-id", id.to_owned()), ("webhook-timestamp", at.clone()), ("webhook-signature", signature)]
    };
    match task.provider {
        Provider::Kling => sim.config.kling.webhook_secret.as_deref().map(standard).unwrap_or_default(),
        Provider::Replicate => standard(&sim.config.replicate.webhook_secret),
        Provider::Pollo => {
            let signature = base64_signature(&sim.config.pollo.webhook_secret, id, &at, body);
            vec![("X-Webhook-Id", id.to_owned()), ("X-Webhook-Timestamp", at), ("X-Webhook-Signature", signature)]
        }
        Provider::Flux => hook.secret.iter().map(|secret| ("X-BFL-Signature", hex_signature(secret, body))).collect(),
        // The relay passes Kling's callback on, but holds no secret of its own.
        Provider::Tuzi => Vec::new(),
    }
}

/// One moment at which a provider calls back.
struct Event {
    at: u64,
    name: &'static str,
}

fn events(task: &Task) -> Vec<Event> {
    let start = Event { at: task.started_ms, name: "start" };
    let end = Event { at: task.ended_ms, name: "completed" };
    match task.provider {
        Provider::Kling | Provider::Replicate if task.started_ms < task.ended_ms => vec![start, end],
        Provider::Kling | Provider::Replicate | Provider::Pollo | Provider::Flux | Provider::Tuzi => vec![end],
    }
}

fn body(sim: &Sim, task: &Task, now: u64) -> Value {
    match task.provider {
        Provider::Kling | Provider::Tuzi => kling::hook_body(sim, task, now),
        Provider::Pollo => pollo::hook_body(sim, task, now),
        Provider::Replicate => replicate::view(sim, task, now),
        Provider::Flux => flux::hook_body(sim, task, now),
    }
}

/// Starts the deliveries of a task, if it asked for any.
pub(super) fn schedule(sim: &Arc<Sim>, task: &Task) {
    let Some(hook) = task.hook.clone() else { return };
    for event in events(task) {
        if !hook.events.is_empty() && !hook.events.iter().any(|wanted| wanted == event.name) {
            continue;
        }
        let (sim, hook) = (Arc::clone(sim), hook.clone());
        let (provider, id, end) = (task.provider, task.id.clone(), task.end.clone());
        spawn(async move {
            wait_until(event.at).await;
            let task = sim.lock().tasks.by_id(provider, &id).cloned();
            // A cancel sends its own event; the one planned before it is void.
            if let Some(task) = task.filter(|task| task.end == end) {
                deliver(&sim, &task, &hook, event.at).await;
            }
        });
    }
}

/// Sends the end of a task that was just ended by a call.
pub(super) fn ended_early(sim: &Arc<Sim>, provider: Provider, id: &str) {
    let Some(task) = sim.lock().tasks.by_id(provider, id).cloned() else { return };
    let Some(hook) = task.hook.clone() else { return };
    if hook.events.is_empty() || hook.events.iter().any(|wanted| wanted == "completed") {
        let sim = Arc::clone(sim);
        spawn(async move { deliver(&sim, &task, &hook, clock::now_ms()).await });
    }
}

/// Starts the deliveries of tasks that a killed simulator left unfinished.
pub(super) fn resume(sim: &Arc<Sim>) {
    let unfinished = |task: &&Task| !matches!(task.phase(clock::now_ms()), Phase::Ended(_));
    let tasks: Vec<Task> = sim.lock().tasks.all().filter(unfinished).cloned().collect();
    tasks.iter().for_each(|task| schedule(sim, task));
}

async fn wait_until(at: u64) {
    let left = at.saturating_sub(clock::now_ms());
    tokio::time::sleep(Duration::from_millis(left)).await;
}

/// Delivers once, and again after each configured pause until a 2xx comes back; then gives up.
async fn deliver(sim: &Sim, task: &Task, hook: &Hook, at: u64) {
    let bytes = body(sim, task, at).to_string().into_bytes();
    // One id for all tries of an event, as receivers use it to see repeats.
    let id = format!("msg_{}", Uuid::new_v4().simple());
    for pause in std::iter::once(0).chain(sim.config.webhook_retry_ms.iter().copied()) {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let mut request = sim
            .client
            .post(&hook.url)
            .timeout(Duration::from_millis(sim.config.webhook_timeout_ms))
            .header("content-type", "application/json");
        for (name, value) in headers(sim, task, hook, &id, &bytes) {
            request = request.header(name, value);
        }
        match request.body(bytes.clone()).send().await {
            Ok(answer) if answer.status().is_success() => return,
            Ok(answer) => tracing::debug!(task = %task.id, status = answer.status().as_u16(), "webhook refused"),
            Err(error) => tracing::debug!(task = %task.id, error = %error.without_url(), "webhook not delivered"),
        }
    }
    tracing::warn!(task = %task.id, "webhook given up");
}

/// Tells whether a task ended well; shared by the webhook bodies.
pub(super) fn succeeded(task: &Task) -> bool {
    task.end == End::Succeeded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kling_and_replicate_signatures_match_the_published_vectors() {
        let body =
            br#"{"id":"1234567890","status":"succeeded","message":"","create_time":1781080778802,"update_time":1781080794151}"#;
        let secret = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI=";
        let kling = base64_signature(secret, "9876543210", "1781080794", body);
        assert_eq!(kling, "UsKlJP00XoQyOn410NM9xv34sP+Gl0jnOO9Lcpr7NJ4=");
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let replicate = base64_signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", br#"{"test": 2432232314}"#);
        assert_eq!(replicate, "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn bfl_signs_the_body_in_hexadecimal() {
        // RFC 4231, test case 2.
        let expected = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex_signature("Jefe", b"what do ya want for nothing?"), expected);
    }
}
