//! Videos that were deleted below `/v1`.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

/// This change.
#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0011_openai"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    #[expect(elided_lifetimes_in_paths, reason = "the trait declares it late-bound; a written one would not match")]
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        match connection.get_database_backend() {
            DbBackend::Sqlite => connection.execute_unprepared(SQLITE).await?,
            DbBackend::Postgres => connection.execute_unprepared(POSTGRES).await?,
            DbBackend::MySql | _ => return Err(DbErr::Migration("only SQLite and PostgreSQL are supported".to_owned())),
        };
        Ok(())
    }

    /// One transaction on SQLite too: a start that is killed half-way leaves nothing behind.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

/// A table of its own: hardly any generation is in it, and no list of others reads it.
const SQLITE: &str = "
CREATE TABLE hidden_videos (generation_id BLOB NOT NULL PRIMARY KEY, project_id BLOB NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;
";

const POSTGRES: &str = "
CREATE TABLE hidden_videos (generation_id uuid PRIMARY KEY, project_id uuid NOT NULL, at int8 NOT NULL);
";
