//! The books: the ledger of every generation, its sums by day, and daily limits of projects and keys. What exists already is
//! opened with the position its rows show.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

/// This change.
#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0004_spend"
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
        connection.execute_unprepared(OPENING).await?;
        Ok(())
    }

    /// One transaction on SQLite too: a start that is killed half-way leaves nothing behind.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

const SQLITE: &str = "
CREATE TABLE ledger (
    generation_id BLOB NOT NULL, attempt INTEGER NOT NULL, kind INTEGER NOT NULL, seq INTEGER NOT NULL,
    held INTEGER NOT NULL, charged INTEGER NOT NULL, at_risk INTEGER NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (generation_id, attempt, kind, seq)
) WITHOUT ROWID;
CREATE TABLE spend_days (
    day INTEGER NOT NULL, project_id BLOB NOT NULL, key_id BLOB NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL,
    stripe INTEGER NOT NULL, held INTEGER NOT NULL, charged INTEGER NOT NULL, at_risk INTEGER NOT NULL,
    released INTEGER NOT NULL, PRIMARY KEY (day, project_id, key_id, provider, model, stripe)
) WITHOUT ROWID;
ALTER TABLE projects ADD COLUMN daily_limit INTEGER;
ALTER TABLE api_keys ADD COLUMN daily_limit INTEGER;
";

const POSTGRES: &str = "
CREATE TABLE ledger (
    generation_id uuid NOT NULL, attempt int4 NOT NULL, kind int2 NOT NULL, seq int4 NOT NULL, held int8 NOT NULL,
    charged int8 NOT NULL, at_risk int8 NOT NULL, at int8 NOT NULL, PRIMARY KEY (generation_id, attempt, kind, seq)
);
CREATE TABLE spend_days (
    day int4 NOT NULL, project_id uuid NOT NULL, key_id uuid NOT NULL, provider text NOT NULL, model text NOT NULL,
    stripe int2 NOT NULL, held int8 NOT NULL, charged int8 NOT NULL, at_risk int8 NOT NULL, released int8 NOT NULL,
    PRIMARY KEY (day, project_id, key_id, provider, model, stripe)
) WITH (fillfactor = 50);
ALTER TABLE projects ADD COLUMN daily_limit int8;
ALTER TABLE api_keys ADD COLUMN daily_limit int8;
";

/// The same on both. Attempt states: 0 submitting, 1 unconfirmed, 2 running, 3 storing, 15 timed out, 16 expired, 17 given up. Kinds:
/// 0 hold, 1 charge, 3 risk.
const OPENING: &str = "
INSERT INTO ledger (generation_id, attempt, kind, seq, held, charged, at_risk, at)
    SELECT id, 0, 0, 0, call_price * (length(slots) - length(replace(slots, 'o', ''))), 0, 0, created_at
    FROM generations WHERE call_price > 0 AND slots LIKE '%o%';
INSERT INTO ledger (generation_id, attempt, kind, seq, held, charged, at_risk, at)
    SELECT generation_id, n, CASE WHEN charged THEN 1 WHEN state IN (1, 15, 16, 17) THEN 3 ELSE 0 END, version,
        CASE WHEN NOT charged AND state IN (0, 2, 3) THEN price ELSE 0 END,
        CASE WHEN charged THEN coalesce(cost, price) ELSE 0 END,
        CASE WHEN NOT charged AND state IN (1, 15, 16, 17) THEN price ELSE 0 END, updated_at
    FROM attempts
    WHERE (charged AND coalesce(cost, price) > 0) OR (NOT charged AND price > 0 AND state IN (0, 1, 2, 3, 15, 16, 17));
INSERT INTO spend_days (day, project_id, key_id, provider, model, stripe, held, charged, at_risk, released)
    SELECT g.created_at / 86400000, g.project_id, g.key_id, g.provider, g.model, 0, sum(l.held), sum(l.charged),
        sum(l.at_risk), 0
    FROM ledger l JOIN generations g ON g.id = l.generation_id
    GROUP BY g.created_at / 86400000, g.project_id, g.key_id, g.provider, g.model;
";
