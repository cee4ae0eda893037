//! The state machine of a generation: the promise to the client (design: `README.md`, "States").
//!
//! One exhaustive function decides; everything that changes a generation goes through it. It must not know of providers,
//! rows or time beyond the instants it is handed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::{
    slots::{Slot, Slots},
    time::Timestamp,
};

/// Where a generation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GenerationState {
    /// An unmet dependency, nothing else. Dispatch moves it on when that ends.
    Waiting,
    /// Its images are being made fit. Preparation moves it on; after a crash it is done again from the original.
    Preparing,
    /// Owes at least one submit. Dispatch picks it, submission commits the intent.
    Queued,
    /// Every output is settled or has an open attempt. The ends of its attempts move it on.
    Active,
    /// Ended: at least one output was delivered.
    Completed,
    /// Ended: no output was delivered.
    Failed,
    /// Ended: the client cancelled before anything was delivered.
    Cancelled,
}

impl GenerationState {
    /// Every state, in the order of the path.
    pub const ALL: [Self; 7] =
        [Self::Waiting, Self::Preparing, Self::Queued, Self::Active, Self::Completed, Self::Failed, Self::Cancelled];

    /// The word in history, answers and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Preparing => "preparing",
            Self::Queued => "queued",
            Self::Active => "active",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The number in the store; never renumber.
    #[must_use]
    pub const fn number(self) -> i16 {
        match self {
            Self::Waiting => 0,
            Self::Preparing => 1,
            Self::Queued => 2,
            Self::Active => 3,
            Self::Completed => 10,
            Self::Failed => 11,
            Self::Cancelled => 12,
        }
    }

    /// Reads the store's number.
    #[must_use]
    pub fn of_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.number() == number)
    }

    /// Terminal states never change.
    #[must_use]
    pub const fn terminal(self) -> bool {
        match self {
            Self::Waiting | Self::Preparing | Self::Queued | Self::Active => false,
            Self::Completed | Self::Failed | Self::Cancelled => true,
        }
    }
}

/// What the machine needs to know of a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The state.
    pub state: GenerationState,
    /// The slots.
    pub slots: Slots,
    /// No submit before this instant.
    pub not_before: Timestamp,
    /// Attempts that consumed one of the provider's `max_attempts`.
    pub tries: u16,
}

/// How the end of an attempt settles its slot; made by [`crate::domain::settle::settle`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// Its outputs are stored.
    Delivered,
    /// A further submit is owed, not before `wait` has passed; `counts` when it consumed a try.
    Owe {
        /// How long to wait first.
        wait: Duration,
        /// Whether it consumes one of `max_attempts` (a throttle does not).
        counts: bool,
    },
    /// It ends without outputs.
    Failed,
    /// It ends without outputs because the client cancelled.
    Cancelled,
}

/// What happens to a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GenerationEvent {
    /// The dependency ended well.
    DependencyMet {
        /// Whether its images must be made fit first.
        prepare: bool,
    },
    /// Its images fit now.
    Prepared,
    /// The intent to submit this slot is committed.
    Intent {
        /// The slot.
        slot: u16,
    },
    /// The attempt of this slot ended.
    AttemptEnded {
        /// The slot.
        slot: u16,
        /// What follows.
        settlement: Settlement,
    },
    /// An attempt of this slot that had ended turns out to be alive before another was submitted: the slot waits for it again.
    Reclaimed {
        /// The slot.
        slot: u16,
    },
    /// Nothing further is submitted: a deadline, a failed dependency, a budget, a provider that is gone.
    Drop,
    /// Nothing further is submitted because the client asked so.
    Cancel,
}

/// The machine has no such edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a generation that is {} does not take this event", from.as_str())]
pub struct IllegalGeneration {
    /// The state that refused.
    pub from: GenerationState,
}

/// Decides what an event makes of a generation.
///
/// # Errors
/// [`IllegalGeneration`] when the machine has no such edge; nothing may be written then.
pub fn apply(now: &Progress, event: &GenerationEvent, at: Timestamp) -> Result<Progress, IllegalGeneration> {
    use GenerationState as S;
    let illegal = Err(IllegalGeneration { from: now.state });
    match event {
        GenerationEvent::DependencyMet { prepare } => match now.state {
            S::Waiting if *prepare => Ok(Progress { state: S::Preparing, ..now.clone() }),
            S::Waiting => Ok(Progress { state: S::Queued, ..now.clone() }),
            S::Preparing | S::Queued | S::Active | S::Completed | S::Failed | S::Cancelled => illegal,
        },
        GenerationEvent::Prepared => match now.state {
            S::Preparing => Ok(Progress { state: S::Queued, ..now.clone() }),
            S::Waiting | S::Queued | S::Active | S::Completed | S::Failed | S::Cancelled => illegal,
        },
        GenerationEvent::Intent { slot } => match now.state {
            S::Queued if now.slots.at(*slot) == Some(Slot::Owed) => Ok(settled(now, now.slots.with(*slot, Slot::Open))),
            S::Waiting | S::Preparing | S::Queued | S::Active | S::Completed | S::Failed | S::Cancelled => illegal,
        },
        GenerationEvent::AttemptEnded { slot, settlement } => match now.state {
            S::Queued | S::Active if now.slots.at(*slot) == Some(Slot::Open) => Ok(ended(now, *slot, settlement, at)),
            S::Waiting | S::Preparing | S::Queued | S::Active | S::Completed | S::Failed | S::Cancelled => illegal,
        },
        GenerationEvent::Reclaimed { slot } => match now.state {
            S::Queued if now.slots.at(*slot) == Some(Slot::Owed) => Ok(settled(now, now.slots.with(*slot, Slot::Open))),
            S::Waiting | S::Preparing | S::Queued | S::Active | S::Completed | S::Failed | S::Cancelled => illegal,
        },
        GenerationEvent::Drop => dropped(now, Slot::Failed),
        GenerationEvent::Cancel => dropped(now, Slot::Cancelled),
    }
}

fn dropped(now: &Progress, to: Slot) -> Result<Progress, IllegalGeneration> {
    use GenerationState as S;
    match now.state {
        S::Waiting | S::Preparing | S::Queued => Ok(settled(now, now.slots.with_owed(to))),
        S::Active | S::Completed | S::Failed | S::Cancelled => Err(IllegalGeneration { from: now.state }),
    }
}

fn ended(now: &Progress, slot: u16, settlement: &Settlement, at: Timestamp) -> Progress {
    match settlement {
        Settlement::Delivered => settled(now, now.slots.with(slot, Slot::Delivered)),
        Settlement::Failed => settled(now, now.slots.with(slot, Slot::Failed)),
        Settlement::Cancelled => settled(now, now.slots.with(slot, Slot::Cancelled)),
        Settlement::Owe { wait, counts } => Progress {
            not_before: now.not_before.max(at.plus(*wait)),
            tries: now.tries.saturating_add(u16::from(*counts)),
            ..settled(now, now.slots.with(slot, Slot::Owed))
        },
    }
}

/// The state follows from the slots alone, once a submit was owed.
fn settled(now: &Progress, slots: Slots) -> Progress {
    let state = if slots.count(Slot::Owed) > 0 {
        GenerationState::Queued
    } else if slots.count(Slot::Open) > 0 {
        GenerationState::Active
    } else if slots.count(Slot::Delivered) > 0 {
        GenerationState::Completed
    } else if slots.count(Slot::Cancelled) > 0 {
        GenerationState::Cancelled
    } else {
        GenerationState::Failed
    };
    Progress { state, slots, ..now.clone() }
}
