//! `[notify]`: telling clients.

use serde::{Deserialize, Serialize};

use crate::domain::webhook::WAITS_MS;

/// `[notify]`. Environment: `LONGTAKE__NOTIFY__<KEY>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NotifyConfig {
    /// Requests that wait for news (`Prefer: wait=N`) at a time, some kilobytes each; one more is answered at once. Default 10,000:
    /// more than two workers hold connections.
    pub max_waiters: usize,
    /// Streams of events at a time. Default 4,000: half of what two workers hold in connections.
    pub max_streams: usize,
    /// The same, of one project. Default 1,000.
    pub max_streams_per_project: usize,
    /// A silent stream says that it lives this often, milliseconds. Default 15,000: below every common idle limit.
    pub heartbeat_ms: u64,
    /// A stream is closed after this, seconds, and its client's key asked anew when it comes back. Default 900.
    pub stream_s: u64,
    /// Webhooks under way at a time. Default 256.
    pub webhooks: usize,
    /// The same, to one endpoint. Default 4: one that hangs holds up its own, and nobody else's.
    pub webhooks_per_endpoint: usize,
    /// A webhook is answered within this, or it has failed, milliseconds. Default 15,000.
    pub webhook_timeout_ms: u64,
    /// Waits after each failed try of a webhook, milliseconds; after the last one there is no further try. Default: ten tries over 75
    /// hours, as Standard Webhooks recommends.
    pub webhook_retry_ms: Vec<u64>,
    /// Events and deliveries are kept for this long, seconds. Default 2,592,000 (30 days).
    pub keep_s: u64,
    /// Allows webhooks over plain `http`. Default off.
    pub allow_http: bool,
    /// Hosts (exact, or `*.suffix`) to which webhooks may go although they resolve to private or loopback addresses.
    pub allow_private_hosts: Vec<String>,
}

impl Default for NotifyConfig {
    fn default() -> Self {
        Self {
            max_waiters: 10_000,
            max_streams: 4_000,
            max_streams_per_project: 1_000,
            heartbeat_ms: 15_000,
            stream_s: 900,
            webhooks: 256,
            webhooks_per_endpoint: 4,
            webhook_timeout_ms: 15_000,
            webhook_retry_ms: WAITS_MS.to_vec(),
            keep_s: 2_592_000,
            allow_http: false,
            allow_private_hosts: Vec::new(),
        }
    }
}
