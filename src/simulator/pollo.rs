//! The Pollo sandbox: legacy and v1 generation paths with their differing field names, status per item, bare signatures.
//!
//! As at the real service, fields that are not known are ignored and the task is billed: `duration` on a legacy path runs
//! with the default length. Credits are taken with the acceptance and not given back.

use std::sync::Arc;

use serde_json::{Value, json};

use super::clock::rfc3339;
use super::fields::{Fields, Wrong, pixels};
use super::http::{Call, Reply};
use super::media::Media;
use super::state::{Found, Sim};
use super::submit::{Billing, Order, Throttle, Wire};
use super::tasks::{End, Hook, Phase, Task};
use super::{Provider, webhooks};

/// One credit is about 0.07 USD (third-party note: 0.06 to 0.08).
const MICRO_USD_PER_CREDIT: u64 = 70_000;
/// Credits of a video second and of an image; plain numbers of our own, the real ones vary by model.
const CREDITS_PER_SECOND: u64 = 2;
const CREDITS_PER_IMAGE: u64 = 1;

/// Says what of a path matters for a submit.
struct Target<'a> {
    brand: &'a str,
    model: &'a str,
    /// v1 renamed `length` to `duration`.
    length_field: &'static str,
    image: bool,
}

/// Answers a call below `/pollo`.
pub(super) fn answer(sim: &Arc<Sim>, call: &Call) -> Reply {
    let Some(path) = call.path.strip_prefix("api/platform/") else { return fail(404, "NOT_FOUND", "No such path") };
    let account = call.header("x-api-key").unwrap_or_default();
    if !Sim::key_is_good(&sim.config.pollo.keys, account) {
        return fail(401, "UNAUTHORIZED", "Invalid API key");
    }
    let segments: Vec<&str> = path.split('/').collect();
    match segments.as_slice() {
        ["credit", "balance"] if call.is_get() => balance(sim, call, account),
        ["generation", id, "status"] | ["v1", "generation", id, "status"] if call.is_get() => status(sim, call, account, id),
        ["generation", brand, model] if call.is_post() => {
            submit(sim, call, account, &Target { brand, model, length_field: "length", image: false })
        }
        ["v1", "generation", brand, model, kind @ ("video" | "image")] if call.is_post() => {
            submit(sim, call, account, &Target { brand, model, length_field: "duration", image: *kind == "image" })
        }
        ["generation", ..] | ["v1", "generation", ..] if !call.is_get() && !call.is_post() => {
            fail(405, "METHOD_NOT_SUPPORTED", "Method not allowed")
        }
        _ => fail(404, "NOT_FOUND", "No such path"),
    }
}

fn fail(status: u16, code: &str, message: &str) -> Reply {
    Reply::json(status, &json!({"message": message, "code": code, "issues": [{"message": message}]})).refused(code)
}

fn cloudflare(status: u16) -> Reply {
    let page = "<!DOCTYPE html><html><head><title>Attention Required! | Cloudflare</title></head>\
                <body><h1>Sorry, you have been blocked</h1></body></html>";
    Reply::html(status, page).refused("html")
}

fn succeed(sim: &Sim, data: Value) -> Reply {
    if sim.config.pollo.wrapped {
        return Reply::json(200, &json!({"code": "SUCCESS", "message": "success", "data": data}));
    }
    Reply::json(200, &data)
}

/// A cuid-like id: 25 characters, `cm` first.
fn cuid() -> String {
    const LETTERS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let letter = || LETTERS.get(rand::random_range(0..36_usize)).copied().map_or('0', char::from);
    "cm".chars().chain(std::iter::repeat_with(letter).take(23)).collect()
}

fn submit(sim: &Arc<Sim>, call: &Call, account: &str, target: &Target<'_>) -> Reply {
    let Some(body) = call.json_object() else { return fail(400, "BAD_REQUEST", "The body is not a JSON object") };
    match order(sim, Fields(&body), account, target) {
        Ok(order) => sim.submit(call, order, &Words { html: sim.config.pollo.html_throttle }),
        Err(wrong) => fail(400, "BAD_REQUEST", &wrong.message),
    }
}

fn order(sim: &Sim, body: Fields<'_>, account: &str, target: &Target<'_>) -> Result<Order, Wrong> {
    let none = Value::Null;
    let input = body.object("input")?.unwrap_or(Fields(&none));
    let prompt = input.required_text("prompt", 10_000)?;
    input.text("negativePrompt")?;
    input.text("imageTail")?;
    input.text("image")?;
    input.list("refs", 16)?;
    input.any_int("seed")?;
    input.flag("generateAudio")?;
    input.flag("cameraFixed")?;
    // Lower case only: `720P` is refused.
    let resolution = input.one_of("resolution", &["480p", "540p", "720p", "1080p"])?.unwrap_or("720p");
    let short = resolution.trim_end_matches('p').parse().unwrap_or(720);
    let seconds = input.int(target.length_field, 1, 60)?.unwrap_or(5);
    let (width, height) = pixels(input.text("aspectRatio")?.unwrap_or("16:9"), short);
    let model = format!("{}/{}", target.brand, target.model);
    let mut order = Order::new(Provider::Pollo, account, &model, prompt);
    order.id = cuid();
    order.seed = input.raw("seed").map(Value::to_string);
    order.hook = body.url("webhookUrl")?.map(|url| Hook { url: url.to_owned(), secret: None, events: Vec::new() });
    order.media = if target.image { Media::image("png", width, height) } else { Media::video(width, height, seconds) };
    let credits = if target.image { CREDITS_PER_IMAGE } else { CREDITS_PER_SECOND * u64::from(seconds) };
    order.micro_usd = credits * MICRO_USD_PER_CREDIT;
    order.billing = Billing::Submit;
    order.rate = Some((sim.config.pollo.submits_per_minute, 60));
    Ok(order)
}

