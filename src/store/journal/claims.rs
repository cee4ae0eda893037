//! Claims within the transaction that writes what they are for. Their rows are inserted in the order of their ids, so that two writers
//! never wait for each other in a circle; who comes second waits for the first one's commit, then reads what it says. Only entries
//! with a claim pay for it.

use std::collections::HashMap;

use serde::Serialize;
use sqlx::Error;
use uuid::Uuid;

use super::{
    connection::{Connection, Dialect},
    limits,
    sql::{Columns, Rows, Sql, Type, array, insert, insert_values},
    transitions::write,
};
use crate::{
    domain::{
        claim::{Claim, Claimed, Fingerprint, Rule},
        time::Timestamp,
    },
    store::{StoreError, map},
};

/// A claim, ready to write.
#[derive(Debug, Clone)]
pub struct ClaimRow {
    /// Its id.
    pub id: Uuid,
    row: String,
    rule: Rule,
}

#[derive(Serialize)]
struct ClaimColumns {
    id: Uuid,
    project_id: Uuid,
    fingerprint: String,
    subject: String,
    at: i64,
}

impl ClaimRow {
    /// Turns a claim into a row.
    pub fn of(claim: &Claim) -> Result<Self, StoreError> {
        let row = map::json(&ClaimColumns {
            id: claim.id.0,
            project_id: claim.project.0,
            fingerprint: claim.fingerprint.to_string(),
            subject: claim.subject.clone(),
            at: claim.at.0,
        })?;
        Ok(Self { id: claim.id.0, row, rule: claim.rule })
    }
}

/// Takes these claims, each of which occurs once, unless they replace others; answers those that are taken already.
pub async fn take(connection: &mut Connection, claims: &[&ClaimRow]) -> Result<HashMap<Uuid, Claimed>, Error> {
    let claims = sorted(claims, Rule::First);
    if claims.is_empty() {
        return Ok(HashMap::new());
    }
    limits::wait_briefly(connection).await?;
    let rows: Vec<&str> = claims.iter().map(|claim| claim.row.as_str()).collect();
    let won: Vec<(Uuid,)> = connection.rows(INSERT.text(connection), &array(&rows)).await?;
    let lost: Vec<Uuid> = claims.iter().map(|claim| claim.id).filter(|id| !won.contains(&(*id,))).collect();
    if lost.is_empty() {
        return Ok(HashMap::new());
    }
    // A statement of its own, so that it sees what the one before had to wait for.
    let found: Vec<(Uuid, String, String, i64)> = connection.rows(connection.pick(TAKEN.0, TAKEN.1), &ids(&lost)).await?;
    if found.len() != lost.len() {
        // Swept between the two statements: once more from the start.
        return Err(Error::RowNotFound);
    }
    Ok(found.into_iter().map(|(id, fingerprint, subject, at)| (id, claimed(fingerprint, subject, at))).collect())
}

/// Writes those of these claims that replace others; what they are for is written.
pub fn replace(connection: &mut Connection, claims: &[&ClaimRow]) {
    let rows: Vec<&str> = sorted(claims, Rule::Newest).iter().map(|claim| claim.row.as_str()).collect();
    write(connection, &REPLACE, &rows);
}

fn sorted<'a>(claims: &[&'a ClaimRow], rule: Rule) -> Vec<&'a ClaimRow> {
    let mut claims: Vec<_> = claims.iter().copied().filter(|claim| claim.rule == rule).collect();
    claims.sort_unstable_by_key(|claim| claim.id);
    claims
}

/// Gives claims back whose entries are refused for another reason.
pub async fn give_back(connection: &mut Connection, claims: &[Uuid]) -> Result<(), Error> {
    if claims.is_empty() {
        return Ok(());
    }
    connection.execute(connection.pick(DELETE.0, DELETE.1), &ids(claims)).await.map(|_| ())
}

fn claimed(fingerprint: String, subject: String, at: i64) -> Claimed {
    Claimed { fingerprint: Fingerprint::stored(fingerprint), subject, at: Timestamp(at) }
}

fn ids(ids: &[Uuid]) -> String {
    array(&ids.iter().map(|id| format!("\"{}\"", id.simple())).collect::<Vec<_>>())
}

const CLAIM: Columns =
    &[("id", Type::Id), ("project_id", Type::Id), ("fingerprint", Type::Text), ("subject", Type::Text), ("at", Type::Big)];

const UNLESS_TAKEN: &str = "ON CONFLICT (id) DO NOTHING RETURNING id";

static INSERT: Sql = Sql::new(
    || insert(Dialect::Sqlite, "idempotency", CLAIM, UNLESS_TAKEN),
    || insert(Dialect::Postgres, "idempotency", CLAIM, UNLESS_TAKEN),
);

const REPLACING: &str = "ON CONFLICT (id) DO UPDATE SET
    fingerprint = excluded.fingerprint, subject = excluded.subject, at = excluded.at";

static REPLACE: Rows = Rows::new(
    CLAIM,
    |rows| insert_values("idempotency", CLAIM, REPLACING, rows),
    || insert(Dialect::Postgres, "idempotency", CLAIM, REPLACING),
);

const TAKEN: (&str, &str) = (
    "SELECT c.id, c.fingerprint, c.subject, c.at FROM json_each(?1) AS j CROSS JOIN idempotency c ON c.id = unhex(j.value)",
    "SELECT c.id, c.fingerprint, c.subject, c.at FROM idempotency c
     WHERE c.id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::uuid))",
);

const DELETE: (&str, &str) = (
    "DELETE FROM idempotency WHERE id IN (SELECT unhex(value) FROM json_each(?1))",
    "DELETE FROM idempotency WHERE id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::uuid))",
);
