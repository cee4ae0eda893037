//! Where the database is and how its connections are set up: one writer (or one a lane), readers that cannot write, a small
//! pool for keys.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use migrations::Migrator;
use sea_orm::DatabaseConnection;
use sea_orm_migration::MigratorTrait;
use sqlx::{
    ConnectOptions, Connection as _,
    postgres::{PgConnectOptions, PgConnection, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{
    config::store::StoreConfig,
    store::{
        StoreError,
        journal::{bundle::Bundle, connection::Connection, pipeline::Pipeline},
    },
};

/// How long connections that are being closed are waited for.
pub const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// Page cache of the SQLite writer, in KiB when negative (sqlite.org/pragma.html#pragma_cache_size): the default of 2 MB reads pages
/// back in nearly every commit, and a commit walks a larger cache for longer.
const WRITER_CACHE: &str = "-32768";

/// Texts that the SQLite writer keeps prepared: for each table fourteen sizes, and what goes together.
const PREPARED: usize = 512;

/// For PostgreSQL's writers, whose every statement names its rows by their keys. How many those are the planner cannot see in a JSON text;
/// it takes 100, and up to some ten thousand rows of a table it would rather read all of it for every commit.
const BY_KEY: [(&str, &str); 3] = [("enable_seqscan", "off"), ("enable_hashjoin", "off"), ("enable_mergejoin", "off")];

/// How long a command waits for another process's write lock (SQLite).
const BUSY: Duration = Duration::from_secs(10);
/// How long opening a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a migration may wait for the server that does it.
const MIGRATING: Duration = Duration::from_secs(30);

/// Which database.
#[derive(Debug, Clone)]
enum Place {
    Sqlite(PathBuf),
    Postgres(Box<PgConnectOptions>),
}

/// The database and its limits.
#[derive(Debug, Clone)]
pub struct Target {
    place: Place,
    read_timeout: Duration,
    write_timeout: Duration,
    wal_autocheckpoint: u32,
}

impl Target {
    /// Reads the configured URL.
    pub fn of(config: &StoreConfig, data_dir: &Path) -> Result<Self, StoreError> {
        let url = config.url.trim();
        let place = if url == "sqlite" {
            Place::Sqlite(data_dir.join("longtake.db"))
        } else if let Some(path) = url.strip_prefix("sqlite:") {
            // `sqlite://path` is a common spelling.
            let path = path.strip_prefix("//").unwrap_or(path);
            Place::Sqlite(data_dir.join(path))
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            Place::Postgres(Box::new(PgConnectOptions::from_str(url).map_err(|_| StoreError::Url)?))
        } else {
            return Err(StoreError::Url);
        };
        Ok(Self {
            place,
            read_timeout: Duration::from_millis(config.read_timeout_ms),
            write_timeout: Duration::from_millis(config.write_timeout_ms),
            wal_autocheckpoint: config.wal_autocheckpoint,
        })
    }

    /// The SQLite file.
    pub fn file(&self) -> Option<&Path> {
        match &self.place {
            Place::Sqlite(path) => Some(path),
            Place::Postgres(_) => None,
        }
    }

    /// Longest read.
    pub const fn read_timeout(&self) -> Duration {
        self.read_timeout
    }

    /// Longest statement of a command on keys.
    pub const fn write_timeout(&self) -> Duration {
        if self.is_sqlite() { BUSY } else { self.write_timeout }
    }

    const fn is_sqlite(&self) -> bool {
        matches!(self.place, Place::Sqlite(_))
    }

    /// A connection for writing.
    pub async fn writer(&self) -> Result<Connection, sqlx::Error> {
        match &self.place {
            Place::Sqlite(path) => {
                let options = self
                    .sqlite(path)
                    .pragma("wal_autocheckpoint", self.wal_autocheckpoint.to_string())
                    .pragma("cache_size", WRITER_CACHE)
                    // Multi-row statements journal every page they touch, to be able to fail halfway; in memory that is a copy,
                    // in a temporary file a write.
                    .pragma("temp_store", "memory")
                    .statement_cache_capacity(PREPARED);
                Ok(Connection::Sqlite(Pipeline::new(SqliteConnection::connect_with(&options).await?)))
            }
            Place::Postgres(options) => {
                let session = bounded(limited(options, self.write_timeout).options(BY_KEY).connect()).await?;
                Ok(Connection::Postgres(Bundle::new(session)))
            }
        }
    }

    /// A session of PostgreSQL that waits for ever, for the advisory lock.
    pub async fn bare_session(&self) -> Result<Option<PgConnection>, sqlx::Error> {
        match &self.place {
            Place::Sqlite(_) => Ok(None),
            Place::Postgres(options) => bounded(options.as_ref().clone().disable_statement_logging().connect()).await.map(Some),
        }
    }

    fn sqlite(&self, path: &Path) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY)
            .disable_statement_logging()
    }

    /// The readers' pool. Connections are opened when they are first needed.
    pub fn readers(&self, connections: u32) -> DatabaseConnection {
        match &self.place {
            Place::Sqlite(path) => SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(CONNECT)
                .test_before_acquire(false)
                .connect_lazy_with(self.sqlite(path).pragma("query_only", "on"))
                .into(),
            Place::Postgres(options) => PgPoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(CONNECT)
                .connect_lazy_with(limited(options, self.read_timeout).options([("default_transaction_read_only", "on")]))
                .into(),
        }
    }

    /// The small pool for keys and migrations.
    pub fn admin(&self) -> DatabaseConnection {
        match &self.place {
            Place::Sqlite(path) => SqlitePoolOptions::new()
                .max_connections(1)
                .acquire_timeout(BUSY)
                .idle_timeout(CONNECT)
                .connect_lazy_with(self.sqlite(path))
                .into(),
            Place::Postgres(options) => PgPoolOptions::new()
                .max_connections(2)
                .acquire_timeout(CONNECT)
                .connect_lazy_with(limited(options, self.write_timeout))
                .into(),
        }
    }

    /// A connection without statement limits, for schema changes.
    fn unlimited(&self) -> DatabaseConnection {
        match &self.place {
            Place::Sqlite(_) => self.admin(),
            Place::Postgres(options) => PgPoolOptions::new()
                .max_connections(1)
                .acquire_timeout(CONNECT)
                .connect_lazy_with(options.as_ref().clone().disable_statement_logging())
                .into(),
        }
    }
}

