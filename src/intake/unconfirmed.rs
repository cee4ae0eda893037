//! Attempts whose submit stayed unknown, as operators see them, and what operators decide about them: one insert, then a wake. Whether
//! it is believed is the reconciler's question.

use std::str::FromStr;

use crate::{
    domain::{
        attempt::{AttemptState, Outcome},
        id::{AttemptId, GenerationId},
        record::{Attempt, Generation},
        time::Timestamp,
    },
    store::{Decision, DecisionRow, Decisions, EvidenceRow, NewDecision, Reads, StoreError},
};

/// An attempt in doubt, with all that is known of it.
#[derive(Debug, Clone)]
pub struct Doubt {
    /// Its generation.
    pub generation: Generation,
    /// The attempt.
    pub attempt: Attempt,
    /// What was recorded, oldest first.
    pub evidence: Vec<EvidenceRow>,
    /// The newest decision.
    pub decision: Option<DecisionRow>,
}

impl Doubt {
    /// Since when.
    #[must_use]
    pub fn since(&self) -> Timestamp {
        self.attempt.unconfirmed_since.unwrap_or(self.attempt.updated_at)
    }
}

/// A page of attempts that are unconfirmed or were given up as such and not declared lost, newest first; `before` is the last one of the
/// page before. Attempts whose generation cannot be read are left out.
///
/// # Errors
/// The store's.
pub async fn page(
    (reads, decisions): (&Reads, &Decisions),
    before: Option<AttemptId>,
    limit: u64,
) -> Result<Vec<Doubt>, StoreError> {
    let mut page = Vec::new();
    for attempt in reads.unconfirmed(before, limit).await? {
        if let Some(doubt) = doubt((reads, decisions), attempt).await? {
            page.push(doubt);
        }
    }
    Ok(page)
}

/// All that is known of an attempt.
///
/// # Errors
/// The store's.
pub async fn doubt((reads, decisions): (&Reads, &Decisions), attempt: Attempt) -> Result<Option<Doubt>, StoreError> {
    let Some(generation) = reads.generation(attempt.generation).await? else { return Ok(None) };
    let (evidence, decision) = (reads.evidence(attempt.id).await?, decisions.newest(attempt.id).await?);
    Ok(Some(Doubt { generation, attempt, evidence, decision }))
}

/// What a decision is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// An attempt by its id.
    Attempt(AttemptId),
    /// An attempt by its generation, and its number where several are in doubt.
    Generation(GenerationId, Option<u16>),
}

/// Neither the id of a generation nor of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an id is gen_ or att_ and 32 hexadecimal digits")]
pub struct NoSubject;

impl FromStr for Subject {
    type Err = NoSubject;

    fn from_str(text: &str) -> Result<Self, NoSubject> {
        let attempt = text.parse().map(Self::Attempt);
        attempt.or_else(|_| text.parse().map(|id| Self::Generation(id, None))).map_err(|_| NoSubject)
    }
}

/// Why a decision is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no such generation or attempt.
    #[error("there is no such generation or attempt")]
    Unknown,
    /// Several attempts are in doubt: these numbers.
    #[error("attempts {} are in doubt: name one", numbers(.0))]
    Several(Vec<u16>),
    /// Nothing of it is in doubt.
    #[error("{0}")]
    Settled(String),
    /// The store's.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn numbers(all: &[u16]) -> String {
    all.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}

/// Writes a decision down; the reconciler carries it out within moments, after asking the provider.
///
/// # Errors
/// [`Refusal`]; then nothing was written.
pub async fn decide(
    (reads, decisions): (&Reads, &Decisions),
    subject: Subject,
    decision: Decision,
    (by, at): (String, Timestamp),
) -> Result<Doubt, Refusal> {
    let generation = match subject {
        Subject::Generation(id, _) => id,
        Subject::Attempt(id) => reads.attempt(id).await?.ok_or(Refusal::Unknown)?.generation,
    };
    let loaded = reads.load(generation).await?.ok_or(Refusal::Unknown)?;
    let attempt = choose(&loaded.attempts, subject, &decision)?.clone();
    let new = NewDecision { attempt: attempt.id, generation, decision, by, at };
    decisions.insert(new).await?;
    doubt((reads, decisions), attempt).await?.ok_or(Refusal::Unknown)
}

/// The attempt that is meant.
fn choose<'a>(attempts: &'a [Attempt], subject: Subject, decision: &Decision) -> Result<&'a Attempt, Refusal> {
    let named = attempts.iter().find(|attempt| match subject {
        Subject::Attempt(id) => attempt.id == id,
        Subject::Generation(_, n) => Some(attempt.n) == n,
    });
    match (named, subject) {
        (Some(attempt), _) if in_doubt(attempt, decision) => Ok(attempt),
        (Some(attempt), _) => Err(Refusal::Settled(format!("attempt {} is {}", attempt.n, attempt.state.as_str()))),
        (None, Subject::Generation(_, None)) => {
            let doubtful: Vec<&Attempt> = attempts.iter().filter(|attempt| in_doubt(attempt, decision)).collect();
            match doubtful.as_slice() {
                [one] => Ok(one),
                [] => Err(Refusal::Settled("none of its attempts is in doubt".to_owned())),
                _ => Err(Refusal::Several(doubtful.iter().map(|attempt| attempt.n).collect())),
            }
        }
        (None, Subject::Attempt(_) | Subject::Generation(_, Some(_))) => Err(Refusal::Unknown),
    }
}

/// Whether such a decision can be about it. What timed out is at the provider for certain: it can be adopted again, and not be lost.
fn in_doubt(attempt: &Attempt, decision: &Decision) -> bool {
    match (attempt.state, decision) {
        (AttemptState::Unconfirmed, _) => true,
        (AttemptState::Ended(Outcome::GivenUp), Decision::Lost) => attempt.lost_at.is_none(),
        (AttemptState::Ended(Outcome::GivenUp | Outcome::TimedOut), Decision::Adopt { .. }) => true,
        (AttemptState::Submitting | AttemptState::Running | AttemptState::Storing | AttemptState::Ended(_), _) => false,
    }
}
