//! Kling on the wire: bodies out, answers in, of both API generations and of relays that bend the older one.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{
    MISSING_GRACE, OUTPUT_LIFETIME,
    errors::{FAILURES, RELAY_TABLE, TABLE},
    path::{self, Path},
};
use crate::{
    domain::{
        balance::Balance,
        error::ErrorCode,
        money::Micros,
        record::{Endpoint, Handle, Kind},
        time::Timestamp,
    },
    providers::adapter::{
        Call, Context, Fault, Found, HttpCall, ImageForms, Output, Polled, Reply, Submitted, images,
        pick::{self, code, id, list, number, text},
        place,
        table::{Said, Table, missing, unsendable},
    },
};

/// Ours → the wire's, both standards. Everything else that a model declares keeps its name.
const NAMES: &[(&str, &str)] = &[("size_or_ratio", "aspect_ratio"), ("generateAudio", "sound"), ("generate_audio", "sound")];

/// One resource unit in dollars (price list of 2026-09).
const UNIT_DOLLARS: f64 = 0.14;

/// The create call.
pub fn submit(path: Path, call: &Call<'_>, forms: ImageForms) -> Result<HttpCall, Fault> {
    images::admit("kling", call.images, forms)?;
    let body = match path {
        Path::TextToVideo | Path::ImageToVideo | Path::Images => legacy(path, call),
        Path::NewTextToVideo | Path::NewImageToVideo => new_standard(path, call)?,
    };
    Ok(HttpCall::post(path::submit(call.endpoint, path)?, body))
}

fn legacy(path: Path, call: &Call<'_>) -> Value {
    let mut body = pick::renamed(call.parameters, NAMES);
    if path == Path::ImageToVideo {
        // The frame decides: this path has no aspect_ratio.
        body.remove("aspect_ratio");
    }
    // Always sent: the default model was discontinued.
    body.insert("model_name".to_owned(), json!(call.endpoint.upstream));
    body.insert("prompt".to_owned(), json!(call.prompt));
    replace(&mut body, "mode", |mode| if mode == "standard" { json!("std") } else { mode.clone() });
    replace(&mut body, "sound", |sound| switch(sound, "on"));
    let integer = call.endpoint.options.get("duration").is_some_and(|form| form == "integer");
    replace(&mut body, "duration", |duration| if integer { whole(duration) } else { json!(digits(duration)) });
    for (field, image) in ["image", "image_tail"].into_iter().zip(call.images) {
        body.insert(field.to_owned(), json!(images::bare(image)));
    }
    if path == Path::Images && call.outputs > 1 {
        body.insert("n".to_owned(), json!(call.outputs));
    }
    correlate(&mut body, call);
    Value::Object(body)
}

fn new_standard(path: Path, call: &Call<'_>) -> Result<Value, Fault> {
    // Left out in silence the client would pay for something else than it asked for.
    if let Some(name) = ["mode", "negative_prompt", "cfg_scale"].into_iter().find(|name| call.parameters.contains_key(*name)) {
        let message = format!("kling's newer standard has no {name}: the model must not declare it");
        return Err(unsendable(ErrorCode::InvalidParameters, message));
    }
    let mut settings = pick::renamed(call.parameters, NAMES);

    replace(&mut settings, "duration", whole);
    if let Some(sound) = settings.remove("sound") {
        settings.insert("audio".to_owned(), switch(&sound, "native"));
    }
    let mut options = Map::new();
    correlate(&mut options, call);
    let mut body = Map::new();
    if path == Path::NewImageToVideo {
        settings.remove("aspect_ratio");
        let frames = ["first_frame", "last_frame"].into_iter().zip(call.images);
        let frames = frames.map(|(kind, image)| json!({"type": kind, "url": image}));
        let prompt = json!({"type": "prompt", "text": call.prompt});
        body.insert("contents".to_owned(), std::iter::once(prompt).chain(frames).collect());
    } else {
        body.insert("prompt".to_owned(), json!(call.prompt));
    }
    body.insert("settings".to_owned(), Value::Object(settings));
    body.insert("options".to_owned(), Value::Object(options));
    Ok(Value::Object(body))
}

