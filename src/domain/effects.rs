//! What a transition means for the books. Money of a generation stands in three places: **held** (promised, not owed), **charged**
//! (owed as far as is known) and **at risk** (a provider may bill it and nobody could find out). Where it stands follows from the
//! rows alone, each row by itself; a ledger row is the difference that a commit makes. So the ledger's sum over a generation always
//! equals what its rows say, whichever transitions won, and no stage has to think of money. Pure.

use std::sync::Arc;

use crate::domain::{
    attempt::{AttemptState, Outcome},
    id::{KeyId, ProjectId},
    money::Micros,
    record::{Attempt, Generation, ProviderName},
    slots::Slot,
    time::Timestamp,
};

/// Where money stands, in micro-units; as a difference its parts may be negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// Promised: what is owed to the client or under way, and not billed yet.
    pub held: Micros,
    /// Billed by the provider, as far as is known.
    pub charged: Micros,
    /// Possibly billed: the outcome is unknown.
    pub at_risk: Micros,
}

impl Position {
    /// Nothing anywhere.
    pub const ZERO: Self = Self { held: Micros(0), charged: Micros(0), at_risk: Micros(0) };

    /// Only held.
    #[must_use]
    pub const fn held(amount: Micros) -> Self {
        Self { held: amount, ..Self::ZERO }
    }

    /// Part by part.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            held: self.held.plus(other.held),
            charged: self.charged.plus(other.charged),
            at_risk: self.at_risk.plus(other.at_risk),
        }
    }

    /// Part by part.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            held: self.held.minus(other.held),
            charged: self.charged.minus(other.charged),
            at_risk: self.at_risk.minus(other.at_risk),
        }
    }

    /// All of it: what counts against a limit.
    #[must_use]
    pub fn total(self) -> Micros {
        self.held.plus(self.charged).plus(self.at_risk)
    }

    /// What a difference gives back; never negative.
    #[must_use]
    pub fn released(self) -> Micros {
        Micros(self.total().0.min(0).saturating_neg())
    }
}

/// What a ledger row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// Money is held: at the accept (attempt 0), for a further submit, or again after a doubt that is settled.
    Hold,
    /// The provider bills, or its own figure corrects the estimate.
    Charge,
    /// Money is given back.
    Release,
    /// It became unknown whether the provider bills.
    Risk,
}

impl EntryKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Hold, Self::Charge, Self::Release, Self::Risk];

    /// The word in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Charge => "charge",
            Self::Release => "release",
            Self::Risk => "risk",
        }
    }

    /// The number in the store; never renumber.
    #[must_use]
    pub const fn number(self) -> i16 {
        match self {
            Self::Hold => 0,
            Self::Charge => 1,
            Self::Release => 2,
            Self::Risk => 3,
        }
    }

    /// Reads the store's number.
    #[must_use]
    pub fn of_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }

    fn of(delta: Position, after: Position) -> Self {
        if delta.charged.0 > 0 || delta.charged.0 < 0 && after.charged.0 > 0 {
            Self::Charge
        } else if delta.at_risk.0 > 0 {
            Self::Risk
        } else if delta.held.0 > 0 {
            Self::Hold
        } else {
            Self::Release
        }
    }
}

/// A row of the ledger; its generation is known from where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerEntry {
    /// Attempt number; 0 is the generation itself (the hold at the accept).
    pub attempt: u16,
    /// What it says.
    pub kind: EntryKind,
    /// The version that the attempt's row, or for attempt 0 the generation's, has from this commit on: unique, since every
    /// transition bumps it.
    pub seq: i32,
    /// The difference.
    pub delta: Position,
    /// When.
    pub at: Timestamp,
}

/// What a generation's own row holds: the price of every call that is still owed.
#[must_use]
pub fn of_generation(row: &Generation) -> Position {
    let owed = u16::try_from(row.slots().count(Slot::Owed)).unwrap_or(u16::MAX);
    Position::held(row.call_price.times(owed))
}

/// Where an attempt's money stands.
#[must_use]
pub fn of_attempt(row: &Attempt) -> Position {
    if row.charged {
        return Position { charged: row.cost.unwrap_or(row.price), ..Position::ZERO };
    }
    match row.state {
        AttemptState::Submitting | AttemptState::Running | AttemptState::Storing => Position::held(row.price),
        AttemptState::Unconfirmed => at_risk(row),
        AttemptState::Ended(outcome) => match outcome {
            // An operator says that the provider never had it.
            Outcome::GivenUp if row.lost_at.is_some() => Position::ZERO,
            // Nobody knows what became of it: a provider that bills at completion may still bill.
            Outcome::GivenUp | Outcome::TimedOut | Outcome::Expired => at_risk(row),
            Outcome::Delivered | Outcome::Refused | Outcome::NeverSent | Outcome::Failed | Outcome::Cancelled => Position::ZERO,
        },
    }
}

