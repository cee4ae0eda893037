//! Kling's legacy standard: `/v1/videos/{text2video,image2video}` and `/v1/images/generations`.

use std::io::Cursor;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Words, complete, fail, find, invalid, no_model, not_found, status, succeed, units, updated, video_milli_units};
use crate::simulator::Provider;
use crate::simulator::fields::{Fields, Wrong, is_url, pixels, wrong};
use crate::simulator::http::{Call, Reply};
use crate::simulator::media::Media;
use crate::simulator::state::{Found, Sim};
use crate::simulator::submit::Order;
use crate::simulator::tasks::{End, Hook, Phase, Task};

const VIDEO_MODELS: [&str; 6] =
    ["kling-v1-6", "kling-v2-master", "kling-v2-1-master", "kling-v2-5-turbo", "kling-v2-6", "kling-v3"];
/// Served for images only as a start frame.
const IMAGE_TO_VIDEO_MODELS: [&str; 2] = ["kling-v1-5", "kling-v2-1"];
const IMAGE_MODELS: [&str; 4] = ["kling-v3", "kling-v2-1", "kling-v2", "kling-v1-5"];
const IMAGE_RATIOS: [&str; 8] = ["16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9"];
/// An image takes 8 units (observed on v3).
const IMAGE_MILLI_UNITS: u64 = 8_000;

/// Says why a request is refused; the relay puts it into its own words.
pub(super) enum Refusal {
    Field(Wrong),
    NoModel(String),
}

impl From<Wrong> for Refusal {
    fn from(wrong: Wrong) -> Self {
        Self::Field(wrong)
    }
}

impl Refusal {
    pub(super) fn message(self) -> String {
        match self {
            Self::Field(wrong) => wrong.message,
            Self::NoModel(model) => format!("model {model} is not available"),
        }
    }

    fn reply(&self) -> Reply {
        match self {
            Self::Field(wrong) => invalid(wrong),
            Self::NoModel(model) => no_model(model),
        }
    }
}

fn unknown(model: &str) -> Refusal {
    Refusal::NoModel(model.to_owned())
}

pub(super) fn answer(sim: &Arc<Sim>, call: &Call, account: &str) -> Reply {
    let segments = call.segments();
    let (family, id) = match segments.as_slice() {
        ["v1", kind, name] => (format!("{kind}/{name}"), None),
        ["v1", kind, name, id] => (format!("{kind}/{name}"), Some(*id)),
        _ => return fail(1203, "The requested resource does not exist"),
    };
    if !matches!(family.as_str(), "videos/text2video" | "videos/image2video" | "images/generations") {
        return fail(1203, "The requested resource does not exist");
    }
    match id {
        None if call.is_post() => submit(sim, call, &family, account),
        None if call.is_get() => list(sim, call, &family, account),
        Some(id) if call.is_get() => get(sim, call, &family, (account, id)),
        _ => fail(1202, "The requested method is invalid"),
    }
}

fn submit(sim: &Arc<Sim>, call: &Call, family: &str, account: &str) -> Reply {
    let Some(body) = call.json_object() else { return fail(1200, "the request body is not a JSON object") };
    match order(sim, family, Fields(&body), account) {
        Ok(order) => sim.submit(call, order, &Words { accepted: created }),
        Err(refusal) => refusal.reply(),
    }
}

/// Validates a body and turns it into an order.
pub(super) fn order(sim: &Sim, family: &str, body: Fields<'_>, account: &str) -> Result<Order, Refusal> {
    let (mut order, milli_units) = match family {
        "images/generations" => image(body, account)?,
        _ => video(family, body, account)?,
    };
    order.family = family.to_owned();
    order.external_id = body.text("external_task_id")?.filter(|id| !id.is_empty()).map(str::to_owned);
    order.hook = body.url("callback_url")?.map(|url| Hook { url: url.to_owned(), secret: None, events: Vec::new() });
    if let Some(mark) = body.object("watermark_info")? {
        mark.flag("enabled")?;
    }
    complete(sim, &mut order, milli_units);
    Ok(order)
}

