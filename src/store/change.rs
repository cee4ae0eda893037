//! From a decision to a journal entry: applies the machines' events to loaded rows and collects what rides along in the commit
//! (history, events). Pure, but for [`commit`], which loads, decides and hands in until the entry is judged.

use std::{sync::Arc, time::Duration};

use crate::{
    domain::{
        attempt::{self, AttemptEvent, AttemptState},
        batch::{BatchEffect, Category},
        effects::{self, After, Before, Booking},
        error::{ErrorCode, Failure},
        generation::{self, GenerationEvent, GenerationState, Settlement},
        id::GenerationId,
        record::{Asset, Attempt, Event, Generation, History},
        retry::RetryPolicy,
        settle::{Ending, Standing, settle},
        slots::Slot,
        time::Timestamp,
    },
    store::{Guard, Journal, Loaded, NewAttempt, Reads, StoreError, Transition, Verdict},
};

/// A decision does not fit the rows it was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Illegal {
    /// Generation.
    #[error(transparent)]
    Generation(#[from] generation::IllegalGeneration),
    /// Attempt.
    #[error(transparent)]
    Attempt(#[from] attempt::IllegalAttempt),
}

/// A transition in the making.
#[derive(Debug, Clone)]
pub struct Change {
    entry: Transition,
    generation: Generation,
    at: Timestamp,
}

impl Change {
    /// Nothing changed yet.
    #[must_use]
    pub fn of(generation: &Generation, at: Timestamp) -> Self {
        Self { entry: Transition::of(generation), generation: generation.clone(), at }
    }

    /// The instant of the change.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// The generation as it will be.
    #[must_use]
    pub const fn generation(&self) -> &Generation {
        &self.generation
    }

    /// Applies an event to the generation. `failure` is kept while it says why no output came (yet).
    ///
    /// # Errors
    /// [`Illegal`] when the machine has no such edge.
    pub fn advance(&mut self, event: &GenerationEvent, failure: Option<Failure>, reason: &str) -> Result<(), Illegal> {
        let from = self.generation.state();
        let progress = generation::apply(&self.generation.progress, event, self.at)?;
        let to = progress.state;
        self.generation.progress = progress;
        self.generation.updated_at = self.at;
        if failure.is_some() {
            self.generation.failure = failure;
        }
        if to == GenerationState::Completed {
            self.generation.failure = None;
        }
        if to.terminal() {
            self.generation.ended_at = Some(self.at);
        }
        if from != to {
            self.history(0, from.as_str(), to.as_str(), reason);
            self.event(event_kind(from, to));
        }
        self.entry.generation = Some(self.generation.clone());
        Ok(())
    }

    /// Applies an event to one of its attempts and puts the attempt into the entry.
    ///
    /// # Errors
    /// [`Illegal`] when the machine has no such edge.
    pub fn attempt(&mut self, attempt: &mut Attempt, event: AttemptEvent, reason: &str) -> Result<(), Illegal> {
        let from = attempt.state;
        attempt.state = attempt::apply(from, event)?;
        attempt.updated_at = self.at;
        attempt.ended_at = attempt.state.ended().then(|| attempt.ended_at.filter(|_| from.ended()).unwrap_or(self.at));
        if event == AttemptEvent::OutcomeUnknown {
            // Kept over resends of the same attempt: its deadline does not move.
            attempt.unconfirmed_since = attempt.unconfirmed_since.or(Some(self.at));
        }
        self.history(attempt.n, from.as_str(), attempt.state.as_str(), reason);
        match self.entry.attempts.iter_mut().find(|known| known.id == attempt.id) {
            Some(known) => *known = attempt.clone(),
            None => self.entry.attempts.push(attempt.clone()),
        }
        Ok(())
    }

    /// The provider has it. One that had ended (late evidence) holds its slot again while that still owes a submit.
    ///
    /// # Errors
    /// [`Illegal`] when a machine has no such edge.
    pub fn accepted(&mut self, attempt: &mut Attempt, reason: &str) -> Result<(), Illegal> {
        let ended = attempt.state.ended();
        self.attempt(attempt, AttemptEvent::Accepted, reason)?;
        if ended && self.generation.slots().at(attempt.slot) == Some(Slot::Owed) {
            self.advance(&GenerationEvent::Reclaimed { slot: attempt.slot }, None, reason)?;
        }
        Ok(())
    }

    /// The same attempt is sent once more, until `not_after`; like an intent it requires that no cancel was requested.
    ///
    /// # Errors
    /// [`Illegal`] when the machine has no such edge.
    pub fn resend(&mut self, attempt: &mut Attempt, not_after: Timestamp, reason: &str) -> Result<(), Illegal> {
        attempt.not_after = not_after;
        self.attempt(attempt, AttemptEvent::Resend, reason)?;
        self.entry.guard = Guard::Resend;
        Ok(())
    }

    /// Adds a second task that the provider made of one submit: an attempt of its own, which runs already.
    pub fn second(&mut self, new: NewAttempt, reason: &str) {
        let (n, running) = (new.attempt.n, new.attempt.state.as_str());
        self.history(n, "owed", AttemptState::Submitting.as_str(), reason);
        self.history(n, AttemptState::Submitting.as_str(), running, reason);
        self.entry.new_attempts.push(new);
    }

    /// Puts an attempt into the entry as it is: its version is compared and moves on, for a decision that rests on rows beside
    /// those that it changes.
    pub fn hold(&mut self, attempt: &Attempt) {
        self.entry.attempts.push(attempt.clone());
    }

    /// Lets the history say something of an attempt that stays in its state.
    pub(in crate::store) fn note(&mut self, attempt: &Attempt, reason: &str) {
        self.history(attempt.n, attempt.state.as_str(), attempt.state.as_str(), reason);
    }

    /// Adds the attempt that the intent brings into being.
    pub fn intent(&mut self, new: NewAttempt, reason: &str) {
        self.history(new.attempt.n, "owed", new.attempt.state.as_str(), reason);
        self.entry.new_attempts.push(new);
        self.entry.guard = Guard::Intent;
    }

    /// Adds new assets.
    pub fn new_assets(&mut self, assets: Vec<Asset>) {
        self.entry.new_assets.extend(assets);
    }

    /// Puts a changed asset into the entry.
    pub fn asset(&mut self, asset: Asset) {
        self.entry.assets.push(asset);
    }

    /// The finished entry.
    #[must_use]
    pub fn entry(self) -> Transition {
        self.entry
    }

    /// Ends an attempt and settles its slot in the same commit. What is settled keeps its end: outputs that come after it are late
    /// results. While another attempt of the slot is open, one that brings nothing settles nothing.
    ///
    /// # Errors
    /// [`Illegal`] when a machine has no such edge.
    pub fn end(&mut self, loaded: &Loaded, attempt: &mut Attempt, end: &End<'_>) -> Result<(), Illegal> {
        if end.failure.is_some() {
            attempt.failure.clone_from(&end.failure);
        }
        // Of two ends that are decided at once the second may have read the clock first. What is late is told by their order.
        let ends = loaded.attempts.iter().map(|other| other.ended_at).chain([loaded.generation.ended_at]);
        self.at = ends.flatten().map(|end| end.plus(Duration::from_millis(1))).fold(self.at, Ord::max);
        self.attempt(attempt, end.event, end.reason)?;
        let delivered = end.ending == Ending::Delivered;
        let open = self.generation.slots().at(attempt.slot) == Some(Slot::Open);
        if self.generation.state().terminal() || !open {
            if delivered {
                self.event("generation.late_result");
            }
            return Ok(());
        }
        let sibling = |other: &Attempt| other.id != attempt.id && other.slot == attempt.slot && !other.state.ended();
        if !delivered && loaded.attempts.iter().any(sibling) {
            return Ok(());
        }
        let cancel_requested = loaded.generation.cancel_requested_at.is_some();
        let attempts = u16::try_from(loaded.attempts.len()).unwrap_or(u16::MAX);
        let tries = self.generation.progress.tries;
        let standing = Standing { tries, attempts, cancel_requested, policy: end.policy, unit: end.unit };
        let settlement = settle(end.ending, &standing);
        let failure = match settlement {
            Settlement::Delivered => None,
            Settlement::Cancelled => Some(Failure::new(ErrorCode::TaskCancelled, "cancelled at the client's request")),
            Settlement::Owe { .. } | Settlement::Failed => end.shown.clone().or_else(|| attempt.failure.clone()),
        };
        self.advance(&GenerationEvent::AttemptEnded { slot: attempt.slot, settlement }, failure, end.reason)
    }

    fn event(&mut self, kind: &'static str) {
        let (generation, project) = (self.generation.id, self.generation.project);
        let batch = self.generation.batch.as_ref().map(|place| place.id);
        self.entry.events.push(Event { generation, batch, project, kind, at: self.at });
    }

    fn history(&mut self, attempt: u16, from: &'static str, to: &'static str, reason: &str) {
        self.entry.history.push(History {
            generation: self.generation.id,
            attempt,
            from,
            to,
            reason: reason.to_owned(),
            at: self.at,
        });
    }
}

/// How an attempt ends.
#[derive(Debug, Clone)]
pub struct End<'a> {
    /// The machine's event.
    pub event: AttemptEvent,
    /// What it means for paying again.
    pub ending: Ending,
    /// The attempt's failure; none keeps the one it has.
    pub failure: Option<Failure>,
    /// The generation's failure, where it differs from the attempt's.
    pub shown: Option<Failure>,
    /// The provider's retry rules.
    pub policy: &'a RetryPolicy,
    /// A draw in 0..1 for the jitter.
    pub unit: f64,
    /// One sentence for the history.
    pub reason: &'a str,
}

