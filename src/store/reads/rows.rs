//! What reads answer, and how it is put together from rows.

use std::collections::BTreeMap;

use entities::{assets, attempts, generations, submit_evidence};
use sea_orm::FromQueryResult;
use uuid::Uuid;

use crate::{
    domain::{
        id::{AttemptId, GenerationId},
        record::{Asset, Attempt, Generation, Handle},
        time::Timestamp,
    },
    store::{StoreError, map},
};

/// A generation with everything that hangs on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The generation.
    pub generation: Generation,
    /// Its attempts by number.
    pub attempts: Vec<Attempt>,
    /// Its assets by output index.
    pub assets: Vec<Asset>,
}

/// A row of the evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvidenceRow {
    /// The attempt.
    pub attempt: AttemptId,
    /// Its generation.
    pub generation: GenerationId,
    /// Section and account.
    pub account: String,
    /// What the provider gave us.
    pub handle: Handle,
    /// How it was learned.
    pub source: String,
    /// When.
    pub at: Timestamp,
}

/// How many unfinished generations there are, by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StateCounts {
    /// Waiting.
    pub waiting: u64,
    /// Preparing.
    pub preparing: u64,
    /// Queued.
    pub queued: u64,
    /// Active.
    pub active: u64,
    /// All of them.
    pub unfinished: u64,
}

/// The counts as they are read: one statement, so of one moment.
#[derive(Debug, FromQueryResult)]
pub struct Counts {
    unended: i64,
    waiting: i64,
    preparing: i64,
    queued: i64,
}

impl From<Counts> for StateCounts {
    fn from(counts: Counts) -> Self {
        let Counts { unended, waiting, preparing, queued } = counts;
        let active = unended - waiting - preparing - queued;
        let [unfinished, waiting, preparing, queued, active] =
            [unended, waiting, preparing, queued, active].map(|count| u64::try_from(count).unwrap_or(0));
        Self { waiting, preparing, queued, active, unfinished }
    }
}

/// Rows by the generation they belong to.
pub fn grouped<M>(rows: Vec<M>, key: impl Fn(&M) -> Uuid) -> BTreeMap<Uuid, Vec<M>> {
    let mut groups: BTreeMap<Uuid, Vec<M>> = BTreeMap::new();
    for row in rows {
        groups.entry(key(&row)).or_default().push(row);
    }
    groups
}

/// A generation with its parts; one part that cannot be read spoils the whole.
pub fn assemble(
    row: generations::Model,
    (attempts, assets): (Vec<attempts::Model>, Vec<assets::Model>),
) -> Result<Loaded, StoreError> {
    Ok(Loaded {
        generation: map::generation(row)?,
        attempts: attempts.into_iter().map(map::attempt).collect::<Result<_, _>>()?,
        assets: assets.into_iter().map(map::asset).collect::<Result<_, _>>()?,
    })
}

/// Reads a row of the evidence.
pub fn evidence_row(row: submit_evidence::Model) -> Result<EvidenceRow, StoreError> {
    Ok(EvidenceRow {
        attempt: AttemptId(row.attempt_id),
        generation: GenerationId(row.generation_id),
        account: row.account,
        handle: parse("evidence", row.id.to_string(), &row.handle)?,
        source: row.source,
        at: Timestamp(row.at),
    })
}

/// Reads a JSON text.
pub fn parse<T: serde::de::DeserializeOwned>(what: &'static str, id: String, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Corrupt { what, id })
}
