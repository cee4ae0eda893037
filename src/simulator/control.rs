//! The simulator's own paths: `/` (what this is), `/health`, `/ledger`, `/ledger/reset` and `/faults`.

use actix_web::http::Method;
use serde_json::{Value, json};

use super::clock::now_ms;
use super::files::sha256_hex;
use super::http::{Call, Reply};
use super::ledger::{Entry, Filter};
use super::state::Sim;
use super::tasks::{End, Phase, Task};
use crate::config::simulator::FaultRule;

/// Answers a path that belongs to no provider.
pub(super) fn answer(sim: &Sim, call: &Call) -> Reply {
    match (call.method.clone(), call.path.as_str()) {
        (Method::GET, "") => Reply::text(200, page(&sim.url)),
        (Method::GET, "health") => Reply::text(200, "ok"),
        (Method::GET, "ledger") => ledger(sim, call),
        (Method::POST, "ledger/reset") => match sim.reset() {
            Ok(()) => Reply::json(200, &json!({"reset": true})),
            Err(error) => Reply::json(500, &json!({"error": error.to_string()})),
        },
        (Method::POST, "faults") => add_fault(sim, call),
        (Method::DELETE, "faults") => {
            sim.lock().rules.clear();
            Reply::json(200, &json!({"faults": 0}))
        }
        _ => Reply::text(404, "no such page; GET / lists them"),
    }
}

fn add_fault(sim: &Sim, call: &Call) -> Reply {
    let rule: Result<FaultRule, String> = serde_json::from_slice(&call.body).map_err(|error| error.to_string());
    match rule.and_then(|rule| sim.lock().rules.add(&rule)) {
        Ok(()) => Reply::json(201, &json!({"added": true})),
        Err(reason) => Reply::json(400, &json!({"error": reason})),
    }
}

fn ledger(sim: &Sim, call: &Call) -> Reply {
    let now = now_ms();
    let text = |name: &str| call.query.get(name).filter(|value| !value.is_empty()).cloned();
    let filter = Filter { provider: text("provider"), tag: text("tag"), task: text("task") };
    let (entries, (refused, totals)) = {
        let inner = sim.lock();
        // `summary=1` spares a load test the writing of a hundred thousand entries.
        let entries = if text("summary").is_some() { Vec::new() } else { inner.ledger.matching(&filter) };
        (entries, inner.ledger.summary(&filter, now))
    };
    // `outputs=0` spares the making of outputs that nobody fetched.
    let hashed = text("outputs").is_none_or(|value| value != "0");
    let show = |entry: &Entry| if hashed { shown(sim, entry, now) } else { entry.to_json(now) };
    let entries: Vec<Value> = entries.iter().map(show).collect();
    Reply::json(200, &json!({"entries": entries, "refused": refused, "totals": totals}))
}

fn shown(sim: &Sim, entry: &Entry, now: u64) -> Value {
    let mut value = entry.to_json(now);
    let task = sim.lock().tasks.by_id(entry.provider, &entry.task_id).cloned();
    let outputs = task.map(|task| outputs(sim, &task, now)).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.insert("outputs".into(), outputs.into());
    }
    value
}

/// Hashes a task's outputs, which are made for it if nobody fetched them yet.
fn outputs(sim: &Sim, task: &Task, now: u64) -> Vec<Value> {
    if task.phase(now) != Phase::Ended(End::Succeeded) {
        return Vec::new();
    }
    let paths = task.file_paths();
    let made = paths.iter().enumerate().filter_map(|(index, path)| {
        let bytes = sim.studio.render(&task.media, &format!("{}-{index}", task.id)).ok()?;
        Some(json!({"url": format!("{}/{path}", sim.url), "sha256": sha256_hex(&bytes), "bytes": bytes.len()}))
    });
    made.collect()
}

fn page(url: &str) -> String {
    format!(
        "Longtake simulator: sandbox providers with real wire formats. Nothing here is charged.

Base URLs (any key works that does not start with `bad`, unless the config lists keys)
  kling      {url}/kling                     Authorization: Bearer KEY (or a JWT on /v1 paths)
  pollo      {url}/pollo/api/platform        x-api-key: KEY
  replicate  {url}/replicate/v1              Authorization: Bearer KEY
  flux       {url}/flux                      x-key: KEY
  tuzi       {url}/tuzi                      Authorization: Bearer KEY

Own paths
  GET /ledger?provider=&tag=&task=&outputs=0&summary=1    POST /ledger/reset    GET /health
  POST /faults {{\"provider\":\"kling\",\"times\":3,\"drop\":\"after\"}}    DELETE /faults

Directives, in the prompt as [[sim key=value key=\"two words\"]] or by POST /faults
  throttle=N      the first N submits of this prompt get the provider's 429, unbilled
  fail=TEXT       accepted, then fails with this code or text (1: the provider's usual; flux: moderated, content)
  refuse=CODE     the submit is refused with this documented code, unbilled
  drop=before     the connection is cut, nothing accepted      drop=after   cut after acceptance and billing
  http=STATUS     the submit answers this bare status; billed=1 accepts it all the same
  times=N         refuse, drop, http and hang hold for the first N submits of this prompt only
  hang=MS         the submit's answer comes late               slow=MS      the task takes this long
  status=WORD     status word while pending                    pollfail=N   the first N polls answer 500 or garbage
  truncate=1      the first download is cut short; truncate=always
  type=MIME       wrong content type of the output             bytes=html   the output is a page of HTML
  expire=SECS     lifetime of the outputs                      outputs=N    number of outputs
  hide=MS         lists and look-ups by the client's id lag behind so long
  nowebhook=1     no webhook is sent                           resign=N     the first N sets of output addresses are gone when
                                                                fetched; each poll after the end signs a new set
"
    )
}