/// PostgreSQL ends what takes too long by itself: a client that hangs must not hold locks.
fn limited(options: &PgConnectOptions, longest: Duration) -> PgConnectOptions {
    let longest = longest.as_millis().to_string();
    options.clone().disable_statement_logging().application_name("longtake").options([
        ("statement_timeout", longest.as_str()),
        ("lock_timeout", longest.as_str()),
        ("idle_in_transaction_session_timeout", longest.as_str()),
        ("synchronous_commit", "on"),
        ("default_transaction_isolation", "read committed"),
        // Compiling one of these statements takes longer than running it a thousand times.
        ("jit", "off"),
    ])
}

/// Gives up on a server that does not answer.
async fn bounded<T>(connecting: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    tokio::time::timeout(CONNECT, connecting).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// Brings the schema up to date. The caller holds the lock.
pub async fn migrate(target: &Target) -> Result<(), StoreError> {
    let database = target.unlimited();
    let migrated = Migrator::up(&database, None).await;
    let closed = database.close().await;
    migrated.and(closed).map_err(StoreError::unavailable)
}

/// Waits until the server that holds the lock has brought the schema up to date.
pub async fn await_migrated(target: &Target) -> Result<(), StoreError> {
    let database = target.admin();
    let waiting = async {
        while !Migrator::get_pending_migrations_read_only(&database).await?.is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok::<_, sea_orm::DbErr>(())
    };
    let migrated = tokio::time::timeout(MIGRATING, waiting).await;
    let _closed = database.close().await;
    migrated.map_err(|_| StoreError::Timeout)?.map_err(StoreError::from)
}
