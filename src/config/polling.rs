//! `[polling]`: waiting.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::schedule::Strategy;

/// Which strategy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StrategyName {
    /// Growing gaps.
    Exponential,
    /// Equal gaps.
    Fixed,
}

/// `[polling]`; a model may override the strategy and the deadlines. Environment: `LONGTAKE__POLLING__<KEY>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PollingConfig {
    /// `exponential` (default) or `fixed`.
    pub strategy: StrategyName,
    /// Exponential: first gap, milliseconds. Default 5,000.
    pub base_ms: u64,
    /// Exponential: factor between gaps. Default 1.5.
    pub factor: f64,
    /// Exponential: longest gap, milliseconds. Default 60,000.
    pub cap_ms: u64,
    /// Exponential: share by which a gap varies. Default 0.1.
    pub jitter: f64,
    /// Fixed: the gap, milliseconds. Default 60,000.
    pub every_ms: u64,
    /// Polls in flight at a time, over all providers. Default 256.
    pub concurrency: usize,
    /// An image is overdue after this, seconds. Default 300.
    pub max_image_s: u64,
    /// A video is overdue after this, seconds. Default 1,200.
    pub max_video_s: u64,
    /// An overdue image is waited for this much longer, seconds. Default 1,200.
    pub late_image_s: u64,
    /// An overdue video is waited for this much longer, seconds. Default 7,200.
    pub late_video_s: u64,
}

impl Default for PollingConfig {
    fn default() -> Self {
        Self {
            strategy: StrategyName::Exponential,
            base_ms: 5_000,
            factor: 1.5,
            cap_ms: 60_000,
            jitter: 0.1,
            every_ms: 60_000,
            concurrency: 256,
            max_image_s: 300,
            max_video_s: 1_200,
            late_image_s: 1_200,
            late_video_s: 7_200,
        }
    }
}

impl PollingConfig {
    /// The strategy of that name with this section's figures.
    #[must_use]
    pub fn strategy(&self, name: StrategyName) -> Strategy {
        match name {
            StrategyName::Exponential => Strategy::Exponential {
                base: Duration::from_millis(self.base_ms),
                factor: self.factor,
                cap: Duration::from_millis(self.cap_ms),
                jitter: self.jitter,
            },
            StrategyName::Fixed => Strategy::Fixed { every: Duration::from_millis(self.every_ms) },
        }
    }
}
