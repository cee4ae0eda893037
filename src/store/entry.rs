//! What stages hand to the journal, and what it answers. Each entry is judged alone, all or nothing.

use crate::domain::{
    batch::{BatchEffect, Held},
    claim::Claim,
    effects::Booking,
    id::{AttemptId, GenerationId},
    limits::Limits,
    record::{Asset, Attempt, Event, Generation, GenerationRequest, Handle, History},
    time::Timestamp,
};

/// A new generation; a fact (any node, no fence). Lane `births`.
#[derive(Debug, Clone)]
pub struct Birth {
    /// The row, version 0.
    pub generation: Generation,
    /// The cold part.
    pub request: GenerationRequest,
    /// What may be promised a day.
    pub limits: Limits,
    /// What it waits for; then it is born waiting.
    pub depends_on: Vec<GenerationId>,
    /// The request that makes it, where it may be repeated: of all births with one claim only the first is written.
    pub claim: Option<Claim>,
}

/// One transition: any number of changed rows of **one generation**, applied together or not at all. Lane `transitions`.
///
/// A changed row is the whole new row with the **version it was loaded with**; the store compares, writes the mutable columns
/// and bumps the version by one. `cancel_requested_at` is never written by a transition.
#[derive(Debug, Clone)]
pub struct Transition {
    /// The generation all rows belong to; two entries of one generation never share a batch.
    pub generation_id: GenerationId,
    /// Its shard; an entry for a shard this node does not hold is lost.
    pub shard: u8,
    /// The generation's row, when it changes.
    pub generation: Option<Generation>,
    /// Changed attempts.
    pub attempts: Vec<Attempt>,
    /// New attempts (version 0).
    pub new_attempts: Vec<NewAttempt>,
    /// Changed assets.
    pub assets: Vec<Asset>,
    /// New assets (version 0).
    pub new_assets: Vec<Asset>,
    /// What the history will say.
    pub history: Vec<History>,
    /// What clients will be told.
    pub events: Vec<Event>,
    /// What it means for the books; [`crate::store::change::commit`] fills it in.
    pub booking: Option<Booking>,
    /// What it means for its batch; [`crate::store::change::commit`] fills it in. Every line of a batch needs it.
    pub effect: Option<BatchEffect>,
    /// Further condition.
    pub guard: Guard,
}

impl Transition {
    /// An entry that changes nothing yet.
    #[must_use]
    pub fn of(generation: &Generation) -> Self {
        Self {
            generation_id: generation.id,
            shard: generation.shard,
            generation: None,
            attempts: Vec::new(),
            new_attempts: Vec::new(),
            assets: Vec::new(),
            new_assets: Vec::new(),
            history: Vec::new(),
            events: Vec::new(),
            booking: None,
            effect: None,
            guard: Guard::None,
        }
    }
}

/// An attempt as it is born: the row and the request that will be sent, without credential.
#[derive(Debug, Clone)]
pub struct NewAttempt {
    /// The row, version 0, state `submitting`.
    pub attempt: Attempt,
    /// The request as JSON (method, url, body), for resends and for the operator.
    pub request: serde_json::Value,
}

/// A condition beyond the versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// None.
    None,
    /// The entry commits an intent: it requires that no cancel was requested, and that its batch takes one more submit.
    Intent,
    /// The same attempt is sent once more: it requires that no cancel was requested, of its batch only one of what was submitted.
    Resend,
}

/// What the journal made of a transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Committed.
    Won,
    /// Some version, state, guard or the fence did not match: nothing was written. Load again and decide anew.
    Lost,
    /// Its batch takes no submit now: nothing was written, and to decide anew from the same rows would change nothing.
    Held(Held),
}

/// A provider id that somebody learned; written ahead of everything else, never fenced. Lane `evidence`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Attempt.
    pub attempt: AttemptId,
    /// Generation.
    pub generation: GenerationId,
    /// Account at the provider (section and account name).
    pub account: String,
    /// What the provider gave us.
    pub handle: Handle,
    /// How it was learned: `answer`, `lookup`, `webhook`, `operator`.
    pub source: &'static str,
    /// When.
    pub at: Timestamp,
}

/// What the journal made of evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvidenceVerdict {
    /// New.
    Recorded,
    /// The same was known.
    Known,
    /// Another attempt holds this provider task: somebody must look.
    Conflict,
}

/// What became of a wish about a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    /// The project has no such batch.
    Unknown,
    /// It was so already, or the batch takes no such wish (any more).
    Unchanged,
    /// Noted.
    Changed,
}
