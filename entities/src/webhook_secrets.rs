//! `webhook_secrets`: how often projects rotated what signs webhooks to URLs that are named with a generation or a batch.

use sea_orm::entity::prelude::*;
use serde::Serialize;

/// How often projects rotated what signs webhooks to URLs that are named with a generation or a batch.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeriveEntityModel)]
#[sea_orm(table_name = "webhook_secrets")]
pub struct Model {
    /// The project.
    #[sea_orm(primary_key, auto_increment = false)]
    pub project_id: Uuid,
    /// How often.
    pub secret: i32,
    /// When last.
    pub rotated_at: Option<i64>,
}

impl ActiveModelBehavior for ActiveModel {}