struct Words {
    html: bool,
}

impl Wire for Words {
    fn refusal(&self, code: &str) -> Reply {
        match code {
            "401" => fail(401, "UNAUTHORIZED", "Invalid API key"),
            "403" => fail(403, "FORBIDDEN", "Access denied"),
            "404" => fail(404, "NOT_FOUND", "Model not found"),
            "credit" => fail(403, "FORBIDDEN", "Not enough credits"),
            "429" => fail(429, "TOO_MANY_REQUESTS", "Too many requests"),
            "500" => fail(500, "INTERNAL_SERVER_ERROR", "Internal server error"),
            "html" => cloudflare(429),
            "cloudflare" => cloudflare(403),
            _ => fail(400, "BAD_REQUEST", "Refused by directive"),
        }
    }

    fn throttled(&self, _why: Throttle) -> Reply {
        if self.html { cloudflare(429) } else { fail(429, "TOO_MANY_REQUESTS", "Too many requests") }
    }

    fn duplicate(&self) -> Reply {
        fail(400, "BAD_REQUEST", "Duplicate")
    }

    fn accepted(&self, sim: &Sim, task: &Task) -> Reply {
        succeed(sim, json!({"taskId": task.id, "status": "waiting"}))
    }

    fn usual_failure(&self) -> &'static str {
        "Generation failed, please try again"
    }
}

/// The items of a task: none while it is queued.
fn generations(sim: &Sim, task: &Task, now: u64) -> Vec<Value> {
    let (word, updated) = match task.phase(now) {
        Phase::Queued => return Vec::new(),
        // The first half of the running time says `waiting`, so that both words are seen.
        Phase::Running if task.progress(now) < 0.5 => (task.pending_word("waiting").to_owned(), task.started_ms),
        Phase::Running => (task.pending_word("processing").to_owned(), task.started_ms),
        Phase::Ended(End::Succeeded) => ("succeed".to_owned(), task.ended_ms),
        Phase::Ended(End::Failed(_) | End::Canceled | End::Aborted) => ("failed".to_owned(), task.ended_ms),
    };
    let item = |(index, path): (usize, String)| {
        let mut item = json!({
            "id": format!("{}g{index}", task.id), "status": word, "createdDate": rfc3339(task.created_ms),
            "updatedDate": rfc3339(updated), "mediaType": if task.media.is_video() { "video" } else { "image" },
        });
        let end = match task.phase(now) {
            Phase::Ended(End::Succeeded) => Some(("url", format!("{}/{path}", sim.url))),
            Phase::Ended(End::Failed(text)) => Some(("failMsg", text)),
            Phase::Ended(End::Canceled | End::Aborted) | Phase::Queued | Phase::Running => None,
        };
        if let (Some((name, value)), Some(fields)) = (end, item.as_object_mut()) {
            fields.insert(name.into(), value.into());
        }
        item
    };
    task.file_paths().into_iter().enumerate().map(item).collect()
}

fn status(sim: &Sim, call: &Call, account: &str, id: &str) -> Reply {
    match sim.poll(Provider::Pollo, account, id) {
        Found::Nothing => fail(404, "NOT_FOUND", "Task not found"),
        Found::Broken(reply) => reply,
        Found::Task(task) => {
            let credit = task.micro_usd / MICRO_USD_PER_CREDIT;
            let generations = generations(sim, &task, call.now);
            succeed(sim, json!({"taskId": task.id, "credit": credit, "generations": generations}))
        }
    }
}

/// The webhook's body, which unlike the status call carries a word for the whole task.
pub(super) fn hook_body(sim: &Sim, task: &Task, now: u64) -> Value {
    let word = if webhooks::succeeded(task) { "succeed" } else { "failed" };
    json!({"status": word, "taskId": task.id, "generations": generations(sim, task, now)})
}

fn balance(sim: &Sim, call: &Call, account: &str) -> Reply {
    let used = sim.lock().ledger.micro_usd(Provider::Pollo, account, call.now) / MICRO_USD_PER_CREDIT;
    let total = sim.config.pollo.credits;
    succeed(sim, json!({"availableCredits": total.saturating_sub(used), "totalCredits": total}))
}
