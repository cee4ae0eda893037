//! `ledger`: what every commit moved of a generation's money.

use sea_orm::entity::prelude::*;
use serde::Serialize;

/// What every commit moved of a generation's money. Amounts are differences in micro-dollars.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeriveEntityModel)]
#[sea_orm(table_name = "ledger")]
pub struct Model {
    /// The generation.
    #[sea_orm(primary_key, auto_increment = false)]
    pub generation_id: Uuid,
    /// Attempt number; 0 is the generation itself.
    #[sea_orm(primary_key, auto_increment = false)]
    pub attempt: i32,
    /// `EntryKind::number`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub kind: i16,
    /// Version of the row that moved it.
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i32,
    /// Promised.
    pub held: i64,
    /// Billed.
    pub charged: i64,
    /// Possibly billed.
    pub at_risk: i64,
    /// When.
    pub at: i64,
}

impl ActiveModelBehavior for ActiveModel {}