fn image(body: Fields<'_>, account: &str) -> Result<(Order, u64), Refusal> {
    let model = body.text("model_name")?.unwrap_or("kling-v3");
    if !IMAGE_MODELS.contains(&model) {
        return Err(unknown(model));
    }
    let prompt = body.required_text("prompt", 2_500)?;
    if body.bounded_text("negative_prompt", 2_500)?.is_some() && body.has("image") {
        return Err(wrong("negative_prompt", "negative_prompt is not supported together with image").into());
    }
    body.one_of("image_reference", &["subject", "face"])?;
    body.float("image_fidelity", 0.0, 1.0)?;
    body.float("human_fidelity", 0.0, 1.0)?;
    let short = if body.one_of("resolution", &["1k", "2k"])? == Some("2k") { 1_440 } else { 720 };
    let (width, height) = pixels(body.one_of("aspect_ratio", &IMAGE_RATIOS)?.unwrap_or("16:9"), short);
    let mut order = Order::new(Provider::Kling, account, model, prompt);
    order.outputs = body.int("n", 1, 9)?.unwrap_or(1);
    order.media = Media::image("png", width, height);
    order.doomed = frame(body, "image")?;
    let milli_units = IMAGE_MILLI_UNITS * u64::from(order.outputs);
    Ok((order, milli_units))
}

fn video(family: &str, body: Fields<'_>, account: &str) -> Result<(Order, u64), Refusal> {
    // The old field `model` is accepted and means V1, which is gone: only `model_name` counts.
    let model = body.text("model_name")?.unwrap_or("kling-v1");
    let from_image = family == "videos/image2video";
    let served = VIDEO_MODELS.contains(&model) || from_image && IMAGE_TO_VIDEO_MODELS.contains(&model);
    if !served {
        return Err(unknown(model));
    }
    let custom =
        body.flag("multi_shot")? == Some(true) && body.one_of("shot_type", &["customize", "intelligence"])? == Some("customize");
    let prompt = match body.bounded_text("prompt", 2_500)? {
        Some(prompt) => prompt,
        None if custom || from_image => "",
        None => body.required_text("prompt", 2_500)?,
    };
    if prompt.is_empty() && !custom && !from_image {
        return Err(wrong("prompt", "prompt is required").into());
    }
    let high = options(model, body)?;
    let seconds = duration(model, body)?;
    let mut order = Order::new(Provider::Kling, account, model, prompt);
    let ratio = if from_image {
        order.doomed = frames(body)?;
        "16:9"
    } else {
        body.one_of("aspect_ratio", &["16:9", "9:16", "1:1"])?.unwrap_or("16:9")
    };
    let (width, height) = pixels(ratio, if high { 1_080 } else { 720 });
    order.media = Media::video(width, height, seconds);
    let sound = body.text("sound")? == Some("on");
    Ok((order, video_milli_units(model, high, sound) * u64::from(seconds)))
}

/// Checks the optional fields; true for the better quality.
fn options(model: &str, body: Fields<'_>) -> Result<bool, Wrong> {
    body.bounded_text("negative_prompt", 2_500)?;
    if body.float("cfg_scale", 0.0, 1.0)?.is_some() && model.starts_with("kling-v2") {
        return Err(wrong("cfg_scale", format!("cfg_scale is not supported by {model}")));
    }
    if body.one_of("sound", &["on", "off"])? == Some("on") && !matches!(model, "kling-v2-6" | "kling-v3") {
        return Err(wrong("sound", format!("sound is not supported by {model}")));
    }
    body.list("voice_list", 2)?;
    body.list("multi_prompt", 6)?;
    if let Some(camera) = body.object("camera_control")? {
        camera_control(camera)?;
    }
    Ok(body.one_of("mode", &["std", "pro"])? == Some("pro"))
}

fn camera_control(camera: Fields<'_>) -> Result<(), Wrong> {
    const MOVES: [&str; 6] = ["horizontal", "vertical", "pan", "tilt", "roll", "zoom"];
    let kinds = ["simple", "down_back", "forward_up", "right_turn_forward", "left_turn_forward"];
    if camera.one_of("type", &kinds)? != Some("simple") {
        return Ok(());
    }
    let Some(config) = camera.object("config")? else { return Err(wrong("camera_control", "config is required for simple")) };
    let mut moves = 0;
    for name in MOVES {
        moves += u32::from(config.float(name, -10.0, 10.0)?.is_some_and(|value| value != 0.0));
    }
    if moves == 1 { Ok(()) } else { Err(wrong("camera_control", "exactly one of the config values must be non-zero")) }
}

/// Reads the duration: a string here, never a number.
fn duration(model: &str, body: Fields<'_>) -> Result<u32, Wrong> {
    let text = body.text("duration")?.unwrap_or("5");
    let seconds: u32 = text.parse().unwrap_or(0);
    let allowed = if model == "kling-v3" { (3..=15).contains(&seconds) } else { seconds == 5 || seconds == 10 };
    if allowed { Ok(seconds) } else { Err(wrong("duration", format!("duration value '{text}' is invalid"))) }
}

