//! `webhook_endpoints`: where projects want to be told of events.

use sea_orm::entity::prelude::*;
use serde::Serialize;

/// Where projects want to be told of events.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeriveEntityModel)]
#[sea_orm(table_name = "webhook_endpoints")]
pub struct Model {
    /// The endpoint.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Bumped by what deliveries change of it.
    pub version: i32,
    /// Whose.
    pub project_id: Uuid,
    /// Where.
    pub url: String,
    /// For people.
    pub description: String,
    /// JSON: which kinds of events; none: the ends.
    pub kinds: Option<String>,
    /// How often its secret was rotated.
    pub secret: i32,
    /// When last.
    pub rotated_at: Option<i64>,
    /// When.
    pub created_at: i64,
    /// Last change by its owner.
    pub updated_at: i64,
    /// Since when nothing is sent to it.
    pub disabled_at: Option<i64>,
    /// Why not.
    pub disabled_reason: Option<String>,
    /// Since when every try has failed.
    pub failing_since: Option<i64>,
}

impl ActiveModelBehavior for ActiveModel {}
