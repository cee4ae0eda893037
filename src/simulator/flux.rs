//! The Black Forest Labs sandbox: submit, poll on a regional URL, results that live ten minutes.
//!
//! Without a webhook the task lives in a region: its `polling_url` answers, the global `get_result` says `Task not found`.
//! With a webhook there is no `polling_url` and the global path works. Money is taken with the acceptance (the real refund
//! rule for moderated requests is not established). "Task not found" is told at HTTP 200, as a status of the result model.

mod models;

use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;

use super::Provider;
use super::clock::rfc3339;
use super::fields::{Fields, Kind, Wrong, wrong};
use super::http::{Call, Reply};
use super::limits::Slots;
use super::media::Media;
use super::state::{Found, Sim};
use super::submit::{Billing, Order, Throttle, Wire};
use super::tasks::{End, Hook, Phase, Task};

/// One credit is 0.01 USD.
const MICRO_USD_PER_CREDIT: u64 = 10_000;
const REGIONAL: &str = "eu1";
const GLOBAL: &str = "global";

/// Answers a call below `/flux`.
pub(super) fn answer(sim: &Arc<Sim>, call: &Call) -> Reply {
    let Some(account) = call.header("x-key").filter(|key| !key.is_empty()) else {
        return fail(403, &json!("Not authenticated"));
    };
    if !Sim::key_is_good(&sim.config.flux.keys, account) {
        return fail(401, &json!("Invalid API key"));
    }
    match call.segments().as_slice() {
        ["v1", "get_result"] if call.is_get() => poll(sim, call, account, GLOBAL),
        ["regions", region, "v1", "get_result"] if call.is_get() => poll(sim, call, account, region),
        ["v1", "credits"] if call.is_get() => credits(sim, call, account),
        ["v1", model] if models::exists(model) && call.is_post() => submit(sim, call, account, model),
        ["v1", model] if models::exists(model) => fail(405, &json!("Method Not Allowed")),
        _ => fail(404, &json!("Not Found")),
    }
}

fn fail(status: u16, detail: &Value) -> Reply {
    Reply::json(status, &json!({"detail": detail})).refused(status)
}

fn invalid(wrong: &Wrong) -> Reply {
    let kind = match wrong.kind {
        Kind::Missing => "missing",
        Kind::Type => "type_error",
        Kind::Value => "value_error",
    };
    fail(422, &json!([{"loc": ["body", wrong.field], "msg": wrong.message, "type": kind}]))
}

fn submit(sim: &Arc<Sim>, call: &Call, account: &str, model: &str) -> Reply {
    let Some(body) = call.json_object() else { return invalid(&wrong("", "body must be a JSON object")) };
    match order(sim, Fields(&body), account, model) {
        Ok(order) => sim.submit(call, order, &Words),
        Err(wrong) => invalid(&wrong),
    }
}

fn order(sim: &Sim, body: Fields<'_>, account: &str, model: &str) -> Result<Order, Wrong> {
    let made = models::read(model, body)?;
    let mut order = Order::new(Provider::Flux, account, model, &made.prompt);
    order.id = Uuid::new_v4().to_string();
    let secret = body.text("webhook_secret")?.map(str::to_owned);
    body.bounded_text("webhook_url", 2_083)?;
    order.hook = body.url("webhook_url")?.map(|url| Hook { url: url.to_owned(), secret, events: Vec::new() });
    order.family = if order.hook.is_some() { GLOBAL } else { REGIONAL }.to_owned();
    order.seed = body.raw("seed").map(Value::to_string);
    order.input = json!({"seed": body.raw("seed")});
    order.media = made.media;
    order.micro_usd = made.micro_usd;
    order.billing = Billing::Submit;
    let (pool, limit) = match model {
        "flux-kontext-max" => (format!("flux/kontext-max/{account}"), sim.config.flux.active_kontext_max),
        _ => (format!("flux/{account}"), sim.config.flux.active_tasks),
    };
    order.slots = Some(Slots { pool, wanted: 1, limit });
    Ok(order)
}

/// Relays a BFL-like request (Tuzi's style A) through the same validation.
pub(super) fn relayed(model: &str, body: &Value, account: &str) -> Result<Order, String> {
    if !models::exists(model) {
        return Err(format!("no channel for model {model}"));
    }
    let made = models::read(model, Fields(body)).map_err(|wrong| wrong.message)?;
    let mut order = Order::new(Provider::Tuzi, account, model, &made.prompt);
    order.media = made.media;
    order.micro_usd = made.micro_usd;
    Ok(order)
}

fn cost(task: &Task) -> Value {
    let centi = task.micro_usd * 100 / MICRO_USD_PER_CREDIT;
    json!(f64::from(u32::try_from(centi).unwrap_or(u32::MAX)) / 100.0)
}

fn megapixels(task: &Task) -> Value {
    let (Media::Image { width, height, .. } | Media::Video { width, height, .. }) = task.media;
    let centi = u64::from(width) * u64::from(height) / 10_000;
    json!(f64::from(u32::try_from(centi).unwrap_or(u32::MAX)) / 100.0)
}

struct Words;

impl Wire for Words {
    fn refusal(&self, code: &str) -> Reply {
        match code {
            "402" => fail(402, &json!("Insufficient credits. Please add credits at https://api.bfl.ai")),
            "401" => fail(401, &json!("Invalid API key")),
            "403" => fail(403, &json!("Not authenticated")),
            "404" => fail(404, &json!("Not Found")),
            "422" => invalid(&wrong("prompt", "refused by directive")),
            "429" => self.throttled(Throttle::Slots),
            "500" | "502" | "503" => fail(code.parse().unwrap_or(500), &json!("Internal Server Error")),
            _ => fail(400, &json!("refused by directive")),
        }
    }

