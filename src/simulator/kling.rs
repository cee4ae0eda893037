//! The Kling sandbox: legacy `/v1` paths and the 2026 standard side by side, one envelope, one table of codes.
//!
//! Units are taken at the end of a task that succeeds; failed tasks are not billed here (the real rule is not established).

mod auth;
mod legacy;
mod standard;

use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;

use super::fields::{Fields, Kind, Wrong};
use super::http::{Call, Reply};
use super::limits::Slots;
use super::state::{Found, Sim};
use super::submit::{Order, Throttle, Wire};
use super::tasks::{End, Phase, Task};
use super::{Provider, clock};

/// One unit is 0.14 USD.
const MICRO_USD_PER_UNIT: u64 = 140_000;

/// Answers a call below `/kling`.
pub(super) fn answer(sim: &Arc<Sim>, call: &Call) -> Reply {
    let new_style = !call.path.starts_with("v1/") && !call.path.starts_with("account/");
    let account = match auth::account(&sim.config.kling, call, new_style) {
        Ok(account) => account,
        Err((code, message)) => return fail(code, message),
    };
    match call.segments().as_slice() {
        ["v1", "videos" | "images", ..] => legacy::answer(sim, call, &account),
        ["account", "costs"] if call.is_get() => costs(sim, call, &account),
        ["text-to-video" | "image-to-video", _] | ["tasks"] => standard::answer(sim, call, &account),
        _ => fail(1203, "The requested resource does not exist"),
    }
}

/// Answers an error: the code decides the HTTP status; there is no `data`.
fn fail(code: u16, message: &str) -> Reply {
    let status = match code {
        1000..=1004 => 401,
        1100..=1102 | 1302..=1304 => 429,
        1103 => 403,
        1202 | 1203 => 404,
        5000 => 500,
        5001 => 503,
        5002 => 504,
        _ => 400,
    };
    let body = json!({"code": code, "message": message, "request_id": Uuid::new_v4().to_string()});
    Reply::json(status, &body).refused(code)
}

fn succeed(data: &Value) -> Reply {
    Reply::json(200, &json!({"code": 0, "message": "SUCCEED", "request_id": Uuid::new_v4().to_string(), "data": data}))
}

fn invalid(wrong: &Wrong) -> Reply {
    let code = match wrong.kind {
        Kind::Missing | Kind::Value => 1201,
        Kind::Type => 1200,
    };
    fail(code, &wrong.message)
}

/// Answers a model that is not served; `kling-v1` was withdrawn, others never existed.
fn no_model(model: &str) -> Reply {
    match model {
        "kling-v1" => fail(1201, "model kling-v1 has been discontinued"),
        _ => fail(1203, &format!("model {model} does not exist")),
    }
}

/// The meaning of a code that only a directive brings up.
fn documented(code: u16) -> &'static str {
    match code {
        1000 => "Authentication failed",
        1002 => "Authorization is invalid",
        1003 => "Authorization is not active yet",
        1004 => "Authorization has expired",
        1100 => "Account exception",
        1101 => "Account in arrears",
        1102 => "Account balance not enough",
        1103 => "No permission to access the requested resource",
        1300 => "Trigger strategy of the platform",
        1301 => "Trigger the content security policy of the platform",
        1302 => "The API request is too fast, exceeding the platform rate limit",
        1303 => "parallel task over resource pack limit",
        1304 => "Trigger the platform's IP whitelisting policy",
        5000 => "Server internal error",
        5001 => "Server temporarily unavailable",
        5002 => "Server internal timeout",
        _ => "Invalid request parameters",
    }
}

fn not_found() -> Reply {
    fail(1201, "Task not found by id / external id")
}

/// Makes a task id: 18 digits, more than a double holds exactly, as the real ones.
fn task_id() -> String {
    rand::random_range(800_000_000_000_000_000_u64..999_999_999_999_999_999).to_string()
}

/// Takes the parts that both standards share.
fn complete(sim: &Sim, order: &mut Order, milli_units: u64) {
    order.id = task_id();
    order.micro_usd = milli_units * MICRO_USD_PER_UNIT / 1_000;
    order.billing = super::submit::Billing::Success;
    let pool = format!("kling/{}", order.account);
    order.slots = Some(Slots { pool, wanted: order.outputs.max(1), limit: sim.config.kling.slots });
    order.rate = Some((sim.config.kling.submits_per_second, 1));
}

