//! `nodes`: one run of a process; `dead_at` is written once. The fence.

use sea_orm::entity::prelude::*;
use serde::Serialize;

/// One run of a process; `dead_at` is written once. The fence.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeriveEntityModel)]
#[sea_orm(table_name = "nodes")]
pub struct Model {
    /// The node.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// When.
    pub started_at: i64,
    /// Set irreversibly by whoever takes over.
    pub dead_at: Option<i64>,
}

impl ActiveModelBehavior for ActiveModel {}