/// What makes the task findable and lets it call us.
fn correlate(fields: &mut Map<String, Value>, call: &Call<'_>) {
    fields.insert("external_task_id".to_owned(), json!(call.tag));
    if let Some(url) = call.webhook_url {
        fields.insert("callback_url".to_owned(), json!(url.as_str()));
    }
}

fn replace(fields: &mut Map<String, Value>, name: &str, with: impl Fn(&Value) -> Value) {
    if let Some(value) = fields.get_mut(name) {
        *value = with(value);
    }
}

fn switch(flag: &Value, on: &str) -> Value {
    match flag {
        Value::Bool(true) => json!(on),
        Value::Bool(false) => json!("off"),
        word if word == "on" => json!(on),
        Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => flag.clone(),
    }
}

fn digits(duration: &Value) -> String {
    duration.as_str().map_or_else(|| duration.to_string(), str::to_owned)
}

fn whole(duration: &Value) -> Value {
    duration.as_str().and_then(|text| text.parse::<u32>().ok()).map_or_else(|| duration.clone(), |number| json!(number))
}

/// Whether a code of the envelope means success. Relays write it as text, or leave it away.
fn fine(code: &str) -> bool {
    ["0", "200", "success", "succeed", "ok"].contains(&code.to_lowercase().as_str())
}

/// Whether the envelope reports an error.
fn refused(body: &Value) -> bool {
    let bad_code = code(body, &["code"]).is_some_and(|code| !fine(&code));
    // A failed task of a relay carries an `error` too: then it has a status.
    let error = body.get("error").is_some_and(|error| !error.is_null() && error != "");
    bad_code || (error && word(task(body)).is_none())
}

fn said(reply: &Reply, body: &Value) -> Said {
    if reply.status.is_success() && !refused(body) {
        // "SUCCEED" is no complaint.
        return Said::of(reply);
    }
    let code = code(body, &["code"]).or_else(|| code(body, &["error", "code"]));
    let message = text(body, &["message"]).map(str::to_owned).or_else(|| pick::complaint(body));
    Said::of(reply).saying(code, message.as_deref())
}

/// The task's own object: `data`, or the root at relays that put ids at the top level.
fn task(body: &Value) -> &Value {
    body.get("data").filter(|data| data.is_object()).unwrap_or(body)
}

fn word(task: &Value) -> Option<&str> {
    text(task, &["task_status"]).or_else(|| text(task, &["status"]))
}

fn task_id(task: &Value) -> Option<String> {
    id(task, &["task_id"]).or_else(|| id(task, &["id"]))
}

/// Reads the answer to a create call.
pub fn read_submit(reply: &Reply, relay: bool) -> Submitted {
    let Some(body) = reply.json() else {
        return Submitted::Fault(table(&Value::Null, relay).refusal(Said::of(reply)));
    };
    let said = said(reply, &body);
    if refused(&body) || !reply.status.is_success() {
        return Submitted::Fault(table(&body, relay).refusal(said));
    }
    match task_id(task(&body)) {
        Some(task_id) => Submitted::Accepted { handle: Handle { task_id, poll_url: None }, cost: None },
        None => Submitted::Fault(TABLE.unclear(said, "it accepted without telling a task id")),
    }
}

/// Kling's table, also where one of Kling's codes came through a relay; else what relays say.
fn table(body: &Value, relay: bool) -> Table {
    let code = code(body, &["code"]).and_then(|code| code.parse::<u32>().ok());
    if relay && !code.is_some_and(|code| (1000..6000).contains(&code)) { RELAY_TABLE } else { TABLE }
}

/// The object of the task that was asked for: lists of the newer standard are searched by id.
fn asked<'a>(body: &'a Value, task_id_wanted: &str) -> Option<&'a Value> {
    match listed(body) {
        Some(tasks) => tasks.iter().find(|task| task_id(task).as_deref() == Some(task_id_wanted)),
        None => Some(task(body)),
    }
}

/// The list of tasks in an answer of `/tasks`; none when the answer is about one task.
fn listed(body: &Value) -> Option<&Vec<Value>> {
    let data = body.get("data")?;
    data.as_array().or_else(|| ["result", "tasks", "list"].iter().find_map(|key| data.get(key)?.as_array()))
}

