//! Loading a batch: its lines come in chunks, under a batch that nobody sees, and one small commit makes all of it visible. A crash
//! at any commit leaves all of it or nothing that anybody sees; what was left behind is swept.
//!
//! Nothing is promised before the last commit: the daily limits are judged there, for the sum of all lines, and the day's sums are
//! moved there. So a limit is exact, and a load that is given up leaves no hold behind, whenever it ends.

use std::collections::BTreeMap;

use crate::{
    domain::{
        batch::{Batch, Category},
        claim::Claim,
        effects::{Position, SpendKey, of_generation},
        limits::{Limits, Promise},
        money::Micros,
        record::Generation,
        time::Timestamp,
    },
    store::{Birth, Journal, Reads, StoreError},
};

/// Lines that one commit takes at most; who loads many takes fewer at a time, because on SQLite everybody else waits for that commit.
pub const CHUNK: usize = 1_000;

/// Loads that one sweep takes.
const SWEPT: u64 = 100;

/// A batch while its lines come in. Dropped, or ended with its process, it leaves rows that nobody sees, until the sweep.
#[derive(Debug)]
pub struct Load {
    journal: Journal,
    batch: Batch,
    held: BTreeMap<SpendKey, Position>,
}

/// What the commit that makes a batch visible writes.
#[derive(Debug)]
pub struct Publication {
    /// As it was begun, with the number of its lines.
    pub batch: Batch,
    /// What its lines hold together.
    pub held: BTreeMap<SpendKey, Position>,
    /// The same, to be judged by its limits.
    pub promise: Promise,
    /// The request that makes it, where it may be repeated.
    pub claim: Option<Claim>,
    /// When.
    pub at: Timestamp,
}

impl Load {
    /// Begins with this row, which is not visible yet and has no lines.
    ///
    /// # Errors
    /// As [`Journal::birth`].
    pub async fn begin(journal: &Journal, batch: Batch) -> Result<Self, StoreError> {
        journal.begin_load(&batch).await?;
        Ok(Self { journal: journal.clone(), batch, held: BTreeMap::new() })
    }

    /// The batch as far as it has come.
    #[must_use]
    pub const fn batch(&self) -> &Batch {
        &self.batch
    }

    /// Adds lines, at most [`CHUNK`], in one commit. Each has its place in this batch, and its shard.
    ///
    /// # Errors
    /// [`StoreError::Unstorable`] for too many, or for lines of another batch; [`StoreError::Conflict`] when two have one place,
    /// [`StoreError::Gone`] when the load was swept meanwhile; otherwise as [`Journal::birth`]. Give the load up after any of them.
    pub async fn add(&mut self, lines: Vec<Birth>, at: Timestamp) -> Result<(), StoreError> {
        if lines.len() > CHUNK {
            return Err(StoreError::Unstorable { what: format!("{} lines in one chunk of {}", lines.len(), self.batch.id) });
        }
        let mut held = self.held.clone();
        let mut counts = self.batch.counts;
        for line in &lines {
            self.check(&line.generation)?;
            let key = SpendKey::of(&line.generation);
            let known = held.entry(key).or_default();
            *known = known.plus(of_generation(&line.generation));
            counts.add(Category::of(&line.generation));
        }
        self.journal.load_lines(&self.batch, lines, at).await?;
        (self.held, self.batch.counts) = (held, counts);
        Ok(())
    }

    fn check(&self, line: &Generation) -> Result<(), StoreError> {
        let here = line.batch.as_ref().is_some_and(|place| place.id == self.batch.id);
        let same = here && line.shard == self.batch.shard && line.project == self.batch.project;
        if same { Ok(()) } else { Err(StoreError::Unstorable { what: format!("{} is no line of {}", line.id, self.batch.id) }) }
    }

    /// Makes the batch visible, all of it, and answers it as it stands.
    ///
    /// # Errors
    /// [`StoreError::OverLimit`] when the sum of its lines would pass a daily limit, [`StoreError::Claimed`] when an equal request
    /// has made a batch before, [`StoreError::Gone`] when the load was swept
    /// meanwhile; then nothing of it will ever be seen. Otherwise as [`Journal::birth`].
    pub async fn publish(self, limits: Limits, claim: Option<Claim>, at: Timestamp) -> Result<Batch, StoreError> {
        let Self { journal, mut batch, held } = self;
        let amount = held.values().fold(Micros(0), |sum, position| sum.plus(position.total()));
        let promise = Promise { day: batch.created_at.day(), project: batch.project, key: batch.key, amount, limits };
        batch.visible_at = Some(at);
        batch.updated_at = at;
        journal.publish_load(Publication { batch: batch.clone(), held, promise, claim, at }).await?;
        Ok(batch)
    }

    /// Gives the load up and takes back what was written.
    ///
    /// # Errors
    /// As [`Journal::birth`]; then the sweep takes it back.
    pub async fn discard(self, at: Timestamp) -> Result<(), StoreError> {
        discard(&self.journal, &self.batch, at).await.map(|_| ())
    }
}

/// Takes back loads that got no further line since `before`; answers how many lines that were. Its owner's process is gone, or its
/// client is: a chunk follows the other within seconds.
///
/// # Errors
/// The store's; what is left is swept the next time.
pub async fn sweep(reads: &Reads, journal: &Journal, before: Timestamp, at: Timestamp) -> Result<usize, StoreError> {
    let mut lines = 0;
    for batch in reads.loads_since(before, SWEPT).await? {
        let swept = discard(journal, &batch, at).await?;
        tracing::info!(batch.id = %batch.id, lines = swept, "an abandoned load was swept");
        lines += swept;
    }
    Ok(lines)
}

/// [`CHUNK`] lines a commit: deleting may last no longer than writing.
async fn discard(journal: &Journal, batch: &Batch, at: Timestamp) -> Result<usize, StoreError> {
    let mut lines = 0;
    loop {
        match journal.discard_load(batch.id, at).await? {
            0 => return Ok(lines),
            deleted => lines += deleted,
        }
    }
}
