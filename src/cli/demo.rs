//! `longtake demo`: the whole main job on this machine, over real HTTP, against the built-in simulated providers. Needs no keys and no
//! services; ends by itself, non-zero when anything did not end as it must.

mod client;
mod plan;
mod table;

use std::{io::Write as _, path::Path, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow, bail};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::{
    app::App,
    cli::{
        DemoArgs, out,
        progress::{Lines, Mode},
        system,
    },
    clock::Clock,
    config::{Config, load, simulator::SimulatorConfig, telemetry::TelemetryConfig},
    simulator::{RunningSimulator, Simulator},
    store::Scope,
    telemetry::{self, redact::Secrets},
};

use client::Client;
use plan::{Expected, Submission, submissions};
use table::{Row, table};

/// The demo is given up after this: a machine that needs longer is stuck.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often the demo looks at its generations.
const LOOK: Duration = Duration::from_millis(250);

/// A video takes this long at the simulated providers, an image a third of it.
const VIDEO_MS: u64 = 6_000;

/// Runs the demo.
///
/// # Errors
/// When something does not start, or a generation does not end as it must.
pub fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let quiet = TelemetryConfig { filter: "warn,longtake=error".to_owned(), ..TelemetryConfig::default() };
    telemetry::init(&quiet, Secrets::default()).map_err(|problem| anyhow!("telemetry: {problem}"))?;
    system::block_on(|sockets| demo(args, sockets)).map(|()| ExitCode::SUCCESS)
}

async fn demo(args: DemoArgs, sockets: Arc<Runtime>) -> anyhow::Result<()> {
    let dir = folder()?;
    let simulator =
        Simulator::start(SimulatorConfig { image_ms: VIDEO_MS / 3, video_ms: VIDEO_MS, ..SimulatorConfig::default() })
            .context("the simulated providers do not start")?;
    let app = App::start(config(&dir, &simulator.url)?, sockets, Clock::System).await?;
    let client_key = app.mint_key("demo client", Scope::Client).await?;
    let admin_key = app.mint_key("demo admin", Scope::Admin).await?;
    let client = Client::new(app.url(), &client_key)?;
    say(&format!("service {}   simulated providers {}   data {}", app.url(), simulator.url, dir.display()));
    let rows = play(&client, &simulator.url).await?;
    report(&rows, app.url(), &client_key);
    let wrong = rows.iter().filter(|row| !row.right).count();
    if args.json {
        let line = json!({
            "url": app.url(), "clientKey": client_key, "adminKey": admin_key,
            "simulatorUrl": simulator.url, "dataDir": dir.display().to_string(),
        });
        out::json(&mut out::stdout(), &line)?;
    }
    if args.keep {
        say("kept running until Ctrl-C");
        tokio::signal::ctrl_c().await?;
    }
    close(app, simulator, &dir, args.keep).await;
    if wrong > 0 {
        bail!("{wrong} of {} did not end as they must", rows.len());
    }
    Ok(())
}

async fn close(app: App, simulator: RunningSimulator, dir: &Path, keep: bool) {
    app.shutdown().await;
    simulator.stop();
    if keep {
        say(&format!("the data stays in {}", dir.display()));
    } else if let Err(error) = std::fs::remove_dir_all(dir) {
        say(&format!("{} stays behind: {error}", dir.display()));
    }
}

fn folder() -> anyhow::Result<std::path::PathBuf> {
    let dir = std::env::temp_dir().join(format!("longtake-demo-{}", uuid::Uuid::now_v7().simple()));
    std::fs::create_dir_all(&dir).with_context(|| format!("{} cannot be made", dir.display()))?;
    Ok(dir)
}

/// The shipped configuration, pointed at the simulator, with waits that suit half a minute.
fn config(dir: &Path, simulator: &str) -> anyhow::Result<Config> {
    let mut config = load::shipped()?;
    dir.clone_into(&mut config.data_dir);
    "127.0.0.1:0".clone_into(&mut config.server.bind);
    // A laptop that compiles beside it still shows the demo to its end.
    config.store.read_timeout_ms = 5_000;
    config.polling.base_ms = 500;
    config.polling.cap_ms = 2_000;
    config.dispatch.reconcile_ms = 1_000;
    for (name, provider) in &mut config.providers {
        let adapter = provider.adapter.as_deref().unwrap_or(name);
        provider.base_url = match adapter {
            "pollo" => format!("{simulator}/pollo/api/platform"),
            "replicate" => format!("{simulator}/replicate/v1"),
            _ if name == "tuzi-kling" => format!("{simulator}/tuzi"),
            other => format!("{simulator}/{other}"),
        };
        provider.allow_loopback = true;
        provider.api_key = Some(format!("demo-key-of-{name}").into());
        provider.retry.initial_delay_ms = 500;
    }
    Ok(config)
}

