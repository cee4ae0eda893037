//! `generation_payloads`: what the client asked for: large and cold, never read by lists.

use sea_orm::entity::prelude::*;
use serde::Serialize;

/// What the client asked for: large and cold, never read by lists.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeriveEntityModel)]
#[sea_orm(table_name = "generation_payloads")]
pub struct Model {
    /// The generation.
    #[sea_orm(primary_key, auto_increment = false)]
    pub generation_id: Uuid,
    /// JSON.
    pub request: String,
}

impl ActiveModelBehavior for ActiveModel {}
