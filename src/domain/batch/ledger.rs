//! What a commit makes of a batch: each winner's effect, one after the other, on the row as the one before left it.

use crate::domain::{
    batch::{Batch, Category, Held, holds_place},
    effects::{Position, of_attempt},
    id::BatchId,
    money::Micros,
    record::{Attempt, Generation},
    time::Timestamp,
};

/// What a transition of a line means for its batch. The compare-and-set on each row's version makes the rows it was made from those
/// that it replaces, so the differences add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchEffect {
    /// The batch.
    pub batch: BatchId,
    /// What the line counted as.
    pub from: Category,
    /// What it counts as from now on.
    pub to: Category,
    /// How many more attempts hold a place; negative for fewer.
    pub places: i32,
    /// What its attempts take more, held, charged or at risk; negative for less.
    pub spent: Micros,
    /// What is charged more.
    pub charged: Micros,
    /// When.
    pub at: Timestamp,
}

/// What came of an effect beyond numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BatchNews {
    /// The how-manieth end of a line this was.
    pub ended: Option<u32>,
    /// Kinds of events about the batch itself.
    pub events: Vec<&'static str>,
}

impl BatchEffect {
    /// Nothing changes for the line.
    #[must_use]
    pub const fn none(batch: BatchId, line: Category, at: Timestamp) -> Self {
        Self { batch, from: line, to: line, places: 0, spent: Micros(0), charged: Micros(0), at }
    }

    /// The same, with the line's row as it will be.
    #[must_use]
    pub fn row(self, after: &Generation) -> Self {
        Self { to: Category::of(after), ..self }
    }

    /// The same, with an attempt that changes; none before when it is new.
    #[must_use]
    pub fn attempt(self, before: Option<&Attempt>, after: &Attempt) -> Self {
        let money = of_attempt(after).minus(before.map_or(Position::ZERO, of_attempt));
        let places = i32::from(holds_place(after)) - i32::from(before.is_some_and(holds_place));
        Self {
            places: self.places.saturating_add(places),
            spent: self.spent.plus(money.total()),
            charged: self.charged.plus(money.charged),
            ..self
        }
    }

    /// Whether the batch stays as it is.
    #[must_use]
    pub fn changes_nothing(&self) -> bool {
        self.from == self.to && self.places == 0 && self.spent == Micros(0) && self.charged == Micros(0)
    }
}

impl Batch {
    /// Whether the intent with this effect may be committed.
    ///
    /// # Errors
    /// The first reason why not.
    pub fn admits_intent(&self, effect: &BatchEffect) -> Result<(), Held> {
        self.admits(effect.from, effect.spent, effect.at)
    }

    /// A line goes to a new generation; answers the number of its end where that one is born ended.
    pub fn replace(&mut self, from: Category, to: Category) -> Option<u32> {
        self.counts.pass(from, to);
        to.ended().then(|| {
            self.ended = self.ended.saturating_add(1);
            self.ended
        })
    }

    /// Lines were replaced: it goes on, or is at its end again, which is told when the wish to retry is taken back.
    pub fn retried(&mut self, at: Timestamp) {
        self.stopped_at = None;
        self.updated_at = self.updated_at.max(at);
        self.completed_at = (self.counts.open() == 0).then_some(at);
    }

    /// Takes the effect in.
    pub fn take(&mut self, effect: &BatchEffect) -> BatchNews {
        let mut news = BatchNews::default();
        self.counts.pass(effect.from, effect.to);
        self.places = self.places.saturating_add_signed(effect.places);
        self.spent = self.spent.plus(effect.spent);
        self.charged = self.charged.plus(effect.charged);
        self.updated_at = self.updated_at.max(effect.at);
        if effect.spent < Micros(0) {
            // What is left may suffice again; dispatch looks anew.
            self.over_budget_at = None;
        }
        if effect.from.ended() || !effect.to.ended() {
            return news;
        }
        self.ended = self.ended.saturating_add(1);
        news.ended = Some(self.ended);
        if effect.to == Category::Failed && self.options.stop_on_error && self.stopped_at.is_none() {
            self.stopped_at = Some(effect.at);
            news.events.push("batch.stopped");
        }
        if self.counts.open() == 0 {
            self.completed_at = Some(effect.at);
            // While lines are to be retried this may not be the end; it is told when that wish is taken back.
            if self.retry.is_none() {
                news.events.push(self.end().event());
            }
        }
        news
    }
}
