//! `provider_tasks`: which attempt a provider task belongs to; the first claim stays.

use sea_orm::entity::prelude::*;
use serde::Serialize;

/// Which attempt a provider task belongs to; the first claim stays.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeriveEntityModel)]
#[sea_orm(table_name = "provider_tasks")]
pub struct Model {
    /// Section and account.
    #[sea_orm(primary_key, auto_increment = false)]
    pub account: String,
    /// The provider's id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub task_id: String,
    /// The attempt.
    pub attempt_id: Uuid,
}

impl ActiveModelBehavior for ActiveModel {}
