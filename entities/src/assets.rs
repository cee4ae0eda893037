//! `assets`: one file of a result.

use sea_orm::entity::prelude::*;
use serde::Serialize;

/// One file of a result.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeriveEntityModel)]
#[sea_orm(table_name = "assets")]
pub struct Model {
    /// UUIDv7.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Its generation.
    pub generation_id: Uuid,
    /// Its attempt.
    pub attempt_id: Uuid,
    /// Output index within the generation.
    pub idx: i32,
    /// The generation's.
    pub shard: i16,
    /// Compare-and-set.
    pub version: i32,
    /// `AssetState::number`; 0 is pending.
    pub state: i16,
    /// 0 image, 1 video.
    pub kind: i16,
    /// The provider's URL.
    pub source_url: Option<String>,
    /// Where bytes were staged.
    pub staged_key: Option<String>,
    /// When the provider drops it.
    pub expires_at: Option<i64>,
    /// Key in the storage.
    pub storage_key: Option<String>,
    /// MIME type.
    pub content_type: Option<String>,
    /// Pixels.
    pub width: Option<i32>,
    /// Pixels.
    pub height: Option<i32>,
    /// Milliseconds.
    pub duration_ms: Option<i64>,
    /// Size.
    pub bytes: Option<i64>,
    /// Hex.
    pub sha256: Option<String>,
    /// JSON.
    pub failure: Option<String>,
}

impl ActiveModelBehavior for ActiveModel {}
