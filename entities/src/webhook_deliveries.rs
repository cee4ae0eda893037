//! `webhook_deliveries`: events on their way to endpoints and URLs.

use sea_orm::entity::prelude::*;
use serde::Serialize;

/// Events on their way to endpoints and URLs.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeriveEntityModel)]
#[sea_orm(table_name = "webhook_deliveries")]
pub struct Model {
    /// The delivery.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Whose.
    pub project_id: Uuid,
    /// What shares its places: the endpoint, or project and host of the URL.
    pub target: Uuid,
    /// The endpoint.
    pub endpoint_id: Option<Uuid>,
    /// The URL, where there is no endpoint.
    pub url: Option<String>,
    /// The event's transaction.
    pub txid: i64,
    /// The event's number; 0 for a test.
    pub seq: i64,
    /// The event's kind.
    pub kind: String,
    /// The generation.
    pub generation_id: Option<Uuid>,
    /// The batch.
    pub batch_id: Option<Uuid>,
    /// When that happened.
    pub event_at: i64,
    /// Bumped by every try.
    pub version: i32,
    /// `DeliveryState::number`.
    pub state: i16,
    /// So far.
    pub tries: i32,
    /// Not before.
    pub next_at: i64,
    /// When.
    pub created_at: i64,
    /// Last try.
    pub tried_at: Option<i64>,
    /// End.
    pub ended_at: Option<i64>,
    /// HTTP status of the last answer.
    pub status: Option<i32>,
    /// Why nobody answered.
    pub error: Option<String>,
    /// The beginning of the last answer.
    pub answer: Option<String>,
}

impl ActiveModelBehavior for ActiveModel {}
