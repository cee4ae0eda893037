//! Who waits for whom. What depends on a generation depends on its line: a retry takes its place.

use std::collections::BTreeMap;

use entities::{attempts, dependencies, generations};
use sea_orm::{ColumnTrait, EntityTrait, FromQueryResult, JoinType, QueryFilter, QueryOrder, QuerySelect, sea_query::Expr};
use uuid::Uuid;

use super::{LONGEST_LIST, Reads, UNFINISHED};
use crate::{
    domain::{
        attempt::AttemptState,
        id::{AttemptId, BatchId, GenerationId},
        record::{Generation, Kind},
        time::Timestamp,
    },
    store::{StoreError, map},
};

/// How often a line may have been retried, as far as its newest generation is looked for: each time somebody asked for it.
const LONGEST_CHAIN: usize = 100;
/// As the partial index of what waits has it; a bound value would hide it from the planner.
const WAITING: &str = "state = 0";

/// A running attempt that holds a place in a batch.
#[derive(Debug, Clone, FromQueryResult)]
pub struct PlaceRow {
    id: Uuid,
    generation_id: Uuid,
    batch_id: Uuid,
    /// Provider section.
    pub provider: String,
    /// `modelIdentifier`.
    pub model: String,
    kind: i16,
    created_at: i64,
    submitted_at: Option<i64>,
}

impl PlaceRow {
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

    /// Its batch.
    #[must_use]
    pub const fn batch(&self) -> BatchId {
        BatchId(self.batch_id)
    }

    /// What it makes; none when the row is corrupt.
    #[must_use]
    pub const fn kind(&self) -> Option<Kind> {
        map::kind_of(self.kind)
    }

    /// When the provider accepted it.
    #[must_use]
    pub fn submitted_at(&self) -> Timestamp {
        Timestamp(self.submitted_at.unwrap_or(self.created_at))
    }
}

impl Reads {
    /// Running attempts that hold places in batches, by id; `after` is the last one of the page before.
    ///
    /// # Errors
    /// As every read.
    pub async fn places(&self, after: Option<AttemptId>, limit: u64) -> Result<Vec<PlaceRow>, StoreError> {
        let of =
            attempts::Entity::belongs_to(generations::Entity).from(attempts::Column::GenerationId).to(generations::Column::Id);
        let mut query = attempts::Entity::find()
            .join(JoinType::InnerJoin, of.into())
            .filter(attempts::Column::State.lt(UNFINISHED))
            .filter(attempts::Column::State.eq(AttemptState::Running.number()))
            .filter(attempts::Column::ReleasedAt.is_null())
            .filter(generations::Column::BatchId.is_not_null())
            .select_only()
            .columns([
                attempts::Column::Id,
                attempts::Column::GenerationId,
                attempts::Column::Provider,
                attempts::Column::Model,
                attempts::Column::Kind,
                attempts::Column::CreatedAt,
                attempts::Column::SubmittedAt,
            ])
            .column(generations::Column::BatchId)
            .order_by_asc(attempts::Column::Id)
            .limit(limit.min(LONGEST_LIST));
        if let Some(after) = after {
            query = query.filter(attempts::Column::Id.gt(after.0));
        }
        self.bounded(query.into_model().all(&self.database)).await
    }

    /// What these generations depend on, each dependency as the newest of its line, by dependent.
    ///
    /// # Errors
    /// As every read; `Corrupt` when one of them cannot be read, since nothing may be decided without it.
    pub async fn dependencies(&self, of: &[GenerationId]) -> Result<BTreeMap<GenerationId, Vec<Generation>>, StoreError> {
        let ids = of.iter().map(|id| id.0);
        let query = dependencies::Entity::find().filter(dependencies::Column::GenerationId.is_in(ids));
        let edges = self.bounded(query.all(&self.database)).await?;
        let newest = self.newest_of_lines(edges.iter().map(|edge| edge.on_id).collect()).await?;
        let mut known: BTreeMap<GenerationId, Vec<Generation>> = BTreeMap::new();
        for edge in edges {
            let missing = || StoreError::Corrupt { what: "dependency", id: GenerationId(edge.on_id).to_string() };
            let on = newest.get(&edge.on_id).cloned().ok_or_else(missing)?;
            known.entry(GenerationId(edge.generation_id)).or_default().push(on);
        }
        Ok(known)
    }

