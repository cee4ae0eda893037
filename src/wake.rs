//! Wakes: hints that something is due. A bounded set of ids, or "look everywhere"; never state. A lost wake loses no work,
//! because the slow sweep finds it.

use std::{
    collections::HashSet,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;

/// What a wake brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Woken<Id: Eq + Hash> {
    /// The ids hinted at, each once.
    pub ids: HashSet<Id>,
    /// Whether to look everywhere: somebody asked so, or the set was full.
    pub everywhere: bool,
}

/// A coalescing wake, shared by its senders and its one receiver.
#[derive(Debug)]
pub struct Wake<Id: Eq + Hash> {
    inner: Arc<Inner<Id>>,
}

impl<Id: Eq + Hash> Clone for Wake<Id> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

#[derive(Debug)]
struct Inner<Id: Eq + Hash> {
    limit: usize,
    pending: Mutex<Woken<Id>>,
    notify: Notify,
}

impl<Id: Eq + Hash> Wake<Id> {
    /// A wake that remembers up to `limit` ids; past it they become "everywhere".
    #[must_use]
    pub fn bounded(limit: usize) -> Self {
        let pending = Mutex::new(Woken { ids: HashSet::new(), everywhere: false });
        Self { inner: Arc::new(Inner { limit, pending, notify: Notify::new() }) }
    }

    /// Hints at one id.
    pub fn one(&self, id: Id) {
        {
            let mut pending = self.inner.pending.lock().unwrap_or_else(PoisonError::into_inner);
            if pending.ids.len() < self.inner.limit {
                pending.ids.insert(id);
            } else {
                pending.everywhere = true;
            }
        }
        self.inner.notify.notify_one();
    }

    /// Hints that anything may be due.
    pub fn everywhere(&self) {
        self.inner.pending.lock().unwrap_or_else(PoisonError::into_inner).everywhere = true;
        self.inner.notify.notify_one();
    }

    /// Waits for the next wake and takes all of it. Cancel safe: nothing is taken before it returns.
    pub async fn next(&self) -> Woken<Id> {
        loop {
            if let Some(woken) = self.take() {
                return woken;
            }
            self.inner.notify.notified().await;
        }
    }

    /// Takes what is pending, if anything.
    #[must_use]
    pub fn take(&self) -> Option<Woken<Id>> {
        let mut pending = self.inner.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if pending.ids.is_empty() && !pending.everywhere {
            return None;
        }
        Some(std::mem::replace(&mut *pending, Woken { ids: HashSet::new(), everywhere: false }))
    }
}

#[cfg(test)]
mod tests {
    use super::Wake;

    #[tokio::test]
    async fn equal_hints_coalesce_and_too_many_become_everywhere() {
        let wake = Wake::bounded(2);
        for id in [1, 1, 2] {
            wake.one(id);
        }
        let woken = wake.next().await;
        assert_eq!((woken.ids.len(), woken.everywhere), (2, false));
        for id in [1, 2, 3] {
            wake.one(id);
        }
        assert!(wake.next().await.everywhere);
        assert!(wake.take().is_none());
    }
}
