//! `hidden_videos`: videos that were deleted below `/v1`.

use sea_orm::entity::prelude::*;
use serde::Serialize;

/// Videos that were deleted below `/v1`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeriveEntityModel)]
#[sea_orm(table_name = "hidden_videos")]
pub struct Model {
    /// The generation.
    #[sea_orm(primary_key, auto_increment = false)]
    pub generation_id: Uuid,
    /// Its project.
    pub project_id: Uuid,
    /// When.
    pub at: i64,
    /// When its files were gone.
    pub purged_at: Option<i64>,
}

impl ActiveModelBehavior for ActiveModel {}
