//! The Replicate sandbox: predictions by version, model or deployment, cancel, list, deadlines, and data that is removed.
//!
//! `Prefer: wait` is honoured as it was recorded, which is a trap on purpose: the answer is 201 with `processing` and the
//! output inline as a data URL. Time is billed at the end, for failed and canceled predictions too.

mod order;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::clock::{parse_rfc3339, rfc3339};
use super::http::{Call, Reply};
use super::state::{Found, Sim};
use super::submit::{Throttle, Wire};
use super::tasks::{End, Phase, Task};
use super::{Provider, webhooks};

/// All predictions of an account are in one list.
const FAMILY: &str = "predictions";
/// Predictions a page.
const PAGE: usize = 100;

/// Answers a call below `/replicate`.
pub(super) fn answer(sim: &Arc<Sim>, call: &Call) -> Reply {
    let header = call.header("authorization").unwrap_or_default();
    let account = header.strip_prefix("Bearer ").or_else(|| header.strip_prefix("Token ")).unwrap_or_default();
    if !Sim::key_is_good(&sim.config.replicate.keys, account) {
        return fail(401, Some("Unauthenticated"), "You did not pass a valid authentication token");
    }
    let path = call.path.strip_prefix("v1/").unwrap_or_default();
    let segments: Vec<&str> = path.split('/').collect();
    let creates = call.is_post() && segments.last() == Some(&"predictions");
    let (pool, limit) = if creates {
        ("create", sim.config.replicate.creates_per_minute)
    } else {
        ("other", sim.config.replicate.others_per_minute)
    };
    let window = sim.lock().limits.count(&format!("replicate/{pool}/{account}"), limit, 60, call.now);
    let reply = if window.allowed { route(sim, call, account, &segments) } else { throttled(window.reset_secs) };
    reply.with("ratelimit-remaining", window.remaining).with("ratelimit-reset", window.reset_secs)
}

fn route(sim: &Arc<Sim>, call: &Call, account: &str, segments: &[&str]) -> Reply {
    match segments {
        ["predictions"] if call.is_post() => order::submit(sim, call, account, &order::Target::Version),
        ["models", owner, name, "predictions"] if call.is_post() => {
            order::submit(sim, call, account, &order::Target::Model(format!("{owner}/{name}")))
        }
        ["deployments", owner, name, "predictions"] if call.is_post() => {
            order::submit(sim, call, account, &order::Target::Deployment(format!("{owner}/{name}")))
        }
        ["predictions"] if call.is_get() => list(sim, call, account),
        ["predictions", id] if call.is_get() => get(sim, call, account, id),
        ["predictions", id, "cancel"] if call.is_post() => cancel(sim, call, account, id),
        ["webhooks", "default", "secret"] if call.is_get() => {
            Reply::json(200, &json!({"key": sim.config.replicate.webhook_secret}))
        }
        ["predictions", ..] | ["models" | "deployments", _, _, "predictions"] => fail(405, None, "Method not allowed"),
        _ => fail(404, None, "The requested resource could not be found"),
    }
}

fn fail(status: u16, title: Option<&str>, detail: &str) -> Reply {
    let mut body = json!({"detail": detail, "status": status});
    if let (Some(title), Some(fields)) = (title, body.as_object_mut()) {
        fields.insert("title".into(), title.into());
    }
    Reply::problem(status, &body).refused(status)
}

fn throttled(secs: u64) -> Reply {
    let detail = format!("Request was throttled. Your rate limit resets in ~{secs}s.");
    Reply::json(429, &json!({"detail": detail, "status": 429, "retry_after": secs})).with("Retry-After", secs).refused(429)
}

/// Says Replicate's words at the turns of a submit; holds what `Prefer: wait` asked for.
struct Words {
    wait_ms: Option<u64>,
}

