//! What is not submitted, as the work at the end of the line needs it.

use entities::{batches, generations};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select, sea_query::Expr};

use super::{LONGEST_LIST, Reads};
use crate::{
    domain::{
        batch::Batch,
        forecast::Pace,
        id::{BatchId, GenerationId},
        money::Micros,
        time::Timestamp,
    },
    store::{StoreError, map},
};

/// As the partial index of open batches has it; a bound value would hide it from the planner.
const OPEN: &str = "visible_at IS NOT NULL AND (completed_at IS NULL OR retry_requested_at IS NOT NULL)";
/// As the partial index of a batch's lines has it.
const NEWEST: &str = "batch_id IS NOT NULL AND replaced_by IS NULL";
/// As the partial index of cancelled ones has it.
const CANCELLING: &str = "cancel_requested_at IS NOT NULL AND state < 10";
/// As the partial index of those that wait for others has it.
const WAITING: &str = "state = 0";
/// Waiting, preparing and queued: what owes a submit.
const OWED: &str = "state IN (0, 1, 2)";
/// Ends of lines that make a pace.
const LATELY: u64 = 100;
/// Active.
const ACTIVE: &str = "state = 3";

impl Reads {
    /// Generations that owe a submit and that a client wants cancelled.
    ///
    /// # Errors
    /// As every read.
    pub async fn cancel_owed(&self, limit: u64) -> Result<Vec<GenerationId>, StoreError> {
        let query = generations::Entity::find()
            .filter(Expr::cust(CANCELLING))
            .filter(Expr::cust(OWED))
            .order_by_asc(generations::Column::Id);
        let wanted = self.ids(query, limit).await?;
        // The wish may have been written by another process: whoever acts on it must see it.
        wanted.iter().for_each(|id| self.recent.forget(*id));
        Ok(wanted)
    }

    /// Lines of a batch that owe a submit, in order.
    ///
    /// # Errors
    /// As every read.
    pub async fn owed_lines(&self, batch: BatchId, limit: u64) -> Result<Vec<GenerationId>, StoreError> {
        self.ids(newest_of(batch).filter(Expr::cust(OWED)).order_by_asc(generations::Column::BatchIndex), limit).await
    }

    /// Lines of a batch that are under way and of which nobody has wanted a cancel yet, in order.
    ///
    /// # Errors
    /// As every read.
    pub async fn active_lines(&self, batch: BatchId, limit: u64) -> Result<Vec<GenerationId>, StoreError> {
        let query = newest_of(batch)
            .filter(Expr::cust(ACTIVE))
            .filter(generations::Column::CancelRequestedAt.is_null())
            .order_by_asc(generations::Column::BatchIndex);
        self.ids(query, limit).await
    }

    /// Whether anything waits for another generation.
    ///
    /// # Errors
    /// As every read.
    pub async fn anything_waits(&self) -> Result<bool, StoreError> {
        let query = generations::Entity::find().filter(Expr::cust(WAITING));
        Ok(!self.ids(query, 1).await?.is_empty())
    }

    /// Open batches whose budget may be used up: they have one, and it is not known yet.
    ///
    /// # Errors
    /// As every read.
    pub async fn budgeted_batches(&self, limit: u64) -> Result<Vec<Batch>, StoreError> {
        let query = batches::Entity::find()
            .filter(Expr::cust(OPEN))
            .filter(batches::Column::Budget.is_not_null())
            .filter(batches::Column::OverBudgetAt.is_null())
            .order_by_asc(batches::Column::Id)
            .limit(limit.min(LONGEST_LIST));
        Ok(self.sound(self.bounded(query.all(&self.database)).await?, map::batch))
    }

    /// How fast the lines of a batch ended lately; none when none has.
    ///
    /// # Errors
    /// As every read.
    pub async fn pace(&self, batch: BatchId) -> Result<Option<Pace>, StoreError> {
        let query = generations::Entity::find()
            .filter(generations::Column::BatchId.eq(batch.0))
            .filter(Expr::cust("batch_seq IS NOT NULL"))
            .order_by_desc(generations::Column::BatchSeq)
            .limit(LATELY)
            .select_only()
            .column(generations::Column::EndedAt)
            .into_tuple::<Option<i64>>();
        let ends: Vec<i64> = self.bounded(query.all(&self.database)).await?.into_iter().flatten().collect();
        let pace = |first: &i64, last: &i64| Pace {
            first: Timestamp(*first),
            last: Timestamp(*last),
            ends: u32::try_from(ends.len()).unwrap_or(u32::MAX),
        };
        Ok(ends.iter().min().zip(ends.iter().max()).map(|(first, last)| pace(first, last)))
    }

    /// What the cheapest call costs that a batch owes; none when it owes none.
    ///
    /// # Errors
    /// As every read.
    pub async fn cheapest_owed(&self, batch: BatchId) -> Result<Option<Micros>, StoreError> {
        let owed = newest_of(batch).filter(Expr::cust(OWED)).select_only();
        let query = owed.expr_as(Expr::cust("min(call_price)"), "price").into_tuple::<Option<i64>>();
        Ok(self.bounded(query.one(&self.database)).await?.flatten().map(Micros))
    }
}

fn newest_of(batch: BatchId) -> Select<generations::Entity> {
    generations::Entity::find().filter(generations::Column::BatchId.eq(batch.0)).filter(Expr::cust(NEWEST))
}
