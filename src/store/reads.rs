//! Reads, on connections that cannot write. Every list is bounded and every read has a longest time. Lists never touch the
//! payload tables. A connection belongs to the runtime on which it was opened, so reads are called on the runtime that owns the
//! sockets (arbiters share it; workers of the HTTP server hop to it).

mod batches;
mod dependencies;
mod claims;
mod deliveries;
pub mod events;
mod history;
mod list;
mod owed;
pub mod queue;
mod rows;
mod spend;
mod unconfirmed;
mod videos;
mod waiting;

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use entities::{assets, attempt_payloads, attempts, generation_payloads, generations, submit_evidence};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait, FromQueryResult as _, QueryFilter, QueryOrder,
    QuerySelect, Statement,
    sea_query::{self, Expr},
};
use uuid::Uuid;

pub use dependencies::PlaceRow;
pub use events::{OutboxMarks, OutboxPage};
pub use history::HistoryRow;
pub use list::ListFilter;
pub use rows::{EvidenceRow, Loaded, StateCounts};
pub use spend::{Spend, SpendBy, SpendFilter, SpendRow};
pub use videos::VideoPage;
pub use waiting::{SlotRow, Took, WaitingRow};

use rows::{Counts, assemble, evidence_row, grouped, parse};

use crate::{
    domain::{
        attempt::AttemptState,
        generation::GenerationState,
        id::{AssetId, AttemptId, GenerationId},
        record::{Asset, AssetState, Attempt, Generation, GenerationRequest},
        time::Timestamp,
    },
    store::{
        StoreError,
        connect::CLOSE_WITHIN,
        map,
        recent::{Recent, Remembered},
    },
};

/// The most rows one read answers.
pub const LONGEST_LIST: u64 = 1_000;
/// States below this number are unfinished, of generations and of attempts.
const UNFINISHED: i16 = 10;
/// How many corrupt rows are remembered as logged; past it they are logged again.
const REMEMBERED: usize = 1_000;

/// The way to read. Clones share the pool.
#[derive(Debug, Clone)]
pub struct Reads {
    database: DatabaseConnection,
    recent: Recent,
    longest: Duration,
    corrupt: Arc<Mutex<HashSet<String>>>,
    asked: Arc<AtomicU64>,
}

impl Reads {
    /// Reads through this pool.
    pub(super) fn new(database: DatabaseConnection, recent: Recent, longest: Duration) -> Self {
        Self { database, recent, longest, corrupt: Arc::default(), asked: Arc::default() }
    }

