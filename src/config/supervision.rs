//! `[supervision]`: how actors are watched.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[supervision]`. Environment: `LONGTAKE__SUPERVISION__<KEY>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SupervisionConfig {
    /// How often an actor beats, milliseconds. Default 500.
    pub beat_ms: u64,
    /// An actor whose beat is older than this on a live arbiter is hung: aborted and rebuilt, milliseconds; at least three
    /// beats. Default 5,000.
    pub late_ms: u64,
    /// An arbiter silent for this long is abandoned with its thread, milliseconds; at least three beats. Default 10,000.
    pub silent_ms: u64,
    /// First wait before a restart, milliseconds; doubled for each earlier restart within the window. Default 50.
    pub backoff_ms: u64,
    /// Longest such wait, milliseconds. Default 5,000.
    pub max_backoff_ms: u64,
    /// More restarts than this of one actor within `within_s` escalate to its supervisor. Default 20.
    pub restarts: u32,
    /// See `restarts`, seconds. Must be longer than the waits of that many restarts (71 s by default), or an actor that dies
    /// at once each time never escalates. Default 120.
    pub within_s: u64,
    /// More escalations than this to one supervisor within `supervisor_within_s` end the process. Default 3.
    pub supervisor_restarts: u32,
    /// See `supervisor_restarts`, seconds. Must be longer than that many escalations take (285 s by default). Default 600.
    pub supervisor_within_s: u64,
    /// Abandoned threads that end the process: each keeps what it holds until then. Default 2.
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
            within_s: 120,
            supervisor_restarts: 3,
            supervisor_within_s: 600,
            abandoned: 2,
        }
    }
}

impl SupervisionConfig {
    /// How often an actor beats.
    #[must_use]
    pub const fn beat(&self) -> Duration {
        Duration::from_millis(self.beat_ms)
    }

    /// Past this without a beat an actor is hung.
    #[must_use]
    pub const fn late(&self) -> Duration {
        Duration::from_millis(self.late_ms)
    }

    /// Past this without an answer an arbiter is abandoned.
    #[must_use]
    pub const fn silent(&self) -> Duration {
        Duration::from_millis(self.silent_ms)
    }

    /// What is wrong with these values, if anything: a watch that is shorter than a few beats would kill healthy actors.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        if self.beat_ms == 0 {
            return Some("supervision.beat_ms must be at least 1".to_owned());
        }
        let least = self.beat_ms.saturating_mul(3);
        let short = |key: &str, value: u64| {
            (value < least).then(|| format!("supervision.{key} is {value}, but three beats take {least} milliseconds"))
        };
        short("late_ms", self.late_ms)
            .or_else(|| short("silent_ms", self.silent_ms))
            .or_else(|| (self.abandoned == 0).then(|| "supervision.abandoned must be at least 1".to_owned()))
    }
}
