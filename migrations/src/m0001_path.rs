//! The tables of the path: generations, attempts, assets, history, events, evidence; nodes and shards; projects and keys.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

/// This change.
#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0001_path"
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

/// Rows are found by their 16-byte id: WITHOUT ROWID saves the second tree. Events and evidence are append-only and keep
/// their rowid; AUTOINCREMENT, so that an id is never used again after retention deleted the newest.
const SQLITE: &str = "
CREATE TABLE generations (
    id BLOB NOT NULL PRIMARY KEY, shard INTEGER NOT NULL, project_id BLOB NOT NULL, key_id BLOB NOT NULL,
    version INTEGER NOT NULL, state INTEGER NOT NULL, slots TEXT NOT NULL, not_before INTEGER NOT NULL,
    tries INTEGER NOT NULL, born_state INTEGER NOT NULL, outputs INTEGER NOT NULL, per_call INTEGER NOT NULL,
    provider TEXT NOT NULL, model TEXT NOT NULL, kind INTEGER NOT NULL, priority INTEGER NOT NULL,
    call_price INTEGER NOT NULL, queue_deadline INTEGER NOT NULL, created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL, ended_at INTEGER, cancel_requested_at INTEGER, failure TEXT, request_id TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE generation_payloads (generation_id BLOB NOT NULL PRIMARY KEY, request TEXT NOT NULL);
CREATE TABLE attempts (
    id BLOB NOT NULL PRIMARY KEY, generation_id BLOB NOT NULL, n INTEGER NOT NULL, shard INTEGER NOT NULL,
    version INTEGER NOT NULL, state INTEGER NOT NULL, slot INTEGER NOT NULL, first_output INTEGER NOT NULL,
    output_count INTEGER NOT NULL, provider TEXT NOT NULL, account TEXT NOT NULL, kind INTEGER NOT NULL,
    model TEXT NOT NULL, endpoint TEXT NOT NULL, tag TEXT NOT NULL, request_digest TEXT NOT NULL,
    not_after INTEGER NOT NULL, handle TEXT, created_at INTEGER NOT NULL, submitted_at INTEGER,
    unconfirmed_since INTEGER, updated_at INTEGER NOT NULL, ended_at INTEGER, price INTEGER NOT NULL, cost INTEGER,
    charged BOOLEAN NOT NULL, failure TEXT
) WITHOUT ROWID;
CREATE TABLE attempt_payloads (attempt_id BLOB NOT NULL PRIMARY KEY, request TEXT NOT NULL);
CREATE TABLE assets (
    id BLOB NOT NULL PRIMARY KEY, generation_id BLOB NOT NULL, attempt_id BLOB NOT NULL, idx INTEGER NOT NULL,
    shard INTEGER NOT NULL, version INTEGER NOT NULL, state INTEGER NOT NULL, kind INTEGER NOT NULL, source_url TEXT,
    staged_key TEXT, expires_at INTEGER, storage_key TEXT, content_type TEXT, width INTEGER, height INTEGER,
    duration_ms INTEGER, bytes INTEGER, sha256 TEXT, failure TEXT
) WITHOUT ROWID;
CREATE TABLE history (
    generation_id BLOB NOT NULL, seq INTEGER NOT NULL, attempt INTEGER NOT NULL, from_state TEXT NOT NULL,
    to_state TEXT NOT NULL, reason TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (generation_id, seq)
) WITHOUT ROWID;
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, generation_id BLOB NOT NULL, project_id BLOB NOT NULL, kind TEXT NOT NULL,
    at INTEGER NOT NULL
);
CREATE TABLE submit_evidence (
    id INTEGER PRIMARY KEY AUTOINCREMENT, attempt_id BLOB NOT NULL, generation_id BLOB NOT NULL, account TEXT NOT NULL,
    task_id TEXT NOT NULL, handle TEXT NOT NULL, source TEXT NOT NULL, at INTEGER NOT NULL
);
CREATE TABLE provider_tasks (
    account TEXT NOT NULL, task_id TEXT NOT NULL, attempt_id BLOB NOT NULL, PRIMARY KEY (account, task_id)
) WITHOUT ROWID;
CREATE TABLE nodes (id BLOB NOT NULL PRIMARY KEY, started_at INTEGER NOT NULL, dead_at INTEGER) WITHOUT ROWID;
CREATE TABLE shards (id INTEGER NOT NULL PRIMARY KEY, owner BLOB);
CREATE TABLE projects (id BLOB NOT NULL PRIMARY KEY, name TEXT NOT NULL, created_at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE api_keys (
    id BLOB NOT NULL PRIMARY KEY, project_id BLOB NOT NULL, name TEXT NOT NULL, scope INTEGER NOT NULL,
    hash BLOB NOT NULL, last4 TEXT NOT NULL, created_at INTEGER NOT NULL, revoked_at INTEGER, expires_at INTEGER
) WITHOUT ROWID;
CREATE TABLE commit_marks (lane INTEGER NOT NULL PRIMARY KEY, token INTEGER NOT NULL);
INSERT INTO commit_marks (lane, token) VALUES (0, 0), (1, 0), (2, 0), (3, 0);
";

/// Fill factor 70 leaves room for updates on the same page. `txid` lets a reader of the outbox stay below the oldest
/// transaction still running.
const POSTGRES: &str = "
CREATE TABLE generations (
    id uuid PRIMARY KEY, shard int2 NOT NULL, project_id uuid NOT NULL, key_id uuid NOT NULL, version int4 NOT NULL,
    state int2 NOT NULL, slots text NOT NULL, not_before int8 NOT NULL, tries int4 NOT NULL, born_state int2 NOT NULL,
    outputs int4 NOT NULL, per_call int4 NOT NULL, provider text NOT NULL, model text NOT NULL, kind int2 NOT NULL,
    priority int2 NOT NULL, call_price int8 NOT NULL, queue_deadline int8 NOT NULL, created_at int8 NOT NULL,
    updated_at int8 NOT NULL, ended_at int8, cancel_requested_at int8, failure text, request_id text NOT NULL
) WITH (fillfactor = 70);
CREATE TABLE generation_payloads (generation_id uuid PRIMARY KEY, request text NOT NULL);
CREATE TABLE attempts (
    id uuid PRIMARY KEY, generation_id uuid NOT NULL, n int4 NOT NULL, shard int2 NOT NULL, version int4 NOT NULL,
    state int2 NOT NULL, slot int4 NOT NULL, first_output int4 NOT NULL, output_count int4 NOT NULL,
    provider text NOT NULL, account text NOT NULL, kind int2 NOT NULL, model text NOT NULL, endpoint text NOT NULL,
    tag text NOT NULL, request_digest text NOT NULL, not_after int8 NOT NULL, handle text, created_at int8 NOT NULL,
    submitted_at int8, unconfirmed_since int8, updated_at int8 NOT NULL, ended_at int8, price int8 NOT NULL, cost int8,
    charged boolean NOT NULL, failure text
) WITH (fillfactor = 70);
CREATE TABLE attempt_payloads (attempt_id uuid PRIMARY KEY, request text NOT NULL);
CREATE TABLE assets (
    id uuid PRIMARY KEY, generation_id uuid NOT NULL, attempt_id uuid NOT NULL, idx int4 NOT NULL, shard int2 NOT NULL,
    version int4 NOT NULL, state int2 NOT NULL, kind int2 NOT NULL, source_url text, staged_key text, expires_at int8,
    storage_key text, content_type text, width int4, height int4, duration_ms int8, bytes int8, sha256 text, failure text
) WITH (fillfactor = 70);
CREATE TABLE history (
    generation_id uuid NOT NULL, seq int4 NOT NULL, attempt int4 NOT NULL, from_state text NOT NULL,
    to_state text NOT NULL, reason text NOT NULL, at int8 NOT NULL, PRIMARY KEY (generation_id, seq)
);
CREATE TABLE events (
    id bigserial PRIMARY KEY, txid xid8 NOT NULL DEFAULT pg_current_xact_id(), generation_id uuid NOT NULL,
    project_id uuid NOT NULL, kind text NOT NULL, at int8 NOT NULL
);
CREATE TABLE submit_evidence (
    id bigserial PRIMARY KEY, attempt_id uuid NOT NULL, generation_id uuid NOT NULL, account text NOT NULL,
    task_id text NOT NULL, handle text NOT NULL, source text NOT NULL, at int8 NOT NULL
);
CREATE TABLE provider_tasks (
    account text NOT NULL, task_id text NOT NULL, attempt_id uuid NOT NULL, PRIMARY KEY (account, task_id)
);
CREATE TABLE nodes (id uuid PRIMARY KEY, started_at int8 NOT NULL, dead_at int8);
CREATE TABLE shards (id int2 PRIMARY KEY, owner uuid);
CREATE TABLE projects (id uuid PRIMARY KEY, name text NOT NULL, created_at int8 NOT NULL);
CREATE TABLE api_keys (
    id uuid PRIMARY KEY, project_id uuid NOT NULL, name text NOT NULL, scope int2 NOT NULL, hash bytea NOT NULL,
    last4 text NOT NULL, created_at int8 NOT NULL, revoked_at int8, expires_at int8
);
";

/// The same on both. States below 10 are unfinished; 2 is queued; an asset's 0 is pending.
const INDEXES: &str = "
CREATE INDEX generations_queued ON generations (provider, priority, id) WHERE state = 2;
CREATE INDEX generations_unfinished ON generations (queue_deadline, state) WHERE state < 10;
CREATE INDEX generations_cancel ON generations (id) WHERE cancel_requested_at IS NOT NULL AND state < 10;
CREATE INDEX generations_of_project ON generations (project_id, id);
CREATE UNIQUE INDEX attempts_of_generation ON attempts (generation_id, n);
CREATE INDEX attempts_unended ON attempts (state, id) WHERE state < 10;
CREATE INDEX assets_of_generation ON assets (generation_id, idx);
CREATE INDEX assets_pending ON assets (id) WHERE state = 0;
CREATE UNIQUE INDEX submit_evidence_once ON submit_evidence (attempt_id, account, task_id);
CREATE UNIQUE INDEX projects_name ON projects (name);
CREATE UNIQUE INDEX api_keys_hash ON api_keys (hash);
CREATE INDEX api_keys_of_project ON api_keys (project_id);
";
