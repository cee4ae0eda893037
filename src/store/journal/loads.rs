//! The lane of loads: the invisible batch, chunks of its lines, and taking back what was given up. Its row is the lock: whoever changes
//! it first, visible or given up, wins. The commit that makes it visible promises something, so it is the births' ([`publish`]).
//!
//! A lane of its own, the last of all: a chunk is as much work as a thousand other entries, and nobody who waits for something small
//! waits for more than one of them.

use serde_json::json;
use sqlx::Error;
use uuid::Uuid;

use super::{
    Scope,
    batches::event,
    births::write_lines,
    books::{self, Writing},
    connection::{Connection, Dialect},
    lane::{Lane, Written},
    rows::Born,
    sql::{Columns, Rows, Type, array, insert, insert_values},
    tables::INSERT_EVENTS,
    transitions::write,
};
use crate::{
    domain::batch::Batch,
    store::{
        StoreError,
        loads::{CHUNK, Publication},
        map,
    },
};

/// The lane.
pub struct Loads;

/// What is handed in.
#[derive(Debug)]
pub enum LoadStep {
    /// It begins, with this row.
    Begin(String),
    /// Lines come in.
    Lines {
        /// The batch.
        id: Uuid,
        /// When, in milliseconds since the epoch.
        at: i64,
        /// The lines.
        born: Vec<Born>,
    },
    /// It is given up; some of its lines are deleted.
    Discard {
        /// The batch.
        id: Uuid,
        /// When, in milliseconds since the epoch.
        at: i64,
    },
}

impl LoadStep {
    /// A batch's row, as it begins.
    pub fn begin(batch: &Batch) -> Result<Self, StoreError> {
        Ok(Self::Begin(map::json(&map::batch_model(batch)?)?))
    }

    async fn write(&self, connection: &mut Connection) -> Result<Option<usize>, Error> {
        match self {
            Self::Begin(row) => {
                write(connection, &INSERT_BATCHES, &[row]);
                Ok(Some(1))
            }
            Self::Lines { id, at, born } => lines(connection, (*id, *at), born).await,
            Self::Discard { id, at } => discard(connection, *id, *at).await.map(Some),
        }
    }
}

impl Lane for Loads {
    type Entry = LoadStep;
    /// Rows written, or deleted; none: the load is not there (any more).
    type Answer = Option<usize>;

    const NAME: &'static str = "loads";
    /// The births' mark: where marks are asked for, one writer serves both lanes and asks before it goes on.
    const MARK: i16 = 4;

    /// One step a commit, of whichever load.
    fn key(_entry: &LoadStep) -> Option<Uuid> {
        Some(Uuid::nil())
    }

    async fn write(connection: &mut Connection, _scope: &Scope, entries: &[&LoadStep]) -> Result<Written<Option<usize>>, Error> {
        let mut answers = Vec::with_capacity(entries.len());
        for step in entries {
            answers.push(step.write(connection).await?);
        }
        let rows = answers.iter().flatten().sum();
        Ok(Written { answers, rows })
    }
}

async fn lines(connection: &mut Connection, (id, at): (Uuid, i64), born: &[Born]) -> Result<Option<usize>, Error> {
    let parameter = json!({"id": id, "at": at, "lines": born.len()}).to_string();
    if connection.execute(connection.pick(GROW.0, GROW.1), &parameter).await? == 0 {
        return Ok(None);
    }
    write_lines(connection, &born.iter().collect::<Vec<_>>());
    let booked: Vec<_> = born.iter().map(|line| &line.booked).collect();
    books::write_rows(connection, &booked);
    Ok(Some(born.len()))
}

/// Makes a load visible; none: it is not there (any more), or not all of its lines are.
pub async fn publish(connection: &mut Connection, scope: &Scope, publication: &Publication) -> Result<Option<usize>, Error> {
    let Publication { batch, held, at, .. } = publication;
    let counts = batch.counts;
    let parameter = json!({"id": batch.id.0, "at": at.0, "lines": counts.total}).to_string();
    if connection.execute(connection.pick(PUBLISH.0, PUBLISH.1), &parameter).await? == 0 {
        return Ok(None);
    }
    books::write_sums(connection, held, Writing::Births.stripe(&scope.held))?;
    write(connection, &INSERT_EVENTS, &[event(batch, "batch.created", at.0)?]);
    Ok(Some(1))
}

async fn discard(connection: &mut Connection, id: Uuid, at: i64) -> Result<usize, Error> {
    let parameter = json!({"id": id, "at": at, "lines": CHUNK}).to_string();
    if connection.execute(connection.pick(GIVE_UP.0, GIVE_UP.1), &parameter).await? == 0 {
        return Ok(0);
    }
    let found: Vec<(Uuid,)> = connection.rows(connection.pick(SOME_LINES.0, SOME_LINES.1), &parameter).await?;
    if found.is_empty() {
        connection.write(connection.pick(DELETE_BATCH.0, DELETE_BATCH.1), parameter, 1);
        return Ok(0);
    }
    let ids: Vec<String> = found.iter().map(|(id,)| format!("\"{}\"", id.simple())).collect();
    let ids = array(&ids);
    for (sqlite, postgres) in [DELETE_LEDGER, DELETE_PAYLOADS, DELETE_WEBHOOKS, DELETE_DEPENDENCIES] {
        connection.write_some(connection.pick(sqlite, postgres), ids.clone());
    }
    connection.write(connection.pick(DELETE_GENERATIONS.0, DELETE_GENERATIONS.1), ids, found.len());
    Ok(found.len())
}

