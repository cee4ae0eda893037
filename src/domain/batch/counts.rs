//! How a batch counts its lines: each by its newest generation, under the public status that lists show.

use crate::domain::{generation::GenerationState, record::Generation};

/// What a line counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Category {
    /// PENDING: nothing was tried yet.
    Waiting,
    /// PROCESSING.
    Running,
    /// SUCCESS.
    Completed,
    /// FAILED.
    Failed,
    /// CANCELLED.
    Cancelled,
}

impl Category {
    /// Every category.
    pub const ALL: [Self; 5] = [Self::Waiting, Self::Running, Self::Completed, Self::Failed, Self::Cancelled];

    /// What a generation counts as; its row alone decides.
    #[must_use]
    pub fn of(row: &Generation) -> Self {
        match row.state() {
            GenerationState::Waiting | GenerationState::Preparing => Self::Waiting,
            GenerationState::Queued if !row.tried() => Self::Waiting,
            GenerationState::Queued | GenerationState::Active => Self::Running,
            GenerationState::Completed => Self::Completed,
            GenerationState::Failed => Self::Failed,
            GenerationState::Cancelled => Self::Cancelled,
        }
    }

    /// Whether such a line is over.
    #[must_use]
    pub const fn ended(self) -> bool {
        match self {
            Self::Waiting | Self::Running => false,
            Self::Completed | Self::Failed | Self::Cancelled => true,
        }
    }
}

/// How many lines there are of each category; those that wait are the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// All.
    pub total: u32,
    /// Completed.
    pub completed: u32,
    /// Failed.
    pub failed: u32,
    /// Cancelled.
    pub cancelled: u32,
    /// Running.
    pub running: u32,
}

impl Counts {
    /// No lines.
    pub const NONE: Self = Self { total: 0, completed: 0, failed: 0, cancelled: 0, running: 0 };

    /// Lines that wait.
    #[must_use]
    pub const fn waiting(&self) -> u32 {
        self.total.saturating_sub(self.ended()).saturating_sub(self.running)
    }

    /// Lines that are over.
    #[must_use]
    pub const fn ended(&self) -> u32 {
        self.completed.saturating_add(self.failed).saturating_add(self.cancelled)
    }

    /// Lines that are not over.
    #[must_use]
    pub const fn open(&self) -> u32 {
        self.total.saturating_sub(self.ended())
    }

    /// Adds a line of this category.
    pub fn add(&mut self, line: Category) {
        self.total = self.total.saturating_add(1);
        self.change(line, 1);
    }

    /// A line goes from one category to another. What stays in its own is not counted again: it may be a generation that was replaced
    /// (its money still moves, when late evidence comes or it is declared lost), and then it is counted nowhere.
    pub fn pass(&mut self, from: Category, to: Category) {
        if from != to {
            self.change(from, -1);
            self.change(to, 1);
        }
    }

    fn change(&mut self, line: Category, by: i32) {
        let count = match line {
            Category::Waiting => return,
            Category::Running => &mut self.running,
            Category::Completed => &mut self.completed,
            Category::Failed => &mut self.failed,
            Category::Cancelled => &mut self.cancelled,
        };
        *count = count.saturating_add_signed(by);
    }
}
