//! `spend_days`: sums of the ledger by day of the accept.

use sea_orm::entity::prelude::*;
use serde::Serialize;

/// Sums of the ledger by day of the accept, in parts that readers add up. Amounts in micro-dollars.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeriveEntityModel)]
#[sea_orm(table_name = "spend_days")]
pub struct Model {
    /// UTC day, counted from the epoch's.
    #[sea_orm(primary_key, auto_increment = false)]
    pub day: i32,
    /// The project.
    #[sea_orm(primary_key, auto_increment = false)]
    pub project_id: Uuid,
    /// The key that submitted.
    #[sea_orm(primary_key, auto_increment = false)]
    pub key_id: Uuid,
    /// Provider section.
    #[sea_orm(primary_key, auto_increment = false)]
    pub provider: String,
    /// `modelIdentifier`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub model: String,
    /// Which writer adds to it.
    #[sea_orm(primary_key, auto_increment = false)]
    pub stripe: i16,
    /// Promised.
    pub held: i64,
    /// Billed.
    pub charged: i64,
    /// Possibly billed.
    pub at_risk: i64,
    /// Given back; only grows.
    pub released: i64,
}

impl ActiveModelBehavior for ActiveModel {}
