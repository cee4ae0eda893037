//! Batches and their lines. A line is shown by its newest generation; a load is seen by nobody.

use entities::{batches, generations};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select,
    sea_query::{Expr, ExprTrait, SimpleExpr},
};

use super::{LONGEST_LIST, Reads};
use crate::{
    domain::{
        batch::{Batch, Category},
        generation::GenerationState,
        id::{BatchId, ProjectId},
        record::Generation,
        time::Timestamp,
    },
    store::{StoreError, map},
};

/// As the partial index of open batches has it; bound values would hide it from the planner.
const OPEN: &str = "visible_at IS NOT NULL AND (completed_at IS NULL OR retry_requested_at IS NOT NULL)";
/// As the partial indexes of lines have it.
const NEWEST: &str = "batch_id IS NOT NULL AND replaced_by IS NULL";
/// Nothing was tried yet: see [`Generation::tried`], which decides the same of a row.
const UNTRIED: &str = "replace(slots, 'o', '') = '' AND tries = 0 AND failure IS NULL";
/// No batch, or one that is there. The inner list is short and is read once.
const VISIBLE: &str = "(batch_id IS NULL OR batch_id NOT IN (SELECT id FROM batches WHERE visible_at IS NULL))";

impl Reads {
    /// A batch of a project.
    ///
    /// # Errors
    /// As every read: `Timeout`, `Unavailable`; single rows also `Corrupt`.
    pub async fn batch(&self, id: BatchId, project: ProjectId) -> Result<Option<Batch>, StoreError> {
        Ok(self.batch_by_id(id).await?.filter(|batch| batch.project == project))
    }

    /// A batch, for its owner.
    ///
    /// # Errors
    /// As [`Reads::batch`].
    pub async fn batch_by_id(&self, id: BatchId) -> Result<Option<Batch>, StoreError> {
        let query = batches::Entity::find_by_id(id.0).filter(batches::Column::VisibleAt.is_not_null());
        self.bounded(query.one(&self.database)).await?.map(map::batch).transpose()
    }

    /// A page of a project's batches, newest first; `before` is the last one of the page before.
    ///
    /// # Errors
    /// As every read.
    pub async fn batches(&self, project: ProjectId, before: Option<BatchId>, limit: u64) -> Result<Vec<Batch>, StoreError> {
        let mut query = batches::Entity::find()
            .filter(batches::Column::ProjectId.eq(project.0))
            .filter(batches::Column::VisibleAt.is_not_null())
            .order_by_desc(batches::Column::Id)
            .limit(page(limit));
        if let Some(before) = before {
            query = query.filter(batches::Column::Id.lt(before.0));
        }
        Ok(self.sound(self.bounded(query.all(&self.database)).await?, map::batch))
    }

    /// Batches with lines that have not ended, or that are to be retried, by age; `after` is the last one of the page before.
    ///
    /// # Errors
    /// As every read.
    pub async fn open_batches(&self, after: Option<BatchId>, limit: u64) -> Result<Vec<Batch>, StoreError> {
        let mut query = open().limit(page(limit));
        if let Some(after) = after {
            query = query.filter(batches::Column::Id.gt(after.0));
        }
        Ok(self.sound(self.bounded(query.all(&self.database)).await?, map::batch))
    }

    /// Open batches of which lines are to be ended or retried: cancelled, stopped, past their deadline, with a wish to retry.
    ///
    /// # Errors
    /// As every read.
    pub async fn batches_to_act(&self, now: Timestamp, limit: u64) -> Result<Vec<Batch>, StoreError> {
        let due = Condition::any()
            .add(batches::Column::CancelRequestedAt.is_not_null())
            .add(batches::Column::StoppedAt.is_not_null())
            .add(batches::Column::RetryRequestedAt.is_not_null())
            .add(batches::Column::Deadline.lte(now.0));
        let query = open().filter(due).limit(page(limit));
        Ok(self.sound(self.bounded(query.all(&self.database)).await?, map::batch))
    }

    /// Loads that got no further line since this instant, or that were given up, eldest first.
    ///
    /// # Errors
    /// As every read.
    pub async fn loads_since(&self, before: Timestamp, limit: u64) -> Result<Vec<Batch>, StoreError> {
        let left = batches::Column::UpdatedAt.lt(before.0).or(batches::Column::CancelRequestedAt.is_not_null());
        let query = batches::Entity::find()
            .filter(batches::Column::VisibleAt.is_null())
            .filter(left)
            .order_by_asc(batches::Column::Id)
            .limit(page(limit));
        Ok(self.sound(self.bounded(query.all(&self.database)).await?, map::batch))
    }

