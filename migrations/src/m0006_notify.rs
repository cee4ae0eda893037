//! What telling clients needs: the outbox read in the order of commits, how far it is read and how far it is gone, and webhooks: endpoints,
//! the URLs that generations named, deliveries.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

/// This change.
#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0006_notify"
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

/// Of the marks, `read` is how far deliveries were made of the outbox, and `gone` how far retention has deleted it. What stands in it
/// already is told to nobody.
const SQLITE: &str = "
CREATE INDEX events_of_project ON events (project_id, id);
CREATE INDEX events_of_generation ON events (generation_id, id);
CREATE TABLE outbox_marks (
    name TEXT NOT NULL PRIMARY KEY, txid INTEGER NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO outbox_marks (name, txid, seq, at) SELECT 'read', 0, coalesce(max(id), 0), 0 FROM events;
CREATE TABLE webhook_endpoints (
    id BLOB NOT NULL PRIMARY KEY, version INTEGER NOT NULL, project_id BLOB NOT NULL, url TEXT NOT NULL, description TEXT NOT NULL, kinds TEXT,
    secret INTEGER NOT NULL, rotated_at INTEGER, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
    disabled_at INTEGER, disabled_reason TEXT, failing_since INTEGER
) WITHOUT ROWID;
CREATE TABLE webhook_secrets (project_id BLOB NOT NULL PRIMARY KEY, secret INTEGER NOT NULL, rotated_at INTEGER) WITHOUT ROWID;
CREATE TABLE generation_webhooks (generation_id BLOB NOT NULL PRIMARY KEY, url TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE webhook_deliveries (
    id BLOB NOT NULL PRIMARY KEY, project_id BLOB NOT NULL, target BLOB NOT NULL, endpoint_id BLOB, url TEXT,
    txid INTEGER NOT NULL, seq INTEGER NOT NULL, kind TEXT NOT NULL, generation_id BLOB, batch_id BLOB, event_at INTEGER NOT NULL,
    version INTEGER NOT NULL, state INTEGER NOT NULL, tries INTEGER NOT NULL, next_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL, tried_at INTEGER, ended_at INTEGER, status INTEGER, error TEXT, answer TEXT
) WITHOUT ROWID;
INSERT INTO commit_marks (lane, token) VALUES (6, 0);
";

const POSTGRES: &str = "
CREATE INDEX events_in_order ON events (txid, id);
CREATE INDEX events_of_project ON events (project_id, txid, id);
CREATE INDEX events_of_generation ON events (generation_id, txid, id);
CREATE TABLE outbox_marks (name text PRIMARY KEY, txid int8 NOT NULL, seq int8 NOT NULL, at int8 NOT NULL);
INSERT INTO outbox_marks (name, txid, seq, at)
    SELECT 'read', coalesce((SELECT txid::text::int8 FROM events ORDER BY txid DESC, id DESC LIMIT 1), 0),
        coalesce((SELECT id FROM events ORDER BY txid DESC, id DESC LIMIT 1), 0), 0;
CREATE TABLE webhook_endpoints (
    id uuid PRIMARY KEY, version int4 NOT NULL, project_id uuid NOT NULL, url text NOT NULL, description text NOT NULL, kinds text,
    secret int4 NOT NULL, rotated_at int8, created_at int8 NOT NULL, updated_at int8 NOT NULL, disabled_at int8,
    disabled_reason text, failing_since int8
);
CREATE TABLE webhook_secrets (project_id uuid PRIMARY KEY, secret int4 NOT NULL, rotated_at int8);
CREATE TABLE generation_webhooks (generation_id uuid PRIMARY KEY, url text NOT NULL);
CREATE TABLE webhook_deliveries (
    id uuid PRIMARY KEY, project_id uuid NOT NULL, target uuid NOT NULL, endpoint_id uuid, url text, txid int8 NOT NULL,
    seq int8 NOT NULL, kind text NOT NULL, generation_id uuid, batch_id uuid, event_at int8 NOT NULL, version int4 NOT NULL,
    state int2 NOT NULL, tries int4 NOT NULL, next_at int8 NOT NULL, created_at int8 NOT NULL, tried_at int8, ended_at int8,
    status int4, error text, answer text
) WITH (fillfactor = 70);
";

/// The same on both. State 0 is pending: what is sent next is found by its target, so that one with a long queue hides no other.
const INDEXES: &str = "
INSERT INTO outbox_marks (name, txid, seq, at) VALUES ('gone', 0, 0, 0);
CREATE INDEX webhook_endpoints_of_project ON webhook_endpoints (project_id, id);
CREATE INDEX webhook_deliveries_pending ON webhook_deliveries (target, next_at, id) WHERE state = 0;
CREATE INDEX webhook_deliveries_of_project ON webhook_deliveries (project_id, id);
CREATE INDEX webhook_deliveries_of_endpoint ON webhook_deliveries (endpoint_id, id) WHERE endpoint_id IS NOT NULL;
CREATE INDEX webhook_deliveries_of_generation ON webhook_deliveries (generation_id, id) WHERE generation_id IS NOT NULL;
";
