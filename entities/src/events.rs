//! `events`: the outbox: what clients will be told. On PostgreSQL it has a further column `txid`, read through raw SQL only.

use sea_orm::entity::prelude::*;
use serde::Serialize;

/// The outbox: what clients will be told. On PostgreSQL it has a further column `txid`, read through raw SQL only.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeriveEntityModel)]
#[sea_orm(table_name = "events")]
pub struct Model {
    /// Rowid or serial.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The generation; none where a batch as a whole is meant.
    pub generation_id: Option<Uuid>,
    /// The batch, also that of the generation.
    pub batch_id: Option<Uuid>,
    /// Its project.
    pub project_id: Uuid,
    /// Such as `generation.completed`.
    pub kind: String,
    /// When.
    pub at: i64,
}

impl ActiveModelBehavior for ActiveModel {}
