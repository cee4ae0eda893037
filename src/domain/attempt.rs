//! The state machine of an attempt: one paid submit, the unit of submit, poll, find, store, cancel and money.

use serde::{Deserialize, Serialize};

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its outputs are stored, or handed out as the provider's URLs where the configuration says so.
    Delivered,
    /// The provider refused the submit.
    Refused,
    /// No byte left us.
    NeverSent,
    /// The provider, or storing the result, failed.
    Failed,
    /// The provider cancelled it at our request.
    Cancelled,
    /// The late window closed.
    TimedOut,
    /// The outputs were gone before they could be fetched.
    Expired,
    /// Whether the provider has it could not be found out.
    GivenUp,
}

/// Where an attempt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttemptState {
    /// **The intent is committed; the POST may or may not have left.** Its flight moves it on; a crash makes it unconfirmed.
    Submitting,
    /// The outcome of the POST is unknown. The reconciler moves it on.
    Unconfirmed,
    /// The provider has it and we pay. The poller moves it on; a crash changes nothing.
    Running,
    /// Finished at the provider, its assets on their way. The uploader moves it on; a crash resumes it.
    Storing,
    /// Over. Late evidence may bring one back that was given up or timed out.
    Ended(Outcome),
}

impl AttemptState {
    /// Every state, in the order of the path.
    pub const ALL: [Self; 12] = [
        Self::Submitting,
        Self::Unconfirmed,
        Self::Running,
        Self::Storing,
        Self::Ended(Outcome::Delivered),
        Self::Ended(Outcome::Refused),
        Self::Ended(Outcome::NeverSent),
        Self::Ended(Outcome::Failed),
        Self::Ended(Outcome::Cancelled),
        Self::Ended(Outcome::TimedOut),
        Self::Ended(Outcome::Expired),
        Self::Ended(Outcome::GivenUp),
    ];

    /// The word in history, answers and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Submitting => "submitting",
            Self::Unconfirmed => "unconfirmed",
            Self::Running => "running",
            Self::Storing => "storing",
            Self::Ended(Outcome::Delivered) => "delivered",
            Self::Ended(Outcome::Refused) => "refused",
            Self::Ended(Outcome::NeverSent) => "never_sent",
            Self::Ended(Outcome::Failed) => "failed",
            Self::Ended(Outcome::Cancelled) => "cancelled",
            Self::Ended(Outcome::TimedOut) => "timed_out",
            Self::Ended(Outcome::Expired) => "expired",
            Self::Ended(Outcome::GivenUp) => "given_up",
        }
    }

    /// The number in the store, ended ones from 10; never renumber.
    #[must_use]
    pub const fn number(self) -> i16 {
        match self {
            Self::Submitting => 0,
            Self::Unconfirmed => 1,
            Self::Running => 2,
            Self::Storing => 3,
            Self::Ended(Outcome::Delivered) => 10,
            Self::Ended(Outcome::Refused) => 11,
            Self::Ended(Outcome::NeverSent) => 12,
            Self::Ended(Outcome::Failed) => 13,
            Self::Ended(Outcome::Cancelled) => 14,
            Self::Ended(Outcome::TimedOut) => 15,
            Self::Ended(Outcome::Expired) => 16,
            Self::Ended(Outcome::GivenUp) => 17,
        }
    }

    /// Reads the store's number.
    #[must_use]
    pub fn of_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.number() == number)
    }

    /// Whether it is over (late evidence aside).
    #[must_use]
    pub const fn ended(self) -> bool {
        matches!(self, Self::Ended(_))
    }
}

/// What happens to an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttemptEvent {
    /// The provider accepted it (an answer, a lookup, a webhook).
    Accepted,
    /// The provider finished it and named its outputs.
    Finished,
    /// Bytes left and no clear answer came; or the process died in between.
    OutcomeUnknown,
    /// The same attempt is sent again to a provider that refuses duplicates.
    Resend,
    /// The provider refused it.
    Refused,
    /// No byte left.
    NeverSent,
    /// The provider, or storing, failed for good.
    Failed,
    /// The provider cancelled it at our request.
    Cancelled,
    /// The late window closed.
    TimedOut,
    /// The outputs are gone.
    OutputsExpired,
    /// Every output is stored.
    Stored,
    /// The reconciler's deadline passed without a word of it.
    GivenUp,
    /// An operator declared that the provider never had it.
    Lost,
}