const fn event_kind(from: GenerationState, to: GenerationState) -> &'static str {
    match to {
        GenerationState::Waiting => "generation.waiting",
        GenerationState::Preparing => "generation.preparing",
        GenerationState::Queued if matches!(from, GenerationState::Active) => "generation.retrying",
        GenerationState::Queued => "generation.queued",
        GenerationState::Active => "generation.processing",
        GenerationState::Completed => "generation.completed",
        GenerationState::Failed => "generation.failed",
        GenerationState::Cancelled => "generation.cancelled",
    }
}

/// The rows as they stand after `entry` was won, so that the next transition needs no read.
#[must_use]
pub fn after(mut loaded: Loaded, entry: &Transition) -> Loaded {
    if let Some(generation) = &entry.generation {
        let cancel = loaded.generation.cancel_requested_at;
        loaded.generation = generation.clone();
        loaded.generation.version += 1;
        loaded.generation.cancel_requested_at = cancel;
    }
    for changed in &entry.attempts {
        if let Some(known) = loaded.attempts.iter_mut().find(|known| known.id == changed.id) {
            *known = changed.clone();
            known.version += 1;
        }
    }
    loaded.attempts.extend(entry.new_attempts.iter().map(|new| new.attempt.clone()));
    for changed in &entry.assets {
        if let Some(known) = loaded.assets.iter_mut().find(|known| known.id == changed.id) {
            *known = changed.clone();
            known.version += 1;
        }
    }
    loaded.assets.extend(entry.new_assets.iter().cloned());
    loaded
}

