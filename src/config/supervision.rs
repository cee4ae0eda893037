//! `[supervision]`: how actors are watched.

use serde::{Deserialize, Serialize};

/// `[supervision]`. Environment: `LONGTAKE__SUPERVISION__<KEY>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SupervisionConfig {
    /// How often an actor beats, milliseconds. Default 500.
    pub beat_ms: u64,
    /// An actor whose beat is older than this on a live arbiter is hung: aborted and rebuilt, milliseconds. Default 5,000.
    pub late_ms: u64,
    /// An arbiter silent for this long is abandoned with its thread, milliseconds. Default 10,000.
    pub silent_ms: u64,
    /// First wait before a restart, milliseconds; doubled at each restart in a row. Default 50.
    pub backoff_ms: u64,
    /// Longest such wait, milliseconds. Default 5,000.
    pub max_backoff_ms: u64,
    /// More restarts than this of one actor within `within_s` escalate to its supervisor, in the end to the process. Default 20.
    pub restarts: u32,
    /// See `restarts`, seconds. Default 60.
    pub within_s: u64,
    /// Abandoned threads that end the process. Default 2.
    pub abandoned: u32,
}

impl Default for SupervisionConfig {
    fn default() -> Self {
        Self {
            beat_ms: 500,
            late_ms: 5_000,
            silent_ms: 10_000,
            backoff_ms: 50,
            max_backoff_ms: 5_000,
            restarts: 20,
            within_s: 60,
            abandoned: 2,
        }
    }
}
