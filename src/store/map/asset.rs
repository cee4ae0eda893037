//! Assets ↔ their rows.

use entities::assets;
use serde::Serialize;
use uuid::Uuid;

use super::{kind_number, kind_of, optional_json, parsed, text};
use crate::{
    domain::{
        id::{AssetId, AttemptId, GenerationId},
        record::{Asset, AssetState},
        time::Timestamp,
    },
    store::StoreError,
};

/// What a transition writes of an asset.
#[derive(Debug, Serialize)]
pub struct AssetChange<'a> {
    id: Uuid,
    state: i16,
    kind: i16,
    source_url: Option<&'a str>,
    staged_key: Option<&'a str>,
    expires_at: Option<i64>,
    storage_key: Option<&'a str>,
    content_type: Option<&'a str>,
    width: Option<i32>,
    height: Option<i32>,
    duration_ms: Option<i64>,
    bytes: Option<i64>,
    sha256: Option<&'a str>,
    failure: Option<String>,
}

/// The mutable columns of an asset.
///
/// # Errors
/// [`StoreError::Unstorable`].
pub fn asset_change(row: &Asset) -> Result<AssetChange<'_>, StoreError> {
    Ok(AssetChange {
        id: row.id.0,
        state: row.state.number(),
        kind: kind_number(row.kind),
        source_url: row.source_url.as_deref(),
        staged_key: row.staged_key.as_deref(),
        expires_at: row.expires_at.map(|at| at.0),
        storage_key: row.storage_key.as_deref(),
        content_type: row.content_type.as_deref(),
        width: row.width,
        height: row.height,
        duration_ms: row.duration_ms,
        bytes: row.bytes,
        sha256: row.sha256.as_deref(),
        failure: optional_json(row.failure.as_ref())?,
    })
}

/// The whole row of an asset.
///
/// # Errors
/// [`StoreError::Unstorable`].
pub fn asset_model(row: &Asset) -> Result<assets::Model, StoreError> {
    Ok(assets::Model {
        id: row.id.0,
        generation_id: row.generation.0,
        attempt_id: row.attempt.0,
        idx: i32::from(row.idx),
        shard: i16::from(row.shard),
        version: row.version,
        state: row.state.number(),
        kind: kind_number(row.kind),
        source_url: row.source_url.as_deref().map(text),
        staged_key: row.staged_key.as_deref().map(text),
        expires_at: row.expires_at.map(|at| at.0),
        storage_key: row.storage_key.as_deref().map(text),
        content_type: row.content_type.as_deref().map(text),
        width: row.width,
        height: row.height,
        duration_ms: row.duration_ms,
        bytes: row.bytes,
        sha256: row.sha256.clone(),
        failure: optional_json(row.failure.as_ref())?,
    })
}

/// Reads an asset's row.
///
/// # Errors
/// [`StoreError::Corrupt`] with its id.
pub fn asset(row: assets::Model) -> Result<Asset, StoreError> {
    let id = AssetId(row.id);
    read_asset(row).ok_or_else(|| StoreError::Corrupt { what: "asset", id: id.to_string() })
}

fn read_asset(row: assets::Model) -> Option<Asset> {
    Some(Asset {
        id: AssetId(row.id),
        generation: GenerationId(row.generation_id),
        attempt: AttemptId(row.attempt_id),
        idx: u16::try_from(row.idx).ok()?,
        shard: u8::try_from(row.shard).ok()?,
        version: row.version,
        state: AssetState::of_number(row.state)?,
        kind: kind_of(row.kind)?,
        source_url: row.source_url,
        staged_key: row.staged_key,
        expires_at: row.expires_at.map(Timestamp),
        storage_key: row.storage_key,
        content_type: row.content_type,
        width: row.width,
        height: row.height,
        duration_ms: row.duration_ms,
        bytes: row.bytes,
        sha256: row.sha256,
        failure: parsed(row.failure.as_deref())?,
    })
}
