//! `generation_webhooks`: uRLs that were named with generations.

use sea_orm::entity::prelude::*;
use serde::Serialize;

/// URLs that were named with generations.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeriveEntityModel)]
#[sea_orm(table_name = "generation_webhooks")]
pub struct Model {
    /// The generation.
    #[sea_orm(primary_key, auto_increment = false)]
    pub generation_id: Uuid,
    /// Where.
    pub url: String,
}

impl ActiveModelBehavior for ActiveModel {}
