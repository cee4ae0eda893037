//! `[dispatch]`: who goes next, and how an unknown submit is handled.

use serde::{Deserialize, Serialize};

use crate::domain::unconfirmed::OnUnconfirmed;

/// `[dispatch]`. Environment: `LONGTAKE__DISPATCH__<KEY>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DispatchConfig {
    /// The slow sweep that finds what a lost wake left, milliseconds. Default 1,000.
    pub sweep_ms: u64,
    /// Queued generations looked at in one round and provider. Default 256.
    pub batch: u64,
    /// How long one priority has to wait before it counts like the next more urgent one, seconds. Default 60: the least urgent work of a
    /// provider that is always full waits nine minutes for a turn.
    pub priority_s: u64,
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
    /// What follows when nobody could say whether a provider accepted a submit: `fail` (default), `hold` or `resubmit` (may pay
    /// twice). A provider's section and a request may say otherwise.
    pub on_unconfirmed: OnUnconfirmed,
    /// A held generation fails after this, seconds. Default 604,800 (7 days).
    pub hold_s: u64,
    /// Submits that `resubmit` may add for one output. Default 1.
    pub max_resubmits: u16,
    /// For how long a node that was lost may still act, milliseconds. No provider's "not found" is believed before the latest
    /// moment of the submit, its timeout and this have passed. Default 15,000.
    pub lease_ttl_ms: u64,
    /// An attempt that was given up or timed out is still asked for this long, where the provider can be asked, seconds. Default
    /// 86,400; what was recorded always counts.
    pub watch_s: u64,
    /// How often, milliseconds. Default 300,000.
    pub watch_every_ms: u64,
}

impl Default for DispatchConfig {
    fn default() -> Self {
        Self {
            sweep_ms: 1_000,
            batch: 256,
            priority_s: 60,
            offer_ms: 5_000,
            queue_deadline_s: 86_400,
            not_after_ms: 5_000,
            reconcile_ms: 2_000,
            reconcile_image_s: 600,
            reconcile_video_s: 1_800,
            on_unconfirmed: OnUnconfirmed::Fail,
            hold_s: 604_800,
            max_resubmits: 1,
            lease_ttl_ms: 15_000,
            watch_s: 86_400,
            watch_every_ms: 300_000,
        }
    }
}
