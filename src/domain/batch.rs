//! A batch: many generations, its lines, under common conditions and with exact counts. Pure: what a commit makes of its row
//! is decided in [`ledger`], whether a submit fits it in [`admission`].

pub mod admission;
pub mod counts;
pub mod ledger;

use std::sync::Arc;

use serde_json::{Map, Value};

pub use admission::Held;
pub use counts::{Category, Counts};
pub use ledger::{BatchEffect, BatchNews};

use crate::domain::{
    attempt::AttemptState,
    id::{BatchId, KeyId, ProjectId},
    money::Micros,
    record::{Attempt, Shard},
    time::Timestamp,
    unconfirmed::OnUnconfirmed,
};

/// Where a generation stands in its batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchPlace {
    /// The batch.
    pub id: BatchId,
    /// Its line, from 0; a retry takes the line of what it retries.
    pub index: u32,
    /// The client's name of the line, unique within the batch.
    pub custom_id: Option<Arc<str>>,
}

/// What the client chose for a batch as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchOptions {
    /// False: one line after the other, in order.
    pub parallel: bool,
    /// Attempts that may be submitting, unconfirmed or running at once; at least 1. One, where lines are not parallel.
    pub max_concurrency: u16,
    /// The first line that fails stops it: what was not submitted by then is cancelled, what is paid finishes.
    pub stop_on_error: bool,
    /// 1 (most urgent) to 10.
    pub priority: u8,
    /// From this instant on nothing is submitted; what was not ends cancelled.
    pub deadline: Option<Timestamp>,
    /// What its attempts may take together; what is held counts.
    pub budget: Option<Micros>,
    /// What follows an unknown submit, where the client said so for all lines.
    pub on_unconfirmed: Option<OnUnconfirmed>,
    /// Where its client is told.
    pub webhook_url: Option<String>,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self {
            parallel: true,
            max_concurrency: 3,
            stop_on_error: false,
            priority: 5,
            deadline: None,
            budget: None,
            on_unconfirmed: None,
            webhook_url: None,
        }
    }
}

/// How far a cancel goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelMode {
    /// Lines that were not submitted end cancelled; the others go on.
    Queued,
    /// Submitted ones are cancelled too, where their provider can.
    All,
}

impl CancelMode {
    /// The word in requests and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::All => "all",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        [Self::Queued, Self::All].into_iter().find(|mode| mode.as_str() == word)
    }

    /// The number in the store, larger the farther it goes; never renumber.
    #[must_use]
    pub const fn number(self) -> i16 {
        match self {
            Self::Queued => 0,
            Self::All => 1,
        }
    }

    /// Reads the store's number.
    #[must_use]
    pub fn of_number(number: i16) -> Option<Self> {
        [Self::Queued, Self::All].into_iter().find(|mode| mode.number() == number)
    }
}

/// The client's wish to cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CancelWish {
    /// Since when.
    pub at: Timestamp,
    /// How far.
    pub mode: CancelMode,
}

/// The client's wish that lines which failed before are tried again; its owner carries it out and takes it away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryWish {
    /// Lines that ended by this instant.
    pub at: Timestamp,
    /// Also those that may have been paid.
    pub forced: bool,
    /// The key that asked, to which the new holds are booked.
    pub key: KeyId,
}

/// The public status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BatchStatus {
    /// Lines wait or are under way.
    Processing,
    /// Nothing new is submitted: the client paused it, or its budget is used up.
    Paused,
    /// A cancel is being carried out.
    Cancelling,
    /// Every line succeeded.
    Completed,
    /// The client cancelled before every line succeeded.
    Cancelled,
    /// Some lines succeeded.
    PartialFailed,
    /// None did.
    Failed,
}

impl BatchStatus {
    /// Every status.
    pub const ALL: [Self; 7] =
        [Self::Processing, Self::Paused, Self::Cancelling, Self::Completed, Self::Cancelled, Self::PartialFailed, Self::Failed];

    /// The word in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Processing => "PROCESSING",
            Self::Paused => "PAUSED",
            Self::Cancelling => "CANCELLING",
            Self::Completed => "COMPLETED",
            Self::Cancelled => "CANCELLED",
            Self::PartialFailed => "PARTIAL_FAILED",
            Self::Failed => "FAILED",
        }
    }

    /// The kind of the event that tells of it.
    #[must_use]
    pub const fn event(self) -> &'static str {
        match self {
            Self::Processing => "batch.processing",
            Self::Paused => "batch.paused",
            Self::Cancelling => "batch.cancelling",
            Self::Completed => "batch.completed",
            Self::Cancelled => "batch.cancelled",
            Self::PartialFailed => "batch.partial_failed",
            Self::Failed => "batch.failed",
        }
    }
}

