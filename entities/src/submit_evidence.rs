//! `submit_evidence`: provider ids as they were learned; append-only, never fenced.

use sea_orm::entity::prelude::*;
use serde::Serialize;

/// Provider ids as they were learned; append-only, never fenced.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeriveEntityModel)]
#[sea_orm(table_name = "submit_evidence")]
pub struct Model {
    /// Rowid or serial.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The attempt.
    pub attempt_id: Uuid,
    /// Its generation.
    pub generation_id: Uuid,
    /// Section and account.
    pub account: String,
    /// The provider's id; empty at a synchronous provider.
    pub task_id: String,
    /// JSON.
    pub handle: String,
    /// `answer`, `lookup`, `webhook`, `operator`.
    pub source: String,
    /// When.
    pub at: i64,
}

impl ActiveModelBehavior for ActiveModel {}
