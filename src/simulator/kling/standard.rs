//! Kling's standard of 2026: the model in the path, `settings` and `options` in the body, one query for all tasks.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Words, complete, fail, invalid, no_model, status, succeed, units, updated, video_milli_units};
use crate::simulator::Provider;
use crate::simulator::fields::{Fields, Kind, Wrong, pixels, wrong};
use crate::simulator::http::{Call, Reply};
use crate::simulator::media::Media;
use crate::simulator::state::{Found, Sim};
use crate::simulator::submit::Order;
use crate::simulator::tasks::{End, Hook, Phase, Task};

const MODELS: [&str; 4] = ["kling-3.0-turbo", "kling-3.0", "kling-2.6", "kling-2.5-turbo"];
/// Ids in one query, as seen live.
const MAX_IDS: usize = 20;
/// All tasks of this standard are in one list, whatever their path.
const FAMILY: &str = "x-to-video";

pub(super) fn answer(sim: &Arc<Sim>, call: &Call, account: &str) -> Reply {
    match call.segments().as_slice() {
        [family, model] if call.is_post() => submit(sim, call, (family, model), account),
        ["tasks"] if call.is_get() => query(sim, call, account),
        ["tasks"] if call.is_post() => search(sim, call, account),
        _ => fail(1202, "The requested method is invalid"),
    }
}

fn submit(sim: &Arc<Sim>, call: &Call, (family, model): (&str, &str), account: &str) -> Reply {
    if !MODELS.contains(&model) {
        return no_model(model);
    }
    let Some(body) = call.json_object() else { return fail(1200, "the request body is not a JSON object") };
    match order(sim, (family, model), Fields(&body), account) {
        Ok(order) => sim.submit(call, order, &Words { accepted: created }),
        Err(wrong) => invalid(&wrong),
    }
}

fn order(sim: &Sim, (family, model): (&str, &str), body: Fields<'_>, account: &str) -> Result<Order, Wrong> {
    let from_image = family == "image-to-video";
    let prompt = if from_image { contents(body)? } else { body.required_text("prompt", 3_072)?.to_owned() };
    let mut order = Order::new(Provider::Kling, account, model, &prompt);
    order.family = FAMILY.to_owned();
    let none = Value::Null;
    let settings = body.object("settings")?.unwrap_or(Fields(&none));
    let resolutions: &[&str] = if model == "kling-3.0" { &["720p", "1080p", "4k"] } else { &["720p", "1080p"] };
    let resolution = settings.one_of("resolution", resolutions)?.unwrap_or("720p");
    let seconds = settings.int("duration", 3, 15)?.unwrap_or(5);
    if matches!(model, "kling-2.6" | "kling-2.5-turbo") && seconds != 5 && seconds != 10 {
        return Err(wrong("settings.duration", format!("duration {seconds} is invalid")));
    }
    settings.flag("multi_shot")?;
    let audio = settings.one_of("audio", &["native", "off"])? == Some("native");
    let ratio = settings.one_of("aspect_ratio", &["16:9", "9:16", "1:1"])?.unwrap_or("16:9");
    let options = body.object("options")?.unwrap_or(Fields(&none));
    order.external_id = options.text("external_task_id")?.filter(|id| !id.is_empty()).map(str::to_owned);
    order.hook = options.url("callback_url")?.map(|url| Hook { url: url.to_owned(), secret: None, events: Vec::new() });
    let (short, rate) = match resolution {
        "4k" => (2_160, 3_000),
        "1080p" => (1_080, video_milli_units(model, true, audio)),
        _ => (720, video_milli_units(model, false, audio)),
    };
    let (width, height) = pixels(ratio, short);
    order.media = Media::video(width, height, seconds);
    complete(sim, &mut order, rate * u64::from(seconds));
    Ok(order)
}

/// Reads `contents`: a prompt and at least one frame.
fn contents(body: Fields<'_>) -> Result<String, Wrong> {
    let missing = |what: &str| Wrong { field: "contents".into(), kind: Kind::Missing, message: format!("contents needs {what}") };
    let mut prompt = String::new();
    let mut frames = 0;
    for item in body.list("contents", 16)?.ok_or_else(|| missing("items"))? {
        let item = Fields(item);
        match item.one_of("type", &["prompt", "first_frame", "last_frame", "element"])? {
            Some("prompt") => item.required_text("text", 3_072)?.clone_into(&mut prompt),
            Some("first_frame" | "last_frame") => {
                item.url("url")?.ok_or_else(|| missing("the url of a frame"))?;
                frames += 1;
            }
            Some(_) => {}
            None => return Err(missing("a type in each item")),
        }
    }
    if frames == 0 { Err(missing("a frame")) } else { Ok(prompt) }
}

