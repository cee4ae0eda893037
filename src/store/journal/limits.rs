//! The check of daily limits within the transaction that writes births. Only limited births pay for it: a lock on what they are
//! limited by, then one sum. The lock makes the check exact among all nodes; transitions never take it, so none of them waits.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use sqlx::Error;

use super::connection::{Connection, Dialect};
use crate::domain::{
    limits::{OverLimit, Promise, Target, judge},
    money::Micros,
};

/// How long a birth waits for others that are limited by the same, or claim the same, in milliseconds: each holds the lock for one
/// commit.
const LOCK_TIMEOUT_MS: &str = "2000";

/// Judges each promise.
pub async fn check(connection: &mut Connection, promises: &[Promise]) -> Result<Vec<Result<(), OverLimit>>, Error> {
    let targets: BTreeSet<Target> = promises.iter().flat_map(Promise::limited).collect();
    let spent = if targets.is_empty() { BTreeMap::new() } else { spent(connection, &targets).await? };
    Ok(judge(promises, spent))
}

async fn spent(connection: &mut Connection, targets: &BTreeSet<Target>) -> Result<BTreeMap<Target, Micros>, Error> {
    let mut rows = Vec::new();
    for (at, target) in targets.iter().enumerate() {
        let key = target.key.map(|key| key.0.simple().to_string());
        rows.push(json!({"at": at, "day": target.day, "project": target.project.0.simple().to_string(), "key": key}));
    }
    let parameter = serde_json::Value::from(rows).to_string();
    if connection.dialect() == Dialect::Postgres {
        wait_briefly(connection).await?;
        let _locked: Vec<(i64,)> = connection.rows(LOCK, &parameter).await?;
    }
    // A statement of its own, so that it sees what whoever held the lock has committed.
    let sums: Vec<(i32, i64)> = connection.rows(connection.pick(SPENT.0, SPENT.1), &parameter).await?;
    let sums: BTreeMap<i32, i64> = sums.into_iter().collect();
    Ok((0..).zip(targets).map(|(at, target)| (*target, Micros(sums.get(&at).copied().unwrap_or(0)))).collect())
}

/// From here to the end of the transaction no lock is waited for longer than that. (SQLite has one writer: there are no locks.)
pub async fn wait_briefly(connection: &mut Connection) -> Result<(), Error> {
    if connection.dialect() == Dialect::Postgres {
        let _set: Vec<(String,)> = connection.rows(SHORTEN, LOCK_TIMEOUT_MS).await?;
    }
    Ok(())
}

const SHORTEN: &str = "SELECT set_config('lock_timeout', $1, true)";

/// Advisory locks by the hash of what is limited, in the order of the hashes: two writers never wait for each other in a circle.
/// (SQLite has one writer, which is the lock.)
const LOCK: &str = "SELECT count(pg_advisory_xact_lock(k.hash)) FROM (
        SELECT DISTINCT hashtextextended(concat('spend ', j.day, ' ', j.project, ' ', j.key), 0) AS hash
        FROM json_to_recordset($1::json) AS j (day int4, project text, key text) ORDER BY 1) AS k";

const SPENT: (&str, &str) = (
    "SELECT j.value->>'at', coalesce((
        SELECT sum(s.held + s.charged + s.at_risk) FROM spend_days s
        WHERE s.day = j.value->>'day' AND s.project_id = unhex(j.value->>'project')
        AND (j.value->>'key' IS NULL OR s.key_id = unhex(j.value->>'key'))), 0)
     FROM json_each(?1) AS j",
    "SELECT j.at, coalesce((
        SELECT sum(s.held + s.charged + s.at_risk) FROM spend_days s
        WHERE s.day = j.day AND s.project_id = j.project AND (j.key IS NULL OR s.key_id = j.key)), 0)::int8
     FROM json_to_recordset($1::json) AS j (at int4, day int4, project uuid, key uuid)",
);
