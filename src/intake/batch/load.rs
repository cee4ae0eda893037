//! The half of batches that writes: chunks of lines under a batch that nobody sees yet, and one small commit that shows it. While a
//! chunk is being committed the next one is gathered. What is not shown in the end is taken back, also when its client left in the
//! middle; after a crash a sweep does it.

use std::collections::HashSet;

use tokio::{runtime::Handle, task::JoinHandle};

use crate::{
    clock::Clock,
    domain::{batch::Batch, claim::Claim, id::GenerationId, limits::Limits, record::GenerationRequest, time::Timestamp},
    store::{Birth, Journal, Load, StoreError},
};

/// Lines of a chunk at most: others wait for one of them at a time, on SQLite for its whole commit. Measured on two busy cores: others'
/// births waited half as long as with 500, and 10,000 lines still take under a second (40 commits, some 10 ms each on a quiet machine).
const LARGEST: usize = 250;
/// Bytes of a chunk at which it is written although it has fewer lines: inline images are megabytes each.
const HEAVIEST: usize = 4 * 1024 * 1024;
/// Bytes of lines that wait in memory for the end because they may still turn out to be wrong.
const MOST_HELD: usize = 16 * 1024 * 1024;
/// What a line takes beyond its texts, roughly.
const OVERHEAD: usize = 1_024;

/// A batch on its way into the store.
#[derive(Debug)]
pub struct Loader {
    journal: Journal,
    runtime: Handle,
    clock: Clock,
    writer: Writer,
    chunk: Vec<Birth>,
    weight: usize,
    held: Vec<Birth>,
    held_weight: usize,
}

#[derive(Debug)]
enum Writer {
    /// Nothing is written yet.
    Before(Box<Batch>),
    /// Between two chunks.
    Idle(Box<Load>),
    /// A chunk is being committed.
    Busy(JoinHandle<Result<Box<Load>, StoreError>>),
    /// Shown, given up or failed.
    Over,
}

/// Too many lines wait for the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyHeld;

impl Loader {
    /// Nothing is written before the first chunk is full. Work runs on this runtime: a client that leaves does not stop it halfway.
    #[must_use]
    pub fn new(journal: Journal, runtime: Handle, clock: Clock, batch: Batch) -> Self {
        let writer = Writer::Before(Box::new(batch));
        Self { journal, runtime, clock, writer, chunk: Vec::new(), weight: 0, held: Vec::new(), held_weight: 0 }
    }

    /// Takes a line that stays whatever follows, or else nothing of the batch does.
    ///
    /// # Errors
    /// The store's, of this chunk or of the one before; the load is given up then.
    pub async fn take(&mut self, birth: Birth) -> Result<(), StoreError> {
        self.weight = self.weight.saturating_add(weight(&birth.request));
        self.chunk.push(birth);
        if self.chunk.len() >= LARGEST || self.weight >= HEAVIEST { self.write().await } else { Ok(()) }
    }

    /// Takes a line that may still have to go: it is written in the end.
    ///
    /// # Errors
    /// There is no room for more of those.
    pub fn hold(&mut self, birth: Birth) -> Result<(), TooManyHeld> {
        self.held_weight = self.held_weight.saturating_add(weight(&birth.request));
        self.held.push(birth);
        if self.held_weight > MOST_HELD { Err(TooManyHeld) } else { Ok(()) }
    }

    /// Makes the batch visible without the lines that have to go.
    ///
    /// # Errors
    /// The store's; also a daily limit that all of it would pass, or a claim that another request holds. Nothing of it is seen then.
    pub async fn show(mut self, gone: &HashSet<GenerationId>, limits: Limits, claim: Option<Claim>) -> Result<Batch, StoreError> {
        for birth in std::mem::take(&mut self.held).into_iter().filter(|birth| !gone.contains(&birth.generation.id)) {
            self.take(birth).await?;
        }
        self.write().await?;
        let load = self.idle().await?;
        let at = self.clock.now();
        let showing = self.runtime.spawn(async move { load.publish(limits, claim, at).await });
        showing.await.map_err(StoreError::unavailable)?
    }

    /// Gives the load up: what was written is taken back.
    pub fn discard(&mut self) {
        self.chunk = Vec::new();
        self.held = Vec::new();
        let at = self.clock.now();
        let load = match std::mem::replace(&mut self.writer, Writer::Over) {
            Writer::Before(_) | Writer::Over => return,
            Writer::Idle(load) => self.runtime.spawn(async { Ok(load) }),
            Writer::Busy(writing) => writing,
        };
        self.runtime.spawn(async move {
            if let Ok(Ok(load)) = load.await {
                take_back(*load, at).await;
            }
        });
    }

    /// Begins to commit the chunk, once the one before is committed.
    async fn write(&mut self) -> Result<(), StoreError> {
        self.weight = 0;
        let (chunk, at) = (std::mem::take(&mut self.chunk), self.clock.now());
        if chunk.is_empty() {
            return Ok(());
        }
        if let Writer::Before(batch) = &self.writer {
            let (journal, batch) = (self.journal.clone(), Batch::clone(batch));
            self.writer = Writer::Busy(self.runtime.spawn(async move { Load::begin(&journal, batch).await.map(Box::new) }));
        }
        let mut load = self.idle().await?;
        let writing = async move {
            match load.add(chunk, at).await {
                Ok(()) => Ok(load),
                Err(error) => {
                    take_back(*load, at).await;
                    Err(error)
                }
            }
        };
        self.writer = Writer::Busy(self.runtime.spawn(writing));
        Ok(())
    }

    /// The load, once nothing of it is being written. Dropped while it waits, the chunk stays in hand and is taken back.
    async fn idle(&mut self) -> Result<Box<Load>, StoreError> {
        if let Writer::Busy(writing) = &mut self.writer {
            let written = writing.await.map_err(StoreError::unavailable);
            self.writer = Writer::Over;
            self.writer = Writer::Idle(written??);
        }
        match std::mem::replace(&mut self.writer, Writer::Over) {
            Writer::Idle(load) => Ok(load),
            Writer::Busy(_) | Writer::Before(_) | Writer::Over => Err(StoreError::Gone),
        }
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.discard();
    }
}

async fn take_back(load: Load, at: Timestamp) {
    let id = load.batch().id;
    if let Err(error) = load.discard(at).await {
        tracing::warn!(batch.id = %id, error = &error as &dyn std::error::Error, "a load was not taken back; the sweep will");
    }
}

/// Bytes of a line in memory, roughly.
fn weight(request: &GenerationRequest) -> usize {
    let images = request.input_images.iter().map(String::len).fold(0, usize::saturating_add);
    OVERHEAD.saturating_add(request.prompt.len()).saturating_add(images)
}
