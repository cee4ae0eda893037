//! The Tuzi relay sandbox, in the styles that its clients use: BFL-like (A), OpenAI images (B), OpenAI videos (D), and
//! relayed Kling. Style C is retired and answers 410.
//!
//! A relay hides the upstream codes and promises no unique client ids. Style B answers after as long as the generation takes, and a
//! connection cut meanwhile stops nothing. When it bills is not established: with the acceptance, unless configured otherwise.

mod multipart;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use uuid::Uuid;

use super::fields::{Fields, Wrong};
use super::http::{Call, Reply};
use super::media::Media;
use super::state::{Found, Sim};
use super::submit::{Billing, Order, Throttle, Wire};
use super::tasks::{End, Phase, Task};
use super::{Provider, flux, kling};

/// Flat prices of our own; the relay's real ones are not in our sources.
const MICRO_USD_PER_IMAGE: u64 = 40_000;
const MICRO_USD_PER_VIDEO: u64 = 300_000;

/// Answers a call below `/tuzi`.
pub(super) fn answer(sim: &Arc<Sim>, call: &Call) -> Reply {
    // The raw key is taken too, as style A sends it.
    let account = call.bearer().or_else(|| call.header("authorization")).unwrap_or_default();
    if !Sim::key_is_good(&sim.config.tuzi.keys, account) {
        return fail(401, "invalid_api_key", "Invalid token");
    }
    match call.segments().as_slice() {
        ["v1", "images", "generations"] if call.is_post() => images(sim, call, account),
        ["v1", "videos"] if call.is_post() => videos(sim, call, account),
        ["v1", "videos", id] if call.is_get() => status(sim, call, (account, id, Style::Videos)),
        ["flux", "v1", "get_result"] if call.is_get() => {
            let id = call.query.get("id").map_or("", String::as_str);
            status(sim, call, (account, id, Style::Bfl))
        }
        ["flux", "v1", model] if call.is_post() => bfl(sim, call, account, model),
        ["kling", "v1", "videos", "text2video" | "image2video" | "task", id] if call.is_get() => {
            status(sim, call, (account, id, Style::Kling))
        }
        ["kling", "v1", "videos", kind @ ("text2video" | "image2video")] if call.is_post() => {
            relayed_kling(sim, call, account, &format!("videos/{kind}"))
        }
        ["async", ..] | ["get-async"] => fail(410, "gone", "this endpoint is retired, use /v1/videos"),
        _ => fail(404, "not_found", "Invalid URL"),
    }
}

fn fail(status: u16, code: &str, message: &str) -> Reply {
    let kind = if status == 401 { "invalid_request_error" } else { "tuzi_error" };
    Reply::json(status, &json!({"error": {"message": message, "type": kind, "code": code}})).refused(code)
}

/// What new-api makes of any upstream error: the code is lost.
fn task_failed(message: &str) -> Reply {
    Reply::json(400, &json!({"code": "task_failed", "message": message, "data": null})).refused("task_failed")
}

fn invalid(wrong: &Wrong) -> Reply {
    fail(400, "invalid_request", &wrong.message)
}

/// Names the style a task was created in, which decides how it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Bfl,
    Images,
    Videos,
    Kling,
}

impl Style {
    fn name(self) -> &'static str {
        match self {
            Self::Bfl => "bfl",
            Self::Images => "images",
            Self::Videos => "videos",
            Self::Kling => "kling",
        }
    }

    fn owns(self, task: &Task) -> bool {
        task.family == self.name() || self == Self::Kling && task.family.starts_with("videos/")
    }
}

/// Says the relay's words at the turns of a submit.
struct Words {
    style: Style,
    /// Style B answers the file itself rather than its URL.
    inline: bool,
    new_api: bool,
}

impl Wire for Words {
    fn refusal(&self, code: &str) -> Reply {
        if self.style == Style::Kling && self.new_api {
            return task_failed("refused by directive");
        }
        match code.parse::<u16>() {
            Ok(status @ 400..=599) => fail(status, "upstream_error", "refused by directive"),
            Ok(_) | Err(_) => fail(400, code, "refused by directive"),
        }
    }

    fn throttled(&self, _why: Throttle) -> Reply {
        fail(429, "rate_limit_exceeded", "The upstream load of the current group is saturated, please try again later")
    }

    fn duplicate(&self) -> Reply {
        fail(400, "duplicate", "duplicate")
    }

