//! Whether a submit fits its batch. Asked by dispatch before it offers, and once more, with the batch's row locked, in the commit of
//! the intent: that answer counts.

use crate::domain::{
    batch::{Batch, Category},
    money::Micros,
    time::Timestamp,
};

/// Why nothing is submitted of a batch, or not this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Held {
    /// It is not loaded yet.
    #[error("its batch is not complete yet")]
    Loading,
    /// The client cancelled it.
    #[error("its batch is being cancelled")]
    Cancelled,
    /// A line failed, and the client wanted it to stop then.
    #[error("its batch was stopped by a line that failed")]
    Stopped,
    /// Its deadline passed.
    #[error("the deadline of its batch passed")]
    Deadline,
    /// The client paused it.
    #[error("its batch is paused")]
    Paused,
    /// Its lines go one after the other.
    #[error("the line before it in its batch has not ended")]
    Order,
    /// As many of its attempts as may are open.
    #[error("as many of its batch as may be are under way")]
    Concurrency,
    /// What is left of its budget does not suffice.
    #[error("what is left of the budget of its batch does not suffice")]
    Budget,
}

impl Batch {
    /// Attempts that may be open at once.
    #[must_use]
    pub fn concurrency(&self) -> u32 {
        if self.options.parallel { u32::from(self.options.max_concurrency.max(1)) } else { 1 }
    }

    /// Whether anything of it may be submitted at this instant, as far as its conditions go.
    ///
    /// # Errors
    /// The first reason why not.
    pub fn runs(&self, at: Timestamp) -> Result<(), Held> {
        if self.visible_at.is_none() {
            Err(Held::Loading)
        } else if self.cancel.is_some() {
            Err(Held::Cancelled)
        } else if self.stopped_at.is_some() {
            Err(Held::Stopped)
        } else if self.options.deadline.is_some_and(|deadline| at >= deadline) {
            Err(Held::Deadline)
        } else if self.paused_at.is_some() {
            Err(Held::Paused)
        } else {
            Ok(())
        }
    }

    /// Whether one more submit fits: of a line of this category, which costs so much.
    ///
    /// # Errors
    /// The first reason why not.
    pub fn admits(&self, line: Category, price: Micros, at: Timestamp) -> Result<(), Held> {
        self.runs(at)?;
        if !self.options.parallel && self.counts.running > 0 && line == Category::Waiting {
            Err(Held::Order)
        } else if self.places >= self.concurrency() {
            Err(Held::Concurrency)
        } else if !self.affords(price) {
            Err(Held::Budget)
        } else {
            Ok(())
        }
    }

    /// Whether what is left of its budget suffices for so much more.
    #[must_use]
    pub fn affords(&self, price: Micros) -> bool {
        self.options.budget.is_none_or(|budget| self.spent.plus(price) <= budget)
    }
}
