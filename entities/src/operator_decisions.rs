//! `operator_decisions`: what operators said about attempts whose submit stayed unknown; facts, carried out by the reconciler.

use sea_orm::entity::prelude::*;
use serde::Serialize;

/// What operators said about attempts whose submit stayed unknown; facts, carried out by the reconciler.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeriveEntityModel)]
#[sea_orm(table_name = "operator_decisions")]
pub struct Model {
    /// Rowid or serial.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The attempt.
    pub attempt_id: Uuid,
    /// Its generation.
    pub generation_id: Uuid,
    /// `adopt` or `lost`.
    pub decision: String,
    /// The provider's id of the task, of an adopt.
    pub provider_task: Option<String>,
    /// `cli`, or the id of the key.
    pub decided_by: String,
    /// When it was decided.
    pub at: i64,
    /// When it was carried out or refused.
    pub done_at: Option<i64>,
    /// `done` or `refused`.
    pub outcome: Option<String>,
    /// One sentence: what came of it.
    pub reason: Option<String>,
}

impl ActiveModelBehavior for ActiveModel {}
