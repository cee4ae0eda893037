//! On SQLite history is written at the end of its table, and each row names the one before it.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

/// This change.
#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0013_history"
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

/// Kept in the order of its generations, history took each transition a page of its own, written to the log whole. The row that the
/// transition changes anyway says where its history ends.
const SQLITE: &str = "
CREATE TABLE chained (
    seq INTEGER PRIMARY KEY, prev INTEGER, generation_id BLOB NOT NULL, attempt INTEGER NOT NULL, from_state TEXT NOT NULL,
    to_state TEXT NOT NULL, reason TEXT NOT NULL, at INTEGER NOT NULL
);
INSERT INTO chained (seq, prev, generation_id, attempt, from_state, to_state, reason, at)
    SELECT n, lag(n) OVER (PARTITION BY generation_id ORDER BY n), generation_id, attempt, from_state, to_state, reason, at
    FROM (SELECT *, row_number() OVER (ORDER BY generation_id, seq) AS n FROM history)
    ORDER BY n;
ALTER TABLE generations ADD COLUMN history_head INTEGER;
UPDATE generations SET history_head = ends.head
    FROM (SELECT generation_id, max(seq) AS head FROM chained GROUP BY generation_id) AS ends
    WHERE generations.id = ends.generation_id;
DROP TABLE history;
ALTER TABLE chained RENAME TO history;
";

/// There its key costs little. A number as wide as SQLite's.
const POSTGRES: &str = "ALTER TABLE history ALTER COLUMN seq TYPE int8;";