impl AttemptEvent {
    /// Every event.
    pub const ALL: [Self; 13] = [
        Self::Accepted,
        Self::Finished,
        Self::OutcomeUnknown,
        Self::Resend,
        Self::Refused,
        Self::NeverSent,
        Self::Failed,
        Self::Cancelled,
        Self::TimedOut,
        Self::OutputsExpired,
        Self::Stored,
        Self::GivenUp,
        Self::Lost,
    ];
}

/// The machine has no such edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an attempt that is {} does not take {event:?}", from.as_str())]
pub struct IllegalAttempt {
    /// The state that refused.
    pub from: AttemptState,
    /// The event it refused.
    pub event: AttemptEvent,
}

/// Decides what an event makes of an attempt.
///
/// # Errors
/// [`IllegalAttempt`] when the machine has no such edge; nothing may be written then.
pub fn apply(from: AttemptState, event: AttemptEvent) -> Result<AttemptState, IllegalAttempt> {
    use AttemptEvent as E;
    use AttemptState as S;
    let to = match from {
        S::Submitting => match event {
            E::Accepted => Some(S::Running),
            E::Finished => Some(S::Storing),
            E::OutcomeUnknown => Some(S::Unconfirmed),
            E::Refused => Some(S::Ended(Outcome::Refused)),
            E::NeverSent => Some(S::Ended(Outcome::NeverSent)),
            E::Resend | E::Failed | E::Cancelled | E::TimedOut | E::OutputsExpired | E::Stored => None,
            E::GivenUp | E::Lost => None,
        },
        S::Unconfirmed => match event {
            E::Accepted => Some(S::Running),
            E::Finished => Some(S::Storing),
            E::Resend => Some(S::Submitting),
            E::Refused => Some(S::Ended(Outcome::Refused)),
            E::NeverSent => Some(S::Ended(Outcome::NeverSent)),
            E::GivenUp | E::Lost => Some(S::Ended(Outcome::GivenUp)),
            E::OutcomeUnknown | E::Failed | E::Cancelled | E::TimedOut | E::OutputsExpired | E::Stored => None,
        },
        S::Running => match event {
            E::Finished => Some(S::Storing),
            E::Failed => Some(S::Ended(Outcome::Failed)),
            E::Cancelled => Some(S::Ended(Outcome::Cancelled)),
            E::TimedOut => Some(S::Ended(Outcome::TimedOut)),
            E::OutputsExpired => Some(S::Ended(Outcome::Expired)),
            E::Accepted | E::OutcomeUnknown | E::Resend | E::Refused | E::NeverSent | E::Stored => None,
            E::GivenUp | E::Lost => None,
        },
        S::Storing => match event {
            E::Stored => Some(S::Ended(Outcome::Delivered)),
            E::OutputsExpired => Some(S::Ended(Outcome::Expired)),
            E::Failed => Some(S::Ended(Outcome::Failed)),
            E::Accepted | E::Finished | E::OutcomeUnknown | E::Resend | E::Refused | E::NeverSent => None,
            E::Cancelled | E::TimedOut | E::GivenUp | E::Lost => None,
        },
        S::Ended(outcome) => match (outcome, event) {
            // Late evidence: the provider has it after all. The generation's status stays, its result shows as late.
            (Outcome::GivenUp | Outcome::TimedOut, E::Accepted) => Some(S::Running),
            (Outcome::GivenUp, E::Lost) => Some(from),
            (
                Outcome::GivenUp
                | Outcome::Delivered
                | Outcome::Refused
                | Outcome::NeverSent
                | Outcome::Failed
                | Outcome::Cancelled
                | Outcome::TimedOut
                | Outcome::Expired,
                E::Accepted
                | E::Finished
                | E::OutcomeUnknown
                | E::Resend
                | E::Refused
                | E::NeverSent
                | E::Failed
                | E::Cancelled
                | E::TimedOut
                | E::OutputsExpired
                | E::Stored
                | E::GivenUp
                | E::Lost,
            ) => None,
        },
    };
    to.ok_or(IllegalAttempt { from, event })
}
