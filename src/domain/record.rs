//! The rows of the path as plain values: what the stages load, decide on and hand back to the store.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::{
    attempt::AttemptState,
    batch::BatchPlace,
    error::Failure,
    generation::{GenerationState, Progress},
    id::{AssetId, AttemptId, BatchId, GenerationId, KeyId, ProjectId},
    money::Micros,
    slots::{Slot, Slots},
    time::Timestamp,
    unconfirmed::OnUnconfirmed,
};

/// The name of a provider section of the configuration, such as `kling` or `my-relay`.
pub type ProviderName = Arc<str>;

/// Which part of the rows an owner holds; 256 of them, a column of every row of the path.
pub type Shard = u8;

/// What a model makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Still images.
    Image,
    /// Video clips.
    Video,
}

impl Kind {
    /// The word in the store and in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Video => "video",
        }
    }
}

/// The hot, narrow row of a generation.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// Id.
    pub id: GenerationId,
    /// Shard; never changes.
    pub shard: Shard,
    /// Owner.
    pub project: ProjectId,
    /// The key that submitted it.
    pub key: KeyId,
    /// Bumped by every transition; a fact (`cancel_requested_at`) does not bump it.
    pub version: i32,
    /// The machine's part: state, slots, `not_before`, tries.
    pub progress: Progress,
    /// The state it was born in; a birth writes no history row.
    pub born_state: GenerationState,
    /// Outputs asked for.
    pub outputs: u16,
    /// Outputs the model makes in one call.
    pub per_call: u16,
    /// Provider section.
    pub provider: ProviderName,
    /// `modelIdentifier` of the catalogue.
    pub model: Arc<str>,
    /// What it makes.
    pub kind: Kind,
    /// 1 (most urgent) to 10.
    pub priority: u8,
    /// Price of one call as estimated at the birth.
    pub call_price: Micros,
    /// No first submit after this instant: it ends unsubmitted.
    pub queue_deadline: Timestamp,
    /// When the 202 was given.
    pub created_at: Timestamp,
    /// Last transition.
    pub updated_at: Timestamp,
    /// When it became terminal.
    pub ended_at: Option<Timestamp>,
    /// The client's wish; a fact, written once.
    pub cancel_requested_at: Option<Timestamp>,
    /// Why it did not succeed, once terminal; also the newest attempt's failure while a further submit is owed.
    pub failure: Option<Failure>,
    /// Random text that follows the request through logs.
    pub request_id: Arc<str>,
    /// What follows when nobody can say whether the provider accepted a submit.
    pub on_unconfirmed: OnUnconfirmed,
    /// Its line of a batch.
    pub batch: Option<BatchPlace>,
    /// The failed generation whose line it took.
    pub retry_of: Option<GenerationId>,
    /// The generation that took its line; never written by a transition.
    pub replaced_by: Option<GenerationId>,
}

impl Generation {
    /// The state.
    #[must_use]
    pub const fn state(&self) -> GenerationState {
        self.progress.state
    }

    /// The slots.
    #[must_use]
    pub const fn slots(&self) -> &Slots {
        &self.progress.slots
    }

    /// Whether its row shows that anything was tried; lists and counts read no attempts.
    #[must_use]
    pub fn tried(&self) -> bool {
        let untouched = self.slots().count(Slot::Owed) == usize::from(self.slots().len());
        !untouched || self.progress.tries > 0 || self.failure.is_some()
    }

    /// The row as it was born: nothing that a transition or a fact changes is lost on the way back.
    #[must_use]
    pub fn as_born(&self) -> Self {
        let progress = Progress {
            state: self.born_state,
            slots: Slots::owed(self.outputs, self.per_call),
            not_before: self.created_at,
            tries: 0,
        };
        Self {
            version: 0,
            progress,
            updated_at: self.created_at,
            ended_at: None,
            cancel_requested_at: None,
            failure: None,
            replaced_by: None,
            ..self.clone()
        }
    }
}

/// What the client asked for, defaults applied: the large, cold part, read when it is shown or submitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GenerationRequest {
    /// The prompt, trimmed.
    pub prompt: String,
    /// http(s) or data: URLs, or the text of a [`crate::domain::reference::ResultReference`].
    #[serde(default)]
    pub input_images: Vec<String>,
    /// How many outputs.
    pub number_of_outputs: u16,
    /// Parameters under the provider's names, defaults applied.
    #[serde(default)]
    pub parameters: Map<String, Value>,
    /// The client's own user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The client's own notes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
    /// Whom to tell of its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_url: Option<String>,
}

/// What a provider gave us to find its task again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Handle {
    /// The provider's id of the task; empty at a synchronous provider.
    pub task_id: String,
    /// Where to poll, when the provider says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll_url: Option<String>,
}

/// Where an attempt was sent: read by poll, find and cancel, so that a changed configuration never loses a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Base URL without a trailing slash.
    pub base_url: String,
    /// Which of the provider's path families, such as `legacy/text2video`; the adapter's own words.
    pub path_family: String,
    /// The provider's own name of the model.
    pub upstream: String,
    /// Relay path templates and other adapter options, by name.
    #[serde(default)]
    pub options: std::collections::BTreeMap<String, String>,
}

