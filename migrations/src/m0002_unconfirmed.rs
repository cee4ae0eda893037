//! What reconciliation needs: each generation's policy, what an operator declared lost, and the operators' decisions.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

/// This change.
#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0002_unconfirmed"
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

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

const SQLITE: &str = "
ALTER TABLE generations ADD COLUMN on_unconfirmed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN lost_at INTEGER;
CREATE TABLE operator_decisions (
    id INTEGER PRIMARY KEY AUTOINCREMENT, attempt_id BLOB NOT NULL, generation_id BLOB NOT NULL, decision TEXT NOT NULL,
    provider_task TEXT, decided_by TEXT NOT NULL, at INTEGER NOT NULL, done_at INTEGER, outcome TEXT, reason TEXT
);
";

const POSTGRES: &str = "
ALTER TABLE generations ADD COLUMN on_unconfirmed int2 NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN lost_at int8;
CREATE TABLE operator_decisions (
    id bigserial PRIMARY KEY, attempt_id uuid NOT NULL, generation_id uuid NOT NULL, decision text NOT NULL,
    provider_task text, decided_by text NOT NULL, at int8 NOT NULL, done_at int8, outcome text, reason text
);
";

/// All partial, on rows that hardly any generation has: the path's own writes touch none of them. 15 is timed out.
const INDEXES: &str = "
CREATE INDEX attempts_unconfirmed ON attempts (state, id) WHERE unconfirmed_since IS NOT NULL;
CREATE INDEX attempts_timed_out ON attempts (ended_at) WHERE state = 15;
CREATE INDEX submit_evidence_found ON submit_evidence (id) WHERE source <> 'answer';
CREATE INDEX operator_decisions_open ON operator_decisions (id) WHERE done_at IS NULL;
CREATE INDEX operator_decisions_of_attempt ON operator_decisions (attempt_id, id);
";
