//! On PostgreSQL, too, each commit leaves a token, and loads of batches have one of their own.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

/// This change.
#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0015_marks"
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

/// Two writers never share a row.
const SQLITE: &str = "INSERT INTO commit_marks (lane, token) VALUES (4, 0);";

/// Updated at each commit: room for that on its one page.
const POSTGRES: &str = "
CREATE TABLE commit_marks (lane int2 PRIMARY KEY, token int8 NOT NULL) WITH (fillfactor = 30);
INSERT INTO commit_marks (lane, token) VALUES (0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (6, 0);
";