const fn at_risk(row: &Attempt) -> Position {
    Position { at_risk: row.price, ..Position::ZERO }
}

/// Where all the money of a generation stands.
#[must_use]
pub fn standing<'a>(generation: &Generation, attempts: impl IntoIterator<Item = &'a Attempt>) -> Position {
    attempts.into_iter().map(of_attempt).fold(of_generation(generation), Position::plus)
}

/// The hold at the accept; none where the catalogue knows no price.
#[must_use]
pub fn birth(generation: &Generation) -> Option<LedgerEntry> {
    let delta = of_generation(generation);
    let entry = LedgerEntry { attempt: 0, kind: EntryKind::Hold, seq: 0, delta, at: generation.created_at };
    (delta != Position::ZERO).then_some(entry)
}

/// The rows as a transition found them.
#[derive(Debug, Clone, Copy)]
pub struct Before<'a> {
    /// The generation.
    pub generation: &'a Generation,
    /// All its attempts.
    pub attempts: &'a [Attempt],
}

/// The rows as a transition leaves them; versions as they were loaded.
#[derive(Debug, Clone)]
pub struct After<'a> {
    /// The generation, when its row changes.
    pub generation: Option<&'a Generation>,
    /// Changed attempts.
    pub changed: &'a [Attempt],
    /// New attempts.
    pub new: Vec<&'a Attempt>,
    /// When.
    pub at: Timestamp,
}

/// The ledger's rows for a transition. Each attempt's difference stands under its number; what the generation's own row holds more
/// or less goes with the last of them, so that an intent, which only moves a hold, writes nothing.
#[must_use]
pub fn transition(before: Before<'_>, after: &After<'_>) -> Vec<LedgerEntry> {
    let known = |row: &Attempt| before.attempts.iter().find(|known| known.id == row.id).map_or(Position::ZERO, of_attempt);
    let changed = after.changed.iter().map(|row| (row.n, row.version.saturating_add(1), of_attempt(row).minus(known(row)), row));
    let new = after.new.iter().map(|row| (row.n, row.version, of_attempt(row), *row));
    let mut moved: Vec<_> = changed.chain(new).map(|(attempt, seq, delta, row)| (attempt, seq, delta, of_attempt(row))).collect();
    let own = after.generation.map_or(Position::ZERO, |row| of_generation(row).minus(of_generation(before.generation)));
    match moved.last_mut() {
        Some((_, _, delta, _)) => *delta = delta.plus(own),
        None => moved.push((0, before.generation.version.saturating_add(1), own, Position::ZERO)),
    }
    moved
        .into_iter()
        .filter(|(_, _, delta, _)| *delta != Position::ZERO)
        .map(|(attempt, seq, delta, stands)| LedgerEntry {
            attempt,
            kind: EntryKind::of(delta, stands),
            seq,
            delta,
            at: after.at,
        })
        .collect()
}

/// Whose spending it is: under what a day's sums are kept. The day is that of the accept, for every row of a generation, so that
/// money given back later frees the day it was promised on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpendKey {
    /// UTC day of the accept, counted from the epoch's.
    pub day: i32,
    /// Project.
    pub project: ProjectId,
    /// The key that submitted it.
    pub key: KeyId,
    /// Provider section.
    pub provider: ProviderName,
    /// `modelIdentifier`.
    pub model: Arc<str>,
}

impl SpendKey {
    /// Under which a generation's money is counted.
    #[must_use]
    pub fn of(generation: &Generation) -> Self {
        Self {
            day: generation.created_at.day(),
            project: generation.project,
            key: generation.key,
            provider: generation.provider.clone(),
            model: generation.model.clone(),
        }
    }
}

/// What one commit writes into the books of one generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booking {
    /// Whose spending it is.
    pub key: SpendKey,
    /// The ledger's rows, at least one.
    pub entries: Vec<LedgerEntry>,
}

impl Booking {
    /// None when there is nothing to write.
    #[must_use]
    pub fn of(generation: &Generation, entries: Vec<LedgerEntry>) -> Option<Self> {
        (!entries.is_empty()).then(|| Self { key: SpendKey::of(generation), entries })
    }
}
