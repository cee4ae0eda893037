//! Batches ↔ their rows.

use entities::batches;
use serde::Serialize;
use uuid::Uuid;

use super::{number, optional_json, parsed, text};
use crate::{
    domain::{
        batch::{Batch, BatchOptions, CancelMode, CancelWish, Counts, RetryWish},
        id::{BatchId, KeyId, ProjectId},
        money::Micros,
        time::Timestamp,
        unconfirmed::OnUnconfirmed,
    },
    store::StoreError,
};

/// What the commits of its lines write of a batch; never its wishes.
#[derive(Debug, Serialize)]
pub struct BatchChange {
    id: Uuid,
    updated_at: i64,
    stopped_at: Option<i64>,
    over_budget_at: Option<i64>,
    completed_at: Option<i64>,
    completed: i32,
    failed: i32,
    cancelled: i32,
    running: i32,
    ended: i32,
    places: i32,
    spent: i64,
    charged: i64,
}

/// The columns that follow from its lines.
///
/// # Errors
/// [`StoreError::Unstorable`].
pub fn batch_change(row: &Batch) -> Result<BatchChange, StoreError> {
    Ok(BatchChange {
        id: row.id.0,
        updated_at: row.updated_at.0,
        stopped_at: row.stopped_at.map(|at| at.0),
        over_budget_at: row.over_budget_at.map(|at| at.0),
        completed_at: row.completed_at.map(|at| at.0),
        completed: number("completed", row.counts.completed)?,
        failed: number("failed", row.counts.failed)?,
        cancelled: number("cancelled", row.counts.cancelled)?,
        running: number("running", row.counts.running)?,
        ended: number("ended", row.ended)?,
        places: number("places", row.places)?,
        spent: row.spent.0,
        charged: row.charged.0,
    })
}

/// The whole row of a batch.
///
/// # Errors
/// [`StoreError::Unstorable`].
pub fn batch_model(row: &Batch) -> Result<batches::Model, StoreError> {
    let change = batch_change(row)?;
    Ok(batches::Model {
        id: change.id,
        shard: i16::from(row.shard),
        project_id: row.project.0,
        key_id: row.key.0,
        version: row.version,
        name: row.name.as_deref().map(text),
        metadata: optional_json(row.metadata.as_ref())?,
        parallel: row.options.parallel,
        max_concurrency: i32::from(row.options.max_concurrency),
        stop_on_error: row.options.stop_on_error,
        priority: i16::from(row.options.priority),
        deadline: row.options.deadline.map(|at| at.0),
        budget: row.options.budget.map(|amount| amount.0),
        on_unconfirmed: row.options.on_unconfirmed.map(OnUnconfirmed::number),
        webhook_url: row.options.webhook_url.as_deref().map(text),
        created_at: row.created_at.0,
        updated_at: change.updated_at,
        visible_at: row.visible_at.map(|at| at.0),
        paused_at: row.paused_at.map(|at| at.0),
        cancel_requested_at: row.cancel.map(|wish| wish.at.0),
        cancel_mode: row.cancel.map(|wish| wish.mode.number()),
        retry_requested_at: row.retry.map(|wish| wish.at.0),
        retry_forced: row.retry.is_some_and(|wish| wish.forced),
        retry_key: row.retry.map(|wish| wish.key.0),
        stopped_at: change.stopped_at,
        over_budget_at: change.over_budget_at,
        completed_at: change.completed_at,
        total: number("total", row.counts.total)?,
        completed: change.completed,
        failed: change.failed,
        cancelled: change.cancelled,
        running: change.running,
        ended: change.ended,
        places: change.places,
        spent: change.spent,
        charged: change.charged,
    })
}

/// Reads a batch's row.
///
/// # Errors
/// [`StoreError::Corrupt`] with its id.
pub fn batch(row: batches::Model) -> Result<Batch, StoreError> {
    let id = BatchId(row.id);
    read_batch(row).ok_or_else(|| StoreError::Corrupt { what: "batch", id: id.to_string() })
}

fn read_batch(row: batches::Model) -> Option<Batch> {
    let (cancel, retry) = (cancel(&row)?, retry(&row)?);
    Some(Batch {
        id: BatchId(row.id),
        shard: u8::try_from(row.shard).ok()?,
        project: ProjectId(row.project_id),
        key: KeyId(row.key_id),
        version: row.version,
        metadata: parsed(row.metadata.as_deref())?,
        counts: counts(&row)?,
        options: options(&row)?,
        name: row.name,
        created_at: Timestamp(row.created_at),
        updated_at: Timestamp(row.updated_at),
        visible_at: row.visible_at.map(Timestamp),
        paused_at: row.paused_at.map(Timestamp),
        cancel,
        retry,
        stopped_at: row.stopped_at.map(Timestamp),
        over_budget_at: row.over_budget_at.map(Timestamp),
        completed_at: row.completed_at.map(Timestamp),
        ended: u32::try_from(row.ended).ok()?,
        places: u32::try_from(row.places).ok()?,
        spent: Micros(row.spent),
        charged: Micros(row.charged),
    })
}

fn options(row: &batches::Model) -> Option<BatchOptions> {
    Some(BatchOptions {
        parallel: row.parallel,
        max_concurrency: u16::try_from(row.max_concurrency).ok()?,
        stop_on_error: row.stop_on_error,
        priority: u8::try_from(row.priority).ok()?,
        deadline: row.deadline.map(Timestamp),
        budget: row.budget.map(Micros),
        on_unconfirmed: match row.on_unconfirmed {
            Some(number) => Some(OnUnconfirmed::of_number(number)?),
            None => None,
        },
        webhook_url: row.webhook_url.clone(),
    })
}

fn counts(row: &batches::Model) -> Option<Counts> {
    Some(Counts {
        total: u32::try_from(row.total).ok()?,
        completed: u32::try_from(row.completed).ok()?,
        failed: u32::try_from(row.failed).ok()?,
        cancelled: u32::try_from(row.cancelled).ok()?,
        running: u32::try_from(row.running).ok()?,
    })
}

/// None when it is half a wish.
fn cancel(row: &batches::Model) -> Option<Option<CancelWish>> {
    match (row.cancel_requested_at, row.cancel_mode) {
        (Some(at), Some(mode)) => Some(Some(CancelWish { at: Timestamp(at), mode: CancelMode::of_number(mode)? })),
        (None, None) => Some(None),
        (Some(_), None) | (None, Some(_)) => None,
    }
}

/// None when it is half a wish.
fn retry(row: &batches::Model) -> Option<Option<RetryWish>> {
    match (row.retry_requested_at, row.retry_key) {
        (Some(at), Some(key)) => Some(Some(RetryWish { at: Timestamp(at), forced: row.retry_forced, key: KeyId(key) })),
        (None, None) => Some(None),
        (Some(_), None) | (None, Some(_)) => None,
    }
}
