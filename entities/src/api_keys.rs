//! `api_keys`: aPI keys, by the hash of their text.

use sea_orm::entity::prelude::*;
use serde::Serialize;

/// API keys, by the hash of their text.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeriveEntityModel)]
#[sea_orm(table_name = "api_keys")]
pub struct Model {
    /// The key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Its project.
    pub project_id: Uuid,
    /// For people.
    pub name: String,
    /// 0 client, 1 admin.
    pub scope: i16,
    /// SHA-256 of the whole text; unique.
    pub hash: Vec<u8>,
    /// The last four characters, for recognition.
    pub last4: String,
    /// When.
    pub created_at: i64,
    /// No longer valid since.
    pub revoked_at: Option<i64>,
    /// No longer valid from.
    pub expires_at: Option<i64>,
    /// Micro-dollars that may be promised a UTC day.
    pub daily_limit: Option<i64>,
    /// Requests it may send a minute; 0 is no limit, none the service's own.
    pub requests_per_minute: Option<i32>,
    /// Requests it may have under way; 0 is no limit, none the service's own.
    pub in_flight: Option<i32>,
}

impl ActiveModelBehavior for ActiveModel {}
