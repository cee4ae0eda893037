//! The outbox, read in the order of commits. SQLite has one writer, so its rowids are that order. On PostgreSQL a smaller transaction
//! may commit after a larger one: there the order is (transaction, serial), and only what lies below the oldest transaction still
//! running (`pg_snapshot_xmin`, PostgreSQL 15 manual, §9.27.8) is read, for nothing smaller can follow it.

use entities::outbox_marks;
use sea_orm::{DbBackend, EntityTrait, FromQueryResult, Statement, Value};
use uuid::Uuid;

use super::{LONGEST_LIST, Reads};
use crate::{
    domain::{
        event::{EventId, Told},
        id::{BatchId, GenerationId, ProjectId},
        time::Timestamp,
    },
    store::{
        StoreError,
        feed::{Gone, Topic},
    },
};

/// Names of the marks.
pub const READ: &str = "read";
/// As above.
pub const GONE: &str = "gone";

/// A part of the outbox.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OutboxPage {
    /// Its events.
    pub events: Vec<Told>,
    /// There are more that can be read at once.
    pub more: bool,
    /// There are more that wait for a transaction still running.
    pub held_back: bool,
}

/// How far the outbox is read and gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutboxMarks {
    /// Deliveries were made of everything up to here.
    pub read: EventId,
    /// So far it is gone.
    pub gone: Gone,
}

#[derive(Debug, FromQueryResult)]
struct Row {
    txid: i64,
    seq: i64,
    generation_id: Option<Uuid>,
    batch_id: Option<Uuid>,
    project_id: Uuid,
    kind: String,
    at: i64,
    settled: bool,
}

impl From<Row> for Told {
    fn from(row: Row) -> Self {
        Self {
            id: EventId { txid: row.txid, seq: row.seq },
            project: ProjectId(row.project_id),
            generation: row.generation_id.map(GenerationId),
            batch: row.batch_id.map(BatchId),
            kind: row.kind.into(),
            at: Timestamp(row.at),
        }
    }
}

const COLUMNS_SQLITE: &str = "0 AS txid, id AS seq, generation_id, batch_id, project_id, kind, at, true AS settled";
const COLUMNS_POSTGRES: &str = "txid::text::int8 AS txid, id AS seq, generation_id, batch_id, project_id, kind, at,
    txid < pg_snapshot_xmin(pg_current_snapshot()) AS settled";

impl Reads {
    /// What stands behind `after`, at most so many.
    ///
    /// # Errors
    /// As every read.
    pub async fn outbox(&self, after: EventId, limit: u64) -> Result<OutboxPage, StoreError> {
        let limit = limit.min(LONGEST_LIST);
        let rows = match self.database.get_database_backend() {
            DbBackend::Postgres => {
                let sql = format!(
                    "SELECT {COLUMNS_POSTGRES} FROM events WHERE (txid, id) > ($1::text::xid8, $2) ORDER BY txid, id LIMIT $3"
                );
                self.rows(sql, vec![after.txid.to_string().into(), after.seq.into(), limit.into()]).await?
            }
            DbBackend::Sqlite | DbBackend::MySql | _ => {
                let sql = format!("SELECT {COLUMNS_SQLITE} FROM events WHERE id > ? ORDER BY id LIMIT ?");
                self.rows(sql, vec![after.seq.into(), limit.into()]).await?
            }
        };
        let full = u64::try_from(rows.len()).unwrap_or(limit) == limit;
        let all = rows.len();
        // The oldest running transaction divides them: what is settled comes first.
        let events: Vec<Told> = rows.into_iter().take_while(|row| row.settled).map(Told::from).collect();
        let held_back = events.len() < all;
        Ok(OutboxPage { events, more: full && !held_back, held_back })
    }

    /// What stands of a topic behind `after` and not behind `until`, at most 500. What is told in that order needs an `until` that
    /// is settled: the reader of the outbox has passed it.
    ///
    /// # Errors
    /// As every read.
    pub async fn outbox_of(&self, topic: Topic, (after, until): (EventId, EventId)) -> Result<OutboxPage, StoreError> {
        const PAGE: u64 = 500;
        let (column, id) = match topic {
            Topic::Project(project) => ("project_id", project.0),
            Topic::Generation(generation) => ("generation_id", generation.0),
            Topic::Batch(batch) => ("batch_id", batch.0),
        };
        let rows = match self.database.get_database_backend() {
            DbBackend::Postgres => {
                let sql = format!(
                    "SELECT {COLUMNS_POSTGRES} FROM events WHERE {column} = $1 AND (txid, id) > ($2::text::xid8, $3)
                     AND (txid, id) <= ($4::text::xid8, $5) ORDER BY txid, id LIMIT {PAGE}"
                );
                let (from, to) = (after.txid.to_string(), until.txid.to_string());
                self.rows(sql, vec![id.into(), from.into(), after.seq.into(), to.into(), until.seq.into()]).await?
            }
            DbBackend::Sqlite | DbBackend::MySql | _ => {
                let sql = format!(
                    "SELECT {COLUMNS_SQLITE} FROM events WHERE {column} = ? AND id > ? AND id <= ? ORDER BY id LIMIT {PAGE}"
                );
                self.rows(sql, vec![id.into(), after.seq.into(), until.seq.into()]).await?
            }
        };
        let more = u64::try_from(rows.len()).unwrap_or(PAGE) == PAGE;
        Ok(OutboxPage { events: rows.into_iter().map(Told::from).collect(), more, held_back: false })
    }

    /// How far the outbox is read and gone.
    ///
    /// # Errors
    /// As every read.
    pub async fn outbox_marks(&self) -> Result<OutboxMarks, StoreError> {
        let rows = self.bounded(outbox_marks::Entity::find().all(&self.database)).await?;
        let mut marks = OutboxMarks::default();
        for row in rows {
            let last = EventId { txid: row.txid, seq: row.seq };
            match row.name.as_str() {
                READ => marks.read = last,
                GONE => marks.gone = Gone { last, at: Timestamp(row.at) },
                _ => {}
            }
        }
        Ok(marks)
    }

    async fn rows(&self, sql: String, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        let statement = Statement::from_sql_and_values(self.database.get_database_backend(), sql, values);
        self.bounded(Row::find_by_statement(statement).all(&self.database)).await
    }
}
