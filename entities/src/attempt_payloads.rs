//! `attempt_payloads`: the request of an attempt without credential: cold.

use sea_orm::entity::prelude::*;
use serde::Serialize;

/// The request of an attempt without credential: cold.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeriveEntityModel)]
#[sea_orm(table_name = "attempt_payloads")]
pub struct Model {
    /// The attempt.
    #[sea_orm(primary_key, auto_increment = false)]
    pub attempt_id: Uuid,
    /// JSON.
    pub request: String,
}

impl ActiveModelBehavior for ActiveModel {}
