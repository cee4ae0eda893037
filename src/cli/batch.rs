//! `longtake batch …`: many generations as one.

mod collect;
mod csv;
mod input;
mod submit;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::{
    cli::{
        exit, follow, out,
        progress::{self, Bar},
        remote::{self, Remote},
        shown,
        watch::{Waited, Waiting, wait},
    },
    client::{Client, Failure, Sent},
    domain::time::Timestamp,
};

pub use submit::SubmitArgs;

/// `longtake batch …`.
#[derive(Debug, Subcommand)]
pub enum BatchCommand {
    /// Submit a file of requests, wait for them, and fetch their results. Run again it submits nothing twice.
    Submit(Box<SubmitArgs>),
    /// Wait until a batch has ended; with --out also fetch its results.
    Watch(WatchArgs),
    /// Print what has ended so far.
    Results(ResultsArgs),
    /// Cancel a batch.
    Cancel(CancelArgs),
    /// Submit nothing new of a batch; what is under way goes on.
    Pause(OneArgs),
    /// Go on with a paused batch.
    Resume(ResumeArgs),
    /// Try again what failed of a batch.
    RetryFailed(RetryArgs),
}

/// A batch by its id.
#[derive(Debug, Args)]
pub struct OneArgs {
    /// The batch (`batch_…`).
    pub id: String,
    /// Which service.
    #[command(flatten)]
    pub remote: Remote,
}

/// `longtake batch watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Which batch.
    #[command(flatten)]
    pub one: OneArgs,
    /// How waiting is done.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// In which form results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A JSON object a line.
    Jsonl,
    /// Comma-separated values.
    Csv,
}

/// `longtake batch results`.
#[derive(Debug, Args)]
pub struct ResultsArgs {
    /// Which batch.
    #[command(flatten)]
    pub one: OneArgs,
    /// In which form.
    #[arg(long, value_name = "FORM", value_enum, default_value = "jsonl")]
    pub format: Format,
    /// Go on behind the line with this `cursor`.
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
    /// Download the files into this folder instead, with `results.jsonl` beside them.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// `longtake batch cancel`.
#[derive(Debug, Args)]
pub struct CancelArgs {
    /// Which batch.
    #[command(flatten)]
    pub one: OneArgs,
    /// `queued`: only what was not submitted; `all`: also what runs, where its provider can.
    #[arg(long, value_name = "MODE", default_value = "queued", value_parser = ["queued", "all"])]
    pub mode: String,
}

/// `longtake batch resume`.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// Which batch.
    #[command(flatten)]
    pub one: OneArgs,
    /// A new budget for all of it, what is spent included, such as `40.00 USD`.
    #[arg(long, value_name = "AMOUNT")]
    pub budget: Option<String>,
}

/// `longtake batch retry-failed`.
#[derive(Debug, Args)]
pub struct RetryArgs {
    /// Which batch.
    #[command(flatten)]
    pub one: OneArgs,
    /// Also those of which nobody knows whether they were paid: they may be paid twice.
    #[arg(long)]
    pub force: bool,
}

/// Carries a command out.
///
/// # Errors
/// With what went wrong, for people.
pub fn run(command: &BatchCommand, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    match command {
        BatchCommand::Submit(args) => submit::run(args, out),
        BatchCommand::Watch(args) => {
            let client = args.one.remote.client()?;
            remote::block_on(watch(&client, &args.one.id, &args.waiting, (args.one.remote.json, out)))
        }
        BatchCommand::Results(args) => results(args, out),
        BatchCommand::Cancel(args) => act(&args.one, "cancel", &Sent::Json(json!({ "mode": args.mode })), out),
        BatchCommand::Pause(args) => act(args, "pause", &Sent::Nothing, out),
        BatchCommand::Resume(args) => {
            let sent = args.budget.as_ref().map_or(Sent::Nothing, |budget| Sent::Json(json!({ "budget": budget })));
            act(&args.one, "resume", &sent, out)
        }
        BatchCommand::RetryFailed(args) => act(&args.one, "retry-failed", &Sent::Json(json!({ "force": args.force })), out),
    }
}

/// The path of a batch.
fn path(id: &str) -> Result<String, Failure> {
    follow::path("generation/batch", id)
}

