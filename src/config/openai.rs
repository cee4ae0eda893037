//! `[openai]`: the shapes below `/v1`.

use serde::{Deserialize, Serialize};
use validator::Validate;

/// `[openai]`. Environment: `LONGTAKE__OPENAI__<KEY>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields, default)]
pub struct OpenAiConfig {
    /// How long `POST /v1/images/generations` waits for its result, seconds; past it the answer is 504 and the generation runs on.
    /// Default 120: below the 600 that OpenAI's packages wait, above what nearly all images take.
    #[validate(range(min = 1, max = 3600, message = "must be between 1 and 3600"))]
    pub image_wait_s: u64,
}

impl Default for OpenAiConfig {
    fn default() -> Self {
        Self { image_wait_s: 120 }
    }
}
