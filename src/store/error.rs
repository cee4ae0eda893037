//! What may go wrong in the store, and how a database's error is told apart: a bad entry, a slow one, or a database that is gone.

use std::{error::Error, sync::Arc};

use crate::domain::{claim::Claimed, limits::OverLimit};

/// A source that several callers of one batch may share.
pub type Source = Arc<dyn Error + Send + Sync>;

/// Why the store did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached, or cannot write. Nothing was written, except where a COMMIT was under way and could
    /// not be read back either: then it is unknown, and the caller must load before it acts.
    #[error("the database is not available")]
    Unavailable {
        /// What it said.
        #[source]
        source: Source,
    },
    /// The database took longer than it may.
    #[error("the database took too long")]
    Timeout,
    /// The queue stayed full for too long.
    #[error("the journal's queue is full")]
    Busy,
    /// The caller was given up; see [`crate::lifeline`].
    #[error("the lifeline of the caller was revoked")]
    Revoked,
    /// The store is closing.
    #[error("the store is closed")]
    Closed,
    /// This node was declared dead by another one.
    #[error("this node was declared dead")]
    Fenced,
    /// The rows contradict the schema: an id that exists already, a name that is taken.
    #[error("the rows contradict what is stored")]
    Conflict {
        /// What the database said.
        #[source]
        source: Source,
    },
    /// What it goes on from is not there any more.
    #[error("it is not there any more")]
    Gone,
    /// A daily limit of spending would be passed.
    #[error(transparent)]
    OverLimit(#[from] OverLimit),
    /// What was to be made has been made: its claim is taken.
    #[error("the claim is taken by {}", .0.subject)]
    Claimed(Claimed),
    /// Another server runs on this database.
    #[error("another server holds {lock}")]
    Locked {
        /// The lock.
        lock: String,
    },
    /// A row that cannot be read.
    #[error("{what} {id} is corrupt")]
    Corrupt {
        /// Which kind of row.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// A value that cannot be stored.
    #[error("cannot be stored: {what}")]
    Unstorable {
        /// What.
        what: String,
    },
    /// The configured URL names no database we know.
    #[error("store.url must be sqlite, sqlite:<path> or postgres://…")]
    Url,
}

impl StoreError {
    /// The database is not available because of `error`.
    pub fn unavailable(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Unavailable { source: Arc::new(error) }
    }
}

/// What a failed statement says about the batch it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Some row contradicts the schema: the others may be written without it.
    Rows,
    /// Some row was locked for too long, or the statement ran for too long.
    Slow,
    /// The connection is gone.
    Connection,
    /// The database cannot write at all: its disk is full, it is read-only, it is shutting down.
    Down,
}

impl Trouble {
    /// Tells errors apart. Codes: <https://sqlite.org/rescode.html>, PostgreSQL 15 manual, appendix A.
    #[must_use]
    pub fn of(error: &sqlx::Error) -> Self {
        let sqlx::Error::Database(database) = error else {
            let rows = matches!(error, sqlx::Error::Encode(_) | sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_));
            return if rows { Self::Rows } else { Self::Connection };
        };
        let code = database.code().unwrap_or_default();
        if database.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
            return Self::of_sqlite(code.parse().unwrap_or(0));
        }
        match code.get(..2).unwrap_or_default() {
            // Lock not available, statement cancelled by its timeout, deadlock, serialization.
            _ if ["55P03", "57014", "40P01", "40001"].contains(&code.as_ref()) => Self::Slow,
            // Idle in transaction for too long: the session is ended.
            _ if code == "25P03" => Self::Connection,
            "08" | "57" => Self::Connection,
            // Out of resources, system error, internal error, read-only; and what only a connect meets: no such user or database.
            "53" | "58" | "XX" | "25" | "28" | "3D" => Self::Down,
            _ => Self::Rows,
        }
    }

    /// Whether the connection that met this error must not be asked anything more, whatever the error says of the rows. SQLite's plain
    /// error (1) comes when a statement does not fit the tables any more: somebody changed them under a running server. sqlx's thread
    /// then panics while it resets a text of several statements (0.9.0, `SqliteError::new`), and what it is asked meanwhile is
    /// never answered. A connection that is dropped ends its transaction with it.
    #[must_use]
    pub fn unsettles(error: &sqlx::Error) -> bool {
        let sqlx::Error::Database(database) = error else { return false };
        let sqlite = database.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some();
        sqlite && database.code().as_deref() == Some("1")
    }

    fn of_sqlite(extended: u32) -> Self {
        match extended & 0xff {
            // BUSY, LOCKED.
            5 | 6 => Self::Slow,
            // NOMEM, READONLY, IOERR, CORRUPT, FULL, CANTOPEN, NOTADB.
            7 | 8 | 10 | 11 | 13 | 14 | 26 => Self::Down,
            _ => Self::Rows,
        }
    }
}

/// What a caller outside a batch is told.
impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match Trouble::of(&error) {
            Trouble::Rows => Self::Conflict { source: Arc::new(error) },
            Trouble::Slow => Self::Timeout,
            Trouble::Connection | Trouble::Down => Self::unavailable(error),
        }
    }
}

/// What a reader, or a command on keys, is told.
impl From<sea_orm::DbErr> for StoreError {
    fn from(error: sea_orm::DbErr) -> Self {
        match error.sql_err() {
            Some(_) => Self::Conflict { source: Arc::new(error) },
            None if matches!(error, sea_orm::DbErr::ConnectionAcquire(sea_orm::ConnAcquireErr::Timeout)) => Self::Timeout,
            None => Self::unavailable(error),
        }
    }
}
