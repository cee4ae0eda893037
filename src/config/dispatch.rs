//! `[dispatch]`: who goes next, and how an unknown submit is handled.

use serde::{Deserialize, Serialize};

/// `[dispatch]`. Environment: `LONGTAKE__DISPATCH__<KEY>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DispatchConfig {
    /// The slow sweep that finds what a lost wake left, milliseconds. Default 1,000.
    pub sweep_ms: u64,
    /// Queued generations looked at in one round and provider. Default 256.
    pub batch: u64,
    /// An offered generation that did not move is offered again after this, milliseconds. Default 5,000.
    pub offer_ms: u64,
    /// A generation that was never submitted ends after this, seconds. Default 86,400.
    pub queue_deadline_s: u64,
    /// The POST must leave this soon after the intent's commit, milliseconds. Default 5,000.
    pub not_after_ms: u64,
    /// How often the reconciler asks for an unconfirmed attempt, milliseconds. Default 2,000, growing to 30,000.
    pub reconcile_ms: u64,
    /// The reconciler gives up on an image after this, seconds. Default 600.
    pub reconcile_image_s: u64,
    /// The reconciler gives up on a video after this, seconds. Default 1,800.
    pub reconcile_video_s: u64,
}

impl Default for DispatchConfig {
    fn default() -> Self {
        Self {
            sweep_ms: 1_000,
            batch: 256,
            offer_ms: 5_000,
            queue_deadline_s: 86_400,
            not_after_ms: 5_000,
            reconcile_ms: 2_000,
            reconcile_image_s: 600,
            reconcile_video_s: 1_800,
        }
    }
}
