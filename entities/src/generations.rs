//! `generations`: the hot, narrow row of a generation. Written by births and transitions; `cancel_requested_at` is a fact of its own.

use sea_orm::entity::prelude::*;
use serde::Serialize;

/// The hot, narrow row of a generation. Written by births and transitions; `cancel_requested_at` is a fact of its own.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeriveEntityModel)]
#[sea_orm(table_name = "generations")]
pub struct Model {
    /// UUIDv7.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Which owner; 0 to 255.
    pub shard: i16,
    /// Owner.
    pub project_id: Uuid,
    /// The key that submitted it.
    pub key_id: Uuid,
    /// Compare-and-set; bumped by every transition that changes this row.
    pub version: i32,
    /// `GenerationState::number`; below 10 is unfinished.
    pub state: i16,
    /// One letter a slot.
    pub slots: String,
    /// Milliseconds since the epoch; no submit before.
    pub not_before: i64,
    /// Attempts that consumed a try.
    pub tries: i32,
    /// State at birth; a birth writes no history row.
    pub born_state: i16,
    /// Outputs asked for.
    pub outputs: i32,
    /// Outputs the model makes in one call.
    pub per_call: i32,
    /// Provider section.
    pub provider: String,
    /// `modelIdentifier`.
    pub model: String,
    /// 0 image, 1 video.
    pub kind: i16,
    /// 1 (most urgent) to 10.
    pub priority: i16,
    /// Micro-dollars a call.
    pub call_price: i64,
    /// No first submit after this instant.
    pub queue_deadline: i64,
    /// Birth.
    pub created_at: i64,
    /// Last transition.
    pub updated_at: i64,
    /// End.
    pub ended_at: Option<i64>,
    /// The client's wish; never written by a transition.
    pub cancel_requested_at: Option<i64>,
    /// JSON.
    pub failure: Option<String>,
    /// Follows the request through logs.
    pub request_id: String,
    /// `OnUnconfirmed::number`.
    pub on_unconfirmed: i16,
    /// Its batch.
    pub batch_id: Option<Uuid>,
    /// Its line, from 0.
    pub batch_index: Option<i32>,
    /// The client's name of the line.
    pub custom_id: Option<String>,
    /// The generation whose line it took.
    pub retry_of: Option<Uuid>,
    /// The generation that took its line; written by a retry, never by a transition.
    pub replaced_by: Option<Uuid>,
    /// The how-manieth end of a line of its batch its own was, from 1.
    pub batch_seq: Option<i32>,
}

impl ActiveModelBehavior for ActiveModel {}
