//! What waits for a place at a provider: the heads of its lines, what stands behind them, and who is how far back.
//!
//! The heads are found by jumps: from the head of one line the index leads straight to the next line's, however many wait behind it.
//! No query builder says that, so these few texts are written out; each is constant and both databases take it.

use std::collections::HashMap;

use entities::{batches, generations};
use sea_orm::{
    ColumnTrait, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect, Statement, Value, sea_query::Expr,
};
use uuid::Uuid;

use super::{LONGEST_LIST, Reads};
use crate::{
    domain::{
        batch::Batch,
        id::{BatchId, ProjectId},
        place::{Place, Waiting},
        record::Generation,
        time::Timestamp,
    },
    store::{StoreError, map},
};

/// Up to how many are counted: beyond, nobody wants to know it exactly.
pub const FARTHEST: u64 = 1_000;

/// As the partial indexes have it; bound values would hide it from the planner.
const SINGLE: &str = "state = 2 AND batch_id IS NULL";
/// As above.
const IN_BATCH: &str = "state = 2 AND batch_id IS NOT NULL";

/// What waits for a place, by what it shares one with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// A project's generations of a priority, outside of batches, in the order of their births.
    Singles {
        /// The project.
        project: ProjectId,
        /// 1 to 10.
        priority: u8,
    },
    /// The lines of a batch, in their order.
    Batch(BatchId),
}

impl Queue {
    /// Where a generation waits.
    #[must_use]
    pub fn of(row: &Generation) -> Self {
        match &row.batch {
            Some(place) => Self::Batch(place.id),
            None => Self::Singles { project: row.project, priority: row.priority },
        }
    }
}

#[derive(FromQueryResult)]
struct Counted {
    project_id: Uuid,
    priority: i16,
    waiting: i64,
}

impl Reads {
    /// The first generation of each line that may go now, outside of batches. At most 1,000 lines.
    ///
    /// # Errors
    /// As every read.
    pub async fn heads(&self, provider: &str, now: Timestamp) -> Result<Vec<Generation>, StoreError> {
        let text = format!("{LINES} SELECT g.* FROM line JOIN generations g ON g.id = line.id LIMIT {LONGEST_LIST}");
        self.queued_rows(text, provider, now).await
    }

    /// The first line that may go now, of each batch in which anything may, with its batch.
    ///
    /// # Errors
    /// As every read.
    pub async fn batch_heads(&self, provider: &str, now: Timestamp) -> Result<Vec<(Generation, Batch)>, StoreError> {
        let heads = self.queued_rows(format!("{BATCH_HEADS} LIMIT {LONGEST_LIST}"), provider, now).await?;
        if heads.is_empty() {
            return Ok(Vec::new());
        }
        let ids = heads.iter().filter_map(|row| row.batch.as_ref()).map(|place| place.id.0);
        let query = batches::Entity::find().filter(batches::Column::Id.is_in(ids));
        let batches = self.sound(self.bounded(query.all(&self.database)).await?, map::batch);
        let mut batches: HashMap<BatchId, Batch> = batches.into_iter().map(|batch| (batch.id, batch)).collect();
        let with_its_own = |row: Generation| batches.remove(&row.batch.as_ref()?.id).map(|batch| (row, batch));
        Ok(heads.into_iter().filter_map(with_its_own).collect())
    }

    async fn queued_rows(&self, text: String, provider: &str, now: Timestamp) -> Result<Vec<Generation>, StoreError> {
        let query = generations::Entity::find().from_raw_sql(self.statement(text, provider, now));
        Ok(self.sound(self.bounded(query.all(&self.database)).await?, map::generation))
    }

    fn statement(&self, text: String, provider: &str, now: Timestamp) -> Statement {
        let values: [Value; 2] = [provider.into(), now.0.into()];
        Statement::from_sql_and_values(self.database.get_database_backend(), text, values)
    }

    /// What may go now behind `after` in its line, in order. At most 1,000.
    ///
    /// # Errors
    /// As every read.
    pub async fn behind(&self, after: &Generation, now: Timestamp, limit: u64) -> Result<Vec<Generation>, StoreError> {
        let query = in_line(Queue::of(after), &after.provider, now).limit(limit.min(LONGEST_LIST));
        let query = match &after.batch {
            Some(place) => query
                .filter(generations::Column::BatchIndex.gt(i64::from(place.index)))
                .order_by_asc(generations::Column::BatchIndex),
            None => query.filter(generations::Column::Id.gt(after.id.0)).order_by_asc(generations::Column::Id),
        };
        Ok(self.sound(self.bounded(query.all(&self.database)).await?, map::generation))
    }

    /// How many stand before a generation in its line and may go now; [`FARTHEST`] means that many or more.
    ///
    /// # Errors
    /// As every read.
    pub async fn before(&self, row: &Generation, now: Timestamp) -> Result<u64, StoreError> {
        let query = in_line(Queue::of(row), &row.provider, now).select_only().column(generations::Column::Id);
        let query = match &row.batch {
            Some(place) => query.filter(generations::Column::BatchIndex.lt(i64::from(place.index))),
            None => query.filter(generations::Column::Id.lt(row.id.0)),
        };
        let found = self.bounded(query.limit(FARTHEST).into_tuple::<Uuid>().all(&self.database)).await?;
        Ok(u64::try_from(found.len()).unwrap_or(u64::MAX))
    }

