//! `attempts`: the row of an attempt: one paid submit.

use sea_orm::entity::prelude::*;
use serde::Serialize;

/// The row of an attempt: one paid submit.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeriveEntityModel)]
#[sea_orm(table_name = "attempts")]
pub struct Model {
    /// UUIDv7.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Its generation.
    pub generation_id: Uuid,
    /// 1, 2, … within the generation.
    pub n: i32,
    /// The generation's.
    pub shard: i16,
    /// Compare-and-set.
    pub version: i32,
    /// `AttemptState::number`; below 10 is unended.
    pub state: i16,
    /// The slot it works for.
    pub slot: i32,
    /// First output index.
    pub first_output: i32,
    /// How many outputs.
    pub output_count: i32,
    /// Provider section.
    pub provider: String,
    /// Account by its configured name.
    pub account: String,
    /// 0 image, 1 video.
    pub kind: i16,
    /// `modelIdentifier`.
    pub model: String,
    /// JSON: where it was sent.
    pub endpoint: String,
    /// Correlation.
    pub tag: String,
    /// SHA-256, hex.
    pub request_digest: String,
    /// The POST must not leave later.
    pub not_after: i64,
    /// JSON: what the provider gave us.
    pub handle: Option<String>,
    /// Commit of the intent.
    pub created_at: i64,
    /// Accepted.
    pub submitted_at: Option<i64>,
    /// Outcome unknown since.
    pub unconfirmed_since: Option<i64>,
    /// Last transition.
    pub updated_at: i64,
    /// End.
    pub ended_at: Option<i64>,
    /// Estimate, micro-dollars.
    pub price: i64,
    /// What the provider says, micro-dollars.
    pub cost: Option<i64>,
    /// Whether we are charged as far as known.
    pub charged: bool,
    /// JSON.
    pub failure: Option<String>,
    /// An operator declared it lost.
    pub lost_at: Option<i64>,
    /// Its place in its batch is free again, although it runs.
    pub released_at: Option<i64>,
}

impl ActiveModelBehavior for ActiveModel {}
