//! `longtake spend`: what was spent, from the database, also beside a running server.

use std::{collections::BTreeMap, io::Write, time::Duration};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::{
    cli::{SpendArgs, keys::beside, out},
    clock::Clock,
    config::load,
    domain::{
        balance::{AccountBalance, Balance},
        id::ProjectId,
        time::Timestamp,
    },
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
    let (spend, names, balances) = beside(&args.file, async |store| {
        let names: BTreeMap<_, _> =
            store.keys().projects().await?.into_iter().map(|project| (project.id, project.name)).collect();
        let wanted = args.project.as_deref();
        let project = wanted.map(|wanted| known(&names, wanted)).transpose()?;
        let filter = SpendFilter { from, to, project, provider: args.provider.clone(), model: args.model.clone() };
        let mut balances = store.balances().all().await?;
        balances.retain(|known| args.provider.as_deref().is_none_or(|wanted| wanted == &*known.provider));
        Ok((store.reads().spend(&filter, &by).await?, names, balances))
    })?;
    if args.json {
        let lines: Vec<Value> = spend.rows.iter().map(|row| described(row, &names)).collect();
        let (from, to) = (Timestamp::of_day(from).date(), Timestamp::of_day(to).date());
        let total = described(&spend.total, &names);
        let balances: Vec<Value> = balances.iter().flat_map(left).collect();
        let report = json!({
            "from": from, "to": to, "currency": "USD", "data": lines, "hasMore": spend.more, "total": total, "balances": balances,
        });
        return Ok(out::json(out, &report)?);
    }
    let mut rows: Vec<_> = spend.rows.iter().map(|row| cells(row, &names, "")).collect();
    if spend.more {
        rows.push(cells(&SpendRow::default(), &names, "…"));
    }
    rows.push(cells(&spend.total, &names, "total"));
    out::table(out, ["DAY", "PROJECT", "PROVIDER", "MODEL", "HELD", "CHARGED", "AT RISK", "RELEASED"], &rows)?;
    let unpriced = unpriced(args)?;
    if !unpriced.is_empty() {
        writeln!(out, "\nNot in it, since their `price` is not set: {unpriced}")?;
    }
    if balances.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = balances.iter().flat_map(account).collect();
    writeln!(out, "\nLeft at the providers, as last read; charged by our ledger between the two readings:")?;
    Ok(out::table(out, ["PROVIDER", "ACCOUNT", "LEFT", "BEFORE", "CHARGED", "READ"], &rows)?)
}

/// How many models of each provider have no price: what they cost is in no book of ours, and a report that kept silent about it would
/// be believed.
fn unpriced(args: &SpendArgs) -> anyhow::Result<String> {
    let config = load::load(args.file.config.as_deref())?;
    let usable = |name: &str| config.providers.get(name).is_some_and(|section| section.enabled && section.has_credential());
    let wanted = |name: &str| args.provider.as_deref().is_none_or(|wanted| wanted == name);
    let mut counts = BTreeMap::<&str, u64>::new();
    for model in config.models.values().filter(|model| model.price.is_unknown()) {
        if usable(&model.provider) && wanted(&model.provider) {
            *counts.entry(&model.provider).or_default() += 1;
        }
    }
    let words: Vec<_> = counts.iter().map(|(provider, count)| format!("{count} models of {provider}")).collect();
    Ok(words.join(", "))
}

/// The lines of an account: one an amount, and why the newest try told nothing.
fn account(known: &AccountBalance) -> Vec<[String; 6]> {
    let amount = |one: Option<&Balance>| {
        let pack = |one: &Balance| one.pack.as_ref().map(|pack| format!(" ({pack})")).unwrap_or_default();
        one.map_or_else(|| "-".to_owned(), |one| format!("{} {}{}", one.decimal(), one.unit, pack(one)))
    };
    let charged = known.charged_between().map_or_else(|| "-".to_owned(), |charged| format!("{} USD", charged.decimal()));
    let read = match (&known.newest, &known.error) {
        (_, Some((why, at))) => format!("failed {}: {why}", at.rfc3339()),
        (Some(reading), None) => reading.at.rfc3339(),
        (None, None) => "not yet".to_owned(),
    };
    let line = |(now, before)| {
        [known.provider.to_string(), known.account.to_string(), amount(now), amount(before), charged.clone(), read.clone()]
    };
    known.amounts().into_iter().map(line).collect()
}

/// The same for programs, with the members of the report over HTTP.
fn left(known: &AccountBalance) -> Vec<Value> {
    let line = |(now, before): (Option<&Balance>, Option<&Balance>)| {
        let mut told = json!({
            "provider": &*known.provider,
            "account": &*known.account,
            "pack": now.and_then(|now| now.pack.as_deref()),
            "amount": now.map(Balance::decimal),
            "unit": now.map(|now| &*now.unit),
            "readAt": known.newest.as_ref().map(|reading| reading.at),
            "previousAmount": before.map(Balance::decimal),
            "previousReadAt": known.previous.as_ref().map(|reading| reading.at),
            "ledgerCharged": known.charged_between(),
            "error": known.error.as_ref().map(|(why, _)| why),
        });
        if let Some(members) = told.as_object_mut() {
            members.retain(|_, value| !value.is_null());
        }
        told
    };
    known.amounts().into_iter().map(line).collect()
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