    fn throttled(&self, why: Throttle) -> Reply {
        let secs = match why {
            Throttle::Rate { reset_secs } => reset_secs,
            Throttle::Slots => 1,
        };
        fail(429, &json!("Rate limit exceeded: too many active tasks")).with("Retry-After", secs)
    }

    fn duplicate(&self) -> Reply {
        fail(400, &json!("duplicate"))
    }

    fn accepted(&self, sim: &Sim, task: &Task) -> Reply {
        let (cost, output_mp) = (cost(task), megapixels(task));
        let body = match &task.hook {
            // `nowebhook` must not change the shape of the answer, so the family decides and not the hook.
            Some(hook) if task.family == GLOBAL => {
                json!({"id": task.id, "status": "Pending", "webhook_url": hook.url, "cost": cost, "input_mp": 0.0, "output_mp": output_mp})
            }
            _ if task.family == GLOBAL => {
                json!({"id": task.id, "status": "Pending", "cost": cost, "input_mp": 0.0, "output_mp": output_mp})
            }
            _ => {
                let polling = format!("{}/flux/regions/{REGIONAL}/v1/get_result?id={}", sim.url, task.id);
                json!({"id": task.id, "polling_url": polling, "cost": cost, "input_mp": 0.0, "output_mp": output_mp})
            }
        };
        Reply::json(200, &body)
    }

    fn usual_failure(&self) -> &'static str {
        "Internal error while generating"
    }
}

/// The status word of a failure: `moderated` and `content` are the two refusals, all else is an error.
fn failed_word(text: &str) -> &'static str {
    match text {
        "moderated" | "request" => "Request Moderated",
        "content" | "content-moderated" => "Content Moderated",
        "failed" => "Failed",
        _ => "Error",
    }
}

/// The result as `get_result` shows it.
pub(super) fn view(sim: &Sim, task: &Task, now: u64) -> Value {
    let plain = |status: &str, progress: Value, details: Value| json!({"id": task.id, "status": status, "result": null, "progress": progress, "details": details, "preview": null});
    match task.phase(now) {
        Phase::Queued => plain(task.pending_word("Pending"), Value::Null, Value::Null),
        Phase::Running => plain(task.pending_word("Pending"), json!(task.progress(now)), Value::Null),
        Phase::Ended(End::Succeeded) => {
            let mut view = plain("Ready", json!(1.0), Value::Null);
            if let Some(fields) = view.as_object_mut() {
                fields.insert("result".into(), result(sim, task));
                fields.insert("cost".into(), cost(task));
            }
            view
        }
        Phase::Ended(End::Failed(text)) => {
            let word = failed_word(&text);
            let details =
                if word.ends_with("Moderated") { json!({"Moderation Reasons": [text]}) } else { json!({"error": text}) };
            plain(word, Value::Null, details)
        }
        Phase::Ended(End::Canceled | End::Aborted) => plain("Error", Value::Null, Value::Null),
    }
}

fn result(sim: &Sim, task: &Task) -> Value {
    let seconds = |ms: u64| f64::from(u32::try_from(ms / 1_000).unwrap_or(u32::MAX));
    let sample = task.file_paths().into_iter().next().map(|path| format!("{}/{path}", sim.url));
    let seed = task.input.get("seed").filter(|seed| !seed.is_null()).cloned().unwrap_or_else(|| json!(task.seq));
    json!({
        "sample": sample, "prompt": task.prompt, "seed": seed, "start_time": seconds(task.started_ms),
        "end_time": seconds(task.ended_ms), "duration": seconds(task.ended_ms.saturating_sub(task.started_ms)),
    })
}

fn poll(sim: &Sim, call: &Call, account: &str, region: &str) -> Reply {
    let Some(id) = call.query.get("id") else {
        return fail(422, &json!([{"loc": ["query", "id"], "msg": "Field required", "type": "missing"}]));
    };
    match sim.poll(Provider::Flux, account, id) {
        // A task of a region is unknown everywhere else, and so is one that is long over.
        Found::Task(task) if task.family == region => Reply::json(200, &view(sim, &task, call.now)),
        Found::Task(_) | Found::Nothing => not_found(id),
        Found::Broken(reply) => reply,
    }
}

fn not_found(id: &str) -> Reply {
    let body = json!({"id": id, "status": "Task not found", "result": null, "progress": null, "details": null, "preview": null});
    Reply::json(200, &body)
}

/// The webhook's body.
pub(super) fn hook_body(sim: &Sim, task: &Task, now: u64) -> Value {
    match task.phase(now) {
        Phase::Ended(End::Failed(text)) => {
            let word = failed_word(&text);
            json!({"id": task.id, "status": word, "error": text, "message": text, "timestamp": rfc3339(task.ended_ms)})
        }
        Phase::Ended(End::Succeeded) => {
            json!({"id": task.id, "status": "Ready", "result": result(sim, task), "timestamp": rfc3339(task.ended_ms)})
        }
        Phase::Ended(End::Canceled | End::Aborted) | Phase::Queued | Phase::Running => view(sim, task, now),
    }
}

fn credits(sim: &Sim, call: &Call, account: &str) -> Reply {
    let used = sim.lock().ledger.micro_usd(Provider::Flux, account, call.now) / MICRO_USD_PER_CREDIT;
    Reply::json(200, &json!({"credits": sim.config.flux.credits.saturating_sub(used)}))
}
