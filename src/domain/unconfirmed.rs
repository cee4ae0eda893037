//! What follows when nobody could say whether a provider accepted a submit.

use serde::{Deserialize, Serialize};

/// The policy of a generation; chosen at its birth by request, provider section or `[dispatch]`, in that order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUnconfirmed {
    /// Fails with SUBMISSION_UNCONFIRMED at the reconciler's deadline. Never pays twice.
    #[default]
    Fail,
    /// Stays unconfirmed for an operator to decide, up to `hold_s`; then it fails.
    Hold,
    /// Submits once more at the deadline, at the risk of paying twice; both submits are watched.
    Resubmit,
}

impl OnUnconfirmed {
    /// Every policy.
    pub const ALL: [Self; 3] = [Self::Fail, Self::Hold, Self::Resubmit];

    /// The word in configuration, requests and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Hold => "hold",
            Self::Resubmit => "resubmit",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == word)
    }

    /// The number in the store; never renumber.
    #[must_use]
    pub const fn number(self) -> i16 {
        match self {
            Self::Fail => 0,
            Self::Hold => 1,
            Self::Resubmit => 2,
        }
    }

    /// Reads the store's number.
    #[must_use]
    pub fn of_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.number() == number)
    }
}
