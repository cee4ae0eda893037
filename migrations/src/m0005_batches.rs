//! Batches: their rows with exact counts, the place of a generation in one, dependencies between generations, events of batches.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

/// This change.
#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0005_batches"
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

/// SQLite cannot take NOT NULL off a column, so `events` is written anew. The last id it gave is kept: no id is ever used again.
const SQLITE: &str = "
CREATE TABLE batches (
    id BLOB NOT NULL PRIMARY KEY, shard INTEGER NOT NULL, project_id BLOB NOT NULL, key_id BLOB NOT NULL,
    version INTEGER NOT NULL, name TEXT, metadata TEXT, parallel BOOLEAN NOT NULL, max_concurrency INTEGER NOT NULL,
    stop_on_error BOOLEAN NOT NULL, priority INTEGER NOT NULL, deadline INTEGER, budget INTEGER, on_unconfirmed INTEGER,
    webhook_url TEXT, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, visible_at INTEGER, paused_at INTEGER,
    cancel_requested_at INTEGER, cancel_mode INTEGER, retry_requested_at INTEGER, retry_forced BOOLEAN NOT NULL,
    retry_key BLOB, stopped_at INTEGER, over_budget_at INTEGER, completed_at INTEGER, total INTEGER NOT NULL,
    completed INTEGER NOT NULL, failed INTEGER NOT NULL, cancelled INTEGER NOT NULL, running INTEGER NOT NULL,
    ended INTEGER NOT NULL, places INTEGER NOT NULL, spent INTEGER NOT NULL, charged INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE dependencies (
    generation_id BLOB NOT NULL, on_id BLOB NOT NULL, shard INTEGER NOT NULL, PRIMARY KEY (generation_id, on_id)
) WITHOUT ROWID;
ALTER TABLE generations ADD COLUMN batch_id BLOB;
ALTER TABLE generations ADD COLUMN batch_index INTEGER;
ALTER TABLE generations ADD COLUMN custom_id TEXT;
ALTER TABLE generations ADD COLUMN retry_of BLOB;
ALTER TABLE generations ADD COLUMN replaced_by BLOB;
ALTER TABLE generations ADD COLUMN batch_seq INTEGER;
ALTER TABLE attempts ADD COLUMN released_at INTEGER;
ALTER TABLE events RENAME TO events_before;
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, generation_id BLOB, batch_id BLOB, project_id BLOB NOT NULL, kind TEXT NOT NULL,
    at INTEGER NOT NULL
);
INSERT INTO events (id, generation_id, project_id, kind, at) SELECT id, generation_id, project_id, kind, at FROM events_before;
DELETE FROM sqlite_sequence WHERE name = 'events';
INSERT INTO sqlite_sequence (name, seq) SELECT 'events', seq FROM sqlite_sequence WHERE name = 'events_before';
DROP TABLE events_before;
";

const POSTGRES: &str = "
CREATE TABLE batches (
    id uuid PRIMARY KEY, shard int2 NOT NULL, project_id uuid NOT NULL, key_id uuid NOT NULL, version int4 NOT NULL,
    name text, metadata text, parallel boolean NOT NULL, max_concurrency int4 NOT NULL, stop_on_error boolean NOT NULL,
    priority int2 NOT NULL, deadline int8, budget int8, on_unconfirmed int2, webhook_url text, created_at int8 NOT NULL,
    updated_at int8 NOT NULL, visible_at int8, paused_at int8, cancel_requested_at int8, cancel_mode int2,
    retry_requested_at int8, retry_forced boolean NOT NULL, retry_key uuid, stopped_at int8, over_budget_at int8,
    completed_at int8, total int4 NOT NULL, completed int4 NOT NULL, failed int4 NOT NULL, cancelled int4 NOT NULL,
    running int4 NOT NULL, ended int4 NOT NULL, places int4 NOT NULL, spent int8 NOT NULL, charged int8 NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE dependencies (
    generation_id uuid NOT NULL, on_id uuid NOT NULL, shard int2 NOT NULL, PRIMARY KEY (generation_id, on_id)
);
ALTER TABLE generations ADD COLUMN batch_id uuid, ADD COLUMN batch_index int4, ADD COLUMN custom_id text,
    ADD COLUMN retry_of uuid, ADD COLUMN replaced_by uuid, ADD COLUMN batch_seq int4;
ALTER TABLE attempts ADD COLUMN released_at int8;
ALTER TABLE events ADD COLUMN batch_id uuid, ALTER COLUMN generation_id DROP NOT NULL;
";

/// The same on both. Those of generations are partial: one outside a batch is in none of them. A line has one newest generation,
/// which the first of them holds true. An open batch is one that has not ended, or that is to be retried; a loading one is not
/// visible yet.
const INDEXES: &str = "
CREATE UNIQUE INDEX generations_lines ON generations (batch_id, batch_index) WHERE batch_id IS NOT NULL AND replaced_by IS NULL;
CREATE INDEX generations_lines_by_state ON generations (batch_id, state, batch_index)
    WHERE batch_id IS NOT NULL AND replaced_by IS NULL;
CREATE INDEX generations_lines_ended ON generations (batch_id, batch_seq) WHERE batch_seq IS NOT NULL;
CREATE INDEX generations_replaced ON generations (batch_id, batch_index) WHERE replaced_by IS NOT NULL;
CREATE INDEX generations_waiting ON generations (id) WHERE state = 0;
CREATE INDEX batches_of_project ON batches (project_id, id);
CREATE INDEX batches_open ON batches (id) WHERE visible_at IS NOT NULL AND (completed_at IS NULL OR retry_requested_at IS NOT NULL);
CREATE INDEX batches_loading ON batches (id) WHERE visible_at IS NULL;
CREATE INDEX dependencies_on ON dependencies (on_id);
CREATE INDEX events_of_batch ON events (batch_id, id) WHERE batch_id IS NOT NULL;
";
