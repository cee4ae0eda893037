//! Entries as the writer needs them: every row is JSON already, made by the caller's own task, so that the one writer only
//! joins texts.

use std::sync::Arc;

use serde::Serialize;
use uuid::Uuid;

use super::{books::Booked, claims::ClaimRow};
use crate::{
    domain::{
        batch::BatchEffect,
        effects::{self, Booking},
        id::GenerationId,
        limits::Promise,
        record::{Event, Generation, GenerationRequest, History},
    },
    store::{
        StoreError,
        entry::{Birth, Evidence, Guard, NewAttempt, Transition},
        map,
    },
};

/// A transition, ready to write.
#[derive(Debug, Clone)]
pub struct Move {
    /// Its generation.
    pub generation: Uuid,
    /// Its shard.
    pub shard: u8,
    /// Its further condition.
    pub guard: Guard,
    /// The generation's version as loaded, when its row changes.
    pub version: Option<i32>,
    /// The generation's changed row.
    pub row: Option<String>,
    /// Whether that has ended.
    pub ended: bool,
    /// Changed attempts.
    pub attempts: Vec<Changed>,
    /// New attempts.
    pub new_attempts: Vec<String>,
    /// Their requests.
    pub attempt_payloads: Vec<String>,
    /// Changed assets.
    pub assets: Vec<Changed>,
    /// New assets.
    pub new_assets: Vec<String>,
    /// History; numbered by the writer.
    pub history: Vec<HistoryLine>,
    /// Events.
    pub events: Vec<String>,
    /// What it writes into the books.
    pub booked: Booked,
    /// What it means for its batch, where that is anything.
    pub effect: Option<BatchEffect>,
}

/// A changed row.
#[derive(Debug, Clone)]
pub struct Changed {
    /// Its id.
    pub id: Uuid,
    /// Its version as loaded.
    pub version: i32,
    /// Its columns.
    pub row: String,
}

/// A history row as it is written.
#[derive(Debug, Clone, Serialize)]
pub struct HistoryLine {
    generation_id: Uuid,
    seq: i64,
    prev: Option<i64>,
    attempt: i32,
    from_state: &'static str,
    to_state: &'static str,
    reason: String,
    at: i64,
}

impl HistoryLine {
    /// The row under this number, behind that one, as JSON.
    pub fn numbered(&self, seq: i64, prev: Option<i64>) -> serde_json::Result<String> {
        serde_json::to_string(&Self { seq, prev, ..self.clone() })
    }
}

impl Move {
    /// An entry that changes nothing.
    #[cfg(test)]
    pub const fn empty(generation: Uuid, shard: u8) -> Self {
        Self {
            generation,
            shard,
            guard: Guard::None,
            version: None,
            row: None,
            ended: false,
            attempts: Vec::new(),
            new_attempts: Vec::new(),
            attempt_payloads: Vec::new(),
            assets: Vec::new(),
            new_assets: Vec::new(),
            history: Vec::new(),
            events: Vec::new(),
            booked: Booked::NOTHING,
            effect: None,
        }
    }

    /// Turns a transition into rows.
    pub fn of(entry: &Transition) -> Result<Self, StoreError> {
        check_one_generation(entry)?;
        check_effect(entry)?;
        let generation = entry.generation.as_ref();
        Ok(Self {
            generation: entry.generation_id.0,
            shard: entry.shard,
            guard: entry.guard,
            version: generation.map(|row| row.version),
            row: generation.map(|row| map::json(&map::generation_change(row)?)).transpose()?,
            ended: generation.is_some_and(|row| row.ended_at.is_some()),
            attempts: all(&entry.attempts, |row| changed(row.id.0, row.version, &map::attempt_change(row)?))?,
            new_attempts: all(&entry.new_attempts, |new| map::json(&map::attempt_model(&new.attempt)?))?,
            attempt_payloads: all(&entry.new_attempts, attempt_payload)?,
            assets: all(&entry.assets, |row| changed(row.id.0, row.version, &map::asset_change(row)?))?,
            new_assets: all(&entry.new_assets, |row| map::json(&map::asset_model(row)?))?,
            history: entry.history.iter().map(history_line).collect(),
            events: all(&entry.events, event)?,
            booked: Booked::of(entry.generation_id, entry.booking.as_ref())?,
            // A commit pays for a batch only where it changes it, or asks it.
            effect: entry.effect.filter(|effect| !effect.changes_nothing() || entry.guard != Guard::None),
        })
    }

    /// Rows it writes, for the count.
    pub fn rows(&self) -> usize {
        usize::from(self.row.is_some())
            + self.attempts.len()
            + self.new_attempts.len()
            + self.assets.len()
            + self.new_assets.len()
            + self.history.len()
            + self.events.len()
            + self.booked.rows.len()
    }
}

/// The compare-and-set covers one generation; a row of another would escape its lock.
fn check_one_generation(entry: &Transition) -> Result<(), StoreError> {
    let id = entry.generation_id;
    let same = entry.generation.as_ref().is_none_or(|row| row.id == id)
        && entry.attempts.iter().all(|row| row.generation == id)
        && entry.new_attempts.iter().all(|new| new.attempt.generation == id)
        && entry.assets.iter().chain(&entry.new_assets).all(|row| row.generation == id)
        && entry.history.iter().all(|row| row.generation == id)
        && entry.events.iter().all(|row| row.generation == id);
    if same { Ok(()) } else { Err(StoreError::Unstorable { what: format!("a transition of {id} with rows of another") }) }
}

