//! Endpoints of projects, their secrets, and what clients ask of deliveries: facts, each one autocommit statement on the small pool of
//! the keys. What a try changes goes through the journal.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use entities::{webhook_deliveries, webhook_endpoints, webhook_secrets};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, DatabaseConnection, DbErr, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
    UpdateMany,
    sea_query::{Expr, OnConflict},
};

use crate::{
    domain::{
        id::{BatchId, DeliveryId, EndpointId, GenerationId, ProjectId},
        time::Timestamp,
        webhook::{Delivery, DeliveryState, Endpoint, SecretAge, TEST},
    },
    store::{StoreError, map, reads::LONGEST_LIST},
};

/// The way to them. Clones share the pool.
#[derive(Debug, Clone)]
pub struct Webhooks {
    database: DatabaseConnection,
    longest: Duration,
    /// One more with every change of an endpoint made here.
    changes: Arc<AtomicU64>,
}

/// What a list of deliveries is narrowed to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    /// Only to this endpoint.
    pub endpoint: Option<EndpointId>,
    /// Only of this state.
    pub state: Option<DeliveryState>,
    /// Only of this generation.
    pub generation: Option<GenerationId>,
    /// Only of this batch and its generations.
    pub batch: Option<BatchId>,
    /// Only older ones than this.
    pub before: Option<DeliveryId>,
}

impl Webhooks {
    /// Works through this pool.
    pub(super) fn new(database: DatabaseConnection, longest: Duration) -> Self {
        Self { database, longest, changes: Arc::default() }
    }

    async fn bounded<T>(&self, work: impl Future<Output = Result<T, DbErr>>) -> Result<T, StoreError> {
        match tokio::time::timeout(self.longest, work).await {
            Ok(result) => result.map_err(StoreError::from),
            Err(_) => Err(StoreError::Timeout),
        }
    }

    /// Grows with every change of an endpoint that is made in this process.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// Endpoints to which something is sent, of all projects, at most 1,000 after this one.
    ///
    /// # Errors
    /// `Timeout`, `Unavailable`, `Corrupt`, as all here.
    pub async fn enabled(&self, after: Option<EndpointId>) -> Result<Vec<Endpoint>, StoreError> {
        let mut query = webhook_endpoints::Entity::find()
            .filter(webhook_endpoints::Column::DisabledAt.is_null())
            .order_by_asc(webhook_endpoints::Column::Id)
            .limit(LONGEST_LIST);
        if let Some(after) = after {
            query = query.filter(webhook_endpoints::Column::Id.gt(after.0));
        }
        self.bounded(query.all(&self.database)).await?.into_iter().map(map::endpoint).collect()
    }

    /// A project's endpoints, by age.
    ///
    /// # Errors
    /// As all here.
    pub async fn endpoints(&self, project: ProjectId) -> Result<Vec<Endpoint>, StoreError> {
        let query = webhook_endpoints::Entity::find()
            .filter(webhook_endpoints::Column::ProjectId.eq(project.0))
            .order_by_asc(webhook_endpoints::Column::Id)
            .limit(LONGEST_LIST);
        self.bounded(query.all(&self.database)).await?.into_iter().map(map::endpoint).collect()
    }

    /// An endpoint.
    ///
    /// # Errors
    /// As all here.
    pub async fn endpoint(&self, id: EndpointId) -> Result<Option<Endpoint>, StoreError> {
        let found = webhook_endpoints::Entity::find_by_id(id.0).one(&self.database);
        self.bounded(found).await?.map(map::endpoint).transpose()
    }

    /// Writes a new endpoint.
    ///
    /// # Errors
    /// As all here.
    pub async fn insert(&self, endpoint: &Endpoint) -> Result<(), StoreError> {
        let row = map::endpoint_model(endpoint)?.into_active_model();
        // Without RETURNING: see `Decisions::insert`.
        self.bounded(webhook_endpoints::Entity::insert(row).exec_without_returning(&self.database)).await?;
        self.changed();
        Ok(())
    }

    /// Writes what its owner changed of an endpoint.
    ///
    /// # Errors
    /// As all here.
    pub async fn update(&self, endpoint: &Endpoint) -> Result<(), StoreError> {
        use webhook_endpoints::Column;
        let row = map::endpoint_model(endpoint)?;
        let update = webhook_endpoints::Entity::update_many()
            .col_expr(Column::Url, Expr::value(row.url))
            .col_expr(Column::Description, Expr::value(row.description))
            .col_expr(Column::Kinds, Expr::value(row.kinds))
            .col_expr(Column::Secret, Expr::value(row.secret))
            .col_expr(Column::RotatedAt, Expr::value(row.rotated_at))
            .col_expr(Column::UpdatedAt, Expr::value(row.updated_at))
            .col_expr(Column::DisabledAt, Expr::value(row.disabled_at))
            .col_expr(Column::DisabledReason, Expr::value(row.disabled_reason))
            .col_expr(Column::FailingSince, Expr::value(row.failing_since))
            .filter(Column::Id.eq(row.id));
        self.bounded(update.exec(&self.database)).await?;
        self.changed();
        Ok(())
    }

