//! Idempotency keys: which key of which project has made what, kept for two days.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

/// This change.
#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0007_idempotency"
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
        connection.execute_unprepared(INDEXES).await?;
        Ok(())
    }

    /// One transaction on SQLite too: a start that is killed half-way leaves nothing behind.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

/// The id is a digest of project, route and key, so that a key of any length is one narrow column.
const SQLITE: &str = "
CREATE TABLE idempotency (
    id BLOB NOT NULL PRIMARY KEY, project_id BLOB NOT NULL, fingerprint TEXT NOT NULL, subject TEXT NOT NULL, at INTEGER NOT NULL
) WITHOUT ROWID;
";

const POSTGRES: &str = "
CREATE TABLE idempotency (
    id uuid PRIMARY KEY, project_id uuid NOT NULL, fingerprint text NOT NULL, subject text NOT NULL, at int8 NOT NULL
);
";

/// By age, for the sweep.
const INDEXES: &str = "CREATE INDEX idempotency_at ON idempotency (at);";
