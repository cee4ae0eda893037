//! `longtake unconfirmed …`: submits whose outcome is or stayed unknown; short commands on the database, also beside a running server,
//! which carries the decisions out.

use std::{io::Write, str::FromStr as _};

use anyhow::Context;
use serde_json::{Value, json};

use crate::{
    cli::{UnconfirmedCommand, keys::beside, out},
    clock::Clock,
    domain::{money::Micros, time::Timestamp},
    intake::unconfirmed::{self, Doubt, Subject},
    store::{Decision, Store},
};

/// Rows read at once.
const PAGE: u64 = 200;

/// Rows that are shown at most: whoever has more has another problem, and reads them by `--json` through the API.
const MOST: usize = 2_000;

/// Carries a command out.
///
/// # Errors
/// With what went wrong, for people.
pub fn run(command: UnconfirmedCommand, out: &mut dyn Write) -> anyhow::Result<()> {
    match command {
        UnconfirmedCommand::List { json, file } => {
            let (doubts, cut) = beside(&file, all)?;
            let now = Clock::System.now();
            if json {
                return Ok(out::json(out, &Value::Array(doubts.iter().map(|doubt| described(doubt, now)).collect()))?);
            }
            list(out, &doubts, now)?;
            if cut { Ok(writeln!(out, "There are more: these are the newest.")?) } else { Ok(()) }
        }
        UnconfirmedCommand::Adopt { id, provider_task, file } => {
            let subject = subject(&id)?;
            let decision = Decision::Adopt { provider_task };
            let doubt = beside(&file, async |store: Store| decide(&store, subject, decision).await)?;
            Ok(writeln!(
                out,
                "attempt {} of {}: noted; the server asks {} before it believes it (longtake unconfirmed list shows what came of it)",
                doubt.attempt.n, doubt.generation.id, doubt.attempt.provider
            )?)
        }
        UnconfirmedCommand::Lost { id, file } => {
            let subject = subject(&id)?;
            let doubt = beside(&file, async |store: Store| decide(&store, subject, Decision::Lost).await)?;
            Ok(writeln!(out, "attempt {} of {}: noted; the server ends it", doubt.attempt.n, doubt.generation.id)?)
        }
    }
}

fn subject(id: &str) -> anyhow::Result<Subject> {
    Subject::from_str(id).with_context(|| format!("`{id}` names nothing; `longtake unconfirmed list` shows the ids"))
}

async fn decide(store: &Store, subject: Subject, decision: Decision) -> anyhow::Result<Doubt> {
    let said = ("cli".to_owned(), Clock::System.now());
    Ok(unconfirmed::decide((&store.reads(), &store.decisions()), subject, decision, said).await?)
}

async fn all(store: Store) -> anyhow::Result<(Vec<Doubt>, bool)> {
    let (mut all, mut before) = (Vec::new(), None);
    let (reads, decisions) = (store.reads(), store.decisions());
    while all.len() < MOST {
        let page = unconfirmed::page((&reads, &decisions), before, PAGE).await?;
        let Some(last) = page.last() else { return Ok((all, false)) };
        before = Some(last.attempt.id);
        all.extend(page);
    }
    Ok((all, true))
}

fn described(doubt: &Doubt, now: Timestamp) -> Value {
    let attempt = &doubt.attempt;
    let evidence =
        |row: &crate::store::EvidenceRow| json!({"providerTask": row.handle.task_id, "source": row.source, "at": row.at});
    let decision = doubt.decision.as_ref().map(|row| {
        json!({
            "decision": row.what.decision.as_str(),
            "providerTask": row.what.decision.provider_task(),
            "by": row.what.by,
            "at": row.what.at,
            "outcome": row.outcome.as_ref().map_or("open", |outcome| outcome.as_str()),
            "reason": row.outcome.as_ref().map(|outcome| outcome.reason()),
        })
    });
    json!({
        "id": doubt.generation.id,
        "attempt": attempt.n,
        "attemptId": attempt.id,
        "project": doubt.generation.project,
        "stage": attempt.state.as_str(),
        "provider": &*attempt.provider,
        "account": &*attempt.account,
        "modelIdentifier": &*attempt.model,
        "tag": attempt.tag,
        "onUnconfirmed": doubt.generation.on_unconfirmed,
        "since": doubt.since(),
        "ageSeconds": now.since(doubt.since()).as_secs(),
        "atRisk": attempt.price,
        "currency": "USD",
        "error": attempt.failure.as_ref().map(|failure| failure.message.as_str()),
        "evidence": doubt.evidence.iter().map(evidence).collect::<Vec<_>>(),
        "decision": decision,
    })
}

fn list(out: &mut dyn Write, doubts: &[Doubt], now: Timestamp) -> anyhow::Result<()> {
    let row = |doubt: &Doubt| {
        let attempt = &doubt.attempt;
        let tasks: Vec<_> = doubt.evidence.iter().map(|row| format!("{} ({})", row.handle.task_id, row.source)).collect();
        let known = if tasks.is_empty() { "none".to_owned() } else { tasks.join(", ") };
        [
            doubt.generation.id.to_string(),
            attempt.n.to_string(),
            attempt.state.as_str().to_owned(),
            attempt.provider.to_string(),
            age(now.since(doubt.since()).as_secs()),
            format!("{} USD", attempt.price.decimal()),
            known,
            decision(doubt),
        ]
    };
    let rows: Vec<_> = doubts.iter().map(row).collect();
    out::table(out, ["ID", "ATTEMPT", "STAGE", "PROVIDER", "AGE", "AT RISK", "EVIDENCE", "DECISION"], &rows)?;
    let sum = doubts.iter().fold(Micros(0), |sum, doubt| sum.plus(doubt.attempt.price));
    Ok(writeln!(out, "\n{} submits, {} USD at risk", doubts.len(), sum.decimal())?)
}

fn decision(doubt: &Doubt) -> String {
    let Some(row) = &doubt.decision else { return "none".to_owned() };
    let word = row.what.decision.as_str();
    match &row.outcome {
        None => format!("{word}: open"),
        Some(outcome) => format!("{word} {}: {}", outcome.as_str(), outcome.reason()),
    }
}

/// `45s`, `12m`, `3h`, `2d`.
fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        86_400.. => format!("{}d", seconds / 86_400),
    }
}