    /// A page of a batch's lines in their order, each its newest generation; only of these categories, empty means all. `after` is
    /// the index of the last line of the page before.
    ///
    /// # Errors
    /// As every read.
    pub async fn lines(
        &self,
        batch: BatchId,
        categories: &[Category],
        after: Option<u32>,
        limit: u64,
    ) -> Result<Vec<Generation>, StoreError> {
        let mut query = lines(batch).order_by_asc(generations::Column::BatchIndex).limit(page(limit));
        if let Some(after) = after {
            query = query.filter(generations::Column::BatchIndex.gt(i64::from(after)));
        }
        if !categories.is_empty() {
            let any = categories.iter().fold(Condition::any(), |any, category| any.add(counted_as(*category)));
            query = query.filter(any);
        }
        Ok(self.sound(self.bounded(query.all(&self.database)).await?, map::generation))
    }

    /// The first line of a batch that waits for its submit; where there is none, the first that waits for other lines.
    ///
    /// # Errors
    /// As [`Reads::batch`].
    pub async fn next_line(&self, batch: BatchId) -> Result<Option<Generation>, StoreError> {
        for state in [GenerationState::Queued, GenerationState::Waiting] {
            let of_state = lines(batch).filter(generations::Column::State.eq(state.number()));
            let query = of_state.order_by_asc(generations::Column::BatchIndex).limit(1);
            if let Some(row) = self.bounded(query.one(&self.database)).await? {
                return map::generation(row).map(Some);
            }
        }
        Ok(None)
    }

    /// A page of the lines that failed, or that their batch cancelled, by this instant, in their order; `after` is the index of the
    /// last one of the page before.
    ///
    /// # Errors
    /// As every read.
    pub async fn lines_to_retry(
        &self,
        batch: BatchId,
        by: Timestamp,
        after: Option<u32>,
        limit: u64,
    ) -> Result<Vec<Generation>, StoreError> {
        let cancelled = counted_as(Category::Cancelled).and(generations::Column::CancelRequestedAt.is_null());
        let mut query = lines(batch)
            .filter(counted_as(Category::Failed).or(cancelled))
            .filter(generations::Column::EndedAt.lte(by.0))
            .order_by_asc(generations::Column::BatchIndex)
            .limit(page(limit));
        if let Some(after) = after {
            query = query.filter(generations::Column::BatchIndex.gt(i64::from(after)));
        }
        Ok(self.sound(self.bounded(query.all(&self.database)).await?, map::generation))
    }

    /// A page of the lines that ended, in the order in which their ends were committed, each its newest generation with the number
    /// of its end; `after` is the last number of the page before (0: from the start). Whoever goes on from there while the batch
    /// runs misses none; a line that is retried comes again when it ends again.
    ///
    /// # Errors
    /// As every read.
    pub async fn ended_lines(&self, batch: BatchId, after: u32, limit: u64) -> Result<Vec<(u32, Generation)>, StoreError> {
        let query = generations::Entity::find()
            .filter(generations::Column::BatchId.eq(batch.0))
            .filter(generations::Column::BatchSeq.is_not_null())
            .filter(generations::Column::BatchSeq.gt(i64::from(after)))
            .filter(generations::Column::ReplacedBy.is_null())
            .order_by_asc(generations::Column::BatchSeq)
            .limit(page(limit));
        let numbered = |row: generations::Model| {
            let seq = row.batch_seq.and_then(|seq| u32::try_from(seq).ok()).unwrap_or(after);
            Ok((seq, map::generation(row)?))
        };
        Ok(self.sound(self.bounded(query.all(&self.database)).await?, numbered))
    }
}

/// Both `Ord` and sea-query have a `min`.
fn page(limit: u64) -> u64 {
    Ord::min(limit, LONGEST_LIST)
}

fn open() -> Select<batches::Entity> {
    batches::Entity::find().filter(Expr::cust(OPEN)).order_by_asc(batches::Column::Id)
}

fn lines(batch: BatchId) -> Select<generations::Entity> {
    generations::Entity::find().filter(generations::Column::BatchId.eq(batch.0)).filter(Expr::cust(NEWEST))
}

/// Which rows count as this: the same as [`Category::of`].
fn counted_as(category: Category) -> SimpleExpr {
    let states = |states: &[GenerationState]| generations::Column::State.is_in(states.iter().map(|state| state.number()));
    let queued = || generations::Column::State.eq(GenerationState::Queued.number());
    match category {
        Category::Waiting => {
            states(&[GenerationState::Waiting, GenerationState::Preparing]).or(queued().and(Expr::cust(UNTRIED)))
        }
        Category::Running => states(&[GenerationState::Active]).or(queued().and(Expr::cust(UNTRIED).not())),
        Category::Completed => states(&[GenerationState::Completed]),
        Category::Failed => states(&[GenerationState::Failed]),
        Category::Cancelled => states(&[GenerationState::Cancelled]),
    }
}

/// Leaves the lines of loads out.
pub fn visible() -> SimpleExpr {
    Expr::cust(VISIBLE)
}
