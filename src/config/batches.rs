//! `[batches]`: how large a batch may be, and how it may arrive.

use serde::{Deserialize, Serialize};
use validator::Validate;

/// `[batches]`. Environment: `LONGTAKE__BATCHES__<KEY>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields, default)]
pub struct BatchesConfig {
    /// Requests of a batch that comes as one JSON body, which is held in memory. Default 1,000.
    #[validate(range(min = 1, max = 100000, message = "must be between 1 and 100000"))]
    pub max_requests: usize,
    /// Requests of a batch that comes as lines, which are stored as they come. Default 50,000.
    #[validate(range(min = 1, max = 1000000, message = "must be between 1 and 1000000"))]
    pub max_lines: usize,
    /// Longest time that lines may take to arrive, seconds; between two pieces `server.body_timeout_s` holds. Default 600: 50,000
    /// lines of 2 KiB at 1.5 Mbit/s. Not more, because what gets no further line for that long is swept.
    #[validate(range(min = 1, max = 600, message = "must be between 1 and 600"))]
    pub upload_s: u64,
    /// Batches that may arrive as lines at a time; past it the answer is 503. Default 8: each holds a line and two chunks of 4 MiB.
    #[validate(range(min = 1, max = 1000, message = "must be between 1 and 1000"))]
    pub uploads: usize,
}

impl Default for BatchesConfig {
    fn default() -> Self {
        Self { max_requests: 1_000, max_lines: 50_000, upload_s: 600, uploads: 8 }
    }
}