/// One more chunk, as long as nobody has given the load up.
const GROW: (&str, &str) = (
    "UPDATE batches SET total = total + (?1->>'lines'), updated_at = ?1->>'at'
     WHERE id = unhex(?1->>'id', '-') AND visible_at IS NULL AND cancel_requested_at IS NULL",
    "UPDATE batches SET total = total + ($1::json->>'lines')::int4, updated_at = ($1::json->>'at')::int8
     WHERE id = ($1::json->>'id')::uuid AND visible_at IS NULL AND cancel_requested_at IS NULL",
);

/// All lines that were handed in must be there.
const PUBLISH: (&str, &str) = (
    "UPDATE batches SET visible_at = ?1->>'at', updated_at = ?1->>'at'
     WHERE id = unhex(?1->>'id', '-') AND visible_at IS NULL AND cancel_requested_at IS NULL AND total = ?1->>'lines'",
    "UPDATE batches SET visible_at = ($1::json->>'at')::int8, updated_at = ($1::json->>'at')::int8
     WHERE id = ($1::json->>'id')::uuid AND visible_at IS NULL AND cancel_requested_at IS NULL
     AND total = ($1::json->>'lines')::int4",
);

/// A cancel of what is not visible means that it never will be.
const GIVE_UP: (&str, &str) = (
    "UPDATE batches SET cancel_requested_at = coalesce(cancel_requested_at, ?1->>'at'), cancel_mode = 0
     WHERE id = unhex(?1->>'id', '-') AND visible_at IS NULL",
    "UPDATE batches SET cancel_requested_at = coalesce(cancel_requested_at, ($1::json->>'at')::int8), cancel_mode = 0
     WHERE id = ($1::json->>'id')::uuid AND visible_at IS NULL",
);

const SOME_LINES: (&str, &str) = (
    "SELECT id FROM generations WHERE batch_id = unhex(?1->>'id', '-') AND replaced_by IS NULL LIMIT ?1->>'lines'",
    "SELECT id FROM generations WHERE batch_id = ($1::json->>'id')::uuid AND replaced_by IS NULL
     LIMIT ($1::json->>'lines')::int8",
);

const DELETE_BATCH: (&str, &str) =
    ("DELETE FROM batches WHERE id = unhex(?1->>'id', '-')", "DELETE FROM batches WHERE id = ($1::json->>'id')::uuid");

const DELETE_LEDGER: (&str, &str) = (
    "DELETE FROM ledger WHERE generation_id IN (SELECT unhex(value) FROM json_each(?1))",
    "DELETE FROM ledger WHERE generation_id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::uuid))",
);

const DELETE_PAYLOADS: (&str, &str) = (
    "DELETE FROM generation_payloads WHERE generation_id IN (SELECT unhex(value) FROM json_each(?1))",
    "DELETE FROM generation_payloads WHERE generation_id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::uuid))",
);

const DELETE_WEBHOOKS: (&str, &str) = (
    "DELETE FROM generation_webhooks WHERE generation_id IN (SELECT unhex(value) FROM json_each(?1))",
    "DELETE FROM generation_webhooks WHERE generation_id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::uuid))",
);

const DELETE_DEPENDENCIES: (&str, &str) = (
    "DELETE FROM dependencies WHERE generation_id IN (SELECT unhex(value) FROM json_each(?1))",
    "DELETE FROM dependencies WHERE generation_id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::uuid))",
);

const DELETE_GENERATIONS: (&str, &str) = (
    "DELETE FROM generations WHERE id IN (SELECT unhex(value) FROM json_each(?1))",
    "DELETE FROM generations WHERE id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::uuid))",
);

const BATCH_ROW: Columns = &[
    ("id", Type::Id),
    ("shard", Type::Small),
    ("project_id", Type::Id),
    ("key_id", Type::Id),
    ("version", Type::Int),
    ("name", Type::Text),
    ("metadata", Type::Text),
    ("parallel", Type::Flag),
    ("max_concurrency", Type::Int),
    ("stop_on_error", Type::Flag),
    ("priority", Type::Small),
    ("deadline", Type::Big),
    ("budget", Type::Big),
    ("on_unconfirmed", Type::Small),
    ("webhook_url", Type::Text),
    ("created_at", Type::Big),
    ("updated_at", Type::Big),
    ("retry_forced", Type::Flag),
    ("total", Type::Int),
    ("completed", Type::Int),
    ("failed", Type::Int),
    ("cancelled", Type::Int),
    ("running", Type::Int),
    ("ended", Type::Int),
    ("places", Type::Int),
    ("spent", Type::Big),
    ("charged", Type::Big),
];

static INSERT_BATCHES: Rows = Rows::new(
    BATCH_ROW,
    |rows| insert_values("batches", BATCH_ROW, "", rows),
    || insert(Dialect::Postgres, "batches", BATCH_ROW, ""),
);
