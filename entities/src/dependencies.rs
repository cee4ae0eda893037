//! `dependencies`: which generation waits for which.

use sea_orm::entity::prelude::*;
use serde::Serialize;

/// Which generation waits for which; written at the birth and never changed. Whoever took the line of `on_id` since then counts in
/// its place.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeriveEntityModel)]
#[sea_orm(table_name = "dependencies")]
pub struct Model {
    /// The one that waits.
    #[sea_orm(primary_key, auto_increment = false)]
    pub generation_id: Uuid,
    /// What it waits for.
    #[sea_orm(primary_key, auto_increment = false)]
    pub on_id: Uuid,
    /// That of both.
    pub shard: i16,
}

impl ActiveModelBehavior for ActiveModel {}
