//! Where everything about a batch is, ready-made: clients put no URL together.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::id::BatchId;

/// Ready-made URLs.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchUrls {
    /// GET: the batch.
    #[serde(rename = "self")]
    pub this: String,
    /// GET: its tasks.
    pub tasks: String,
    /// GET: what has ended.
    pub results: String,
    /// GET: what happens, as it happens.
    pub events: String,
    /// POST: cancels it.
    pub cancel: String,
    /// POST: submits nothing new.
    pub pause: String,
    /// POST: goes on.
    pub resume: String,
    /// POST: tries again what failed.
    pub retry_failed: String,
}

impl BatchUrls {
    /// Below the service's own URL.
    #[must_use]
    pub fn of(base: &str, id: BatchId) -> Self {
        let this = format!("{base}/api/external/generation/batch/{id}");
        let below = |name: &str| format!("{this}/{name}");
        Self {
            tasks: below("tasks"),
            results: below("results"),
            events: below("events"),
            cancel: below("cancel"),
            pause: below("pause"),
            resume: below("resume"),
            retry_failed: below("retry-failed"),
            this: this.clone(),
        }
    }
}