    /// These generations, each as the newest of its line.
    async fn newest_of_lines(&self, mut wanted: Vec<Uuid>) -> Result<BTreeMap<Uuid, Generation>, StoreError> {
        let mut known: BTreeMap<Uuid, Generation> = BTreeMap::new();
        let asked = wanted.clone();
        for _ in 0..LONGEST_CHAIN {
            wanted.sort_unstable();
            wanted.dedup();
            if wanted.is_empty() {
                break;
            }
            let query = generations::Entity::find().filter(generations::Column::Id.is_in(wanted));
            let rows = self.bounded(query.all(&self.database)).await?;
            let rows: Vec<Generation> = rows.into_iter().map(map::generation).collect::<Result<_, _>>()?;
            wanted = rows.iter().filter_map(|row| row.replaced_by).map(|id| id.0).collect();
            known.extend(rows.into_iter().map(|row| (row.id.0, row)));
        }
        let last = |id: Uuid| {
            let mut row = known.get(&id)?;
            while let Some(next) = row.replaced_by.and_then(|id| known.get(&id.0)) {
                row = next;
            }
            Some((id, row.clone()))
        };
        Ok(asked.into_iter().filter_map(last).collect())
    }

    /// Those that wait for this generation, or for one whose line it took. At most 1,000.
    ///
    /// # Errors
    /// As every read.
    pub async fn dependents(&self, of: &Generation) -> Result<Vec<GenerationId>, StoreError> {
        let mut line = vec![of.id.0];
        if let Some(place) = &of.batch {
            let replaced = generations::Entity::find()
                .filter(generations::Column::BatchId.eq(place.id.0))
                .filter(generations::Column::BatchIndex.eq(i64::from(place.index)))
                .filter(generations::Column::ReplacedBy.is_not_null());
            let replaced = replaced.select_only().column(generations::Column::Id).limit(LONGEST_LIST).into_tuple::<Uuid>();
            line.extend(self.bounded(replaced.all(&self.database)).await?);
        }
        let query = waiting().filter(dependencies::Column::OnId.is_in(line)).limit(LONGEST_LIST);
        self.waiting_ids(query).await
    }

    /// Those that wait although something they depend on has ended, by id; `after` is the last one of the page before. What is
    /// missing may be the end of another.
    ///
    /// # Errors
    /// As every read.
    pub async fn dependents_due(&self, after: Option<GenerationId>, limit: u64) -> Result<Vec<GenerationId>, StoreError> {
        const ENDED: &str = "EXISTS (SELECT 1 FROM generations o WHERE o.id = dependencies.on_id AND o.state >= 10)";
        let mut query =
            waiting().filter(Expr::cust(ENDED)).order_by_asc(dependencies::Column::GenerationId).limit(limit.min(LONGEST_LIST));
        if let Some(after) = after {
            query = query.filter(dependencies::Column::GenerationId.gt(after.0));
        }
        self.waiting_ids(query).await
    }

    async fn waiting_ids(&self, query: sea_orm::Select<dependencies::Entity>) -> Result<Vec<GenerationId>, StoreError> {
        let query = query.select_only().column(dependencies::Column::GenerationId).distinct().into_tuple::<Uuid>();
        Ok(self.bounded(query.all(&self.database)).await?.into_iter().map(GenerationId).collect())
    }
}

/// Dependencies of what waits and can be seen.
fn waiting() -> sea_orm::Select<dependencies::Entity> {
    let of = dependencies::Entity::belongs_to(generations::Entity)
        .from(dependencies::Column::GenerationId)
        .to(generations::Column::Id);
    dependencies::Entity::find()
        .join(JoinType::InnerJoin, of.into())
        .filter(Expr::cust(WAITING))
        .filter(super::batches::visible())
}
