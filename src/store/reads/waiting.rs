//! Narrow reads for those who hold many attempts in memory: what the poller keeps of each, and whose slots are taken. A million
//! rows are read in pages.

use entities::{attempts, events, history};
use sea_orm::{ColumnTrait, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect, Select};
use uuid::Uuid;

use crate::{
    domain::{
        attempt::AttemptState,
        id::{AttemptId, GenerationId},
        record::{Endpoint, Handle, Kind},
        time::Timestamp,
    },
    store::{
        Reads, StoreError, map,
        reads::{LONGEST_LIST, in_state, unfinished},
    },
};

/// Newest events that are looked through for what ended lately.
const LATELY: u64 = 1_000;

/// What the poller keeps of a running attempt.
#[derive(Debug, Clone, FromQueryResult)]
pub struct WaitingRow {
    id: Uuid,
    generation_id: Uuid,
    /// Provider section.
    pub provider: String,
    /// Account of it.
    pub account: String,
    kind: i16,
    /// `modelIdentifier`.
    pub model: String,
    endpoint: String,
    handle: Option<String>,
    created_at: i64,
    submitted_at: Option<i64>,
}

impl WaitingRow {
    /// The attempt.
    #[must_use]
    pub const fn id(&self) -> AttemptId {
        AttemptId(self.id)
    }

    /// Its generation.
    #[must_use]
    pub const fn generation(&self) -> GenerationId {
        GenerationId(self.generation_id)
    }

    /// When the provider accepted it.
    #[must_use]
    pub fn submitted_at(&self) -> Timestamp {
        Timestamp(self.submitted_at.unwrap_or(self.created_at))
    }

    /// A text that is equal for all attempts of one model, account and endpoint.
    #[must_use]
    pub fn route_key(&self) -> String {
        format!("{}\n{}\n{}\n{}\n{}", self.provider, self.account, self.model, self.kind, self.endpoint)
    }

    /// Where it was sent and what it makes; none when the row is corrupt.
    #[must_use]
    pub fn sent(&self) -> Option<(Endpoint, Kind)> {
        Some((serde_json::from_str(&self.endpoint).ok()?, map::kind_of(self.kind)?))
    }

    /// What the provider gave us; none when the row is corrupt.
    #[must_use]
    pub fn handle(&self) -> Option<Handle> {
        self.handle.as_deref().map_or(Some(Handle::default()), |text| serde_json::from_str(text).ok())
    }
}

/// Whose slot an open attempt takes.
#[derive(Debug, Clone, FromQueryResult)]
pub struct SlotRow {
    id: Uuid,
    /// Provider section.
    pub provider: String,
    /// Account of it.
    pub account: String,
}

impl SlotRow {
    /// The attempt.
    #[must_use]
    pub const fn id(&self) -> AttemptId {
        AttemptId(self.id)
    }
}

/// How long the provider worked on an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Took {
    /// `modelIdentifier`.
    pub model: String,
    /// Accepted.
    pub submitted_at: Timestamp,
    /// Found finished.
    pub finished_at: Timestamp,
}

#[derive(FromQueryResult)]
struct AttemptOf {
    generation_id: Uuid,
    n: i32,
    model: String,
    submitted_at: i64,
}

impl Reads {
    /// Running attempts, by id; `after` is the last one of the page before. At most 1,000.
    ///
    /// # Errors
    /// As every read.
    pub async fn running(&self, after: Option<AttemptId>) -> Result<Vec<WaitingRow>, StoreError> {
        let query = waiting(unended(AttemptState::Running, after));
        self.bounded(query.into_model().all(&self.database)).await
    }

    /// Those of these attempts that run. At most 1,000.
    ///
    /// # Errors
    /// As every read.
    pub async fn running_of(&self, ids: &[AttemptId]) -> Result<Vec<WaitingRow>, StoreError> {
        let ids = ids.iter().map(|id| id.0);
        let query = attempts::Entity::find()
            .filter(attempts::Column::Id.is_in(ids))
            .filter(in_state(attempts::Column::State, AttemptState::Running.number()))
            .limit(LONGEST_LIST);
        self.bounded(waiting(query).into_model().all(&self.database)).await
    }

    /// Whose slots the attempts in an unended state take; `after` is the last one of the page before. At most 1,000.
    ///
    /// # Errors
    /// As every read.
    pub async fn slots_taken(&self, state: AttemptState, after: Option<AttemptId>) -> Result<Vec<SlotRow>, StoreError> {
        let query = unended(state, after).select_only().columns([
            attempts::Column::Id,
            attempts::Column::Provider,
            attempts::Column::Account,
        ]);
        self.bounded(query.into_model().all(&self.database)).await
    }

    /// How long providers worked on what finished lately, in no order.
    ///
    /// # Errors
    /// As every read.
    pub async fn took_lately(&self) -> Result<Vec<Took>, StoreError> {
        let newest = events::Entity::find().filter(events::Column::GenerationId.is_not_null());
        let newest = newest.select_only().column(events::Column::GenerationId);
        let newest = newest.order_by_desc(events::Column::Id).limit(LATELY).into_tuple::<Uuid>();
        let ids = self.bounded(newest.all(&self.database)).await?;
        let finished = self.history_of(&ids, Some(AttemptState::Storing.as_str())).await?;
        let columns =
            [attempts::Column::GenerationId, attempts::Column::N, attempts::Column::Model, attempts::Column::SubmittedAt];
        let known = attempts::Entity::find()
            .filter(attempts::Column::GenerationId.is_in(ids))
            .filter(attempts::Column::SubmittedAt.is_not_null())
            .select_only()
            .columns(columns)
            .limit(LONGEST_LIST);
        let known: Vec<AttemptOf> = self.bounded(known.into_model().all(&self.database)).await?;
        let took = |attempt: AttemptOf| {
            let of_it = |row: &&history::Model| row.generation_id == attempt.generation_id && row.attempt == attempt.n;
            let at = finished.iter().find(of_it)?.at;
            let (submitted_at, finished_at) = (Timestamp(attempt.submitted_at), Timestamp(at));
            Some(Took { model: attempt.model, submitted_at, finished_at })
        };
        Ok(known.into_iter().filter_map(took).collect())
    }
}

fn unended(state: AttemptState, after: Option<AttemptId>) -> Select<attempts::Entity> {
    let query = attempts::Entity::find()
        .filter(unfinished(attempts::Column::State))
        .filter(in_state(attempts::Column::State, state.number()))
        .order_by_asc(attempts::Column::Id)
        .limit(LONGEST_LIST);
    match after {
        Some(after) => query.filter(attempts::Column::Id.gt(after.0)),
        None => query,
    }
}

fn waiting(query: Select<attempts::Entity>) -> Select<attempts::Entity> {
    query.select_only().columns([
        attempts::Column::Id,
        attempts::Column::GenerationId,
        attempts::Column::Provider,
        attempts::Column::Account,
        attempts::Column::Kind,
        attempts::Column::Model,
        attempts::Column::Endpoint,
        attempts::Column::Handle,
        attempts::Column::CreatedAt,
        attempts::Column::SubmittedAt,
    ])
}
