//! `batches`: options, wishes and counts of a batch.

use sea_orm::entity::prelude::*;
use serde::{Deserialize, Serialize};

/// Options, wishes and counts of a batch. Wishes (`visible_at`, `paused_at`, `cancel_*`, `retry_*`) are facts; the rest changes in the
/// commits of its generations' transitions.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, DeriveEntityModel)]
#[sea_orm(table_name = "batches")]
pub struct Model {
    /// UUIDv7.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Which owner; that of all its generations.
    pub shard: i16,
    /// Owner.
    pub project_id: Uuid,
    /// The key that submitted it.
    pub key_id: Uuid,
    /// Bumped by every commit that changes counts or money; never by a fact.
    pub version: i32,
    /// For people.
    pub name: Option<String>,
    /// JSON: the client's own notes.
    pub metadata: Option<String>,
    /// False: one line after the other.
    pub parallel: bool,
    /// Open attempts at most.
    pub max_concurrency: i32,
    /// The first failed line stops it.
    pub stop_on_error: bool,
    /// 1 (most urgent) to 10.
    pub priority: i16,
    /// No submit from this instant on.
    pub deadline: Option<i64>,
    /// Micro-dollars that its attempts may take.
    pub budget: Option<i64>,
    /// `OnUnconfirmed::number`, where the client said so.
    pub on_unconfirmed: Option<i16>,
    /// Where its client is told.
    pub webhook_url: Option<String>,
    /// Begin of the load.
    pub created_at: i64,
    /// Last change of counts, or last chunk of a load.
    pub updated_at: i64,
    /// All lines are there; before, nobody sees it.
    pub visible_at: Option<i64>,
    /// Nothing new is submitted.
    pub paused_at: Option<i64>,
    /// The client's wish. Of a load: it is given up and being swept.
    pub cancel_requested_at: Option<i64>,
    /// `CancelMode::number`.
    pub cancel_mode: Option<i16>,
    /// Lines that failed before are to be tried again.
    pub retry_requested_at: Option<i64>,
    /// Also those that may have been paid.
    pub retry_forced: bool,
    /// The key that asked for it.
    pub retry_key: Option<Uuid>,
    /// A failed line stopped it.
    pub stopped_at: Option<i64>,
    /// Its budget suffices for no waiting line.
    pub over_budget_at: Option<i64>,
    /// Its last line ended.
    pub completed_at: Option<i64>,
    /// Lines.
    pub total: i32,
    /// Lines that succeeded.
    pub completed: i32,
    /// Lines that failed.
    pub failed: i32,
    /// Lines that were cancelled.
    pub cancelled: i32,
    /// Lines under way.
    pub running: i32,
    /// Ends of lines so far; a retried line ends again.
    pub ended: i32,
    /// Attempts that count against `max_concurrency`.
    pub places: i32,
    /// Micro-dollars held, charged or at risk by its attempts.
    pub spent: i64,
    /// Micro-dollars charged.
    pub charged: i64,
}

impl ActiveModelBehavior for ActiveModel {}
