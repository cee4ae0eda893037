//! The lane of evidence: what a provider told us, written ahead of everything else and by any node, dead or not.

use std::collections::{HashMap, HashSet};

use sqlx::Error;
use uuid::Uuid;

use super::{
    Scope,
    connection::{Connection, Dialect},
    lane::{Lane, Written},
    rows::Learned,
    sql::{Columns, Sql, Type, array, insert},
};
use crate::store::entry::EvidenceVerdict;

/// The lane.
pub struct EvidenceLane;

impl Lane for EvidenceLane {
    type Entry = Learned;
    type Answer = EvidenceVerdict;

    const NAME: &'static str = "evidence";
    const MARK: i16 = 0;

    fn key(_entry: &Learned) -> Option<Uuid> {
        None
    }

    async fn write(connection: &mut Connection, _scope: &Scope, entries: &[&Learned]) -> Result<Written<EvidenceVerdict>, Error> {
        // Sorted, so that two nodes that learn the same never wait for each other in a circle.
        let mut sorted: Vec<&Learned> = entries.to_vec();
        sorted.sort_by(|a, b| (&a.account, &a.task_id, a.attempt).cmp(&(&b.account, &b.task_id, b.attempt)));
        let rows = array(&sorted.iter().map(|learned| learned.row.as_str()).collect::<Vec<_>>());
        let inserted: Vec<(Uuid, String, String)> = connection.rows(INSERT_EVIDENCE.text(connection), &rows).await?;
        connection.write_some(CLAIM_TASKS.text(connection), rows.clone());
        let owners: Vec<(String, String, Uuid)> = connection.rows(connection.pick(OWNERS.0, OWNERS.1), &rows).await?;
        // A task is claimed with its evidence: where that is known, the claim is made.
        let rows = inserted.len();
        Ok(Written { answers: verdicts(entries, inserted, owners), rows })
    }
}

/// Who owns the task decides; among equals the first says "recorded", the others "known".
fn verdicts(
    entries: &[&Learned],
    inserted: Vec<(Uuid, String, String)>,
    owners: Vec<(String, String, Uuid)>,
) -> Vec<EvidenceVerdict> {
    let mut inserted: HashSet<_> = inserted.into_iter().collect();
    let owners: HashMap<_, _> = owners.into_iter().map(|(account, task, attempt)| ((account, task), attempt)).collect();
    let verdict = |learned: &&Learned| {
        let (account, task) = (learned.account.clone(), learned.task_id.clone());
        let fresh = inserted.remove(&(learned.attempt, account.clone(), task.clone()));
        match owners.get(&(account, task)) {
            Some(owner) if *owner != learned.attempt => EvidenceVerdict::Conflict,
            Some(_) | None if fresh => EvidenceVerdict::Recorded,
            Some(_) | None => EvidenceVerdict::Known,
        }
    };
    entries.iter().map(verdict).collect()
}

const EVIDENCE: Columns = &[
    ("attempt_id", Type::Id),
    ("generation_id", Type::Id),
    ("account", Type::Text),
    ("task_id", Type::Text),
    ("handle", Type::Text),
    ("source", Type::Text),
    ("at", Type::Big),
];

static INSERT_EVIDENCE: Sql = Sql::new(
    || insert(Dialect::Sqlite, "submit_evidence", EVIDENCE, ONCE),
    || insert(Dialect::Postgres, "submit_evidence", EVIDENCE, ONCE),
);

const ONCE: &str = "ON CONFLICT (attempt_id, account, task_id) DO NOTHING RETURNING attempt_id, account, task_id";

/// A synchronous provider gives no task id: nothing to claim.
static CLAIM_TASKS: Sql = Sql::new(
    || {
        "INSERT INTO provider_tasks (account, task_id, attempt_id)
         SELECT value->>'account', value->>'task_id', unhex(value->>'attempt_id', '-') FROM json_each(?1)
         WHERE value->>'task_id' <> '' ON CONFLICT DO NOTHING"
            .to_owned()
    },
    || {
        "INSERT INTO provider_tasks (account, task_id, attempt_id)
         SELECT account, task_id, attempt_id FROM json_to_recordset($1::json) AS j (account text, task_id text, attempt_id uuid)
         WHERE task_id <> '' ON CONFLICT DO NOTHING"
            .to_owned()
    },
);

const OWNERS: (&str, &str) = (
    "SELECT t.account, t.task_id, t.attempt_id FROM json_each(?1) AS j
     CROSS JOIN provider_tasks t ON t.account = j.value->>'account' AND t.task_id = j.value->>'task_id'",
    "SELECT t.account, t.task_id, t.attempt_id FROM json_to_recordset($1::json) AS j (account text, task_id text)
     JOIN provider_tasks t ON t.account = j.account AND t.task_id = j.task_id",
);
