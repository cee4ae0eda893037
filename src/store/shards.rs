//! Which shards this node holds: a set in memory that the writer asks for every entry. The fence proves that the node lives;
//! this set says what is its own.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::domain::record::Shard;

/// How many shards there are; `shard` is a byte.
pub const SHARDS: usize = 256;

/// The shards of this node. Clones share it.
#[derive(Debug, Clone)]
pub struct Held {
    flags: Arc<Vec<AtomicBool>>,
}

impl Held {
    /// None of them.
    #[must_use]
    pub fn none() -> Self {
        Self { flags: Arc::new((0..SHARDS).map(|_| AtomicBool::new(false)).collect()) }
    }

    /// Adds one.
    pub fn add(&self, shard: Shard) {
        if let Some(flag) = self.flags.get(usize::from(shard)) {
            flag.store(true, Ordering::SeqCst);
        }
    }

    /// The lowest one that is held.
    #[must_use]
    pub fn lowest(&self) -> Option<Shard> {
        (0..=Shard::MAX).find(|shard| self.has(*shard))
    }

    /// Whether it is held.
    #[must_use]
    pub fn has(&self, shard: Shard) -> bool {
        self.flags.get(usize::from(shard)).is_some_and(|flag| flag.load(Ordering::SeqCst))
    }
}
