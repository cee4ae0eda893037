//! One look at what waits at a provider: the lines with their heads, further rows read only as far as their turn comes. It decides
//! nothing: who goes next is the plan's question.

use std::collections::VecDeque;

use crate::{
    dispatch::{offers::Offers, plan::Head},
    domain::{
        batch::{Batch, Category},
        generation::GenerationState,
        record::Generation,
        time::Timestamp,
    },
    store::{Reads, StoreError},
};

/// Rows of a line that are read at first; then four times as many each time. Mostly one place has become free.
const FIRST_PAGE: u64 = 16;

/// Pages of a line that are read in search of a row that may go: beyond them stands what a later look finds, when those before it have
/// moved.
const PAGES: usize = 4;

/// Where rows are read, and what of them is in hand already.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    /// Rows.
    pub reads: &'a Reads,
    /// What is in hand.
    pub offers: &'a Offers,
    /// Whether lines of batches are looked at.
    pub batches: bool,
    /// Whether what is outside of batches is.
    pub singles: bool,
}

/// What waits, line by line.
pub struct Look {
    now: Timestamp,
    largest_page: u64,
    lines: Vec<Line>,
    more: bool,
}

/// One line, as far as it was read.
struct Line {
    rows: VecDeque<Generation>,
    last: Generation,
    page: u64,
    more: bool,
    batch: Option<Room>,
}

/// What a batch lets through.
struct Room {
    batch: Batch,
    places: u32,
}

impl Look {
    /// Reads the heads. `largest_page` is how many rows are read of a line at once.
    ///
    /// # Errors
    /// The store's.
    pub async fn at(provider: &str, now: Timestamp, largest_page: u64, around: Around<'_>) -> Result<Self, StoreError> {
        let heads = if around.singles { around.reads.heads(provider, now).await? } else { Vec::new() };
        let of_batches = if around.batches { around.reads.batch_heads(provider, now).await? } else { Vec::new() };
        let lines = Vec::with_capacity(heads.len().saturating_add(of_batches.len()));
        let mut look = Self { now, largest_page, lines, more: false };
        for head in heads {
            look.open(head, None, around).await?;
        }
        for (head, batch) in of_batches {
            let taken = batch.places.saturating_add(around.offers.of(batch.id));
            let room = Room { places: batch.concurrency().saturating_sub(taken), batch };
            look.open(head, Some(room), around).await?;
        }
        Ok(look)
    }

    /// The heads, in the order by which [`row`](Self::row) and [`take`](Self::take) count.
    #[must_use]
    pub fn heads(&self) -> Vec<Head> {
        self.lines.iter().filter_map(|line| line.rows.front()).map(head).collect()
    }

    /// A head's row.
    #[must_use]
    pub fn row(&self, at: usize) -> Option<&Generation> {
        self.lines.get(at).and_then(|line| line.rows.front())
    }

    /// Whether something may be left that was not read.
    #[must_use]
    pub const fn more(&self) -> bool {
        self.more
    }

    /// The head of this line went; the next of it takes its place.
    ///
    /// # Errors
    /// The store's.
    pub async fn take(&mut self, at: usize, around: Around<'_>) -> Result<(), StoreError> {
        let mut line = self.lines.swap_remove(at);
        line.rows.pop_front();
        if let Some(room) = &mut line.batch {
            room.places = room.places.saturating_sub(1);
        }
        self.put(line, around).await
    }

    async fn open(&mut self, head: Generation, batch: Option<Room>, around: Around<'_>) -> Result<(), StoreError> {
        let mut line = Line { rows: VecDeque::new(), last: head.clone(), page: FIRST_PAGE, more: true, batch };
        line.sift(vec![head], self.now, around);
        self.put(line, around).await
    }

    /// Puts a line back, unless nothing of it can go.
    async fn put(&mut self, mut line: Line, around: Around<'_>) -> Result<(), StoreError> {
        let mut pages = 0;
        while line.rows.is_empty() && line.more && line.open() {
            if pages >= PAGES {
                self.more = true;
                return Ok(());
            }
            pages += 1;
            let limit = line.page.min(self.largest_page);
            line.page = limit.saturating_mul(4);
            let page = around.reads.behind(&line.last, self.now, limit).await?;
            line.more = u64::try_from(page.len()).is_ok_and(|found| found >= limit);
            line.sift(page, self.now, around);
        }
        if !line.rows.is_empty() && line.open() {
            self.lines.push(line);
        }
        Ok(())
    }
}

impl Line {
    /// Keeps what of a page may go and is not in hand. What this process wrote since the page was read counts.
    fn sift(&mut self, page: Vec<Generation>, now: Timestamp, around: Around<'_>) {
        for row in page {
            let newest = around.reads.as_written(row.clone());
            let fits = |row: &Generation| may_go(row, now) && self.admits(row, now) && !around.offers.holds(row.id);
            self.rows.extend(newest.filter(fits));
            self.last = row;
        }
    }

    /// Whether its batch lets anything more through.
    fn open(&self) -> bool {
        self.batch.as_ref().is_none_or(|room| room.places > 0)
    }

    fn admits(&self, row: &Generation, now: Timestamp) -> bool {
        let fits = |room: &Room| room.batch.admits(Category::of(row), row.call_price, now).is_ok();
        self.batch.as_ref().is_none_or(fits)
    }
}

fn may_go(row: &Generation, now: Timestamp) -> bool {
    row.state() == GenerationState::Queued && row.progress.not_before <= now && row.cancel_requested_at.is_none()
}

fn head(row: &Generation) -> Head {
    Head { project: row.project, priority: row.priority, id: row.id, since: row.created_at.max(row.progress.not_before) }
}
