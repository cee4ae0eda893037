//! The idempotency key of a batch. A JSON body is known before anything is stored; of lines it is known only in the end whether they are
//! those that came under this key before. Until then they are judged as ever, and stored only when the key is new.

use crate::{
    domain::{
        claim::{Claimed, Fingerprint},
        error::ErrorCode,
        id::BatchId,
    },
    http::{
        idempotency::{Begun, Entry, Ticket},
        problem::Problem,
    },
};

/// What is known of the key.
#[derive(Debug)]
pub(super) enum Key {
    /// None was given.
    Absent,
    /// Whether the request is the same as before is not known yet.
    Open(Entry),
    /// It is new.
    New(Ticket),
    /// The same request made this batch.
    Before(BatchId),
}

impl Key {
    /// Of a request that has not been read yet.
    pub fn of(entry: Option<Entry>) -> Self {
        entry.map_or(Self::Absent, Self::Open)
    }

    /// Once the request is known.
    ///
    /// # Errors
    /// The key was used for another request.
    pub fn decide(self, fingerprint: Fingerprint) -> Result<Self, Problem> {
        match self {
            Self::Open(entry) => match entry.decide(fingerprint)? {
                Begun::New(Some(ticket)) => Ok(Self::New(ticket)),
                Begun::New(None) => Ok(Self::Absent),
                Begun::Before(subject) => Ok(Self::Before(batch(&subject)?)),
            },
            decided @ (Self::Absent | Self::New(_) | Self::Before(_)) => Ok(decided),
        }
    }

    /// Whether what comes may have to be stored.
    pub fn stores(&self) -> bool {
        match self {
            Self::Absent | Self::New(_) => true,
            Self::Open(entry) => entry.before().is_none(),
            Self::Before(_) => false,
        }
    }
}

/// The batch that another process made of the same request meanwhile.
///
/// # Errors
/// Of another request; then the key was used twice.
pub(super) fn overtaken(ticket: &Ticket, before: Claimed) -> Result<BatchId, Problem> {
    batch(&ticket.same(before)?)
}

fn batch(subject: &str) -> Result<BatchId, Problem> {
    subject.parse().map_err(|_| Problem::new(ErrorCode::InternalError, "a stored claim cannot be read"))
}
