//! `[telemetry]`: logs.

use serde::{Deserialize, Serialize};
use validator::Validate;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}

/// `[telemetry]`. Environment: `LONGTAKE__TELEMETRY__<KEY>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// `json` or `pretty` (default).
    pub format: LogFormat,
    /// Filter in `tracing`'s directive syntax. Default `info`.
    #[validate(length(min = 1, message = "must name a level such as `info`"))]
    pub filter: String,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { format: LogFormat::Pretty, filter: "info".to_owned() }
    }
}
