//! What happened to generations. PostgreSQL finds a history by its key; on SQLite it is a chain that begins at its generation, so that
//! writing it touches no page of its own.

use entities::history::{Column, Entity, Model};
use sea_orm::{ColumnTrait, DbBackend, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Statement};
use uuid::Uuid;

use super::{LONGEST_LIST, Reads};
use crate::{
    domain::{id::GenerationId, time::Timestamp},
    store::StoreError,
};

/// A row of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryRow {
    /// Attempt number; 0 for the generation itself.
    pub attempt: u16,
    /// State before.
    pub from: String,
    /// State after.
    pub to: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// A generation without history has no end of it either.
const CHAIN: &str = "
    WITH RECURSIVE line (seq) AS (
        SELECT history_head FROM generations WHERE id IN (SELECT unhex(value) FROM json_each(?1))
        UNION ALL
        SELECT h.prev FROM line CROSS JOIN history h ON h.seq = line.seq
    )
    SELECT h.generation_id, h.seq, h.attempt, h.from_state, h.to_state, h.reason, h.at
    FROM line CROSS JOIN history h ON h.seq = line.seq WHERE ?2 IS NULL OR h.to_state = ?2 ORDER BY h.seq LIMIT ?3";

impl Reads {
    /// What happened, in order. A generation's first 1,000 rows.
    ///
    /// # Errors
    /// As every read.
    pub async fn history(&self, id: GenerationId) -> Result<Vec<HistoryRow>, StoreError> {
        Ok(self.sound(self.history_of(&[id.0], None).await?, history_row))
    }

    /// The rows of these generations, each one's in order; of those that say so, where a state after is given. At most 1,000.
    pub(super) async fn history_of(&self, ids: &[Uuid], to: Option<&str>) -> Result<Vec<Model>, StoreError> {
        let query = match self.database.get_database_backend() {
            DbBackend::Postgres => {
                let of_these = Entity::find().filter(Column::GenerationId.is_in(ids.iter().copied()));
                let query = to.map_or(of_these.clone(), |to| of_these.filter(Column::ToState.eq(to)));
                return self.bounded(query.order_by_asc(Column::Seq).limit(LONGEST_LIST).all(&self.database)).await;
            }
            backend @ (DbBackend::Sqlite | DbBackend::MySql | _) => {
                let ids = serde_json::json!(ids.iter().map(|id| id.simple().to_string()).collect::<Vec<_>>()).to_string();
                Statement::from_sql_and_values(backend, CHAIN, [ids.into(), to.map(str::to_owned).into(), LONGEST_LIST.into()])
            }
        };
        self.bounded(Entity::find().from_raw_sql(query).all(&self.database)).await
    }
}

fn history_row(row: Model) -> Result<HistoryRow, StoreError> {
    let id = row.generation_id;
    let attempt = u16::try_from(row.attempt)
        .map_err(|_| StoreError::Corrupt { what: "history", id: format!("{} {}", GenerationId(id), row.seq) })?;
    Ok(HistoryRow { attempt, from: row.from_state, to: row.to_state, reason: row.reason, at: Timestamp(row.at) })
}