/// The row of a batch. `visible_at`, `paused_at`, `cancel` and `retry` are facts, which any node writes and which leave `version`
/// as it is; everything from `stopped_at` on changes only in the commit of the transition that causes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Id.
    pub id: BatchId,
    /// That of all its generations.
    pub shard: Shard,
    /// Owner.
    pub project: ProjectId,
    /// The key that submitted it.
    pub key: KeyId,
    /// Bumped by every commit that changes its counts or its money.
    pub version: i32,
    /// For people.
    pub name: Option<String>,
    /// The client's own notes.
    pub metadata: Option<Map<String, Value>>,
    /// What the client chose.
    pub options: BatchOptions,
    /// When it was begun; its lines are born with this instant.
    pub created_at: Timestamp,
    /// Last change of its counts or its money.
    pub updated_at: Timestamp,
    /// All its lines are there. Before that it is a load, which nobody sees and nothing is submitted of.
    pub visible_at: Option<Timestamp>,
    /// The client's wish that nothing new is submitted.
    pub paused_at: Option<Timestamp>,
    /// The client's wish to cancel. On a load: it is given up.
    pub cancel: Option<CancelWish>,
    /// The client's wish to retry, until it is carried out.
    pub retry: Option<RetryWish>,
    /// A failed line stopped it.
    pub stopped_at: Option<Timestamp>,
    /// Its budget suffices for no line that waits.
    pub over_budget_at: Option<Timestamp>,
    /// Its last line ended; none again while lines are retried.
    pub completed_at: Option<Timestamp>,
    /// Its lines, each counted by its newest generation.
    pub counts: Counts,
    /// How many ends of lines there were; a retried line ends again.
    pub ended: u32,
    /// Attempts that hold a place: see [`holds_place`].
    pub places: u32,
    /// Held, charged or at risk for its attempts, also those of replaced generations; not what the accept holds for waiting lines.
    pub spent: Micros,
    /// The charged part of it.
    pub charged: Micros,
}

impl Batch {
    /// A load as it begins: invisible and without lines.
    #[must_use]
    pub const fn loading(
        id: BatchId,
        (project, key): (ProjectId, KeyId),
        shard: Shard,
        options: BatchOptions,
        at: Timestamp,
    ) -> Self {
        Self {
            id,
            shard,
            project,
            key,
            version: 0,
            name: None,
            metadata: None,
            options,
            created_at: at,
            updated_at: at,
            visible_at: None,
            paused_at: None,
            cancel: None,
            retry: None,
            stopped_at: None,
            over_budget_at: None,
            completed_at: None,
            counts: Counts::NONE,
            ended: 0,
            places: 0,
            spent: Micros(0),
            charged: Micros(0),
        }
    }

    /// The public status.
    #[must_use]
    pub fn status(&self) -> BatchStatus {
        if self.counts.open() == 0 {
            return if self.retry.is_some() { BatchStatus::Processing } else { self.end() };
        }
        if self.cancel.is_some() {
            BatchStatus::Cancelling
        } else if self.paused_at.or(self.over_budget_at).is_some() {
            BatchStatus::Paused
        } else {
            BatchStatus::Processing
        }
    }

    /// What it ended as, once no line is open.
    #[must_use]
    pub fn end(&self) -> BatchStatus {
        let Counts { total, completed, failed, .. } = self.counts;
        // Lines that the client cancelled one by one; a deadline cancels lines too, but nobody asked for that.
        let late = self.options.deadline.is_some_and(|deadline| self.completed_at.is_none_or(|at| at >= deadline));
        if completed == total {
            BatchStatus::Completed
        } else if self.cancel.is_some() || (completed == 0 && failed == 0 && !late) {
            BatchStatus::Cancelled
        } else if completed > 0 {
            BatchStatus::PartialFailed
        } else {
            BatchStatus::Failed
        }
    }

    /// Lines that ended of all, in whole per cent; 100 only once all have.
    #[must_use]
    pub fn progress(&self) -> u8 {
        let (ended, total) = (u64::from(self.counts.ended()), u64::from(self.counts.total.max(1)));
        u8::try_from(ended.saturating_mul(100) / total).unwrap_or(100).min(100)
    }
}

/// Whether an attempt counts against `max_concurrency`: one that is overdue has released its place, one whose results are being
/// stored needs none.
#[must_use]
pub const fn holds_place(attempt: &Attempt) -> bool {
    match attempt.state {
        AttemptState::Submitting | AttemptState::Unconfirmed | AttemptState::Running => attempt.released_at.is_none(),
        AttemptState::Storing | AttemptState::Ended(_) => false,
    }
}

#[cfg(test)]
mod tests;