    /// Ends the pool.
    pub(super) async fn close(&self) {
        // A connection whose answer never comes (a pool asks each one that is handed back) would be waited for without end.
        match tokio::time::timeout(CLOSE_WITHIN, self.database.close_by_ref()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = %error, "closing the readers failed"),
            Err(_) => tracing::warn!("a connection does not answer; it ends with the process"),
        }
    }

    /// Queries so far: what memory answers is none.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    async fn bounded<T>(&self, reading: impl Future<Output = Result<T, DbErr>>) -> Result<T, StoreError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        match tokio::time::timeout(self.longest, reading).await {
            Ok(result) => result.map_err(StoreError::from),
            Err(_) => Err(StoreError::Timeout),
        }
    }

    /// Maps a list; a row that cannot be mapped is logged once and left out, so that it takes no other along.
    fn sound<M, T>(&self, rows: Vec<M>, map: impl Fn(M) -> Result<T, StoreError>) -> Vec<T> {
        rows.into_iter().filter_map(|row| map(row).map_err(|error| self.report(&error)).ok()).collect()
    }

    fn report(&self, error: &StoreError) {
        let text = error.to_string();
        let mut seen = self.corrupt.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= REMEMBERED {
            seen.clear();
        }
        if seen.insert(text.clone()) {
            tracing::error!(error = text, "a row was left out");
        }
    }

    /// A generation.
    ///
    /// # Errors
    /// As every read: `Timeout`, `Unavailable`; single rows also `Corrupt`.
    pub async fn generation(&self, id: GenerationId) -> Result<Option<Generation>, StoreError> {
        if let Some(known) = self.recent.generation(id) {
            return Ok(Some(known));
        }
        let row = self.bounded(generations::Entity::find_by_id(id.0).one(&self.database)).await?;
        row.map(map::generation).transpose()
    }

    /// What this process remembers of a generation without asking the database.
    #[must_use]
    pub fn remembered(&self, id: GenerationId) -> Remembered {
        self.recent.remembered(id)
    }

    /// A generation with its attempts and assets; unreadable attempts or assets make it unreadable.
    ///
    /// # Errors
    /// As [`Reads::generation`].
    pub async fn load(&self, id: GenerationId) -> Result<Option<Loaded>, StoreError> {
        if let Some(known) = self.recent.loaded(id) {
            return Ok(Some(known));
        }
        let Some(generation) = self.generation(id).await? else { return Ok(None) };
        let attempts = self.bounded(attempts_of(&[id.0]).all(&self.database)).await?;
        let assets = self.bounded(assets_of(&[id.0]).all(&self.database)).await?;
        let attempts = attempts.into_iter().map(map::attempt).collect::<Result<_, _>>()?;
        let assets = assets.into_iter().map(map::asset).collect::<Result<_, _>>()?;
        Ok(Some(Loaded { generation, attempts, assets }))
    }

    /// Several at once, in the order asked for; unknown and corrupt ones are left out. At most 1,000.
    ///
    /// # Errors
    /// As every read.
    pub async fn loads(&self, ids: &[GenerationId]) -> Result<Vec<Loaded>, StoreError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).take(usize::try_from(LONGEST_LIST).unwrap_or(usize::MAX)).collect();
        let found = generations::Entity::find().filter(generations::Column::Id.is_in(ids.clone()));
        let rows = self.bounded(found.all(&self.database)).await?;
        let attempts = self.bounded(attempts_of(&ids).all(&self.database)).await?;
        let assets = self.bounded(assets_of(&ids).all(&self.database)).await?;
        // A generation of which some part is corrupt is left out whole: half of it would be decided on wrongly.
        let mut attempts_by = grouped(attempts, |row| row.generation_id);
        let mut assets_by = grouped(assets, |row| row.generation_id);
        let mut loaded: BTreeMap<Uuid, Loaded> = BTreeMap::new();
        for row in rows {
            let id = row.id;
            let parts = (attempts_by.remove(&id).unwrap_or_default(), assets_by.remove(&id).unwrap_or_default());
            match assemble(row, parts) {
                Ok(whole) => drop(loaded.insert(id, whole)),
                Err(error) => self.report(&error),
            }
        }
        Ok(ids.iter().filter_map(|id| loaded.remove(id)).collect())
    }

    /// What the client asked for.
    ///
    /// # Errors
    /// As [`Reads::generation`].
    pub async fn request(&self, id: GenerationId) -> Result<Option<GenerationRequest>, StoreError> {
        if let Some(known) = self.recent.request(id) {
            return Ok(Some(Arc::unwrap_or_clone(known)));
        }
        let row = self.bounded(generation_payloads::Entity::find_by_id(id.0).one(&self.database)).await?;
        row.map(|row| parse("generation request", id.to_string(), &row.request)).transpose()
    }

    /// The row as this process wrote it last: while the database was asked, it may have moved on. None when it is over.
    #[must_use]
    pub fn as_written(&self, row: Generation) -> Option<Generation> {
        match self.recent.remembered(row.id) {
            Remembered::Row(newer) => Some(*newer),
            Remembered::Over { .. } => None,
            Remembered::Nothing => Some(row),
        }
    }

    /// Generations whose queue deadline has passed before a first submit, oldest deadline first.
    ///
    /// # Errors
    /// As every read.
    pub async fn queue_expired(&self, now: Timestamp, limit: u64) -> Result<Vec<GenerationId>, StoreError> {
        let states = [GenerationState::Waiting, GenerationState::Preparing, GenerationState::Queued];
        let query = generations::Entity::find()
            .filter(generations::Column::EndedAt.is_null())
            .filter(generations::Column::State.is_in(states.map(GenerationState::number)))
            .filter(generations::Column::QueueDeadline.lte(now.0))
            .filter(batches::visible())
            .order_by_asc(generations::Column::QueueDeadline);
        self.ids(query, limit).await
    }

    /// Unfinished generations that a client wants cancelled.
    ///
    /// # Errors
    /// As every read.
    pub async fn cancel_wanted(&self, limit: u64) -> Result<Vec<GenerationId>, StoreError> {
        let query = generations::Entity::find()
            .filter(unfinished(generations::Column::State))
            .filter(generations::Column::CancelRequestedAt.is_not_null())
            .order_by_asc(generations::Column::Id);
        let wanted = self.ids(query, limit).await?;
        // The wish may have been written by another process: whoever acts on it must see it.
        wanted.iter().for_each(|id| self.recent.forget(*id));
        Ok(wanted)
    }

    async fn ids(&self, query: sea_orm::Select<generations::Entity>, limit: u64) -> Result<Vec<GenerationId>, StoreError> {
        let query = query.select_only().column(generations::Column::Id).limit(limit.min(LONGEST_LIST)).into_tuple::<Uuid>();
        Ok(self.bounded(query.all(&self.database)).await?.into_iter().map(GenerationId).collect())
    }

    /// Attempts in an unended state, by id; `after` is the last one of the page before. Ended states answer nothing.
    ///
    /// # Errors
    /// As every read.
    pub async fn attempts_in(
        &self,
        state: AttemptState,
        after: Option<AttemptId>,
        limit: u64,
    ) -> Result<Vec<Attempt>, StoreError> {
        let mut query = attempts::Entity::find()
            .filter(unfinished(attempts::Column::State))
            .filter(in_state(attempts::Column::State, state.number()))
            .order_by_asc(attempts::Column::Id)
            .limit(limit.min(LONGEST_LIST));
        if let Some(after) = after {
            query = query.filter(attempts::Column::Id.gt(after.0));
        }
        Ok(self.sound(self.bounded(query.all(&self.database)).await?, map::attempt))
    }

    /// An attempt.
    ///
    /// # Errors
    /// As [`Reads::generation`].
    pub async fn attempt(&self, id: AttemptId) -> Result<Option<Attempt>, StoreError> {
        if let Some(known) = self.recent.attempt(id) {
            return Ok(Some(known));
        }
        let row = self.bounded(attempts::Entity::find_by_id(id.0).one(&self.database)).await?;
        row.map(map::attempt).transpose()
    }

    /// The request of an attempt, without credential.
    ///
    /// # Errors
    /// As [`Reads::generation`].
    pub async fn attempt_request(&self, id: AttemptId) -> Result<Option<serde_json::Value>, StoreError> {
        let row = self.bounded(attempt_payloads::Entity::find_by_id(id.0).one(&self.database)).await?;
        row.map(|row| parse("attempt request", id.to_string(), &row.request)).transpose()
    }

    /// Assets still to be fetched, by id; `after` is the last one of the page before.
    ///
    /// # Errors
    /// As every read.
    pub async fn pending_assets(&self, after: Option<AssetId>, limit: u64) -> Result<Vec<Asset>, StoreError> {
        let mut query = assets::Entity::find()
            .filter(in_state(assets::Column::State, AssetState::Pending.number()))
            .order_by_asc(assets::Column::Id)
            .limit(limit.min(LONGEST_LIST));
        if let Some(after) = after {
            query = query.filter(assets::Column::Id.gt(after.0));
        }
        Ok(self.sound(self.bounded(query.all(&self.database)).await?, map::asset))
    }

    /// What providers told us about an attempt, in the order it was written.
    ///
    /// # Errors
    /// As every read.
    pub async fn evidence(&self, attempt: AttemptId) -> Result<Vec<EvidenceRow>, StoreError> {
        let query = submit_evidence::Entity::find()
            .filter(submit_evidence::Column::AttemptId.eq(attempt.0))
            .order_by_asc(submit_evidence::Column::Id)
            .limit(LONGEST_LIST);
        Ok(self.sound(self.bounded(query.all(&self.database)).await?, evidence_row))
    }

    /// How many generations are unfinished.
    ///
    /// # Errors
    /// As every read.
    pub async fn counts(&self) -> Result<StateCounts, StoreError> {
        let query = Statement::from_string(self.database.get_database_backend(), COUNTS);
        let counts = self.bounded(Counts::find_by_statement(query).one(&self.database)).await?;
        Ok(counts.map(StateCounts::from).unwrap_or_default())
    }

    /// Whether a reader answers in time.
    ///
    /// # Errors
    /// As every read.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.bounded(self.database.execute_unprepared("SELECT 1")).await.map(|_| ())
    }
}

