//! Replicate's create calls: what is validated, what a prediction makes, and what it costs.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{FAMILY, Words, fail};
use crate::simulator::Provider;
use crate::simulator::fields::{Fields, Wrong, is_url, pixels};
use crate::simulator::http::{Call, Reply};
use crate::simulator::media::Media;
use crate::simulator::state::Sim;
use crate::simulator::submit::{Billing, Order};
use crate::simulator::tasks::Hook;

/// Price of a second of run time; our sources have none, this is of the order of one large GPU.
const MICRO_USD_PER_SECOND: u64 = 1_000;
/// Words in a model's name that mean video.
const VIDEO_WORDS: [&str; 12] =
    ["video", "kling", "wan-", "veo", "hailuo", "seedance", "ray-", "pixverse", "mochi", "ltx", "gen4", "vidu"];
const EVENTS: [&str; 4] = ["start", "output", "logs", "completed"];

/// Says which of the three create calls it is.
pub(super) enum Target {
    /// The body names a version.
    Version,
    Model(String),
    Deployment(String),
}

/// Validates a create call and submits it.
pub(super) fn submit(sim: &Arc<Sim>, call: &Call, account: &str, target: &Target) -> Reply {
    let Some(body) = call.json_object() else { return fail(400, Some("Bad Request"), "The request body is not a JSON object") };
    let body = Fields(&body);
    let (model, version) = match resolve(sim, body, target) {
        Ok(found) => found,
        Err(reply) => return reply,
    };
    let unprocessable = |wrong: Wrong| {
        let detail = format!("- {}: {}\n", wrong.field, wrong.message);
        fail(422, Some("Input validation failed"), &detail)
    };
    let order = match order(body, account, &model) {
        Ok(order) => order,
        Err(wrong) => return unprocessable(wrong),
    };
    let deadline = match call.header("cancel-after").map(span_ms) {
        None => None,
        Some(Some(ms)) if ms >= 5_000 => Some(call.now.saturating_add(ms)),
        Some(_) => return fail(422, Some("Invalid Cancel-After"), "Cancel-After must be a duration of at least 5s"),
    };
    let wait_ms = match call.header("prefer").map(prefer) {
        None => None,
        Some(Some(secs)) => Some(secs * 1_000),
        Some(None) => return fail(400, Some("Bad Request"), "Prefer must be wait or wait=n with n from 1 to 60"),
    };
    let deployment = if let Target::Deployment(name) = target { Some(name) } else { None };
    let mut order = order;
    order.input = json!({"input": body.raw("input"), "version": version});
    order.deadline_ms = deadline;
    if let (Some(deadline), Some(fields)) = (deadline, order.input.as_object_mut()) {
        fields.insert("deadline".into(), deadline.into());
    }
    if let (Some(name), Some(fields)) = (deployment, order.input.as_object_mut()) {
        fields.insert("deployment".into(), name.clone().into());
    }
    sim.submit(call, order, &Words { wait_ms })
}

/// Finds model and version of a create call.
fn resolve(sim: &Sim, body: Fields<'_>, target: &Target) -> Result<(String, String), Reply> {
    let config = &sim.config.replicate;
    let no_version = || {
        let detail = "The specified version does not exist (or perhaps you don't have permission to use it?)";
        fail(422, Some("Invalid version or not permitted"), detail)
    };
    let named = match target {
        Target::Model(name) | Target::Deployment(name) => name.clone(),
        Target::Version => {
            let version = body.text("version").ok().flatten().unwrap_or_default();
            match version.split_once(':') {
                Some((name, id)) if name.contains('/') && is_version(config.versions.as_slice(), id) => {
                    return Ok((name.to_owned(), id.to_owned()));
                }
                None if is_version(config.versions.as_slice(), version) => {
                    return Ok(("sandbox/model".to_owned(), version.to_owned()));
                }
                None if version.split('/').filter(|part| !part.is_empty()).count() == 2 => version.to_owned(),
                Some(_) | None => return Err(no_version()),
            }
        }
    };
    if config.missing_models.contains(&named) {
        let what = if matches!(target, Target::Deployment(_)) { "deployment" } else { "model" };
        return Err(match target {
            Target::Version => no_version(),
            Target::Model(_) | Target::Deployment(_) => fail(404, None, &format!("The specified {what} does not exist")),
        });
    }
    Ok((named, "hidden".to_owned()))
}

