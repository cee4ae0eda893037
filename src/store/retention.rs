//! What is kept for a time only and then removed: short autocommit statements beside the journal, of so many rows at a time that no
//! other writer waits for long. Never touches unfinished work.

use std::time::Duration;

use entities::{idempotency, webhook_deliveries};
use sea_orm::{ColumnTrait, DatabaseConnection, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait};

use crate::{
    domain::time::Timestamp,
    store::{StoreError, reads::LONGEST_LIST},
};

/// Removes what is old. Clones share the pool.
#[derive(Debug, Clone)]
pub struct Retention {
    database: DatabaseConnection,
    longest: Duration,
}

impl Retention {
    /// Works through this pool.
    pub(super) const fn new(database: DatabaseConnection, longest: Duration) -> Self {
        Self { database, longest }
    }

    /// Removes deliveries that ended, made before this instant, the oldest first, at most 1,000; answers whether there may be more.
    ///
    /// # Errors
    /// `Timeout`, `Unavailable`.
    pub async fn deliveries(&self, before: Timestamp) -> Result<bool, StoreError> {
        use webhook_deliveries::{Column, Entity};
        let old = Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(Column::CreatedAt.lt(before.0))
            .filter(Column::EndedAt.is_not_null())
            .order_by_asc(Column::Id)
            .limit(LONGEST_LIST);
        let delete = Entity::delete_many().filter(Column::Id.in_subquery(old.into_query()));
        match tokio::time::timeout(self.longest, delete.exec(&self.database)).await {
            Ok(done) => Ok(done?.rows_affected >= LONGEST_LIST),
            Err(_) => Err(StoreError::Timeout),
        }
    }

    /// Removes claims from before this instant, the oldest first, at most 1,000; answers whether there may be more.
    ///
    /// # Errors
    /// `Timeout`, `Unavailable`.
    pub async fn claims(&self, before: Timestamp) -> Result<bool, StoreError> {
        let old = idempotency::Entity::find()
            .select_only()
            .column(idempotency::Column::Id)
            .filter(idempotency::Column::At.lt(before.0))
            .order_by_asc(idempotency::Column::At)
            .limit(LONGEST_LIST);
        let delete = idempotency::Entity::delete_many().filter(idempotency::Column::Id.in_subquery(old.into_query()));
        match tokio::time::timeout(self.longest, delete.exec(&self.database)).await {
            Ok(done) => Ok(done?.rows_affected >= LONGEST_LIST),
            Err(_) => Err(StoreError::Timeout),
        }
    }
}
