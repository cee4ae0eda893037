//! Who waits for news of a row: the long polls of this process. The writer rings for what it has committed; a ring says only *that*
//! there is something to see, the rows say what. So nobody asks the database while nothing changes. What other processes commit does
//! not ring here: whoever waits looks once more when its time is over.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;
use uuid::Uuid;

use crate::wake::Wake;

/// What is watched, by the id of its row. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    bells: Arc<Mutex<HashMap<Uuid, watch::Sender<Rung>>>>,
    outbox: Outbox,
}

/// Rings for every commit that holds events. Its ids say nothing: whoever reads the outbox knows how far he has come.
#[derive(Debug, Clone)]
struct Outbox(Wake<()>);

impl Default for Outbox {
    fn default() -> Self {
        Self(Wake::bounded(1))
    }
}

/// How often a bell rang.
#[derive(Debug, Clone, Copy, Default)]
struct Rung {
    changes: u64,
    ends: u64,
}

/// What a ring tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ring {
    /// It changed and has not ended.
    Changed,
    /// It has ended, or nobody knows what became of the commit.
    Ended,
}

impl Watch {
    /// Watches a row from now on. Begun before the first look at it, nothing is missed in between.
    #[must_use]
    pub fn on(&self, id: Uuid) -> Watcher {
        let bell = self.lock().entry(id).or_insert_with(|| watch::channel(Rung::default()).0).subscribe();
        let seen = *bell.borrow();
        Watcher { watch: self.clone(), id, bell, seen }
    }

    /// Rings when events were committed.
    #[must_use]
    pub const fn outbox(&self) -> &Wake<()> {
        &self.outbox.0
    }

    /// Tells who reads the outbox.
    pub(super) fn wrote(&self) {
        self.outbox.0.everywhere();
    }

    /// Tells those who watch it.
    pub(super) fn ring(&self, id: Uuid, ring: Ring) {
        if let Some(bell) = self.lock().get(&id) {
            bell.send_modify(|rung| {
                rung.changes += 1;
                rung.ends += u64::from(ring == Ring::Ended);
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, watch::Sender<Rung>>> {
        self.bells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who waits for news of a row.
#[derive(Debug)]
pub struct Watcher {
    watch: Watch,
    id: Uuid,
    bell: watch::Receiver<Rung>,
    seen: Rung,
}

impl Watcher {
    /// Returns once it has changed, or once it may have ended, since the last call here. Cancel safe.
    pub async fn heard(&mut self, what: Ring) {
        let before = self.seen;
        let news = |rung: &Rung| match what {
            Ring::Changed => rung.changes > before.changes,
            Ring::Ended => rung.ends > before.ends,
        };
        match self.bell.wait_for(news).await.map(|rung| *rung) {
            Ok(rung) => self.seen = rung,
            // The bell hangs as long as anybody watches.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Watcher {
    /// The last one takes the bell down.
    fn drop(&mut self) {
        let mut bells = self.watch.lock();
        if bells.get(&self.id).is_some_and(|bell| bell.receiver_count() <= 1) {
            bells.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_ring_reaches_all_who_watch_that_row_and_nobody_else() {
        let (watch, row, other) = (Watch::default(), Uuid::now_v7(), Uuid::now_v7());
        let (mut first, mut second, mut beside) = (watch.on(row), watch.on(row), watch.on(other));
        assert!(first.heard(Ring::Changed).now_or_never().is_none());
        watch.ring(row, Ring::Changed);
        assert!(first.heard(Ring::Changed).now_or_never().is_some() && second.heard(Ring::Changed).now_or_never().is_some());
        assert!(first.heard(Ring::Changed).now_or_never().is_none(), "one ring is heard once");
        assert!(beside.heard(Ring::Changed).now_or_never().is_none());
    }

    #[tokio::test]
    async fn who_waits_for_the_end_sleeps_through_every_other_change() {
        let (watch, row) = (Watch::default(), Uuid::now_v7());
        let mut watcher = watch.on(row);
        watch.ring(row, Ring::Changed);
        assert!(watcher.heard(Ring::Ended).now_or_never().is_none());
        watch.ring(row, Ring::Ended);
        watch.ring(row, Ring::Changed);
        assert!(watcher.heard(Ring::Ended).now_or_never().is_some(), "what rang before the wait counts");
        assert!(watcher.heard(Ring::Ended).now_or_never().is_none());
    }

    #[test]
    fn the_last_watcher_takes_the_bell_down() {
        let (watch, row) = (Watch::default(), Uuid::now_v7());
        let (first, second) = (watch.on(row), watch.on(row));
        drop(first);
        assert_eq!(watch.lock().len(), 1);
        drop(second);
        assert_eq!(watch.lock().len(), 0);
        watch.ring(row, Ring::Ended);
        assert_eq!(watch.lock().len(), 0, "a ring hangs no bell");
    }
}