/// Reads the answer to a query.
pub fn read_poll(context: &Context<'_>, reply: &Reply, relay: bool) -> Polled {
    let Some(body) = reply.json() else {
        return Polled::Unclear(TABLE.unclear(Said::of(reply), "it answered with something that is not JSON"));
    };
    let said = said(reply, &body);
    if refused(&body) {
        // On a GET this code means that the task does not exist (live probe 2026-09), with status 400, not 404.
        // Relays have a word of their own; a bare 404 may be a wrong `poll_path` and proves nothing.
        let relay_lost = relay && said.code.as_deref() == Some("task_not_exist");
        if relay_lost || said.code.as_deref() == Some("1201") {
            return lost(context, reply, said);
        }
        return Polled::Unclear(TABLE.unclear(said, "the query was refused"));
    }
    if !reply.status.is_success() {
        return Polled::Unclear(TABLE.unclear(said, "the query failed"));
    }
    match asked(&body, &context.handle.task_id) {
        Some(task) => status(context, task, said, relay),
        None if listed(&body).is_some_and(Vec::is_empty) => lost(context, reply, said),
        None => Polled::Unclear(TABLE.unclear(said, "it answered about other tasks")),
    }
}

fn lost(context: &Context<'_>, reply: &Reply, said: Said) -> Polled {
    let fault = TABLE.unclear(said, "it does not know the task");
    Polled::Missing(missing(fault, context.submitted_at, reply.at, MISSING_GRACE))
}

fn status(context: &Context<'_>, task: &Value, said: Said, relay: bool) -> Polled {
    let Some(word) = word(task) else {
        return Polled::Unclear(TABLE.unclear(said, "it answered without a status"));
    };
    let again_after = said.retry_after;
    let pending = |unknown_word| Polled::Pending { progress: progress(task), again_after, unknown_word };
    match (word.to_lowercase().as_str(), relay) {
        ("submitted" | "processing", _) | ("pending" | "queued" | "running" | "in_progress", true) => pending(None),
        // "succeed" is the legacy word, "succeeded" the newer one; relays have more.
        ("succeed" | "succeeded", _) | ("completed" | "success" | "finished", true) => {
            Polled::Done { outputs: outputs(task, context.kind), cost: if relay { None } else { cost(task) } }
        }
        ("failed", _) | ("failure" | "error", true) => Polled::Failed(failure(task, said)),
        _ => pending(Some(word.to_owned())),
    }
}

/// The envelope of a failed task says `code` 0 and "SUCCEED": only the task's own words count.
fn failure(task: &Value, said: Said) -> Fault {
    let own = text(task, &["task_status_msg"]).or_else(|| text(task, &["message"])).map(str::to_owned);
    let words =
        own.or_else(|| task.get("error").and_then(|error| error.as_str().map(str::to_owned).or_else(|| pick::complaint(error))));
    FAILURES.failure(Said { code: None, message: None, ..said }.saying(code(task, &["error", "code"]), words.as_deref()))
}

fn progress(task: &Value) -> Option<u8> {
    number(task, &["progress"]).map(|percent| pick::percent(percent / 100.0))
}

fn outputs(task: &Value, kind: Kind) -> Vec<Output> {
    let files = match kind {
        Kind::Video => list(task, &["task_result", "videos"]),
        Kind::Image => list(task, &["task_result", "images"]),
    };
    let newer = list(task, &["outputs"]).iter().filter(|file| text(file, &["type"]).is_none_or(|word| word == kind.as_str()));
    let found: Vec<Output> = files.iter().chain(newer).filter_map(|file| output(file, kind)).collect();
    // Relays: one URL beside the status.
    if found.is_empty() { output(task, kind).into_iter().collect() } else { found }
}

fn output(file: &Value, kind: Kind) -> Option<Output> {
    let address = text(file, &["url"]).or_else(|| text(file, &["video_url"]))?;
    let output = pick::output(address, kind, OUTPUT_LIFETIME)?;
    Some(Output { duration_seconds: number(file, &["duration"]).filter(|_| kind == Kind::Video), ..output })
}

