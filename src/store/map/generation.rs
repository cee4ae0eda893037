//! Generations ↔ their rows.

use entities::generations;
use serde::Serialize;
use uuid::Uuid;

use super::{kind_number, kind_of, number, optional_json, parsed, text};
use crate::{
    domain::{
        batch::BatchPlace,
        generation::{GenerationState, Progress},
        id::{BatchId, GenerationId, KeyId, ProjectId},
        money::Micros,
        record::Generation,
        slots::Slots,
        time::Timestamp,
        unconfirmed::OnUnconfirmed,
    },
    store::StoreError,
};

/// What a transition writes of a generation.
#[derive(Debug, Serialize)]
pub struct GenerationChange {
    id: Uuid,
    state: i16,
    slots: String,
    not_before: i64,
    tries: i32,
    updated_at: i64,
    ended_at: Option<i64>,
    failure: Option<String>,
}

/// The mutable columns of a generation.
///
/// # Errors
/// [`StoreError::Unstorable`].
pub fn generation_change(row: &Generation) -> Result<GenerationChange, StoreError> {
    Ok(GenerationChange {
        id: row.id.0,
        state: row.progress.state.number(),
        slots: row.progress.slots.to_string(),
        not_before: row.progress.not_before.0,
        tries: i32::from(row.progress.tries),
        updated_at: row.updated_at.0,
        ended_at: row.ended_at.map(|at| at.0),
        failure: optional_json(row.failure.as_ref())?,
    })
}

/// The whole row of a generation.
///
/// # Errors
/// [`StoreError::Unstorable`].
pub fn generation_model(row: &Generation) -> Result<generations::Model, StoreError> {
    Ok(generations::Model {
        id: row.id.0,
        shard: i16::from(row.shard),
        project_id: row.project.0,
        key_id: row.key.0,
        version: row.version,
        state: row.progress.state.number(),
        slots: row.progress.slots.to_string(),
        not_before: row.progress.not_before.0,
        tries: i32::from(row.progress.tries),
        born_state: row.born_state.number(),
        outputs: i32::from(row.outputs),
        per_call: i32::from(row.per_call),
        provider: text(&row.provider),
        model: text(&row.model),
        kind: kind_number(row.kind),
        priority: i16::from(row.priority),
        call_price: row.call_price.0,
        queue_deadline: row.queue_deadline.0,
        created_at: row.created_at.0,
        updated_at: row.updated_at.0,
        ended_at: row.ended_at.map(|at| at.0),
        cancel_requested_at: row.cancel_requested_at.map(|at| at.0),
        failure: optional_json(row.failure.as_ref())?,
        request_id: text(&row.request_id),
        on_unconfirmed: row.on_unconfirmed.number(),
        batch_id: row.batch.as_ref().map(|place| place.id.0),
        batch_index: row.batch.as_ref().map(|place| number("batch index", place.index)).transpose()?,
        custom_id: row.batch.as_ref().and_then(|place| place.custom_id.as_deref()).map(text),
        retry_of: row.retry_of.map(|id| id.0),
        replaced_by: row.replaced_by.map(|id| id.0),
        batch_seq: None,
    })
}

/// Reads a generation's row.
///
/// # Errors
/// [`StoreError::Corrupt`] with its id.
pub fn generation(row: generations::Model) -> Result<Generation, StoreError> {
    let id = GenerationId(row.id);
    read_generation(row).ok_or_else(|| StoreError::Corrupt { what: "generation", id: id.to_string() })
}

fn read_generation(row: generations::Model) -> Option<Generation> {
    Some(Generation {
        id: GenerationId(row.id),
        shard: u8::try_from(row.shard).ok()?,
        project: ProjectId(row.project_id),
        key: KeyId(row.key_id),
        version: row.version,
        progress: Progress {
            state: GenerationState::of_number(row.state)?,
            slots: Slots::parse(&row.slots)?,
            not_before: Timestamp(row.not_before),
            tries: u16::try_from(row.tries).ok()?,
        },
        born_state: GenerationState::of_number(row.born_state)?,
        outputs: u16::try_from(row.outputs).ok()?,
        per_call: u16::try_from(row.per_call).ok()?,
        provider: row.provider.into(),
        model: row.model.into(),
        kind: kind_of(row.kind)?,
        priority: u8::try_from(row.priority).ok()?,
        call_price: Micros(row.call_price),
        queue_deadline: Timestamp(row.queue_deadline),
        created_at: Timestamp(row.created_at),
        updated_at: Timestamp(row.updated_at),
        ended_at: row.ended_at.map(Timestamp),
        cancel_requested_at: row.cancel_requested_at.map(Timestamp),
        failure: parsed(row.failure.as_deref())?,
        request_id: row.request_id.into(),
        on_unconfirmed: OnUnconfirmed::of_number(row.on_unconfirmed)?,
        batch: place(row.batch_id, row.batch_index, row.custom_id)?,
        retry_of: row.retry_of.map(GenerationId),
        replaced_by: row.replaced_by.map(GenerationId),
    })
}

/// None when it is half a place.
fn place(id: Option<Uuid>, index: Option<i32>, custom_id: Option<String>) -> Option<Option<BatchPlace>> {
    match (id, index) {
        (Some(id), Some(index)) => {
            let (id, index) = (BatchId(id), u32::try_from(index).ok()?);
            Some(Some(BatchPlace { id, index, custom_id: custom_id.map(Into::into) }))
        }
        (None, None) => Some(None),
        (Some(_), None) | (None, Some(_)) => None,
    }
}
