//! `[polling]`: waiting.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::schedule::{Growth, Strategy};

/// Which strategy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StrategyName {
    /// Growing gaps.
    Exponential,
    /// Where ends are likely, as learned from the model's own polls; exponential until enough is known.
    Adaptive,
    /// Equal gaps.
    Fixed,
}

/// `[polling]`; a model may override the strategy and the deadlines. Environment: `LONGTAKE__POLLING__<KEY>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PollingConfig {
    /// `adaptive` (default), `exponential` or `fixed`.
    pub strategy: StrategyName,
    /// Exponential, and adaptive until it knows enough: first gap, milliseconds. Default 5,000.
    pub base_ms: u64,
    /// The same: factor between gaps. Default 1.5.
    pub factor: f64,
    /// The same: longest gap, milliseconds, which adaptive keeps to always. Default 60,000.
    pub cap_ms: u64,
    /// The same: share by which a gap varies. Default 0.1.
    pub jitter: f64,
    /// Adaptive: polls a task may cost on average, in units of what exponential gaps would spend on the same tasks. Default 0.9: a
    /// tenth is kept back for times that change while they are learned.
    pub adaptive_budget: f64,
    /// Fixed: the gap, milliseconds. Default 60,000.
    pub every_ms: u64,
    /// Polls in flight at a time, over all providers. Default 256.
    pub concurrency: usize,
    /// An image is overdue after this, seconds. Default 300.
    pub max_image_s: u64,
    /// A video is overdue after this, seconds. Default 1,200.
    pub max_video_s: u64,
    /// What is overdue is polled at most this often, milliseconds. Default 60,000.
    pub overdue_ms: u64,
    /// An overdue image is waited for this much longer, seconds. Default 1,200.
    pub late_image_s: u64,
    /// An overdue video is waited for this much longer, seconds. Default 7,200.
    pub late_video_s: u64,
}

impl Default for PollingConfig {
    fn default() -> Self {
        Self {
            strategy: StrategyName::Adaptive,
            base_ms: 5_000,
            factor: 1.5,
            cap_ms: 60_000,
            jitter: 0.1,
            adaptive_budget: 0.9,
            every_ms: 60_000,
            concurrency: 256,
            max_image_s: 300,
            max_video_s: 1_200,
            overdue_ms: 60_000,
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
            StrategyName::Exponential => Strategy::Exponential(self.growth()),
            StrategyName::Adaptive => Strategy::Adaptive(self.growth()),
            StrategyName::Fixed => Strategy::Fixed { every: Duration::from_millis(self.every_ms) },
        }
    }

    /// The growing gaps.
    #[must_use]
    pub fn growth(&self) -> Growth {
        Growth {
            base: Duration::from_millis(self.base_ms),
            factor: self.factor,
            cap: Duration::from_millis(self.cap_ms),
            jitter: self.jitter,
        }
    }
}