fn act(args: &OneArgs, what: &str, sent: &Sent, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let client = args.remote.client()?;
    remote::block_on(async {
        let batch = client.send(&format!("{}/{what}", path(&args.id)?), sent, None).await?.body;
        if args.remote.json {
            out::json(out, &batch)?
        } else {
            writeln!(out, "{}  {}", args.id, stands(&batch))?
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn results(args: &ResultsArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let client = args.one.remote.client()?;
    remote::block_on(async {
        let path = path(&args.one.id)?;
        if let Some(folder) = &args.out {
            let count = collect::all(&client, &path, folder).await?;
            writeln!(out, "{count} files in {}", folder.display())?;
            return Ok(ExitCode::SUCCESS);
        }
        let format = match args.format {
            Format::Jsonl => "jsonl",
            Format::Csv => "csv",
        };
        let text = client.text(&collect::query(&path, format, args.cursor.as_deref())).await?;
        out.write_all(&text)?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Waits for a batch, fetches results as they come where that is wanted, and prints what became of it.
///
/// # Errors
/// With what went wrong, for people.
async fn watch(client: &Client, id: &str, waiting: &Waiting, (json, out): (bool, &mut dyn Write)) -> anyhow::Result<ExitCode> {
    let path = path(id)?;
    let mut bar = Bar::of(0, waiting.progress);
    let waited = wait(followed(client, &path, &mut bar, waiting), waiting).await?;
    bar.finish();
    let folder = waiting.out.as_ref().map(|folder| format!(" --out {}", folder.display())).unwrap_or_default();
    let back = format!("longtake batch watch {id}{folder}");
    match waited {
        Waited::Over(batch) => {
            told(&batch, id, (json, out))?;
            Ok(exit::of_outcomes(count(&batch, "completedTasks"), count(&batch, "totalTasks")))
        }
        Waited::Interrupted => {
            progress::note(&format!("\nIt goes on at the service. To come back: {back}"), waiting.progress);
            Ok(exit::detached())
        }
        Waited::TimedOut => {
            progress::note(&format!("\nNot over yet; it goes on at the service. To come back: {back}"), waiting.progress);
            Ok(exit::timed_out())
        }
    }
}

async fn followed(client: &Client, path: &str, bar: &mut Bar, waiting: &Waiting) -> Result<Value, Failure> {
    let mut seen = 0;
    loop {
        // With a folder each further end is a reason to look for results; without one only the end of all matters.
        let done = |batch: &Value| over(batch) || waiting.out.is_some() && ended(batch) > seen;
        let batch = follow::until(client, path, done, |told| show(bar, told)).await?;
        seen = ended(&batch);
        if let Some(folder) = &waiting.out {
            collect::all(client, path, folder).await?;
        }
        if over(&batch) {
            return Ok(batch);
        }
    }
}

fn show(bar: &mut Bar, told: Result<&Value, &Failure>) {
    match told {
        Ok(batch) => bar.show(ended(batch), count(batch, "totalTasks"), &words(batch)),
        Err(failure) => bar.say(&format!("{failure}; asking again")),
    }
}

fn count(batch: &Value, name: &str) -> u64 {
    batch.get(name).and_then(Value::as_u64).unwrap_or(0)
}

fn ended(batch: &Value) -> u64 {
    ["completedTasks", "failedTasks", "cancelledTasks"].iter().map(|name| count(batch, name)).sum()
}

/// Whether it has ended; words that are new to us are no end.
fn over(batch: &Value) -> bool {
    matches!(shown::text(batch, "status"), "COMPLETED" | "PARTIAL_FAILED" | "FAILED" | "CANCELLED")
}

/// Where it stands: counts, money, when it will end, what it waits for.
fn words(batch: &Value) -> String {
    let counts = [
        ("completedTasks", "done"),
        ("failedTasks", "failed"),
        ("cancelledTasks", "cancelled"),
        ("runningTasks", "running"),
        ("waitingTasks", "waiting"),
    ];
    let mut parts: Vec<String> = counts
        .iter()
        .map(|(name, word)| (count(batch, name), word))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    let cost = batch.get("cost").unwrap_or(&Value::Null);
    if !shown::text(cost, "spent").is_empty() {
        parts.push(format!("{} {}", shown::text(cost, "spent"), shown::text(cost, "currency")));
    }
    if let Some(eta) = Timestamp::parse(shown::text(batch, "eta")) {
        parts.push(format!("until about {}", eta.rfc3339()));
    }
    if shown::text(batch, "status") == "PAUSED" {
        parts.push(format!("PAUSED: {}", shown::text(batch, "why")));
    }
    parts.join(", ")
}

fn stands(batch: &Value) -> String {
    let total = count(batch, "totalTasks");
    format!("{:14} {}/{total}  {}", shown::text(batch, "status"), ended(batch), words(batch)).trim_end().to_owned()
}

fn told(batch: &Value, id: &str, (json, out): (bool, &mut dyn Write)) -> io::Result<()> {
    if json { out::json(out, batch) } else { writeln!(out, "{id}  {}", stands(batch)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_told_in_one_line() {
        let batch = json!({
            "status": "PROCESSING", "totalTasks": 10, "completedTasks": 3, "failedTasks": 1, "cancelledTasks": 0,
            "runningTasks": 2, "waitingTasks": 4, "cost": { "spent": "1.200000", "currency": "USD" },
        });
        assert_eq!(stands(&batch), "PROCESSING     4/10  3 done, 1 failed, 2 running, 4 waiting, 1.200000 USD");
        assert!(!over(&batch) && !over(&json!({ "status": "A_NEW_WORD" })) && over(&json!({ "status": "PARTIAL_FAILED" })));
    }
}
