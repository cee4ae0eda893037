//! `balances`: what is left on an account at a provider, as last read.

use sea_orm::entity::prelude::*;
use serde::Serialize;

/// What is left on an account at a provider, as last read.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeriveEntityModel)]
#[sea_orm(table_name = "balances")]
pub struct Model {
    /// Provider section.
    #[sea_orm(primary_key, auto_increment = false)]
    pub provider: String,
    /// Account by its configured name.
    #[sea_orm(primary_key, auto_increment = false)]
    pub account: String,
    /// The newest reading: JSON.
    pub newest: Option<String>,
    /// The one before: JSON.
    pub previous: Option<String>,
    /// Why the newest try told nothing.
    pub error: Option<String>,
    /// When that was.
    pub error_at: Option<i64>,
}

impl ActiveModelBehavior for ActiveModel {}
