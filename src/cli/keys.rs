//! `longtake keys …`: short commands on the database, also beside a running server.

use std::{collections::HashMap, future::Future, io::Write};

use anyhow::Context;
use serde_json::{Value, json};
use tokio::runtime::Builder;

use crate::{
    cli::{ConfigFile, KeysCommand, Quota, QuotaArgs, out},
    clock::Clock,
    config::load,
    domain::{
        id::{KeyId, ProjectId},
        money::Micros,
        quota::Quotas,
    },
    intake::keys::{self, Minted, QuotaChange},
    store::{KeyRecord, Keys, Scope, Store},
};

/// Carries a command out.
///
/// # Errors
/// With what went wrong, for people.
pub fn run(command: KeysCommand, out: &mut dyn Write) -> anyhow::Result<()> {
    let clock = Clock::System;
    match command {
        KeysCommand::Create { name, project, admin, daily_limit, quotas, json, file } => {
            let scope = if admin { Scope::Admin } else { Scope::Client };
            let (minted, names) = beside(&file, async |store| {
                let keys = store.keys();
                let mut minted = keys::create(&keys, &name, project.as_deref(), scope, clock.now()).await?;
                if daily_limit.is_some() {
                    keys::limit(&keys, minted.record.id, daily_limit).await?;
                    minted.record.daily_limit = daily_limit;
                }
                let change = change(quotas);
                if change.any() {
                    minted.record.quotas = keys::set_quotas(&keys, minted.record.id, change).await?;
                }
                Ok((minted, project_names(&keys).await?))
            })?;
            show_once(out, &minted, &names, json)
        }
        KeysCommand::List { json, file } => {
            let (records, names) = beside(&file, async |store| {
                let keys = store.keys();
                Ok((keys.list().await?, project_names(&keys).await?))
            })?;
            list(out, &records, &names, json)
        }
        KeysCommand::Revoke { id, file } => {
            let id = parse(&id)?;
            let done = beside(&file, async |store| Ok(keys::revoke(&store.keys(), id, clock.now()).await?))?;
            let word = if done { "is revoked; servers refuse it within five seconds" } else { "was revoked before" };
            Ok(writeln!(out, "{id} {word}")?)
        }
        KeysCommand::SetLimit { id, limit, quotas, file } => {
            let (id, change) = (parse(&id)?, change(quotas));
            let told = beside(&file, async |store| {
                let (keys, mut told) = (store.keys(), Vec::new());
                if let Some(limit) = limit {
                    keys::limit(&keys, id, limit.0).await?;
                    told.push(limit_text(limit.0));
                }
                if change.any() {
                    told.push(quota_text(keys::set_quotas(&keys, id, change).await?));
                }
                Ok(told)
            })?;
            Ok(writeln!(out, "{id}: {}", told.join(", "))?)
        }
        KeysCommand::Rotate { id, overlap, json, file } => {
            let id = parse(&id)?;
            let (minted, names) = beside(&file, async |store| {
                let keys = store.keys();
                let minted = keys::rotate(&keys, id, overlap, clock.now()).await?;
                Ok((minted, project_names(&keys).await?))
            })?;
            show_once(out, &minted, &names, json)
        }
    }
}

/// Opens the database beside whoever serves, does one thing, closes it.
///
/// # Errors
/// A wrong configuration, an unreachable database, or the command's own.
pub(super) fn beside<T, F: Future<Output = anyhow::Result<T>>>(
    file: &ConfigFile,
    command: impl FnOnce(Store) -> F,
) -> anyhow::Result<T> {
    let config = load::load(file.config.as_deref())?;
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().context("no runtime")?;
    runtime.block_on(async {
        let opened = Store::open_beside(&config.store, &config.data_dir, Clock::System, runtime.handle()).await;
        let store = opened.context("the database cannot be opened")?;
        let done = command(store.clone()).await;
        store.close().await;
        done
    })
}

/// How a daily limit is told.
pub(super) fn limit_text(limit: Option<Micros>) -> String {
    limit.map_or_else(|| "no daily limit".to_owned(), |limit| format!("{} USD a day", limit.decimal()))
}

fn change(quotas: QuotaArgs) -> QuotaChange {
    let said = |quota: Option<Quota>| quota.map(|quota| quota.0);
    QuotaChange { per_minute: said(quotas.requests_per_minute), at_once: said(quotas.in_flight) }
}

fn quota_text(quotas: Quotas) -> String {
    let text = |limit: Option<u32>, what: &str| match limit {
        None => format!("{what} as configured"),
        Some(0) => format!("{what} without limit"),
        Some(limit) => format!("{limit} {what}"),
    };
    format!("{}, {}", text(quotas.per_minute, "requests a minute"), text(quotas.at_once, "requests at a time"))
}

fn parse(id: &str) -> anyhow::Result<KeyId> {
    id.parse().with_context(|| format!("`{id}` is no key's id; `longtake keys list` shows them"))
}

async fn project_names(keys: &Keys) -> anyhow::Result<HashMap<ProjectId, String>> {
    Ok(keys.projects().await?.into_iter().map(|project| (project.id, project.name)).collect())
}

/// The record as people and programs see it; never the hash.
fn described(record: &KeyRecord, names: &HashMap<ProjectId, String>) -> Value {
    json!({
        "id": record.id,
        "name": record.name,
        "project": names.get(&record.project),
        "scope": scope(record.scope),
        "last4": record.last4,
        "createdAt": record.created_at,
        "revokedAt": record.revoked_at,
        "expiresAt": record.expires_at,
        "dailyLimit": record.daily_limit,
        "requestsPerMinute": record.quotas.per_minute,
        "inFlight": record.quotas.at_once,
    })
}

const fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::Client => "client",
        Scope::Admin => "admin",
    }
}

fn show_once(out: &mut dyn Write, minted: &Minted, names: &HashMap<ProjectId, String>, as_json: bool) -> anyhow::Result<()> {
    let mut described = described(&minted.record, names);
    if as_json {
        if let Some(members) = described.as_object_mut() {
            members.insert("key".to_owned(), minted.text.reveal().into());
        }
        return Ok(out::json(out, &described)?);
    }
    let record = &minted.record;
    let project = names.get(&record.project).map(String::as_str).unwrap_or_default();
    writeln!(out, "{}  {}  project {project}  scope {}", record.id, record.name, scope(record.scope))?;
    writeln!(out, "\n{}\n\nKeep it now: it is not shown again.", minted.text.reveal())?;
    Ok(())
}

fn list(out: &mut dyn Write, records: &[KeyRecord], names: &HashMap<ProjectId, String>, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        let all: Vec<Value> = records.iter().map(|record| described(record, names)).collect();
        return Ok(out::json(out, &Value::Array(all))?);
    }
    let now = Clock::System.now();
    let state = |record: &KeyRecord| match (record.revoked_at, record.expires_at) {
        (Some(at), _) => format!("revoked {}", at.rfc3339()),
        (None, Some(at)) if at <= now => format!("lapsed {}", at.rfc3339()),
        (None, Some(at)) => format!("lapses {}", at.rfc3339()),
        (None, None) => "valid".to_owned(),
    };
    let rows: Vec<_> = records
        .iter()
        .map(|record| {
            [
                record.id.to_string(),
                record.name.clone(),
                names.get(&record.project).cloned().unwrap_or_default(),
                scope(record.scope).to_owned(),
                format!("…{}", record.last4),
                state(record),
            ]
        })
        .collect();
    Ok(out::table(out, ["ID", "NAME", "PROJECT", "SCOPE", "KEY", "STATE"], &rows)?)
}