    fn accepted(&self, sim: &Sim, task: &Task) -> Reply {
        match self.style {
            Style::Bfl => {
                let polling = format!("{}/tuzi/flux/v1/get_result?id={}", sim.url, task.id);
                Reply::json(200, &json!({"id": task.id, "polling_url": polling}))
            }
            Style::Images => {
                let takes = task.ended_ms.saturating_sub(task.created_ms);
                answer_images(sim, task, self.inline).accepted_all_the_same().after(takes)
            }
            Style::Videos => Reply::json(200, &video_view(sim, task, task.created_ms)),
            Style::Kling if self.new_api => Reply::json(200, &new_api_view(task)),
            Style::Kling => kling_envelope(&json!({
                "task_id": task.id, "task_status": "submitted", "created_at": task.created_ms, "updated_at": task.created_ms,
            })),
        }
    }

    fn usual_failure(&self) -> &'static str {
        "upstream error: do request failed"
    }
}

fn answer_images(sim: &Sim, task: &Task, inline: bool) -> Reply {
    if let End::Failed(text) = &task.end {
        return fail(500, "upstream_error", text);
    }
    let item = |(index, path): (usize, String)| {
        if inline {
            let bytes = sim.studio.render(&task.media, &format!("{}-{index}", task.id)).unwrap_or_default();
            return json!({"b64_json": STANDARD.encode(bytes)});
        }
        json!({"url": format!("{}/{path}", sim.url)})
    };
    let data: Vec<Value> = task.file_paths().into_iter().enumerate().map(item).collect();
    Reply::json(200, &json!({"created": task.ended_ms / 1_000, "data": data}))
}

/// Fills what all styles share.
fn complete(sim: &Sim, order: &mut Order, family: &str) {
    order.provider = Provider::Tuzi;
    order.id = Uuid::new_v4().simple().to_string();
    order.family = family.to_owned();
    order.billing = if sim.config.tuzi.bills_failures { Billing::Submit } else { Billing::Success };
    order.slots = None;
    order.rate = Some((sim.config.tuzi.submits_per_minute, 60));
}

fn pixel_size(text: Option<&str>) -> (u32, u32) {
    let parts = text.and_then(|text| text.split_once('x'));
    let sides = parts.and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    sides.filter(|(w, h): &(u32, u32)| (1..=8_192).contains(w) && (1..=8_192).contains(h)).unwrap_or((1_024, 1_024))
}

/// Style B: synchronous.
fn images(sim: &Arc<Sim>, call: &Call, account: &str) -> Reply {
    let Some(body) = call.json_object() else { return fail(400, "invalid_request", "the body is not a JSON object") };
    let read = |body: Fields<'_>| -> Result<(Order, bool), Wrong> {
        let mut order =
            Order::new(Provider::Tuzi, account, body.required_text("model", 200)?, body.required_text("prompt", 32_000)?);
        complete(sim, &mut order, Style::Images.name());
        order.outputs = body.int("n", 1, 10)?.unwrap_or(1);
        order.seed = body.raw("seed").map(Value::to_string);
        let format = body.one_of("output_format", &["png", "jpeg", "webp"])?.unwrap_or("png");
        let (width, height) = match body.text("aspect_ratio")? {
            Some(ratio) if !body.has("size") => super::fields::pixels(ratio, 1_024),
            Some(_) | None => pixel_size(body.text("size")?),
        };
        order.media = Media::image(format, width, height);
        order.micro_usd = MICRO_USD_PER_IMAGE * u64::from(order.outputs);
        Ok((order, body.one_of("response_format", &["url", "b64_json"])? == Some("b64_json")))
    };
    match read(Fields(&body)) {
        Ok((order, inline)) => sim.submit(call, order, &Words { style: Style::Images, inline, new_api: false }),
        Err(wrong) => invalid(&wrong),
    }
}

/// Style D: multipart, for videos and images alike; the model's name decides.
fn videos(sim: &Arc<Sim>, call: &Call, account: &str) -> Reply {
    let kind = call.header("content-type").unwrap_or_default();
    let Some(parts) = multipart::read(kind, &call.body) else {
        return fail(400, "invalid_request", "a multipart/form-data body is required");
    };
    let text = |name: &str| parts.get(name).and_then(|bytes| std::str::from_utf8(bytes).ok()).filter(|text| !text.is_empty());
    let (Some(model), Some(prompt)) = (text("model"), text("prompt")) else {
        return fail(400, "invalid_request", "model and prompt are required");
    };
    let mut order = Order::new(Provider::Tuzi, account, model, prompt);
    complete(sim, &mut order, Style::Videos.name());
    let (width, height) = pixel_size(text("size"));
    let is_image = ["flux", "image", "banana", "seedream", "midjourney"].iter().any(|word| model.contains(word));
    let seconds = text("seconds").and_then(|text| text.parse().ok()).unwrap_or(5_u32).clamp(1, 60);
    order.media = if is_image { Media::image("png", width, height) } else { Media::video(width, height, seconds) };
    order.micro_usd = if is_image { MICRO_USD_PER_IMAGE } else { MICRO_USD_PER_VIDEO };
    sim.submit(call, order, &Words { style: Style::Videos, inline: false, new_api: false })
}