impl Wire for Words {
    fn refusal(&self, code: &str) -> Reply {
        match code {
            "401" => fail(401, Some("Unauthenticated"), "You did not pass a valid authentication token"),
            "402" => fail(402, Some("Insufficient credit"), "You have insufficient credit to run this model."),
            "403" => fail(403, Some("Forbidden"), "You do not have access to this model."),
            "404" => fail(404, None, "The specified model does not exist"),
            "422" => fail(
                422,
                Some("Invalid version or not permitted"),
                "The specified version does not exist (or perhaps you don't have permission to use it?)",
            ),
            "429" => throttled(1),
            "500" | "502" | "503" | "504" => {
                fail(code.parse().unwrap_or(500), Some("Internal Server Error"), "Something went wrong")
            }
            _ => fail(400, Some("Bad Request"), "refused by directive"),
        }
    }

    fn throttled(&self, why: Throttle) -> Reply {
        match why {
            Throttle::Rate { reset_secs } => throttled(reset_secs),
            Throttle::Slots => throttled(1),
        }
    }

    fn duplicate(&self) -> Reply {
        fail(400, Some("Bad Request"), "duplicate")
    }

    fn accepted(&self, sim: &Sim, task: &Task) -> Reply {
        let Some(wait_ms) = self.wait_ms else { return Reply::json(201, &view(sim, task, task.created_ms)) };
        let takes = task.ended_ms.saturating_sub(task.created_ms);
        let mut shown = view(sim, task, task.created_ms);
        if let Some(fields) = shown.as_object_mut() {
            fields.insert("status".into(), "processing".into());
            if takes <= wait_ms && task.end == End::Succeeded {
                fields.insert("output".into(), inline(sim, task));
            }
        }
        Reply::json(201, &shown).with("Preference-Applied", format!("wait={}", wait_ms / 1_000)).after(takes.min(wait_ms))
    }

    fn usual_failure(&self) -> &'static str {
        "Prediction interrupted; please retry (code: PA)"
    }
}

/// The outputs as data URLs.
fn inline(sim: &Sim, task: &Task) -> Value {
    let made = (0..task.outputs).filter_map(|index| sim.studio.render(&task.media, &format!("{}-{index}", task.id)).ok());
    let urls = made.map(|bytes| format!("data:{};base64,{}", task.media.content_type(), STANDARD.encode(bytes)));
    json!(urls.collect::<Vec<String>>())
}

/// The prediction as create, get, cancel, list and webhooks show it.
pub(super) fn view(sim: &Sim, task: &Task, now: u64) -> Value {
    let url = format!("{}/replicate/v1/predictions/{}", sim.url, task.id);
    let text = |name: &str| task.input.get(name).cloned().unwrap_or(Value::Null);
    let mut shown = json!({
        "id": task.id, "model": task.model, "version": text("version"), "input": text("input"), "logs": "", "error": null,
        "data_removed": false, "created_at": rfc3339(task.created_ms), "source": "api",
        "urls": {"get": url, "cancel": format!("{url}/cancel"), "web": format!("{}/p/{}", sim.url, task.id)},
    });
    let Some(fields) = shown.as_object_mut() else { return shown };
    let mut put = |name: &str, value: Value| drop(fields.insert(name.to_owned(), value));
    if let Some(deadline) = text("deadline").as_u64() {
        put("deadline", rfc3339(deadline).into());
    }
    if task.input.get("deployment").is_some() {
        put("deployment", text("deployment"));
    }
    let phase = task.phase(now);
    if phase != Phase::Queued && task.end != End::Aborted {
        put("started_at", rfc3339(task.started_ms).into());
    }
    match &phase {
        Phase::Queued => put("status", task.pending_word("starting").into()),
        Phase::Running => put("status", task.pending_word("processing").into()),
        Phase::Ended(end) => {
            put("status", word(end).into());
            put("completed_at", rfc3339(task.ended_ms).into());
            let seconds = |from: u64| {
                let ms = u32::try_from(task.ended_ms.saturating_sub(from)).unwrap_or(u32::MAX);
                f64::from(ms) / 1_000.0
            };
            put("metrics", json!({"predict_time": seconds(task.started_ms), "total_time": seconds(task.created_ms)}));
            let removed = task.expired(now);
            put("output", if removed { Value::Null } else { output(sim, task, end) });
            if let End::Failed(reason) = end {
                put("error", reason.clone().into());
            }
            if removed {
                put("data_removed", true.into());
                put("input", json!({}));
                put("logs", Value::Null);
            }
        }
    }
    shown
}

