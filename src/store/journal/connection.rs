//! One connection for writing, on either database: constant statements with one JSON text as their only parameter. Writes may
//! wait in a queue, to go together; whoever needs to know that they are done asks by [`Connection::flush`].

use sqlx::{
    AssertSqlSafe, Connection as _, Error, FromRow, Row as _,
    postgres::{PgConnection, PgRow},
    sqlite::SqliteRow,
};
use uuid::Uuid;

use super::{
    bundle::Bundle,
    pipeline::Pipeline,
    sql::{Rows, array},
};

/// A connection that writes.
#[derive(Debug)]
pub enum Connection {
    /// The one writer of an embedded database.
    Sqlite(Pipeline),
    /// A session.
    Postgres(Bundle),
}

/// Which SQL is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite 3.51 (bundled).
    Sqlite,
    /// PostgreSQL 13 or later (`xid8`).
    Postgres,
}

/// A row that both databases can give.
pub trait Record: Send + Unpin + for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> {}
impl<T: Send + Unpin + for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow>> Record for T {}

impl Connection {
    /// Which SQL it speaks.
    pub const fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    /// The text for its database.
    pub const fn pick(&self, sqlite: &'static str, postgres: &'static str) -> &'static str {
        match self {
            Self::Sqlite(_) => sqlite,
            Self::Postgres(_) => postgres,
        }
    }

    /// Begins a writing transaction and names it: the id by which PostgreSQL can be asked later what became of it.
    pub async fn begin(&mut self) -> Result<Option<String>, Error> {
        match self {
            // Deferred would fail at the first write when another connection committed in between.
            Self::Sqlite(pipeline) => {
                pipeline.later("BEGIN IMMEDIATE");
                Ok(None)
            }
            Self::Postgres(bundle) => {
                let both = sqlx::raw_sql("BEGIN; SELECT pg_current_xact_id()::text");
                both.fetch_one(bundle.session()).await?.try_get(0).map(Some)
            }
        }
    }

    /// Runs what waits.
    pub async fn flush(&mut self) -> Result<(), Error> {
        match self {
            Self::Sqlite(pipeline) => pipeline.run().await.map(|_| ()),
            Self::Postgres(bundle) => bundle.run().await,
        }
    }

    /// Commits what was flushed.
    pub async fn commit(&mut self) -> Result<(), Error> {
        match self {
            Self::Sqlite(pipeline) => {
                pipeline.later("COMMIT");
                pipeline.run().await.map(|_| ())
            }
            Self::Postgres(bundle) => sqlx::raw_sql("COMMIT").execute(bundle.session()).await.map(|_| ()),
        }
    }

    /// Rolls back, and forgets what waits.
    pub async fn rollback(&mut self) -> Result<(), Error> {
        match self {
            Self::Sqlite(pipeline) => {
                pipeline.forget();
                pipeline.later("ROLLBACK");
                match pipeline.run().await {
                    // A full disk, among others, has ended the transaction already (sqlite.org/lang_transaction.html, §3);
                    // ROLLBACK itself knows no other plain SQLITE_ERROR.
                    Err(Error::Database(error)) if error.code().as_deref() == Some("1") => Ok(()),
                    other => other.map(|_| ()),
                }
            }
            Self::Postgres(bundle) => {
                bundle.forget();
                sqlx::raw_sql("ROLLBACK").execute(bundle.session()).await.map(|_| ())
            }
        }
    }

    /// Lets a statement wait for the next trip that must change so many rows.
    pub fn write(&mut self, sql: &'static str, parameter: String, rows: usize) {
        match self {
            Self::Sqlite(pipeline) => pipeline.write(sql, parameter, Some(rows)),
            Self::Postgres(bundle) => bundle.write(sql, parameter, Some(rows)),
        }
    }

    /// Lets rows wait to be written with the next trip; where `all` says so, each must be there.
    pub fn write_rows<T: AsRef<str>>(&mut self, sql: &'static Rows, rows: &[T], all: bool) {
        match self {
            Self::Sqlite(pipeline) => pipeline.write_rows(sql, rows, all),
            Self::Postgres(_) if rows.is_empty() => {}
            Self::Postgres(bundle) => bundle.write(sql.for_all(), array(rows), all.then_some(rows.len())),
        }
    }

    /// As [`Connection::write`], however many rows it changes.
    pub fn write_some(&mut self, sql: &'static str, parameter: String) {
        match self {
            Self::Sqlite(pipeline) => pipeline.write(sql, parameter, None),
            Self::Postgres(bundle) => bundle.write(sql, parameter, None),
        }
    }

    /// Runs a statement; answers how many rows it changed.
    pub async fn execute(&mut self, sql: &'static str, parameter: &str) -> Result<u64, Error> {
        match self {
            Self::Sqlite(pipeline) => pipeline.execute(sql, parameter).await,
            Self::Postgres(bundle) => bundle.execute(sql, parameter).await,
        }
    }

    /// Runs a statement that answers rows.
    pub async fn rows<T: Record>(&mut self, sql: &'static str, parameter: &str) -> Result<Vec<T>, Error> {
        self.rows_of(&[(sql, parameter)]).await
    }

    /// Runs statements that answer rows of one shape, one after the other; answers all of them.
    pub async fn rows_of<T: Record>(&mut self, queries: &[(&'static str, &str)]) -> Result<Vec<T>, Error> {
        match self {
            Self::Sqlite(pipeline) => pipeline.rows(queries).await,
            Self::Postgres(bundle) => bundle.rows(queries).await,
        }
    }

    /// Moves SQLite's log into the database; nothing to do on PostgreSQL. `mode`: PASSIVE or TRUNCATE.
    pub async fn checkpoint(&mut self, mode: &'static str) -> Result<(), Error> {
        match self {
            Self::Sqlite(pipeline) => {
                let pragma = AssertSqlSafe(format!("PRAGMA wal_checkpoint({mode})"));
                sqlx::raw_sql(pragma).execute(pipeline.connection()).await.map(|_| ())
            }
            Self::Postgres(_) => Ok(()),
        }
    }

    /// Closes it; an error while closing changes nothing.
    pub async fn close(self) {
        let _closed = match self {
            Self::Sqlite(pipeline) => pipeline.into_connection().close().await,
            Self::Postgres(bundle) => bundle.into_session().close().await,
        };
    }
}

/// Whether a node was not declared dead.
pub async fn is_alive(session: &mut PgConnection, node: Uuid) -> Result<bool, Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM nodes WHERE id = $1 AND dead_at IS NULL)")
        .bind(node)
        .fetch_one(session)
        .await
}

/// Asks for a session advisory lock; does not wait.
pub async fn try_advisory_lock(session: &mut PgConnection, key: i64) -> Result<bool, Error> {
    sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(key).fetch_one(session).await
}