/// A line's change without its effect would leave the counts of its batch wrong for ever.
fn check_effect(entry: &Transition) -> Result<(), StoreError> {
    let line = entry.generation.as_ref().is_some_and(|row| row.batch.is_some());
    if line && entry.effect.is_none() {
        return Err(StoreError::Unstorable { what: format!("a transition of {} without its effect", entry.generation_id) });
    }
    Ok(())
}

fn all<T, R>(rows: &[T], make: impl Fn(&T) -> Result<R, StoreError>) -> Result<Vec<R>, StoreError> {
    rows.iter().map(make).collect()
}

fn changed(id: Uuid, version: i32, columns: &impl Serialize) -> Result<Changed, StoreError> {
    Ok(Changed { id, version, row: map::json(columns)? })
}

fn attempt_payload(new: &NewAttempt) -> Result<String, StoreError> {
    let row = entities::attempt_payloads::Model { attempt_id: new.attempt.id.0, request: map::json(&new.request)? };
    map::json(&row)
}

fn history_line(row: &History) -> HistoryLine {
    HistoryLine {
        generation_id: row.generation.0,
        seq: 0,
        prev: None,
        attempt: i32::from(row.attempt),
        from_state: row.from,
        to_state: row.to,
        reason: map::text(&row.reason),
        at: row.at.0,
    }
}

/// An event of a generation, as a row.
pub fn generation_event(of: &Generation, kind: &'static str) -> Result<String, StoreError> {
    let batch = of.batch.as_ref().map(|place| place.id);
    event(&Event { generation: of.id, batch, project: of.project, kind, at: of.updated_at })
}

fn event(row: &Event) -> Result<String, StoreError> {
    let batch_id = row.batch.map(|batch| batch.0);
    let (generation_id, project_id) = (row.generation.0, row.project.0);
    map::json(&EventRow { generation_id, batch_id, project_id, kind: row.kind, at: row.at.0 })
}

#[derive(Serialize)]
struct EventRow {
    generation_id: Uuid,
    batch_id: Option<Uuid>,
    project_id: Uuid,
    kind: &'static str,
    at: i64,
}

/// A birth, ready to write.
#[derive(Debug, Clone)]
pub struct Born {
    /// Its id.
    pub id: Uuid,
    /// The row.
    pub row: String,
    /// The cold part.
    pub payload: String,
    /// The hold at the accept.
    pub booked: Booked,
    /// The same, to be judged by its limits.
    pub promise: Promise,
    /// What keeps it from being written twice.
    pub claim: Option<ClaimRow>,
    /// What the row says.
    pub generation: Generation,
    /// Where its client wants to be told, as a row.
    pub webhook: Option<String>,
    /// What the cold part says.
    pub request: Arc<GenerationRequest>,
    /// What it waits for.
    pub dependencies: Vec<String>,
}

impl Born {
    /// Turns a birth into rows.
    pub fn of(birth: Birth) -> Result<Self, StoreError> {
        let Birth { generation, request, limits, depends_on, claim } = birth;
        let id = generation.id;
        let payload = entities::generation_payloads::Model { generation_id: id.0, request: map::json(&request)? };
        let webhook = request.webhook_url.clone().map(|url| entities::generation_webhooks::Model { generation_id: id.0, url });
        let webhook = webhook.map(|row| map::json(&row)).transpose()?;
        let hold = Booking::of(&generation, effects::birth(&generation).into_iter().collect());
        let promise = Promise {
            day: generation.created_at.day(),
            project: generation.project,
            key: generation.key,
            amount: effects::of_generation(&generation).total(),
            limits,
        };
        Ok(Self {
            id: id.0,
            promise,
            claim: claim.as_ref().map(ClaimRow::of).transpose()?,
            row: map::json(&map::generation_model(&generation)?)?,
            payload: map::json(&payload)?,
            booked: Booked::of(id, hold.as_ref())?,
            dependencies: all(&depends_on, |on| dependency(&generation, *on))?,
            generation,
            webhook,
            request: Arc::new(request),
        })
    }
}

/// One thing that a generation waits for, as a row.
pub fn dependency(of: &Generation, on: GenerationId) -> Result<String, StoreError> {
    let shard = i16::from(of.shard);
    map::json(&entities::dependencies::Model { generation_id: of.id.0, on_id: on.0, shard })
}

/// Evidence, ready to write.
#[derive(Debug, Clone)]
pub struct Learned {
    /// The attempt.
    pub attempt: Uuid,
    /// Its account.
    pub account: String,
    /// The provider's id; empty at a synchronous provider.
    pub task_id: String,
    /// The row.
    pub row: String,
}

#[derive(Serialize)]
struct EvidenceColumns<'a> {
    attempt_id: Uuid,
    generation_id: Uuid,
    account: &'a str,
    task_id: &'a str,
    handle: String,
    source: &'static str,
    at: i64,
}

impl Learned {
    /// Turns evidence into a row.
    pub fn of(evidence: &Evidence) -> Result<Self, StoreError> {
        let (account, task_id) = (map::text(&evidence.account), map::text(&evidence.handle.task_id));
        let row = map::json(&EvidenceColumns {
            attempt_id: evidence.attempt.0,
            generation_id: evidence.generation.0,
            account: &account,
            task_id: &task_id,
            handle: map::json(&evidence.handle)?,
            source: evidence.source,
            at: evidence.at.0,
        })?;
        Ok(Self { attempt: evidence.attempt.0, account, task_id, row })
    }
}
