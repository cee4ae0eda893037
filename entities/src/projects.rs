//! `projects`: owners of keys and generations.

use sea_orm::entity::prelude::*;
use serde::Serialize;

/// Owners of keys and generations.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeriveEntityModel)]
#[sea_orm(table_name = "projects")]
pub struct Model {
    /// The project.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Unique.
    pub name: String,
    /// When.
    pub created_at: i64,
    /// Micro-dollars that may be promised a UTC day.
    pub daily_limit: Option<i64>,
}

impl ActiveModelBehavior for ActiveModel {}
