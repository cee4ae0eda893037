//! `outbox_marks`: how far the outbox is read (`read`) and how far retention has deleted it (`gone`).

use sea_orm::entity::prelude::*;
use serde::Serialize;

/// How far the outbox is read (`read`) and how far retention has deleted it (`gone`).
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeriveEntityModel)]
#[sea_orm(table_name = "outbox_marks")]
pub struct Model {
    /// Which.
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    /// Transaction of the last event; 0 on SQLite.
    pub txid: i64,
    /// Its number.
    pub seq: i64,
    /// When that happened of which it told.
    pub at: i64,
}

impl ActiveModelBehavior for ActiveModel {}
