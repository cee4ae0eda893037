//! How much an account at a provider may be used: submits a minute, attempts in flight, polls a minute, and a pause when the
//! provider asks for one. Decisions are pure with time as an argument; [`Budget`] puts them behind a lock. Memory only: slots
//! are occupied again from the unended attempts after a restart, rates start anew (at most one burst too many).

mod rate;

use std::{
    collections::HashSet,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    domain::{error::LONGEST_RETRY_AFTER, id::AttemptId, time::Timestamp},
    providers::budget::rate::Rate,
};

/// The limits of one account; 0 means none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Submits a minute.
    pub requests_per_minute: u32,
    /// Polls, lookups and cancels a minute.
    pub polls_per_minute: u32,
    /// Attempts in flight.
    pub concurrency: u32,
}

/// Why a submit must wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// When to ask again; none when a slot must become free first.
    pub until: Option<Timestamp>,
    /// One sentence for people.
    pub why: String,
}

/// The budget of one account, shared by dispatch (takes), the ends of attempts (release) and the executor (polls).
#[derive(Debug)]
pub struct Budget {
    label: String,
    state: Mutex<State>,
}

impl Budget {
    /// A budget; `label` begins its sentences, such as `kling`.
    #[must_use]
    pub fn new(label: impl Into<String>, limits: Limits) -> Self {
        Self { label: label.into(), state: Mutex::new(State::new(limits)) }
    }

    /// Takes a slot and one of the minute's submits for an attempt. An attempt that holds a slot keeps it and takes nothing
    /// more: asking twice is harmless.
    ///
    /// # Errors
    /// [`Wait`] when the provider asked for a pause, no slot is free, or the minute is used up.
    pub fn try_take(&self, attempt: AttemptId, now: Timestamp) -> Result<(), Wait> {
        self.lock().try_take(attempt, now).map_err(|short| short.wait(&self.label))
    }

    /// What [`try_take`](Self::try_take) would answer an attempt without a slot; takes nothing.
    ///
    /// # Errors
    /// As there.
    pub fn room(&self, now: Timestamp) -> Result<(), Wait> {
        self.lock().room(now).map_err(|short| short.wait(&self.label))
    }

    /// Marks the slot of an attempt that is in flight already (after a restart); may pass the limit, as the work is there.
    pub fn occupy(&self, attempt: AttemptId) {
        self.lock().in_flight.insert(attempt);
    }

    /// Frees the slot of an attempt; again is harmless.
    pub fn release(&self, attempt: AttemptId) {
        self.lock().in_flight.remove(&attempt);
    }

    /// Whether an attempt has a slot.
    #[must_use]
    pub fn holds(&self, attempt: AttemptId) -> bool {
        self.lock().in_flight.contains(&attempt)
    }

    /// Slots in use, and the limit (0: none).
    #[must_use]
    pub fn in_use(&self) -> (usize, u32) {
        let state = self.lock();
        (state.in_flight.len(), state.limits.concurrency)
    }

    /// Takes one of the minute's polls. A pause for submits does not hold polls back: results of paid work do not wait.
    ///
    /// # Errors
    /// When the next one is allowed.
    pub fn try_poll(&self, now: Timestamp) -> Result<(), Timestamp> {
        self.lock().polls.take(now)
    }

    /// No submit before `until`: the provider said "not now" (429, Retry-After). A later instant wins; at most an hour counts,
    /// so that a provider's typo does not park an account.
    pub fn hold_until(&self, until: Timestamp) {
        let mut state = self.lock();
        state.hold = state.hold.max(Some(until));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is missing for a submit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Short {
    /// The provider asked for a pause.
    Held(Timestamp),
    /// Every slot is taken.
    Slots { used: usize, limit: u32 },
    /// The minute is used up.
    Rate { limit: u32, until: Timestamp },
}

impl Short {
    fn wait(self, label: &str) -> Wait {
        match self {
            Self::Held(until) => Wait { until: Some(until), why: format!("provider asked to wait until {}", TimeOfDay(until)) },
            Self::Slots { used, limit } => Wait { until: None, why: format!("{label}: {used} of {limit} slots in use") },
            Self::Rate { limit, until } => Wait {
                until: Some(until),
                why: format!("{label}: {limit} requests a minute are used up until {}", TimeOfDay(until)),
            },
        }
    }
}

/// The pure half.
#[derive(Debug)]
struct State {
    limits: Limits,
    submits: Rate,
    polls: Rate,
    in_flight: HashSet<AttemptId>,
    hold: Option<Timestamp>,
}

impl State {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            submits: Rate::per_minute(limits.requests_per_minute),
            polls: Rate::per_minute(limits.polls_per_minute),
            in_flight: HashSet::new(),
            hold: None,
        }
    }

    fn try_take(&mut self, attempt: AttemptId, now: Timestamp) -> Result<(), Short> {
        if self.in_flight.contains(&attempt) {
            return Ok(());
        }
        self.room(now)?;
        self.submits.take(now).map_err(|until| self.used_up(until))?;
        self.in_flight.insert(attempt);
        Ok(())
    }

    fn room(&mut self, now: Timestamp) -> Result<(), Short> {
        if let Some(until) = self.held(now) {
            return Err(Short::Held(until));
        }
        let (used, limit) = (self.in_flight.len(), self.limits.concurrency);
        if limit > 0 && used >= usize::try_from(limit).unwrap_or(usize::MAX) {
            return Err(Short::Slots { used, limit });
        }
        self.submits.look(now).map(drop).map_err(|until| self.used_up(until))
    }

    const fn used_up(&self, until: Timestamp) -> Short {
        Short::Rate { limit: self.limits.requests_per_minute, until }
    }

    /// The end of the pause, if there is one now. Cut at every look, so that a clock that was set back cannot lengthen it.
    fn held(&mut self, now: Timestamp) -> Option<Timestamp> {
        self.hold = self.hold.map(|until| until.min(now.plus(LONGEST_RETRY_AFTER))).filter(|until| *until > now);
        self.hold
    }
}

/// An instant as sentences show it: `12:03:10Z`, rounded up, so that it has come when it is read.
pub(crate) struct TimeOfDay(pub Timestamp);

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.plus(std::time::Duration::from_millis(999)).rfc3339();
        write!(f, "{}Z", text.get(11..19).unwrap_or(&text))
    }
}

#[cfg(test)]
mod tests;
