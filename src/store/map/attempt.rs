//! Attempts ↔ their rows.

use entities::attempts;
use serde::Serialize;
use uuid::Uuid;

use super::{json, kind_number, kind_of, optional_json, parsed, text};
use crate::{
    domain::{
        attempt::AttemptState,
        id::{AttemptId, GenerationId},
        money::Micros,
        record::Attempt,
        time::Timestamp,
    },
    store::StoreError,
};

/// What a transition writes of an attempt.
#[derive(Debug, Serialize)]
pub struct AttemptChange {
    id: Uuid,
    state: i16,
    not_after: i64,
    handle: Option<String>,
    submitted_at: Option<i64>,
    unconfirmed_since: Option<i64>,
    updated_at: i64,
    ended_at: Option<i64>,
    cost: Option<i64>,
    charged: bool,
    failure: Option<String>,
    lost_at: Option<i64>,
    released_at: Option<i64>,
}

/// The mutable columns of an attempt.
///
/// # Errors
/// [`StoreError::Unstorable`].
pub fn attempt_change(row: &Attempt) -> Result<AttemptChange, StoreError> {
    Ok(AttemptChange {
        id: row.id.0,
        state: row.state.number(),
        not_after: row.not_after.0,
        handle: optional_json(row.handle.as_ref())?,
        submitted_at: row.submitted_at.map(|at| at.0),
        unconfirmed_since: row.unconfirmed_since.map(|at| at.0),
        updated_at: row.updated_at.0,
        ended_at: row.ended_at.map(|at| at.0),
        cost: row.cost.map(|cost| cost.0),
        charged: row.charged,
        failure: optional_json(row.failure.as_ref())?,
        lost_at: row.lost_at.map(|at| at.0),
        released_at: row.released_at.map(|at| at.0),
    })
}

/// The whole row of an attempt.
///
/// # Errors
/// [`StoreError::Unstorable`].
pub fn attempt_model(row: &Attempt) -> Result<attempts::Model, StoreError> {
    Ok(attempts::Model {
        id: row.id.0,
        generation_id: row.generation.0,
        n: i32::from(row.n),
        shard: i16::from(row.shard),
        version: row.version,
        state: row.state.number(),
        slot: i32::from(row.slot),
        first_output: i32::from(row.first_output),
        output_count: i32::from(row.output_count),
        provider: text(&row.provider),
        account: text(&row.account),
        kind: kind_number(row.kind),
        model: text(&row.model),
        endpoint: json(&row.endpoint)?,
        tag: text(&row.tag),
        request_digest: text(&row.request_digest),
        not_after: row.not_after.0,
        handle: optional_json(row.handle.as_ref())?,
        created_at: row.created_at.0,
        submitted_at: row.submitted_at.map(|at| at.0),
        unconfirmed_since: row.unconfirmed_since.map(|at| at.0),
        updated_at: row.updated_at.0,
        ended_at: row.ended_at.map(|at| at.0),
        price: row.price.0,
        cost: row.cost.map(|cost| cost.0),
        charged: row.charged,
        failure: optional_json(row.failure.as_ref())?,
        lost_at: row.lost_at.map(|at| at.0),
        released_at: row.released_at.map(|at| at.0),
    })
}

/// Reads an attempt's row.
///
/// # Errors
/// [`StoreError::Corrupt`] with its id.
pub fn attempt(row: attempts::Model) -> Result<Attempt, StoreError> {
    let id = AttemptId(row.id);
    read_attempt(row).ok_or_else(|| StoreError::Corrupt { what: "attempt", id: id.to_string() })
}

fn read_attempt(row: attempts::Model) -> Option<Attempt> {
    Some(Attempt {
        id: AttemptId(row.id),
        generation: GenerationId(row.generation_id),
        n: u16::try_from(row.n).ok()?,
        shard: u8::try_from(row.shard).ok()?,
        version: row.version,
        state: AttemptState::of_number(row.state)?,
        slot: u16::try_from(row.slot).ok()?,
        first_output: u16::try_from(row.first_output).ok()?,
        output_count: u16::try_from(row.output_count).ok()?,
        provider: row.provider.into(),
        account: row.account.into(),
        kind: kind_of(row.kind)?,
        model: row.model.into(),
        endpoint: serde_json::from_str(&row.endpoint).ok()?,
        tag: row.tag,
        request_digest: row.request_digest,
        not_after: Timestamp(row.not_after),
        handle: parsed(row.handle.as_deref())?,
        created_at: Timestamp(row.created_at),
        submitted_at: row.submitted_at.map(Timestamp),
        unconfirmed_since: row.unconfirmed_since.map(Timestamp),
        updated_at: Timestamp(row.updated_at),
        ended_at: row.ended_at.map(Timestamp),
        price: Micros(row.price),
        cost: row.cost.map(Micros),
        charged: row.charged,
        failure: parsed(row.failure.as_deref())?,
        lost_at: row.lost_at.map(Timestamp),
        released_at: row.released_at.map(Timestamp),
    })
}
