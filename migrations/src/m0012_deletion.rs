//! The files of videos that were deleted below `/v1` go, too; and what was told of a batch is found by it.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

/// This change.
#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0012_deletion"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    #[expect(elided_lifetimes_in_paths, reason = "the trait declares it late-bound; a written one would not match")]
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        match connection.get_database_backend() {
            DbBackend::Sqlite => {
                connection
                    .execute_unprepared(&format!("ALTER TABLE hidden_videos ADD COLUMN purged_at INTEGER; {INDEXES}"))
                    .await?
            }
            DbBackend::Postgres => {
                connection.execute_unprepared(&format!("ALTER TABLE hidden_videos ADD COLUMN purged_at int8; {INDEXES}")).await?
            }
            DbBackend::MySql | _ => return Err(DbErr::Migration("only SQLite and PostgreSQL are supported".to_owned())),
        };
        Ok(())
    }

    /// One transaction on SQLite too: a start that is killed half-way leaves nothing behind.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

/// What is still to be done is a short list, however many were deleted.
const INDEXES: &str = "
CREATE INDEX hidden_videos_to_purge ON hidden_videos (generation_id) WHERE purged_at IS NULL;
CREATE INDEX webhook_deliveries_of_batch ON webhook_deliveries (batch_id, id) WHERE batch_id IS NOT NULL;
";
