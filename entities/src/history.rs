//! `history`: what happened to a generation and its attempts, in order; append-only.

use sea_orm::entity::prelude::*;
use serde::Serialize;

/// What happened to a generation and its attempts, in order; append-only.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeriveEntityModel)]
#[sea_orm(table_name = "history")]
pub struct Model {
    /// The generation.
    #[sea_orm(primary_key, auto_increment = false)]
    pub generation_id: Uuid,
    /// Rises within the generation. On SQLite it is the row's key alone, and a column `prev` there names the row before.
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    /// Attempt number; 0 for the generation itself.
    pub attempt: i32,
    /// State before.
    pub from_state: String,
    /// State after.
    pub to_state: String,
    /// One sentence.
    pub reason: String,
    /// When.
    pub at: i64,
}

impl ActiveModelBehavior for ActiveModel {}
