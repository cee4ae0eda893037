//! Endpoints and deliveries ↔ their rows.

use entities::{webhook_deliveries, webhook_endpoints};
use serde::Serialize;
use uuid::Uuid;

use super::{optional_json, parsed, text};
use crate::{
    domain::{
        event::{EventId, Told},
        id::{BatchId, DeliveryId, EndpointId, GenerationId, ProjectId},
        time::Timestamp,
        webhook::{Delivery, DeliveryState, Destination, Endpoint, SecretAge},
    },
    store::StoreError,
};

/// The whole row of an endpoint.
///
/// # Errors
/// [`StoreError::Unstorable`].
pub fn endpoint_model(row: &Endpoint) -> Result<webhook_endpoints::Model, StoreError> {
    Ok(webhook_endpoints::Model {
        id: row.id.0,
        version: 0,
        project_id: row.project.0,
        url: text(&row.url),
        description: text(&row.description),
        kinds: optional_json(row.kinds.as_ref())?,
        secret: row.secret.number,
        rotated_at: row.secret.rotated_at.map(|at| at.0),
        created_at: row.created_at.0,
        updated_at: row.updated_at.0,
        disabled_at: row.disabled_at.map(|at| at.0),
        disabled_reason: row.disabled_reason.as_deref().map(text),
        failing_since: row.failing_since.map(|at| at.0),
    })
}

/// Reads an endpoint's row.
///
/// # Errors
/// [`StoreError::Corrupt`] with its id.
pub fn endpoint(row: webhook_endpoints::Model) -> Result<Endpoint, StoreError> {
    let id = EndpointId(row.id);
    let kinds =
        parsed(row.kinds.as_deref()).ok_or_else(|| StoreError::Corrupt { what: "webhook endpoint", id: id.to_string() })?;
    Ok(Endpoint {
        id,
        project: ProjectId(row.project_id),
        url: row.url,
        description: row.description,
        kinds,
        secret: SecretAge { number: row.secret, rotated_at: row.rotated_at.map(Timestamp) },
        created_at: Timestamp(row.created_at),
        updated_at: Timestamp(row.updated_at),
        disabled_at: row.disabled_at.map(Timestamp),
        disabled_reason: row.disabled_reason,
        failing_since: row.failing_since.map(Timestamp),
    })
}

/// What a try writes of a delivery.
#[derive(Debug, Serialize)]
pub struct DeliveryChange {
    id: Uuid,
    state: i16,
    tries: i32,
    next_at: i64,
    tried_at: Option<i64>,
    ended_at: Option<i64>,
    status: Option<i32>,
    error: Option<String>,
    answer: Option<String>,
}

/// The mutable columns of a delivery.
#[must_use]
pub fn delivery_change(row: &Delivery) -> DeliveryChange {
    DeliveryChange {
        id: row.id.0,
        state: row.state.number(),
        tries: i32::from(row.tries),
        next_at: row.next_at.0,
        tried_at: row.tried_at.map(|at| at.0),
        ended_at: row.ended_at.map(|at| at.0),
        status: row.status.map(i32::from),
        error: row.error.as_deref().map(text),
        answer: row.answer.as_deref().map(text),
    }
}

/// The whole row of a delivery.
#[must_use]
pub fn delivery_model(row: &Delivery) -> webhook_deliveries::Model {
    let (endpoint, url) = match &row.to {
        Destination::Endpoint(id) => (Some(id.0), None),
        Destination::Url(url) => (None, Some(text(url))),
    };
    let DeliveryChange { id, state, tries, next_at, tried_at, ended_at, status, error, answer } = delivery_change(row);
    webhook_deliveries::Model {
        id,
        project_id: row.told.project.0,
        target: row.target(),
        endpoint_id: endpoint,
        url,
        txid: row.told.id.txid,
        seq: row.told.id.seq,
        kind: text(&row.told.kind),
        generation_id: row.told.generation.map(|id| id.0),
        batch_id: row.told.batch.map(|id| id.0),
        event_at: row.told.at.0,
        version: row.version,
        state,
        tries,
        next_at,
        created_at: row.created_at.0,
        tried_at,
        ended_at,
        status,
        error,
        answer,
    }
}

/// Reads a delivery's row.
///
/// # Errors
/// [`StoreError::Corrupt`] with its id.
pub fn delivery(row: webhook_deliveries::Model) -> Result<Delivery, StoreError> {
    let id = DeliveryId(row.id);
    read_delivery(row).ok_or_else(|| StoreError::Corrupt { what: "webhook delivery", id: id.to_string() })
}

fn read_delivery(row: webhook_deliveries::Model) -> Option<Delivery> {
    let to = match (row.endpoint_id, row.url) {
        (Some(id), None) => Destination::Endpoint(EndpointId(id)),
        (None, Some(url)) => Destination::Url(url),
        (Some(_), Some(_)) | (None, None) => return None,
    };
    Some(Delivery {
        id: DeliveryId(row.id),
        told: Told {
            id: EventId { txid: row.txid, seq: row.seq },
            project: ProjectId(row.project_id),
            generation: row.generation_id.map(GenerationId),
            batch: row.batch_id.map(BatchId),
            kind: row.kind.into(),
            at: Timestamp(row.event_at),
        },
        to,
        version: row.version,
        state: DeliveryState::of_number(row.state)?,
        tries: u16::try_from(row.tries).ok()?,
        next_at: Timestamp(row.next_at),
        created_at: Timestamp(row.created_at),
        tried_at: row.tried_at.map(Timestamp),
        ended_at: row.ended_at.map(Timestamp),
        status: row.status.map(u16::try_from).transpose().ok()?,
        error: row.error,
        answer: row.answer,
    })
}
