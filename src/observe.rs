//! What actors report of themselves: beats, oldest work in hand, restarts, and the live `why` and progress of what they own.
//! Memory only; nothing here is the truth.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use crate::domain::{id::GenerationId, time::Timestamp};

/// The pulse of one child: written by it, read by its watcher. Survives the child.
#[derive(Debug, Default)]
pub struct Pulse {
    last_beat: AtomicI64,
    oldest_work: AtomicI64,
    restarts: AtomicU64,
}

impl Pulse {
    /// The child is alive at `now`.
    pub fn beat(&self, now: Timestamp) {
        self.last_beat.store(now.0, Ordering::Relaxed);
    }

    /// The last beat; the epoch before the first.
    #[must_use]
    pub fn last_beat(&self) -> Timestamp {
        Timestamp(self.last_beat.load(Ordering::Relaxed))
    }

    /// Publishes since when the oldest work in hand is there; none when idle.
    pub fn works_since(&self, since: Option<Timestamp>) {
        self.oldest_work.store(since.map_or(0, |at| at.0), Ordering::Relaxed);
    }

    /// Since when the oldest work in hand is there.
    #[must_use]
    pub fn oldest_work(&self) -> Option<Timestamp> {
        match self.oldest_work.load(Ordering::Relaxed) {
            0 => None,
            at => Some(Timestamp(at)),
        }
    }

    /// Counts a restart.
    pub fn restarted(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// Restarts so far.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }
}

/// All pulses by child name, for the watcher, health and metrics.
#[derive(Debug, Clone, Default)]
pub struct Pulses {
    by_name: Arc<Mutex<HashMap<String, Arc<Pulse>>>>,
}

impl Pulses {
    /// The pulse of that name; made when new, kept over restarts.
    #[must_use]
    pub fn of(&self, name: &str) -> Arc<Pulse> {
        let mut pulses = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(pulses.entry(name.to_owned()).or_default())
    }

    /// All of them, by name.
    #[must_use]
    pub fn all(&self) -> Vec<(String, Arc<Pulse>)> {
        let pulses = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = pulses.iter().map(|(name, pulse)| (name.clone(), Arc::clone(pulse))).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }
}

/// What the owner of a generation knows beyond its rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LiveView {
    /// One sentence about what it waits for.
    pub why: Option<String>,
    /// 0 to 100, where the provider says so.
    pub progress: Option<u8>,
    /// When the next poll is due.
    pub next_poll: Option<Timestamp>,
}

/// Live views by generation. An entry goes when its generation becomes terminal.
#[derive(Debug, Clone, Default)]
pub struct Live {
    views: Arc<Mutex<HashMap<GenerationId, LiveView>>>,
}

impl Live {
    /// Changes the view of a generation.
    pub fn update(&self, id: GenerationId, change: impl FnOnce(&mut LiveView)) {
        change(self.views.lock().unwrap_or_else(PoisonError::into_inner).entry(id).or_default());
    }

    /// Forgets a generation.
    pub fn forget(&self, id: GenerationId) {
        self.views.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// The view of a generation; empty when nothing is known.
    #[must_use]
    pub fn view(&self, id: GenerationId) -> LiveView {
        self.views.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned().unwrap_or_default()
    }
}