    /// Where a generation stands among those that may go now at its provider. Of a batch only what its conditions let through counts.
    ///
    /// # Errors
    /// As every read.
    pub async fn place(&self, row: &Generation, now: Timestamp) -> Result<Place, StoreError> {
        let before = self.before(row, now).await?;
        let mut lines = self.waiting_lines(&row.provider, now).await?;
        lines.extend(self.batch_heads(&row.provider, now).await?.into_iter().map(|(head, batch)| Waiting {
            project: head.project,
            priority: head.priority,
            count: u64::from(batch.concurrency().saturating_sub(batch.places).min(batch.counts.waiting())),
        }));
        Ok(Place::of((row.project, row.priority), before, &lines))
    }

    /// How many wait in each line of a provider and may go now, outside of batches; [`FARTHEST`] means that many or more. At most 100
    /// lines.
    ///
    /// # Errors
    /// As every read.
    pub async fn waiting_lines(&self, provider: &str, now: Timestamp) -> Result<Vec<Waiting>, StoreError> {
        let statement = self.statement(format!("{LINES} {COUNTS}"), provider, now);
        let rows = self.bounded(Counted::find_by_statement(statement).all(&self.database)).await?;
        let line = |row: Counted| Waiting {
            project: ProjectId(row.project_id),
            priority: u8::try_from(row.priority).unwrap_or(u8::MAX),
            count: u64::try_from(row.waiting).unwrap_or(0),
        };
        Ok(rows.into_iter().map(line).collect())
    }
}

fn in_line(queue: Queue, provider: &str, now: Timestamp) -> sea_orm::Select<generations::Entity> {
    let query = generations::Entity::find()
        .filter(generations::Column::Provider.eq(provider))
        .filter(generations::Column::NotBefore.lte(now.0))
        .filter(generations::Column::CancelRequestedAt.is_null());
    match queue {
        Queue::Singles { project, priority } => query
            .filter(Expr::cust(SINGLE))
            .filter(generations::Column::ProjectId.eq(project.0))
            .filter(generations::Column::Priority.eq(i16::from(priority))),
        Queue::Batch(batch) => query.filter(Expr::cust(IN_BATCH)).filter(generations::Column::BatchId.eq(batch.0)),
    }
}

/// `line`: each project and priority with the first generation of it that may go. $1 is the provider, $2 the instant. The next
/// priority of the project, else the next project: compared as one pair, SQLite would jump by the project alone, and walk through
/// the whole line of each.
const LINES: &str = "WITH RECURSIVE line (id, project_id, priority) AS (
    SELECT id, project_id, priority FROM (
        SELECT n.id, n.project_id, n.priority FROM generations n
        WHERE n.state = 2 AND n.batch_id IS NULL AND n.provider = $1 AND n.not_before <= $2 AND n.cancel_requested_at IS NULL
        ORDER BY n.project_id, n.priority, n.id LIMIT 1) AS first
    UNION ALL
    SELECT g.id, g.project_id, g.priority FROM line JOIN generations g ON g.id = coalesce((
        SELECT n.id FROM generations n
        WHERE n.state = 2 AND n.batch_id IS NULL AND n.provider = $1 AND n.not_before <= $2 AND n.cancel_requested_at IS NULL
            AND n.project_id = line.project_id AND n.priority > line.priority
        ORDER BY n.priority, n.id LIMIT 1), (
        SELECT n.id FROM generations n
        WHERE n.state = 2 AND n.batch_id IS NULL AND n.provider = $1 AND n.not_before <= $2 AND n.cancel_requested_at IS NULL
            AND n.project_id > line.project_id
        ORDER BY n.project_id, n.priority, n.id LIMIT 1)))";

/// How many wait in each `line`.
const COUNTS: &str = "SELECT line.project_id, line.priority, (SELECT count(*) FROM (
        SELECT 1 AS one FROM generations n
        WHERE n.state = 2 AND n.batch_id IS NULL AND n.provider = $1 AND n.not_before <= $2 AND n.cancel_requested_at IS NULL
            AND n.project_id = line.project_id AND n.priority = line.priority LIMIT 1000) AS counted) AS waiting
    FROM line LIMIT 100";

/// The conditions narrow down what is looked at; whether a line fits is [`Batch::admits`](crate::domain::batch::Batch::admits)'s
/// decision. Lines in order wait for the first of them, whoever makes it and whenever it may go.
const BATCH_HEADS: &str = "SELECT g.* FROM batches b JOIN generations g ON g.id = CASE WHEN b.parallel THEN (
        SELECT n.id FROM generations n
        WHERE n.state = 2 AND n.batch_id IS NOT NULL AND n.batch_id = b.id AND n.provider = $1 AND n.not_before <= $2
            AND n.cancel_requested_at IS NULL AND (b.budget IS NULL OR n.call_price <= b.budget - b.spent)
        ORDER BY n.batch_index LIMIT 1)
    ELSE (
        SELECT n.id FROM generations n
        WHERE n.state = 2 AND n.batch_id IS NOT NULL AND n.replaced_by IS NULL AND n.batch_id = b.id
        ORDER BY n.batch_index LIMIT 1)
    END
    WHERE b.visible_at IS NOT NULL AND (b.completed_at IS NULL OR b.retry_requested_at IS NOT NULL) AND b.completed_at IS NULL
        AND b.cancel_requested_at IS NULL AND b.paused_at IS NULL AND b.stopped_at IS NULL AND b.over_budget_at IS NULL
        AND b.places < CASE WHEN b.parallel THEN b.max_concurrency ELSE 1 END AND (b.deadline IS NULL OR b.deadline > $2)
        AND g.provider = $1 AND g.not_before <= $2 AND g.cancel_requested_at IS NULL
    ORDER BY b.id";