    /// Deletes an endpoint; what was on its way to it is dropped.
    ///
    /// # Errors
    /// As all here.
    pub async fn delete(&self, id: EndpointId) -> Result<(), StoreError> {
        self.bounded(webhook_endpoints::Entity::delete_by_id(id.0).exec(&self.database)).await?;
        self.changed();
        Ok(())
    }

    fn changed(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    /// How often the project's own secret was rotated.
    ///
    /// # Errors
    /// As all here.
    pub async fn secret(&self, project: ProjectId) -> Result<SecretAge, StoreError> {
        let found = self.bounded(webhook_secrets::Entity::find_by_id(project.0).one(&self.database)).await?;
        Ok(found.map_or(SecretAge::default(), |row| SecretAge { number: row.secret, rotated_at: row.rotated_at.map(Timestamp) }))
    }

    /// Writes it.
    ///
    /// # Errors
    /// As all here.
    pub async fn set_secret(&self, project: ProjectId, age: SecretAge) -> Result<(), StoreError> {
        use webhook_secrets::Column;
        let row = webhook_secrets::ActiveModel {
            project_id: Set(project.0),
            secret: Set(age.number),
            rotated_at: Set(age.rotated_at.map(|at| at.0)),
        };
        let conflict = OnConflict::column(Column::ProjectId).update_columns([Column::Secret, Column::RotatedAt]).to_owned();
        let insert = webhook_secrets::Entity::insert(row).on_conflict(conflict).exec_without_returning(&self.database);
        self.bounded(insert).await.map(|_| ())
    }

    /// A project's deliveries, the newest first.
    ///
    /// # Errors
    /// As all here.
    pub async fn deliveries(&self, project: ProjectId, filter: &DeliveryFilter, limit: u64) -> Result<Vec<Delivery>, StoreError> {
        use webhook_deliveries::Column;
        let mut query = webhook_deliveries::Entity::find()
            .filter(Column::ProjectId.eq(project.0))
            .order_by_desc(Column::Id)
            .limit(limit.min(LONGEST_LIST));
        if let Some(endpoint) = filter.endpoint {
            query = query.filter(Column::EndpointId.eq(endpoint.0));
        }
        if let Some(state) = filter.state {
            query = query.filter(Column::State.eq(state.number()));
        }
        if let Some(generation) = filter.generation {
            query = query.filter(Column::GenerationId.eq(generation.0));
        }
        if let Some(batch) = filter.batch {
            query = query.filter(Column::BatchId.eq(batch.0));
        }
        if let Some(before) = filter.before {
            query = query.filter(Column::Id.lt(before.0));
        }
        self.bounded(query.all(&self.database)).await?.into_iter().map(map::delivery).collect()
    }

    /// A delivery.
    ///
    /// # Errors
    /// As all here.
    pub async fn delivery(&self, id: DeliveryId) -> Result<Option<Delivery>, StoreError> {
        let found = webhook_deliveries::Entity::find_by_id(id.0).one(&self.database);
        self.bounded(found).await?.map(map::delivery).transpose()
    }

    /// Writes a delivery that a client asks for.
    ///
    /// # Errors
    /// As all here.
    pub async fn deliver(&self, delivery: &Delivery) -> Result<(), StoreError> {
        let row = map::delivery_model(delivery).into_active_model();
        self.bounded(webhook_deliveries::Entity::insert(row).exec_without_returning(&self.database)).await.map(|_| ())
    }

    /// Lets a delivery begin once more, whatever became of it.
    ///
    /// # Errors
    /// As all here.
    pub async fn replay(&self, id: DeliveryId, at: Timestamp) -> Result<(), StoreError> {
        let update = begun_anew(at).filter(webhook_deliveries::Column::Id.eq(id.0));
        self.bounded(update.exec(&self.database)).await.map(|_| ())
    }

    /// Lets deliveries to an endpoint begin once more that ended in this state and were made since then, the oldest first, at most
    /// 1,000; answers how many.
    ///
    /// # Errors
    /// As all here.
    pub async fn replay_since(
        &self,
        endpoint: EndpointId,
        (state, since): (DeliveryState, Timestamp),
        at: Timestamp,
    ) -> Result<u64, StoreError> {
        use webhook_deliveries::{Column, Entity};
        let chosen = Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(Column::EndpointId.eq(endpoint.0))
            .filter(Column::State.eq(state.number()))
            .filter(Column::CreatedAt.gte(since.0))
            .filter(Column::Kind.ne(TEST))
            .order_by_asc(Column::Id)
            .limit(LONGEST_LIST);
        let update = begun_anew(at).filter(Column::Id.in_subquery(chosen.into_query()));
        Ok(self.bounded(update.exec(&self.database)).await?.rows_affected)
    }
}

/// Sets what a delivery begins with.
fn begun_anew(at: Timestamp) -> UpdateMany<webhook_deliveries::Entity> {
    use webhook_deliveries::Column;
    webhook_deliveries::Entity::update_many()
        .col_expr(Column::State, Expr::value(DeliveryState::Pending.number()))
        .col_expr(Column::Tries, Expr::value(0))
        .col_expr(Column::NextAt, Expr::value(at.0))
        .col_expr(Column::EndedAt, Expr::value(Option::<i64>::None))
}