/// The row of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// Id.
    pub id: AttemptId,
    /// Its generation.
    pub generation: GenerationId,
    /// 1, 2, … within the generation.
    pub n: u16,
    /// The generation's shard.
    pub shard: Shard,
    /// Compare-and-set.
    pub version: i32,
    /// State.
    pub state: AttemptState,
    /// The slot it works for.
    pub slot: u16,
    /// First output index.
    pub first_output: u16,
    /// How many outputs.
    pub output_count: u16,
    /// Provider section.
    pub provider: ProviderName,
    /// Account at the provider, by its name in the configuration.
    pub account: Arc<str>,
    /// What it makes (deadlines differ).
    pub kind: Kind,
    /// `modelIdentifier`.
    pub model: Arc<str>,
    /// Where it was sent.
    pub endpoint: Endpoint,
    /// What the provider echoes back (Kling's `external_task_id`, a seed of ours).
    pub tag: String,
    /// SHA-256 of the request without credential, hex: equal submits are told apart by it.
    pub request_digest: String,
    /// The POST must not leave after this instant.
    pub not_after: Timestamp,
    /// What the provider gave us.
    pub handle: Option<Handle>,
    /// Commit of the intent.
    pub created_at: Timestamp,
    /// When the provider accepted it; polls count from here.
    pub submitted_at: Option<Timestamp>,
    /// Since when its outcome is unknown.
    pub unconfirmed_since: Option<Timestamp>,
    /// Last transition.
    pub updated_at: Timestamp,
    /// End.
    pub ended_at: Option<Timestamp>,
    /// Estimated price.
    pub price: Micros,
    /// What the provider says it cost.
    pub cost: Option<Micros>,
    /// Whether we are charged as far as known: set when the provider accepts, cleared when its table says unbilled.
    pub charged: bool,
    /// Its error.
    pub failure: Option<Failure>,
    /// When an operator declared it lost: the provider has no such task, its money is at risk no longer.
    pub lost_at: Option<Timestamp>,
    /// Since when its place in its batch is free again, although it is not over: it takes longer than it should.
    pub released_at: Option<Timestamp>,
}

/// Where an asset stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AssetState {
    /// To be fetched from the provider, or moved from staging.
    Pending,
    /// In the configured storage.
    Stored,
    /// Handed out as the provider's own URL (`upload_to_s3 = false`).
    Linked,
    /// Given up.
    Failed,
    /// Its owner deleted it: the file is gone, the row stays.
    Deleted,
}

impl AssetState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Stored, Self::Linked, Self::Failed, Self::Deleted];

    /// The number in the store; never renumber.
    #[must_use]
    pub const fn number(self) -> i16 {
        match self {
            Self::Pending => 0,
            Self::Stored => 1,
            Self::Linked => 2,
            Self::Failed => 3,
            Self::Deleted => 4,
        }
    }

    /// Reads the store's number.
    #[must_use]
    pub fn of_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.number() == number)
    }
}

/// The row of an asset: one file of a result.
#[derive(Debug, Clone, PartialEq)]
pub struct Asset {
    /// Id.
    pub id: AssetId,
    /// Its generation.
    pub generation: GenerationId,
    /// Its attempt.
    pub attempt: AttemptId,
    /// Output index within the generation.
    pub idx: u16,
    /// The generation's shard.
    pub shard: Shard,
    /// Compare-and-set.
    pub version: i32,
    /// State.
    pub state: AssetState,
    /// What it is expected to be, later what it is.
    pub kind: Kind,
    /// The provider's URL.
    pub source_url: Option<String>,
    /// Where a synchronous provider's bytes were staged in storage before the answer was committed.
    pub staged_key: Option<String>,
    /// When the provider drops it.
    pub expires_at: Option<Timestamp>,
    /// Key in the configured storage.
    pub storage_key: Option<String>,
    /// MIME type by magic bytes.
    pub content_type: Option<String>,
    /// Pixels.
    pub width: Option<i32>,
    /// Pixels.
    pub height: Option<i32>,
    /// Milliseconds.
    pub duration_ms: Option<i64>,
    /// Size.
    pub bytes: Option<i64>,
    /// SHA-256 of the content, hex.
    pub sha256: Option<String>,
    /// Why it failed.
    pub failure: Option<Failure>,
}

/// Whom a history row speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// Generation.
    pub generation: GenerationId,
    /// Attempt number; 0 for the generation itself.
    pub attempt: u16,
    /// State before.
    pub from: &'static str,
    /// State after.
    pub to: &'static str,
    /// One sentence: why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// What clients will be told; written in the commit it tells of.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Generation.
    pub generation: GenerationId,
    /// Its batch.
    pub batch: Option<BatchId>,
    /// Project.
    pub project: ProjectId,
    /// Such as `generation.completed`.
    pub kind: &'static str,
    /// When.
    pub at: Timestamp,
}

#[cfg(test)]
pub mod tests;