/// Tells whether a version id exists: listed, or well-formed where no list is configured.
fn is_version(known: &[String], id: &str) -> bool {
    if !known.is_empty() {
        return known.iter().any(|version| version == id);
    }
    id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) && id.bytes().any(|byte| byte != b'0')
}

fn order(body: Fields<'_>, account: &str, model: &str) -> Result<Order, Wrong> {
    let Some(input) = body.object("input")? else {
        return Err(crate::simulator::fields::wrong("input", "input is required"));
    };
    let prompt = input.text("prompt")?.unwrap_or("");
    let mut order = Order::new(Provider::Replicate, account, model, prompt);
    order.id = prediction_id();
    order.family = FAMILY.to_owned();
    order.seed = input.raw("seed").map(Value::to_string);
    order.media = media(model, input)?;
    order.outputs = input.int("num_outputs", 1, 10)?.unwrap_or(1);
    order.billing = Billing::End;
    order.micro_usd = MICRO_USD_PER_SECOND;
    order.hook = hook(body)?;
    Ok(order)
}

fn hook(body: Fields<'_>) -> Result<Option<Hook>, Wrong> {
    let Some(url) = body.text("webhook")? else { return Ok(None) };
    if !is_url(url) {
        return Err(crate::simulator::fields::wrong("webhook", "webhook is not a valid URL"));
    }
    let mut events = Vec::new();
    for event in body.list("webhook_events_filter", 4)?.into_iter().flatten() {
        match event.as_str().filter(|name| EVENTS.contains(name)) {
            Some(name) => events.push(name.to_owned()),
            None => return Err(crate::simulator::fields::wrong("webhook_events_filter", "unknown event")),
        }
    }
    Ok(Some(Hook { url: url.to_owned(), secret: None, events }))
}

/// Guesses from name and input what a model makes: the sandbox has no list of models.
fn media(model: &str, input: Fields<'_>) -> Result<Media, Wrong> {
    let ratio = input.text("aspect_ratio")?.unwrap_or("1:1");
    let sized = input.has("width") || input.has("num_outputs");
    if VIDEO_WORDS.iter().any(|word| model.contains(word)) || input.has("duration") && !sized {
        let seconds = input.int("duration", 1, 60)?.unwrap_or(5);
        let (width, height) = pixels(if input.has("aspect_ratio") { ratio } else { "16:9" }, 720);
        return Ok(Media::video(width, height, seconds));
    }
    let (wide, high) = pixels(ratio, 1_024);
    let width = input.int("width", 16, 8_192)?.unwrap_or(wide);
    let height = input.int("height", 16, 8_192)?.unwrap_or(high);
    Ok(Media::image(input.text("output_format")?.unwrap_or("png"), width, height))
}

/// 26 characters of lower-case base32, as the real ids.
fn prediction_id() -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let letter = || LETTERS.get(rand::random_range(0..32_usize)).copied().map_or('a', char::from);
    std::iter::repeat_with(letter).take(26).collect()
}

/// Reads a duration such as `90s`, `1m`, `1h` or `1m30s`.
fn span_ms(text: &str) -> Option<u64> {
    let mut total: u64 = 0;
    let mut digits = String::new();
    for letter in text.trim().chars() {
        if letter.is_ascii_digit() {
            digits.push(letter);
            continue;
        }
        let unit = match letter {
            's' => 1_000,
            'm' => 60_000,
            'h' => 3_600_000,
            _ => return None,
        };
        total = total.checked_add(digits.parse::<u64>().ok()?.checked_mul(unit)?)?;
        digits.clear();
    }
    if digits.is_empty() { Some(total) } else { digits.parse::<u64>().ok()?.checked_mul(1_000)?.checked_add(total) }
}

/// Seconds of `wait` (60) or `wait=n`.
fn prefer(text: &str) -> Option<u64> {
    match text.trim().strip_prefix("wait")? {
        "" => Some(60),
        rest => rest.strip_prefix('=')?.parse().ok().filter(|secs| (1..=60).contains(secs)),
    }
}