/// Units taken (legacy), or the sum of `billing` (newer): units, or dollars.
fn cost(task: &Value) -> Option<Micros> {
    if let Some(units) = number(task, &["final_unit_deduction"]) {
        return Some(Micros::from_dollars(units * UNIT_DOLLARS));
    }
    let priced = |item: &Value| match (text(item, &["charge_type"])?, text(item, &["currency"])) {
        ("unit", _) => number(item, &["amount"]).map(|units| units * UNIT_DOLLARS),
        ("cash", Some("USD")) => number(item, &["amount"]),
        _ => None,
    };
    let dollars: Option<Vec<f64>> = list(task, &["billing"]).iter().map(priced).collect();
    dollars.filter(|parts| !parts.is_empty()).map(|parts| Micros::from_dollars(parts.iter().sum()))
}

/// Over which time resource packs are asked for, in days. What the two instants of the call mean is not established; a year covers
/// the packs on sale.
const PACKS_DAYS: u64 = 365;

/// The call for resource packs: at most one a second (documentation).
pub fn balance(endpoint: &Endpoint, now: Timestamp) -> Result<HttpCall, Fault> {
    let start = now.minus(Duration::from_secs(PACKS_DAYS * 86_400)).0.to_string();
    let times = [("start", start.as_str()), ("end", &now.0.to_string())];
    place::url(endpoint, "/account/costs?start_time={start}&end_time={end}", &times).map(HttpCall::get)
}

/// Reads the packs that can be used now. `remaining_quantity` lags twelve hours (documentation).
pub fn read_balance(reply: &Reply) -> Result<Vec<Balance>, Fault> {
    let body = reply.json().unwrap_or_default();
    let said = said(reply, &body);
    let packs = task(&body).get("resource_pack_subscribe_infos").and_then(Value::as_array);
    let Some(packs) = packs.filter(|_| reply.status.is_success() && !refused(&body)) else {
        return Err(TABLE.unclear(said, "it did not tell its resource packs"));
    };
    let online = packs.iter().filter(|pack| text(pack, &["status"]) == Some("online"));
    let pack = |pack: &Value| {
        let name = text(pack, &["resource_pack_name"]).map(str::to_owned);
        number(pack, &["remaining_quantity"]).and_then(|left| Balance::of(name, left, "units"))
    };
    Ok(online.filter_map(pack).collect())
}

/// Reads a webhook: the task alone (legacy and newer), or, from a relay, in an envelope.
pub fn read_webhook(body: &[u8]) -> Option<Handle> {
    let body: Value = serde_json::from_slice(body).ok()?;
    task_id(task(&body)).map(|task_id| Handle { task_id, poll_url: None })
}

/// Our tag, as the task shows it: legacy in `task_info`, newer beside the id.
fn echo(task: &Value) -> Option<&str> {
    text(task, &["task_info", "external_task_id"]).or_else(|| text(task, &["external_id"])).filter(|echo| !echo.is_empty())
}

/// Reads the answer to a lookup by our tag. Through a relay strangers' tasks are in reach: only one that echoes our tag is ours, and
/// that it knows none proves nothing.
pub fn read_find(tag: &str, reply: &Reply, relay: bool) -> Found {
    let Some(body) = reply.json() else {
        return Found::Unclear(TABLE.unclear(Said::of(reply), "it answered with something that is not JSON"));
    };
    let said = said(reply, &body);
    if refused(&body) {
        return match said.code.as_deref() {
            Some("1201") if !relay => Found::Nothing,
            _ => Found::Unclear(TABLE.unclear(said, "the lookup was refused")),
        };
    }
    if !reply.status.is_success() {
        return Found::Unclear(TABLE.unclear(said, "the lookup failed"));
    }
    let found = match listed(&body).map(Vec::as_slice) {
        Some([]) if !relay => return Found::Nothing,
        Some([one]) => Some(one),
        Some(_) => None,
        None => Some(task(&body)),
    };
    let ours = |task: &&Value| echo(task).map_or(!relay, |echo| echo == tag);
    match found.filter(ours).and_then(task_id) {
        Some(task_id) => Found::Task(Handle { task_id, poll_url: None }),
        None => Found::Unclear(TABLE.unclear(said, "it answered without one task")),
    }
}
