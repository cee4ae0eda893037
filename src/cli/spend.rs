//! `longtake spend`: what was spent, from the database, also beside a running server.

use std::{collections::BTreeMap, io::Write, time::Duration};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::{
    cli::{SpendArgs, keys::beside, out},
    clock::Clock,
    domain::{id::ProjectId, time::Timestamp},
    store::{SpendBy, SpendFilter, SpendRow},
};

/// Days that are reported when none are named: a month, this day included.
const DAYS: u64 = 30;

/// Carries the command out.
///
/// # Errors
/// With what went wrong, for people.
pub fn run(args: &SpendArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let to = args.to.unwrap_or_else(|| Clock::System.now().day());
    let month = Duration::from_secs((DAYS - 1) * 86_400);
    let from = args.from.unwrap_or_else(|| Timestamp::of_day(to).minus(month).day());
    if from > to {
        bail!("--from lies after --to");
    }
    let mut by = args.by.clone();
    by.sort_unstable();
    by.dedup();
    let (spend, names) = beside(&args.file, async |store| {
        let names: BTreeMap<_, _> =
            store.keys().projects().await?.into_iter().map(|project| (project.id, project.name)).collect();
        let wanted = args.project.as_deref();
        let project = wanted.map(|wanted| known(&names, wanted)).transpose()?;
        let filter = SpendFilter { from, to, project, provider: args.provider.clone(), model: args.model.clone() };
        Ok((store.reads().spend(&filter, &by).await?, names))
    })?;
    if args.json {
        let lines: Vec<Value> = spend.rows.iter().map(|row| described(row, &names)).collect();
        let (from, to) = (Timestamp::of_day(from).date(), Timestamp::of_day(to).date());
        let total = described(&spend.total, &names);
        let report = json!({"from": from, "to": to, "currency": "USD", "data": lines, "hasMore": spend.more, "total": total});
        return Ok(out::json(out, &report)?);
    }
    let mut rows: Vec<_> = spend.rows.iter().map(|row| cells(row, &names, "")).collect();
    if spend.more {
        rows.push(cells(&SpendRow::default(), &names, "…"));
    }
    rows.push(cells(&spend.total, &names, "total"));
    Ok(out::table(out, ["DAY", "PROJECT", "PROVIDER", "MODEL", "HELD", "CHARGED", "AT RISK", "RELEASED"], &rows)?)
}

fn known(names: &BTreeMap<ProjectId, String>, wanted: &str) -> anyhow::Result<ProjectId> {
    let found = names.iter().find(|(id, name)| *name == wanted || id.to_string() == wanted);
    found.map(|(id, _)| *id).with_context(|| format!("there is no project named `{wanted}`; `longtake projects list` shows them"))
}

fn described(row: &SpendRow, names: &BTreeMap<ProjectId, String>) -> Value {
    let mut told = json!({
        "held": row.position.held, "charged": row.position.charged, "atRisk": row.position.at_risk, "released": row.released,
    });
    let named = [
        ("day", row.day.map(|day| Timestamp::of_day(day).date())),
        ("project", row.project.map(|id| names.get(&id).cloned().unwrap_or_else(|| id.to_string()))),
        ("key", row.key.map(|id| id.to_string())),
        ("provider", row.provider.clone()),
        ("modelIdentifier", row.model.clone()),
    ];
    for (name, value) in named {
        if let (Some(value), Some(members)) = (value, told.as_object_mut()) {
            members.insert(name.to_owned(), value.into());
        }
    }
    told
}

fn cells(row: &SpendRow, names: &BTreeMap<ProjectId, String>, first: &str) -> [String; 8] {
    let project = row.project.map(|id| names.get(&id).cloned().unwrap_or_else(|| id.to_string()));
    [
        row.day.map_or_else(|| first.to_owned(), |day| Timestamp::of_day(day).date()),
        project.or(row.key.map(|key| key.to_string())).unwrap_or_default(),
        row.provider.clone().unwrap_or_default(),
        row.model.clone().unwrap_or_default(),
        row.position.held.decimal(),
        row.position.charged.decimal(),
        row.position.at_risk.decimal(),
        row.released.decimal(),
    ]
}

/// Reads a UTC day of the command line.
///
/// # Errors
/// When it is none.
pub fn day(text: &str) -> Result<i32, String> {
    Timestamp::parse_day(text).ok_or_else(|| "must be a UTC day such as 2026-11-21".to_owned())
}

/// Reads one of the words of `--by`.
///
/// # Errors
/// When it is none.
pub fn by(text: &str) -> Result<SpendBy, String> {
    SpendBy::of_word(text).ok_or_else(|| format!("must be one of {}", SpendBy::ALL.map(SpendBy::as_str).join(", ")))
}