/// Each count by an index that holds nothing else. A generation is queued alone or as a line.
const COUNTS: &str = "
    SELECT (SELECT count(*) FROM generations WHERE ended_at IS NULL) AS unended,
        (SELECT count(*) FROM generations WHERE state = 0) AS waiting,
        (SELECT count(*) FROM generations WHERE state = 1) AS preparing,
        (SELECT count(*) FROM generations WHERE state = 2 AND batch_id IS NULL)
            + (SELECT count(*) FROM generations WHERE state = 2 AND batch_id IS NOT NULL) AS queued";

/// A condition that a partial index has, too. Its number stands in the statement's text: SQLite prepares a statement anew at each
/// run when a bound value decides whether a partial index may serve (where.c, `whereUsablePartialIndex`).
fn unfinished(state: impl ColumnTrait) -> Expr {
    sea_query::ExprTrait::lt(state.into_expr(), Expr::Constant(UNFINISHED.into()))
}

/// As [`unfinished`], for one state.
fn in_state(state: impl ColumnTrait, number: i16) -> Expr {
    sea_query::ExprTrait::eq(state.into_expr(), Expr::Constant(number.into()))
}

fn attempts_of(ids: &[Uuid]) -> sea_orm::Select<attempts::Entity> {
    attempts::Entity::find().filter(attempts::Column::GenerationId.is_in(ids.iter().copied())).order_by_asc(attempts::Column::N)
}