/// What the entry means for the books, from the rows it was decided on. The compare-and-set on each row's version makes these the
/// rows that it replaces, so the differences add up whatever else is committed in between.
#[must_use]
pub fn booking(loaded: &Loaded, entry: &Transition) -> Option<Booking> {
    let before = Before { generation: &loaded.generation, attempts: &loaded.attempts };
    let new: Vec<_> = entry.new_attempts.iter().map(|new| &new.attempt).collect();
    // Whatever moves money moves a state, and that is history.
    let at = entry.history.last().map_or(loaded.generation.updated_at, |row| row.at);
    let after = After { generation: entry.generation.as_ref(), changed: &entry.attempts, new, at };
    Booking::of(&loaded.generation, effects::transition(before, &after))
}

/// What the entry means for the batch; none outside of one.
#[must_use]
pub fn effect(loaded: &Loaded, entry: &Transition) -> Option<BatchEffect> {
    let batch = loaded.generation.batch.as_ref()?.id;
    let at = entry.history.last().map_or(loaded.generation.updated_at, |row| row.at);
    let effect = BatchEffect::none(batch, Category::of(&loaded.generation), at);
    let effect = entry.generation.iter().fold(effect, |effect, row| effect.row(row));
    let known = |row: &Attempt| loaded.attempts.iter().find(|known| known.id == row.id);
    let effect = entry.attempts.iter().fold(effect, |effect, row| effect.attempt(known(row), row));
    Some(entry.new_attempts.iter().fold(effect, |effect, new| effect.attempt(None, &new.attempt)))
}

/// How often a lost entry is decided anew before the caller is told: each loss means that somebody else moved the generation on,
/// which happens at most a few times for each of its ten outputs.
const LOSSES: u32 = 32;

/// Hands in what `decide` makes of the rows, loading them again after each loss. `decide` answers none when nothing is to be
/// done (any more); so does a batch that takes no submit now. Returns the rows as they stand after the commit.
///
/// # Errors
/// What the store answered; `StoreError::Busy` after too many losses.
pub async fn commit(
    reads: &Reads,
    journal: &Journal,
    start: Start,
    decide: impl Fn(&Loaded) -> Option<Transition>,
) -> Result<Option<Loaded>, StoreError> {
    let (id, mut known) = match start {
        Start::Known(loaded) => (loaded.generation.id, Some(*loaded)),
        Start::Load(id) => (id, None),
    };
    for _ in 0..LOSSES {
        let loaded = match known.take() {
            Some(loaded) => loaded,
            None => match reads.load(id).await? {
                Some(loaded) => loaded,
                None => return Ok(None),
            },
        };
        let Some(mut entry) = decide(&loaded) else { return Ok(None) };
        entry.booking = booking(&loaded, &entry);
        entry.effect = effect(&loaded, &entry);
        let entry = Arc::new(entry);
        match journal.transition(Arc::clone(&entry)).await? {
            Verdict::Won => return Ok(Some(after(loaded, &entry))),
            Verdict::Lost => {}
            Verdict::Held(_) => return Ok(None),
        }
    }
    Err(StoreError::Busy)
}

/// Where [`commit`] begins.
#[derive(Debug)]
pub enum Start {
    /// With rows that are believed fresh.
    Known(Box<Loaded>),
    /// With a read.
    Load(GenerationId),
}

#[cfg(test)]
mod tests;