fn created(task: &Task) -> Value {
    let mut data = json!({
        "id": task.id, "status": "submitted", "message": "", "create_time": task.created_ms, "update_time": task.created_ms,
    });
    put_external(task, &mut data);
    data
}

fn put_external(task: &Task, data: &mut Value) {
    if let (Some(external), Some(fields)) = (&task.external_id, data.as_object_mut()) {
        fields.insert("external_id".into(), external.clone().into());
    }
}

/// The task as a query and a callback show it.
pub(super) fn view(sim: &Sim, task: &Task, now: u64) -> Value {
    let mut data = json!({
        "id": task.id, "status": status(task, now, "succeeded"), "message": super::failure(task, now),
        "create_time": task.created_ms, "update_time": updated(task, now),
    });
    put_external(task, &mut data);
    let seconds = match task.media {
        Media::Video { millis, .. } => f64::from(millis) / 1_000.0,
        Media::Image { .. } => 0.0,
    };
    if let (Phase::Ended(End::Succeeded), Some(fields)) = (task.phase(now), data.as_object_mut()) {
        let output = |(index, path)| json!({"type": "video", "id": format!("{}-{index}", task.id), "url": format!("{}/{path}", sim.url), "duration": seconds});
        let outputs: Vec<Value> = task.file_paths().into_iter().enumerate().map(output).collect();
        fields.insert("outputs".into(), outputs.into());
        let charge = json!({"charge_type": "unit", "amount": units(task), "package_type": "video"});
        fields.insert("billing".into(), json!([charge]));
    }
    data
}

/// `GET /tasks`: by ids of one kind; what is not found is left out.
fn query(sim: &Sim, call: &Call, account: &str) -> Reply {
    let (given, external) = match (call.query.get("task_ids"), call.query.get("external_task_ids")) {
        (Some(ids), None) => (ids, false),
        (None, Some(ids)) => (ids, true),
        (Some(_), Some(_)) | (None, None) => return fail(1201, "exactly one of task_ids and external_task_ids is required"),
    };
    let ids: Vec<&str> = given.split(',').filter(|id| !id.is_empty()).collect();
    if ids.is_empty() || ids.len() > MAX_IDS {
        return fail(1201, "between 1 and 20 ids are allowed");
    }
    let mut views = Vec::new();
    for id in ids {
        let own = if external { sim.find_external(Provider::Kling, account, id) } else { Some(id.to_owned()) };
        match own.map(|id| sim.poll(Provider::Kling, account, &id)) {
            Some(Found::Task(task)) if task.family == FAMILY => views.push(view(sim, &task, call.now)),
            Some(Found::Broken(reply)) => return reply,
            Some(Found::Task(_) | Found::Nothing) | None => {}
        }
    }
    succeed(&json!(views))
}

/// `POST /tasks`: the account's tasks in a window of time, newest first, by pages.
fn search(sim: &Sim, call: &Call, account: &str) -> Reply {
    let body = call.json_object().unwrap_or_else(|| json!({}));
    let fields = Fields(&body);
    let limit = match fields.int("limit", 1, 500) {
        Ok(limit) => limit.unwrap_or(100) as usize,
        Err(wrong) => return invalid(&wrong),
    };
    let time = |name: &str| fields.raw(name).and_then(Value::as_u64);
    let from = time("start_time").unwrap_or_else(|| call.now.saturating_sub(30 * 86_400_000));
    let until = time("end_time").unwrap_or(u64::MAX);
    let skip: usize = fields.text("cursor").ok().flatten().and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
    let wanted = statuses(fields);
    let inner = sim.lock();
    let fits = |task: &&Task| {
        (from..=until).contains(&task.created_ms)
            && (wanted.is_empty() || wanted.iter().any(|word| word == status(task, call.now, "succeeded")))
    };
    let mut found: Vec<Value> = inner
        .tasks
        .newest(Provider::Kling, account, FAMILY)
        .filter(fits)
        .skip(skip)
        .take(limit + 1)
        .map(|task| view(sim, task, call.now))
        .collect();
    drop(inner);
    let more = found.len() > limit;
    found.truncate(limit);
    let next = if more { (skip + limit).to_string() } else { String::new() };
    succeed(&json!({"count": found.len(), "result": found, "next_cursor": next, "has_more": more}))
}

/// Status words of the filters; filters by product type are not kept apart here and let everything through.
fn statuses(fields: Fields<'_>) -> Vec<String> {
    let filters = fields.list("filters", 16).ok().flatten().into_iter().flatten();
    let status = filters.filter(|filter| filter.get("key").and_then(Value::as_str) == Some("status"));
    let values = status.filter_map(|filter| filter.get("values").and_then(Value::as_array)).flatten();
    values.filter_map(Value::as_str).map(str::to_owned).collect()
}
