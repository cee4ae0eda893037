//! `[store]`: the database.

use serde::{Deserialize, Serialize};

/// `[store]`. Environment: `LONGTAKE__STORE__<KEY>`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// `sqlite` (default: `longtake.db` in `data_dir`), `sqlite:<path>` (a relative one is taken from `data_dir`) or
    /// `postgres://user:password@host/database`.
    pub url: String,
    /// Entries a group commit takes at most. Default 128: larger batches gained nothing when measured.
    pub batch: usize,
    /// Entries that may wait for the writer before callers wait too. Default 4096.
    pub queue: usize,
    /// Connections of the read pool. Default 4.
    pub readers: u32,
    /// Generations that this process wrote last and keeps in memory for its own stages, some 3 KiB each. Default 4,096; 0: none.
    pub recent: usize,
    /// Longest read in milliseconds (SQLite) and statement timeout of readers (PostgreSQL). Default 250.
    pub read_timeout_ms: u64,
    /// SQLite: pages in the write-ahead log at which a commit checkpoints. Default 48,000 (200 MB);
    /// before that a passive one beside it has moved most of them, three times a second.
    pub wal_autocheckpoint: u32,
    /// PostgreSQL: longest statement, lock wait and idle transaction of the writers, milliseconds. Default 2,000.
    pub write_timeout_ms: u64,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            url: "sqlite".to_owned(),
            batch: 128,
            queue: 4096,
            readers: 4,
            recent: 4096,
            read_timeout_ms: 250,
            wal_autocheckpoint: 48_000,
            write_timeout_ms: 2_000,
        }
    }
}

impl std::fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL may carry a password.
        f.debug_struct("StoreConfig").field("batch", &self.batch).field("readers", &self.readers).finish_non_exhaustive()
    }
}