fn word(end: &End) -> &'static str {
    match end {
        End::Succeeded => "succeeded",
        End::Failed(_) => "failed",
        End::Canceled => "canceled",
        End::Aborted => "aborted",
    }
}

/// A video is one URL; pictures are a list, except from models that make only one.
fn output(sim: &Sim, task: &Task, end: &End) -> Value {
    if *end != End::Succeeded {
        return Value::Null;
    }
    let urls: Vec<String> = task.file_paths().iter().map(|path| format!("{}/{path}", sim.url)).collect();
    let single = task.media.is_video() || ["-pro", "-ultra", "-max"].iter().any(|tail| task.model.ends_with(tail));
    match urls.as_slice() {
        [only] if single => json!(only),
        _ => json!(urls),
    }
}

fn get(sim: &Sim, call: &Call, account: &str, id: &str) -> Reply {
    match sim.poll(Provider::Replicate, account, id) {
        Found::Task(task) => Reply::json(200, &view(sim, &task, call.now)),
        Found::Broken(reply) => reply,
        Found::Nothing => fail(404, None, "The specified prediction does not exist"),
    }
}

fn cancel(sim: &Arc<Sim>, call: &Call, account: &str, id: &str) -> Reply {
    let task = sim.lock().tasks.by_id(Provider::Replicate, id).filter(|task| task.account == account).cloned();
    let Some(task) = task else { return fail(404, None, "The specified prediction does not exist") };
    if sim.end_now(&task, End::Canceled, call.now) {
        webhooks::ended_early(sim, Provider::Replicate, id);
    }
    let task = sim.lock().tasks.by_id(Provider::Replicate, id).cloned().unwrap_or(task);
    Reply::json(200, &view(sim, &task, call.now))
}

/// `GET /predictions`: newest first; the cursor is the number of items before the page.
fn list(sim: &Sim, call: &Call, account: &str) -> Reply {
    let time = |name: &str| match call.query.get(name) {
        None => Ok(None),
        Some(text) => parse_rfc3339(text).map(Some).ok_or_else(|| fail(400, Some("Bad Request"), "not an ISO 8601 time")),
    };
    let (after, before) = match (time("created_after"), time("created_before")) {
        (Ok(after), Ok(before)) => (after, before),
        (Err(reply), _) | (_, Err(reply)) => return reply,
    };
    let skip: usize = call.query.get("cursor").and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
    let mut inner = sim.lock();
    // Newest first, so the walk ends where the window does.
    let fits = |task: &&Task| !task.hidden(call.now) && before.is_none_or(|before| task.created_ms < before);
    let newest = inner.tasks.newest(Provider::Replicate, account, FAMILY);
    let window = newest.take_while(|task| after.is_none_or(|after| task.created_ms >= after)).filter(fits);
    let page: Vec<Task> = window.skip(skip).take(PAGE + 1).cloned().collect();
    for task in page.iter().take(PAGE) {
        if let Some(entry) = inner.ledger.entry(task.seq) {
            entry.finds += 1;
        }
    }
    drop(inner);
    let link = |cursor: usize| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for name in ["created_after", "created_before"] {
            if let Some(value) = call.query.get(name) {
                query.append_pair(name, value);
            }
        }
        query.append_pair("cursor", &cursor.to_string());
        format!("{}/replicate/v1/predictions?{}", sim.url, query.finish())
    };
    let next = (page.len() > PAGE).then(|| link(skip + PAGE));
    let previous = (skip > 0).then(|| link(skip.saturating_sub(PAGE)));
    let results: Vec<Value> = page.iter().take(PAGE).map(|task| view(sim, task, call.now)).collect();
    Reply::json(200, &json!({"next": next, "previous": previous, "results": results}))
}