/// Checks the start and end frames; `Some` is a failure that shows only after acceptance.
fn frames(body: Fields<'_>) -> Result<Option<String>, Wrong> {
    if !body.has("image") && !body.has("image_tail") {
        return Err(wrong("image", "image or image_tail is required"));
    }
    let masks = body.has("static_mask") || body.list("dynamic_masks", 6)?.is_some();
    let ways = [body.has("image_tail"), masks, body.has("camera_control")];
    if ways.into_iter().filter(|way| *way).count() > 1 {
        return Err(wrong("image_tail", "image_tail, masks and camera_control are mutually exclusive"));
    }
    if body.list("element_list", 3)?.is_some() && body.has("voice_list") {
        return Err(wrong("element_list", "element_list is not supported together with voice_list"));
    }
    Ok(frame(body, "image")?.or(frame(body, "image_tail")?))
}

/// Checks one picture: a URL, or raw base64 without `data:`. Its pixels are looked at only after acceptance.
fn frame(body: Fields<'_>, name: &str) -> Result<Option<String>, Wrong> {
    let Some(text) = body.text(name)? else { return Ok(None) };
    if is_url(text) {
        return Ok(None);
    }
    if text.starts_with("data:") {
        return Err(wrong(name, format!("{name} must be a URL or base64 without the data: prefix")));
    }
    let Ok(bytes) = STANDARD.decode(text) else { return Err(wrong(name, format!("{name} is not valid base64"))) };
    if bytes.len() > 10 * 1024 * 1024 {
        return Err(wrong(name, format!("{name} exceeds 10MB")));
    }
    let size = image::ImageReader::new(Cursor::new(bytes)).with_guessed_format().ok().and_then(|r| r.into_dimensions().ok());
    let fits = |(w, h): (u32, u32)| w >= 300 && h >= 300 && w.max(h) * 2 <= w.min(h) * 5;
    Ok((!size.is_some_and(fits)).then(|| "Image pixel is invalid".to_owned()))
}

/// `task_info` as the recordings show it: missing without an external id.
fn put_info(task: &Task, data: &mut Value) {
    if let (Some(external), Some(fields)) = (&task.external_id, data.as_object_mut()) {
        fields.insert("task_info".into(), json!({"external_task_id": external}));
    }
}

fn created(task: &Task) -> Value {
    let mut data = json!({
        "task_id": task.id, "task_status": "submitted", "created_at": task.created_ms, "updated_at": task.created_ms,
    });
    put_info(task, &mut data);
    data
}

/// The task as a query and a callback show it.
pub(super) fn view(sim: &Sim, task: &Task, now: u64) -> Value {
    let mut data = json!({
        "task_id": task.id, "task_status": status(task, now, "succeed"), "task_status_msg": super::failure(task, now),
        "created_at": task.created_ms, "updated_at": updated(task, now), "task_result": {},
    });
    put_info(task, &mut data);
    if let (Phase::Ended(End::Succeeded), Some(fields)) = (task.phase(now), data.as_object_mut()) {
        fields.insert("task_result".into(), result(sim, task));
        fields.insert("final_unit_deduction".into(), units(task).into());
    }
    data
}

fn result(sim: &Sim, task: &Task) -> Value {
    let urls = task.file_paths().into_iter().map(|path| format!("{}/{path}", sim.url)).enumerate();
    match task.media {
        Media::Image { .. } => {
            let images: Vec<Value> = urls.map(|(index, url)| json!({"index": index, "url": url})).collect();
            json!({"images": images})
        }
        Media::Video { millis, .. } => {
            let seconds = format!("{}.{}", millis / 1_000, millis % 1_000 / 100);
            let video = |(index, url)| json!({"id": format!("{}-{index}", task.id), "url": url, "duration": seconds});
            json!({"videos": urls.map(video).collect::<Vec<Value>>()})
        }
    }
}

fn get(sim: &Sim, call: &Call, family: &str, (account, id): (&str, &str)) -> Reply {
    match find(sim, account, id) {
        Found::Task(task) if task.family == family => succeed(&view(sim, &task, call.now)),
        Found::Task(_) | Found::Nothing => not_found(),
        Found::Broken(reply) => reply,
    }
}

fn list(sim: &Sim, call: &Call, family: &str, account: &str) -> Reply {
    let number = |name: &str, default: usize, max: usize| match call.query.get(name) {
        None => Some(default),
        Some(text) => text.parse().ok().filter(|value| (1..=max).contains(value)),
    };
    let (Some(page), Some(size)) = (number("pageNum", 1, 1_000), number("pageSize", 30, 500)) else {
        return fail(1201, "pageNum or pageSize is invalid");
    };
    let inner = sim.lock();
    let newest = inner.tasks.newest(Provider::Kling, account, family).skip((page - 1) * size).take(size);
    let views: Vec<Value> = newest.map(|task| view(sim, task, call.now)).collect();
    drop(inner);
    succeed(&json!(views))
}
