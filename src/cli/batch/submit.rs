//! `longtake batch submit`: a file of requests, submitted once however often the command is run, waited for, and collected.

use std::{io::Write, path::PathBuf, process::ExitCode};

use clap::Args;
use serde_json::Value;
use url::form_urlencoded::Serializer;

use super::{count, input, watch};
use crate::{
    cli::{
        exit, out, progress,
        remote::{self, Remote},
        shown,
        watch::Waiting,
    },
    client::{Client, Failure, Sent},
};

/// `longtake batch submit`.
#[derive(Debug, Args)]
pub struct SubmitArgs {
    /// The requests: JSONL or CSV, or `-` for standard input. At most 50,000.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// In which form they are.
    #[arg(long, value_name = "FORM", value_enum, default_value = "auto")]
    pub form: input::Form,
    /// Your name of the batch.
    #[arg(long)]
    pub name: Option<String>,
    /// One after the other, in order.
    #[arg(long)]
    pub sequential: bool,
    /// Submits under way at a time.
    #[arg(long, value_name = "COUNT")]
    pub max_concurrency: Option<u16>,
    /// The first failure cancels all that was not submitted by then.
    #[arg(long)]
    pub stop_on_error: bool,
    /// 1 (most urgent) to 10, or `urgent`, `high`, `normal`, `low`, `background`.
    #[arg(long)]
    pub priority: Option<String>,
    /// What is not submitted by then is cancelled (RFC 3339).
    #[arg(long, value_name = "INSTANT")]
    pub deadline: Option<String>,
    /// What all of it may cost, such as `25.00 USD`; when it does not suffice the batch is paused.
    #[arg(long, value_name = "AMOUNT")]
    pub budget: Option<String>,
    /// `reject` creates nothing when a line is wrong, `skip` creates the others.
    #[arg(long, value_name = "WHAT", value_parser = ["reject", "skip"])]
    pub on_invalid: Option<String>,
    /// `fail`, `hold` or `resubmit`: what follows when nobody can say whether a provider accepted.
    #[arg(long, value_name = "POLICY")]
    pub on_unconfirmed: Option<String>,
    /// Check everything, tell what it would cost, and create nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// The same file, anew: another word is another submit. Without one, the same file with the same options is submitted once in the
    /// 48 hours that the service remembers.
    #[arg(long, value_name = "WORD", default_value = "")]
    pub run: String,
    /// Do not wait: print the batch's id and leave.
    #[arg(long, conflicts_with_all = ["out", "timeout"])]
    pub no_wait: bool,
    /// How waiting is done.
    #[command(flatten)]
    pub waiting: Waiting,
    /// Which service.
    #[command(flatten)]
    pub remote: Remote,
}

impl SubmitArgs {
    /// The options as a query, in a fixed order: they are part of what makes a submit the same.
    fn query(&self) -> String {
        let mut query = Serializer::new(String::new());
        let flag = |set: bool, word: &str| set.then(|| word.to_owned());
        let pairs = [
            ("name", self.name.clone()),
            ("parallel", flag(self.sequential, "false")),
            ("maxConcurrency", self.max_concurrency.map(|count| count.to_string())),
            ("stopOnError", flag(self.stop_on_error, "true")),
            ("priority", self.priority.clone()),
            ("deadline", self.deadline.clone()),
            ("budget", self.budget.clone()),
            ("onInvalid", self.on_invalid.clone()),
            ("onUnconfirmed", self.on_unconfirmed.clone()),
            ("dryRun", flag(self.dry_run, "true")),
        ];
        for (name, value) in pairs {
            if let Some(value) = value {
                query.append_pair(name, &value);
            }
        }
        query.finish()
    }
}

/// Carries the command out.
///
/// # Errors
/// With what went wrong, for people.
pub fn run(args: &SubmitArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let client = args.remote.client()?;
    let input = input::Input::read(&args.file, args.form)?;
    let json = args.remote.json;
    remote::block_on(async {
        let answer = tokio::select! {
            answer = submitted(&client, args, &input) => answer?,
            () = remote::interrupted() => {
                let note = "\nNobody knows yet whether it was taken. Run the same command again: nothing is submitted twice.";
                progress::note(note, args.waiting.progress);
                return Ok(exit::detached());
            }
        };
        if args.dry_run {
            estimate(&answer, (json, out))?;
            return Ok(ExitCode::SUCCESS);
        }
        let id = shown::text(&answer, "batchId").to_owned();
        skipped(&answer, args.waiting.progress);
        if args.no_wait {
            if json {
                out::json(out, &answer)?
            } else {
                writeln!(out, "{id}")?
            }
            return Ok(ExitCode::SUCCESS);
        }
        progress::note(&format!("{id}: {} of {} requests", count(&answer, "totalTasks"), input.count), args.waiting.progress);
        let ended = watch(&client, &id, &args.waiting, (json, out)).await?;
        // What was left out did not succeed either.
        let left_out = count(&answer, "skippedTasks") > 0 && ended == ExitCode::SUCCESS;
        Ok(if left_out { exit::some_failed() } else { ended })
    })
}

async fn submitted(client: &Client, args: &SubmitArgs, input: &input::Input) -> Result<Value, Failure> {
    let query = args.query();
    let path = format!("/api/external/generation/batch?{query}");
    // What creates nothing needs no key.
    let key = (!args.dry_run).then(|| input.idempotency_key(&query, &args.run));
    Ok(client.send(&path, &Sent::Lines(input.lines.clone()), key.as_deref()).await?.body)
}

fn skipped(answer: &Value, mode: progress::Mode) {
    for one in shown::list(answer, "skipped") {
        for error in shown::list(one, "errors") {
            let line = one.get("line").map(Value::to_string).unwrap_or_default();
            progress::note(
                &format!("line {line} is left out: {}: {}", shown::text(error, "pointer"), shown::text(error, "detail")),
                mode,
            );
        }
    }
}

fn estimate(answer: &Value, (json, out): (bool, &mut dyn Write)) -> std::io::Result<()> {
    if json {
        return out::json(out, answer);
    }
    let cost = answer.get("estimate").unwrap_or(&Value::Null);
    let amount = |name: &str| shown::text(cost, name).to_owned();
    writeln!(out, "{} requests would be submitted, {} left out", count(answer, "totalTasks"), count(answer, "skippedTasks"))?;
    writeln!(
        out,
        "cost {} {} expected ({} to {}), {} outputs",
        amount("expected"),
        amount("currency"),
        amount("low"),
        amount("high"),
        count(cost, "outputs")
    )?;
    writeln!(out, "about {} s from the first submit on", count(answer, "expectedDurationSeconds"))
}