/// Units a second, in thousandths, by model family, quality and sound.
fn video_milli_units(model: &str, high: bool, sound: bool) -> u64 {
    let pick = |low, best| if high { best } else { low };
    match model {
        "kling-3.0-turbo" => pick(800, 1_000),
        "kling-3.0" | "kling-v3" if sound => pick(900, 1_200),
        "kling-3.0" | "kling-v3" => pick(600, 800),
        "kling-2.6" | "kling-v2-6" if sound => 1_000,
        _ => pick(300, 500),
    }
}

/// Says what both standards say alike at the turns of a submit.
struct Words {
    accepted: fn(&Task) -> Value,
}

impl Wire for Words {
    fn refusal(&self, code: &str) -> Reply {
        let code = code.parse().unwrap_or(1201);
        fail(code, documented(code))
    }

    fn throttled(&self, why: Throttle) -> Reply {
        match why {
            Throttle::Rate { .. } => fail(1302, documented(1302)),
            Throttle::Slots => fail(1303, documented(1303)),
        }
    }

    fn duplicate(&self) -> Reply {
        fail(1201, "external_task_id already exists")
    }

    fn accepted(&self, _sim: &Sim, task: &Task) -> Reply {
        succeed(&(self.accepted)(task))
    }

    fn usual_failure(&self) -> &'static str {
        "Failure to pass the risk control system"
    }
}

/// The status word at `now`; the word of success differs by standard.
fn status<'a>(task: &'a Task, now: u64, success: &'static str) -> &'a str {
    match task.phase(now) {
        Phase::Queued => task.pending_word("submitted"),
        Phase::Running => task.pending_word("processing"),
        Phase::Ended(End::Succeeded) => success,
        Phase::Ended(End::Failed(_) | End::Canceled | End::Aborted) => "failed",
    }
}

fn failure(task: &Task, now: u64) -> String {
    match task.phase(now) {
        Phase::Ended(End::Failed(text)) => text,
        Phase::Ended(End::Succeeded | End::Canceled | End::Aborted) | Phase::Queued | Phase::Running => String::new(),
    }
}

/// Units as the text the provider shows, such as `2.4`.
fn units(task: &Task) -> String {
    let milli = task.micro_usd * 1_000 / MICRO_USD_PER_UNIT;
    let text = format!("{}.{:03}", milli / 1_000, milli % 1_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The time of the last change of status.
fn updated(task: &Task, now: u64) -> u64 {
    match task.phase(now) {
        Phase::Queued => task.created_ms,
        Phase::Running => task.started_ms,
        Phase::Ended(_) => task.ended_ms,
    }
}

/// The callback's body: the task alone, in the shape of the standard that created it.
pub(super) fn hook_body(sim: &Sim, task: &Task, now: u64) -> Value {
    if task.family.contains("-to-video") { standard::view(sim, task, now) } else { legacy::view(sim, task, now) }
}

/// The legacy shape of a task, for the relay that copies it.
pub(super) fn legacy_view(sim: &Sim, task: &Task, now: u64) -> Value {
    legacy::view(sim, task, now)
}

/// Runs a relayed legacy request's validation and fills its order.
pub(super) fn relayed(sim: &Sim, family: &str, body: &Value, account: &str) -> Result<Order, String> {
    legacy::order(sim, family, Fields(body), account).map_err(legacy::Refusal::message)
}

/// Looks up by the provider's id first, then by the client's.
fn find(sim: &Sim, account: &str, id: &str) -> Found {
    match sim.poll(Provider::Kling, account, id) {
        Found::Nothing => match sim.find_external(Provider::Kling, account, id) {
            Some(id) => sim.poll(Provider::Kling, account, &id),
            None => Found::Nothing,
        },
        found @ (Found::Broken(_) | Found::Task(_)) => found,
    }
}

/// `GET /account/costs`: at most one a second.
fn costs(sim: &Sim, call: &Call, account: &str) -> Reply {
    let mut inner = sim.lock();
    if !inner.limits.count(&format!("kling/costs/{account}"), 1, 1, call.now).allowed {
        return fail(1302, documented(1302));
    }
    let used = inner.ledger.micro_usd(Provider::Kling, account, call.now) / MICRO_USD_PER_UNIT;
    drop(inner);
    let pack = json!({
        "resource_pack_name": "Sandbox pack", "resource_pack_id": "sandbox", "resource_pack_type": "decreasing_total",
        "total_quantity": 1_000_000, "remaining_quantity": 1_000_000_u64.saturating_sub(used), "status": "online",
        "purchase_time": 0, "effective_time": 0, "invalid_time": clock::now_ms().saturating_add(86_400_000),
    });
    succeed(&json!({"code": 0, "msg": "", "resource_pack_subscribe_infos": [pack]}))
}