fn assets_of(ids: &[Uuid]) -> sea_orm::Select<assets::Entity> {
    assets::Entity::find()
        .filter(assets::Column::GenerationId.is_in(ids.iter().copied()))
        .order_by_asc(assets::Column::Idx)
        .order_by_asc(assets::Column::Id)
}

#[cfg(test)]
mod tests {
    use sqlx::Row as _;

    use super::*;
    use crate::{config::store::StoreConfig, store::connect};

    /// A look at each row would cost a busy service a second of CPU for every health check.
    #[tokio::test]
    async fn generations_are_counted_by_their_indexes_alone() {
        let folder = tempfile::tempdir().unwrap();
        let target = connect::Target::of(&StoreConfig::default(), folder.path()).unwrap();
        connect::migrate(&target).await.unwrap();
        let plan = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {COUNTS}"));
        let pool = target.readers(1);
        let steps = sqlx::query(plan).fetch_all(pool.get_sqlite_connection_pool()).await.unwrap();
        let steps: Vec<String> = steps.iter().map(|step| step.get("detail")).collect();
        let looks: Vec<_> = steps.iter().filter(|step| step.contains("generations")).collect();
        assert!(looks.len() == 5 && looks.iter().all(|step| step.contains("USING COVERING INDEX")), "{steps:#?}");
    }
}
