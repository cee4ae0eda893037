//! Batches within the commits of their lines: their rows are read and locked before any row of a line, changed by the winners one
//! after the other, and written once each.

use std::collections::{BTreeSet, HashMap};

use sqlx::Error;
use uuid::Uuid;

use super::{
    connection::Connection,
    rows::Move,
    sql::{Columns, Rows, Type, update, update_values},
    transitions::write,
};
use crate::{
    domain::batch::{Batch, BatchNews, CancelMode, Held},
    sabotage::{Mistake, late},
    store::{
        StoreError,
        entry::{Guard, Verdict},
        map,
    },
};

/// The batches of a commit, as its winners so far leave them.
#[derive(Debug, Default)]
pub struct Batches {
    rows: HashMap<Uuid, Batch>,
    changed: BTreeSet<Uuid>,
}

impl Batches {
    /// Takes in a row that was read and locked.
    pub fn put(&mut self, row: &str) -> Result<(), Error> {
        let row: entities::batches::Model = serde_json::from_str(row).map_err(|error| Error::Decode(Box::new(error)))?;
        // One that cannot be read lets none of its lines through.
        match map::batch(row) {
            Ok(batch) => drop(self.rows.insert(batch.id.0, batch)),
            Err(error) => tracing::error!(error = %error, "a batch cannot be read; nothing of it is written"),
        }
        Ok(())
    }

    /// A batch as it stands.
    pub fn get(&self, id: Uuid) -> Option<&Batch> {
        self.rows.get(&id)
    }

    /// Judges a line's entry that wins otherwise, and takes in what it changes.
    pub fn judge(&mut self, entry: &Move) -> (Verdict, BatchNews) {
        let Some(effect) = &entry.effect else { return (Verdict::Won, BatchNews::default()) };
        let batch = self.rows.get_mut(&effect.batch.0).filter(|batch| batch.visible_at.is_some());
        let Some(batch) = batch else { return (Verdict::Lost, BatchNews::default()) };
        let allowed = match entry.guard {
            Guard::None => Ok(()),
            Guard::Intent => batch.admits_intent(effect),
            Guard::Resend if batch.cancel.is_some_and(|wish| wish.mode == CancelMode::All) => Err(Held::Cancelled),
            Guard::Resend => Ok(()),
        };
        if let Err(held) = allowed {
            return (Verdict::Held(held), BatchNews::default());
        }
        if effect.changes_nothing() {
            return (Verdict::Won, BatchNews::default());
        }
        self.changed.insert(effect.batch.0);
        (Verdict::Won, batch.take(effect))
    }

    /// Events about a batch itself, as rows.
    pub fn events(&self, entry: &Move, news: &BatchNews) -> Result<Vec<String>, Error> {
        let batch = entry.effect.as_ref().and_then(|effect| Some((self.rows.get(&effect.batch.0)?, effect.at)));
        let Some((batch, at)) = batch else { return Ok(Vec::new()) };
        news.events.iter().map(|kind| event(batch, kind, at.0)).collect()
    }

    /// Writes those that changed; nothing when none did.
    pub fn write(&self, connection: &mut Connection) -> Result<(), Error> {
        let changed = self.changed.iter().filter_map(|id| self.rows.get(id));
        write_batches(connection, changed)
    }
}

/// Writes what follows from the lines of batches that are locked.
pub fn write_batches<'a>(connection: &mut Connection, batches: impl Iterator<Item = &'a Batch>) -> Result<(), Error> {
    let row = |batch| map::batch_change(batch).and_then(|row| map::json(&row)).map_err(unstorable);
    let rows = batches.map(row).collect::<Result<Vec<_>, _>>()?;
    write(connection, &UPDATE_BATCHES, &late(Mistake::CountsLate, rows));
    Ok(())
}

fn unstorable(error: StoreError) -> Error {
    Error::Encode(Box::new(error))
}

#[derive(serde::Serialize)]
struct EventRow {
    batch_id: Uuid,
    project_id: Uuid,
    kind: &'static str,
    at: i64,
}

/// An event about a batch itself, as a row.
pub fn event(batch: &Batch, kind: &'static str, at: i64) -> Result<String, Error> {
    map::json(&EventRow { batch_id: batch.id.0, project_id: batch.project.0, kind, at }).map_err(unstorable)
}

/// Reads and locks batches, each as one JSON text; the parameter is a list of ids.
pub const LOCK_BATCHES: (&str, &str) = (
    "SELECT 4, b.id, 0, 0, 0, 0, json_object('id', lower(hex(b.id)), 'shard', b.shard, 'project_id', lower(hex(b.project_id)),
        'key_id', lower(hex(b.key_id)), 'version', b.version, 'name', b.name, 'metadata', b.metadata,
        'parallel', json(iif(b.parallel, 'true', 'false')), 'max_concurrency', b.max_concurrency,
        'stop_on_error', json(iif(b.stop_on_error, 'true', 'false')), 'priority', b.priority, 'deadline', b.deadline,
        'budget', b.budget, 'on_unconfirmed', b.on_unconfirmed, 'webhook_url', b.webhook_url, 'created_at', b.created_at,
        'updated_at', b.updated_at, 'visible_at', b.visible_at, 'paused_at', b.paused_at,
        'cancel_requested_at', b.cancel_requested_at, 'cancel_mode', b.cancel_mode,
        'retry_requested_at', b.retry_requested_at, 'retry_forced', json(iif(b.retry_forced, 'true', 'false')),
        'retry_key', lower(nullif(hex(b.retry_key), '')), 'stopped_at', b.stopped_at, 'over_budget_at', b.over_budget_at,
        'completed_at', b.completed_at, 'total', b.total, 'completed', b.completed, 'failed', b.failed,
        'cancelled', b.cancelled, 'running', b.running, 'ended', b.ended, 'places', b.places, 'spent', b.spent,
        'charged', b.charged)
     FROM json_each(?1) AS j CROSS JOIN batches b ON b.id = unhex(j.value)",
    "SELECT 4, b.id, 0, 0::int2, false, 0::int8, to_json(b)::text FROM batches b
     WHERE b.id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::uuid)) ORDER BY b.id FOR UPDATE",
);

/// What follows from its lines; never a wish, never what it was made with.
const BATCH_CHANGE: Columns = &[
    ("id", Type::Id),
    ("updated_at", Type::Big),
    ("stopped_at", Type::Big),
    ("over_budget_at", Type::Big),
    ("completed_at", Type::Big),
    ("completed", Type::Int),
    ("failed", Type::Int),
    ("cancelled", Type::Int),
    ("running", Type::Int),
    ("ended", Type::Int),
    ("places", Type::Int),
    ("spent", Type::Big),
    ("charged", Type::Big),
];

static UPDATE_BATCHES: Rows =
    Rows::new(BATCH_CHANGE, |rows| update_values("batches", BATCH_CHANGE, rows), || update("batches", BATCH_CHANGE));