async fn play(client: &Client, simulator: &str) -> anyhow::Result<Vec<Row>> {
    let plan = submissions();
    let mut watch = Lines::of(plan.iter().map(|one| format!("{:24} {}", one.label, one.model)).collect(), Mode::Auto);
    let mut accepted = Vec::new();
    for (index, one) in plan.iter().enumerate() {
        let mut body = one.body.clone();
        if let Some(body) = body.as_object_mut() {
            body.insert("modelIdentifier".to_owned(), json!(one.model));
        }
        let (status, answer) = client.submit(&body).await?;
        if status != 202 {
            watch.show(index, &format!("refused with {status}"), true);
        }
        accepted.push((status, answer));
    }
    let finished = tokio::time::timeout(PATIENCE, follow(client, &plan, &accepted, &mut watch)).await;
    finished.context("not everything ended in time")??;
    let ledger = reqwest::Client::builder().no_proxy().build()?.get(format!("{simulator}/ledger")).send().await?.json().await?;
    let mut rows = Vec::new();
    for (one, (status, answer)) in plan.iter().zip(&accepted) {
        rows.push(row(client, one, (*status, answer), &ledger).await?);
    }
    Ok(rows)
}

/// Looks until everything that was accepted has ended; cancels what the plan wants cancelled once it runs.
async fn follow(client: &Client, plan: &[Submission], accepted: &[(u16, Value)], watch: &mut Lines) -> anyhow::Result<()> {
    loop {
        let mut open = 0;
        for (index, (one, (status, answer))) in plan.iter().zip(accepted).enumerate() {
            let Some(id) = answer.get("id").and_then(Value::as_str).filter(|_| *status == 202) else { continue };
            let now = client.fetch(&format!("/api/external/generation/{id}")).await?;
            let word = |name: &str| now.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
            let ended = matches!(word("status").as_str(), "SUCCESS" | "FAILED" | "CANCELLED");
            let why = if ended { String::new() } else { word("why") };
            watch.show(index, &format!("{:10} {:12} {why}", word("status"), word("stage")), ended);
            open += usize::from(!ended);
            let asked = now.get("cancelRequested").and_then(Value::as_bool).unwrap_or(false);
            if one.expected == Expected::Cancelled && word("stage") == "running" && !asked {
                client.cancel(id).await?;
            }
        }
        if open == 0 {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn row(client: &Client, one: &Submission, (status, answer): (u16, &Value), ledger: &Value) -> anyhow::Result<Row> {
    let Some(id) = answer.get("id").and_then(Value::as_str).filter(|_| status == 202) else {
        let right = one.expected == Expected::Refused(status);
        return Ok(Row { label: one.label, generation: answer.clone(), history: Value::Null, polls: 0, right });
    };
    let generation = client.fetch(&format!("/api/external/generation/{id}")).await?;
    let history = client.fetch(&format!("/api/external/generation/{id}/history")).await?;
    let mut right = ended_as(&generation, one.expected);
    for result in generation.pointer("/results").and_then(Value::as_array).into_iter().flatten() {
        let url = result.get("url").and_then(Value::as_str).context("a result has no URL")?;
        let bytes = result.get("bytes").and_then(Value::as_u64).unwrap_or(0);
        right &= u64::try_from(client.size_of(url).await?)? == bytes;
    }
    let polls = polls(&generation, ledger);
    Ok(Row { label: one.label, generation, history, polls, right })
}

fn ended_as(generation: &Value, expected: Expected) -> bool {
    let status = generation.get("status").and_then(Value::as_str);
    let results = generation.get("results").and_then(Value::as_array).map_or(0, Vec::len);
    let code = generation.pointer("/error/code").and_then(Value::as_str);
    match expected {
        Expected::Success(count) => status == Some("SUCCESS") && results == count,
        Expected::Failure(wanted) => status == Some("FAILED") && code == Some(wanted),
        Expected::Cancelled => status == Some("CANCELLED"),
        Expected::Refused(_) => false,
    }
}

/// What the simulated provider counted for the generation's tasks.
fn polls(generation: &Value, ledger: &Value) -> u64 {
    let tasks: Vec<_> = generation
        .pointer("/attempts")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|attempt| attempt.get("providerTaskId").and_then(Value::as_str))
        .collect();
    let entries = ledger.get("entries").and_then(Value::as_array).into_iter().flatten();
    entries
        .filter(|entry| entry.get("taskId").and_then(Value::as_str).is_some_and(|task| tasks.contains(&task)))
        .filter_map(|entry| entry.get("polls").and_then(Value::as_u64))
        .sum()
}

fn report(rows: &[Row], url: &str, key: &str) {
    say("");
    say(&table(rows));
    say("Try it (with --keep):");
    say(&format!("  curl -s {url}/api/external/models -H 'Authorization: Bearer {key}'"));
    say(&format!(
        "  curl -s {url}/api/external/generation -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\\n       -d '{{\"modelIdentifier\":\"flux-2-pro\",\"prompt\":\"a red bicycle\"}}'"
    ));
    say(&format!("  curl -s '{url}/api/external/generation?limit=5' -H 'Authorization: Bearer {key}'"));
}

fn say(text: &str) {
    // Nobody to tell when stderr is closed.
    let _ = writeln!(std::io::stderr(), "{text}");
}
