//! `[assets]`: moving results into the storage.

use serde::{Deserialize, Serialize};

/// `[assets]`. Environment: `LONGTAKE__ASSETS__<KEY>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AssetsConfig {
    /// Transfers at a time, each with a buffer of up to 256 KiB. Default 32: one waits most of its time for the provider, the disk
    /// and the commit.
    pub concurrency: usize,
    /// Largest image in bytes. Default 64 MiB.
    pub max_image_bytes: u64,
    /// Largest video in bytes. Default 2 GiB.
    pub max_video_bytes: u64,
    /// Wait before a failed transfer is tried again, milliseconds. Default 1,000, doubled up to `max_retry_delay_ms`.
    pub retry_delay_ms: u64,
    /// Longest such wait, milliseconds. Default 60,000.
    pub max_retry_delay_ms: u64,
    /// Storing is given up this long after the provider finished, seconds. Default 21,600: a storage outage of six hours is
    /// outlived; the provider's expiry ends it earlier.
    pub give_up_s: u64,
    /// A transfer without a byte for this long is broken off and resumed, milliseconds. Default 30,000.
    pub stall_ms: u64,
    /// One transfer takes at most this long, seconds, however steadily it trickles. Default 1,800: 2 GiB pass at 1.2 MB a
    /// second.
    pub max_transfer_s: u64,
    /// Hosts (exact, or `*.suffix`) from which results may come although they resolve to private or loopback addresses.
    pub allow_private_hosts: Vec<String>,
}

impl Default for AssetsConfig {
    fn default() -> Self {
        Self {
            concurrency: 32,
            max_image_bytes: 64 * 1024 * 1024,
            max_video_bytes: 2 * 1024 * 1024 * 1024,
            retry_delay_ms: 1_000,
            max_retry_delay_ms: 60_000,
            give_up_s: 21_600,
            stall_ms: 30_000,
            max_transfer_s: 1_800,
            allow_private_hosts: Vec::new(),
        }
    }
}
