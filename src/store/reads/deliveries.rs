//! What the stage that tells clients reads: URLs that were named with generations and batches, and what is to be sent, target by
//! target, so that a long queue before one hides no other.

use std::collections::HashMap;

use entities::{batches, generation_webhooks, webhook_deliveries};
use sea_orm::{ColumnTrait, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect, Statement, sea_query::Expr};
use uuid::Uuid;

use super::{LONGEST_LIST, Reads};
use crate::{
    domain::{
        id::{BatchId, GenerationId},
        webhook::Delivery,
    },
    store::{StoreError, map},
};

#[derive(Debug, FromQueryResult)]
struct TargetRow {
    target: Uuid,
}

/// Each target with something pending once, by jumps from one to the next in the index: a million rows before one cost nothing.
const TARGETS: &str = "WITH RECURSIVE t (target) AS (
        SELECT * FROM (SELECT target FROM webhook_deliveries WHERE state = 0 ORDER BY target LIMIT 1) AS first
        UNION ALL
        SELECT (SELECT d.target FROM webhook_deliveries d WHERE d.state = 0 AND d.target > t.target ORDER BY d.target LIMIT 1)
        FROM t WHERE t.target IS NOT NULL
    ) SELECT target FROM t WHERE target IS NOT NULL LIMIT 10000";

impl Reads {
    /// URLs that were named with these generations.
    ///
    /// # Errors
    /// As every read.
    pub async fn webhook_urls(&self, ids: &[GenerationId]) -> Result<HashMap<GenerationId, String>, StoreError> {
        let ids = ids.iter().map(|id| id.0);
        let query = generation_webhooks::Entity::find().filter(generation_webhooks::Column::GenerationId.is_in(ids));
        let rows = self.bounded(query.limit(LONGEST_LIST).all(&self.database)).await?;
        Ok(rows.into_iter().map(|row| (GenerationId(row.generation_id), row.url)).collect())
    }

    /// URLs that were named with these batches.
    ///
    /// # Errors
    /// As every read.
    pub async fn batch_webhook_urls(&self, ids: &[BatchId]) -> Result<HashMap<BatchId, String>, StoreError> {
        let ids = ids.iter().map(|id| id.0);
        let query = batches::Entity::find()
            .filter(batches::Column::Id.is_in(ids))
            .filter(batches::Column::WebhookUrl.is_not_null())
            .select_only()
            .columns([batches::Column::Id, batches::Column::WebhookUrl])
            .limit(LONGEST_LIST)
            .into_tuple::<(Uuid, String)>();
        let rows = self.bounded(query.all(&self.database)).await?;
        Ok(rows.into_iter().map(|(id, url)| (BatchId(id), url)).collect())
    }

    /// Targets with something pending, due or not; at most 10,000.
    ///
    /// # Errors
    /// As every read.
    pub async fn delivery_targets(&self) -> Result<Vec<Uuid>, StoreError> {
        let statement = Statement::from_string(self.database.get_database_backend(), TARGETS);
        let rows = self.bounded(TargetRow::find_by_statement(statement).all(&self.database)).await?;
        Ok(rows.into_iter().map(|row| row.target).collect())
    }

    /// What is pending of a target, the next due first.
    ///
    /// # Errors
    /// As every read.
    pub async fn deliveries_of(&self, target: Uuid, limit: u64) -> Result<Vec<Delivery>, StoreError> {
        use webhook_deliveries::Column;
        // As text: a bound state would keep SQLite from the partial index.
        let query = webhook_deliveries::Entity::find()
            .filter(Expr::cust("state = 0"))
            .filter(Column::Target.eq(target))
            .order_by_asc(Column::NextAt)
            .order_by_asc(Column::Id)
            .limit(limit.min(LONGEST_LIST));
        Ok(self.sound(self.bounded(query.all(&self.database)).await?, map::delivery))
    }
}
