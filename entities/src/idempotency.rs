//! `idempotency`: what was made under which idempotency key.

use sea_orm::entity::prelude::*;
use serde::Serialize;

/// What was made under which idempotency key.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeriveEntityModel)]
#[sea_orm(table_name = "idempotency")]
pub struct Model {
    /// Digest of project, route and key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The project.
    pub project_id: Uuid,
    /// SHA-256 of the canonical request, hexadecimal.
    pub fingerprint: String,
    /// The id of what was made.
    pub subject: String,
    /// When.
    pub at: i64,
}

impl ActiveModelBehavior for ActiveModel {}
