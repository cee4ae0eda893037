//! `shards`: who owns which part of the rows.

use sea_orm::entity::prelude::*;
use serde::Serialize;

/// Who owns which part of the rows.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeriveEntityModel)]
#[sea_orm(table_name = "shards")]
pub struct Model {
    /// 0 to 255.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i16,
    /// The node.
    pub owner: Option<Uuid>,
}

impl ActiveModelBehavior for ActiveModel {}