/// Style A: as BFL.
fn bfl(sim: &Arc<Sim>, call: &Call, account: &str, model: &str) -> Reply {
    let Some(body) = call.json_object() else { return fail(400, "invalid_request", "the body is not a JSON object") };
    match flux::relayed(model, &body, account) {
        Ok(mut order) => {
            complete(sim, &mut order, Style::Bfl.name());
            order.seed = body.get("seed").map(Value::to_string);
            sim.submit(call, order, &Words { style: Style::Bfl, inline: false, new_api: false })
        }
        Err(message) => fail(400, "invalid_request", &message),
    }
}

/// Kling through the relay: its clients send the duration as a number too, and that works.
fn relayed_kling(sim: &Arc<Sim>, call: &Call, account: &str, family: &str) -> Reply {
    let Some(mut body) = call.json_object() else { return task_failed("the body is not a JSON object") };
    if let Some(duration) = body.get_mut("duration")
        && duration.is_u64()
    {
        *duration = duration.to_string().into();
    }
    match kling::relayed(sim, family, &body, account) {
        Ok(mut order) => {
            // The client's id is not looked up by it: the upstream account is shared with strangers.
            let tag = order.external_id.take();
            complete(sim, &mut order, family);
            // As Kling itself does.
            order.billing = Billing::Success;
            order.seed = tag;
            let new_api = sim.config.tuzi.new_api_answers;
            sim.submit(call, order, &Words { style: Style::Kling, inline: false, new_api })
        }
        Err(message) => task_failed(&message),
    }
}

fn kling_envelope(data: &Value) -> Reply {
    Reply::json(200, &json!({"code": 0, "message": "SUCCEED", "request_id": Uuid::new_v4().to_string(), "data": data}))
}

/// new-api's own create answer: an OpenAI-video object.
fn new_api_view(task: &Task) -> Value {
    json!({
        "id": task.id, "task_id": task.id, "object": "video", "model": task.model, "status": "queued",
        "created_at": task.created_ms / 1_000,
    })
}

fn video_view(sim: &Sim, task: &Task, now: u64) -> Value {
    let (word, url, error) = match task.phase(now) {
        Phase::Queued => (task.pending_word("queued").to_owned(), None, None),
        Phase::Running => (task.pending_word("in_progress").to_owned(), None, None),
        Phase::Ended(End::Succeeded) => {
            let url = task.file_paths().into_iter().next().map(|path| format!("{}/{path}", sim.url));
            ("completed".to_owned(), url, None)
        }
        Phase::Ended(End::Failed(text)) => ("failed".to_owned(), None, Some(text)),
        Phase::Ended(End::Canceled | End::Aborted) => ("failed".to_owned(), None, None),
    };
    let mut view = json!({
        "id": task.id, "object": "video", "model": task.model, "status": word, "created_at": task.created_ms / 1_000,
    });
    if let Some(fields) = view.as_object_mut() {
        if let Some(url) = url {
            fields.insert("video_url".into(), url.into());
        }
        if let Some(text) = error {
            fields.insert("error".into(), json!({"message": text}));
        }
    }
    view
}

fn status(sim: &Sim, call: &Call, (account, id, style): (&str, &str, Style)) -> Reply {
    match sim.poll(Provider::Tuzi, account, id) {
        Found::Task(task) if style.owns(&task) => match style {
            Style::Bfl => Reply::json(200, &flux::view(sim, &task, call.now)),
            Style::Videos | Style::Images => Reply::json(200, &video_view(sim, &task, call.now)),
            Style::Kling => kling_envelope(&kling::legacy_view(sim, &task, call.now)),
        },
        Found::Task(_) | Found::Nothing => fail(404, "task_not_exist", "task_not_exist"),
        Found::Broken(reply) => reply,
    }
}
