//! Wakes: hints that something is due. A bounded set of ids, or "look everywhere"; never state. A lost wake loses no work,
//! because the slow sweep finds it.

use std::{
    collections::{BTreeMap, HashSet},
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;
use uuid::Uuid;

use crate::domain::{
    id::{AttemptId, GenerationId},
    record::ProviderName,
};

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
        self.inner.notify.notify_waiters();
    }

    /// Hints that anything may be due.
    pub fn everywhere(&self) {
        self.inner.pending.lock().unwrap_or_else(PoisonError::into_inner).everywhere = true;
        self.inner.notify.notify_waiters();
    }

    /// Waits for the next wake and takes all of it. Cancel safe: nothing is taken before it returns.
    pub async fn next(&self) -> Woken<Id> {
        loop {
            // Registered before the look, and all waiters are told: the loop of an actor whose thread was given up may still be
            // registered, and must not swallow the wake of its successor.
            let notified = self.inner.notify.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if let Some(woken) = self.take() {
                return woken;
            }
            notified.await;
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

/// The wakes by which stages meet. Bounds are generous: past them a receiver looks everywhere, which is only slower.
#[derive(Debug, Clone)]
pub struct Wakes {
    /// Dispatch: a generation may be due, or a place became free.
    pub dispatch: Wake<GenerationId>,
    /// Adapter actors, by provider: generations offered for submission.
    pub offers: Arc<BTreeMap<ProviderName, Wake<Offer>>>,
    /// The reconciler: an attempt's outcome is unknown.
    pub reconcile: Wake<AttemptId>,
    /// The poller: an attempt runs at its provider.
    pub polling: Wake<AttemptId>,
    /// The poller: a provider called back about a running attempt; it is polled now.
    pub poll_now: Wake<AttemptId>,
    /// The poller: the client wants this generation cancelled.
    pub cancel: Wake<GenerationId>,
    /// The uploader: an attempt's assets are to be stored.
    pub assets: Wake<AttemptId>,
    /// The courier: there are webhooks for this target.
    pub webhooks: Wake<Uuid>,
}

impl Wakes {
    /// Wakes for these providers.
    #[must_use]
    pub fn new(providers: impl IntoIterator<Item = ProviderName>) -> Self {
        let offers = providers.into_iter().map(|name| (name, Wake::bounded(1_024))).collect();
        Self {
            dispatch: Wake::bounded(1_024),
            offers: Arc::new(offers),
            reconcile: Wake::bounded(1_024),
            polling: Wake::bounded(65_536),
            poll_now: Wake::bounded(4_096),
            cancel: Wake::bounded(1_024),
            assets: Wake::bounded(4_096),
            webhooks: Wake::bounded(4_096),
        }
    }
}

/// A generation offered for submission: ids only, the rows decide.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Offer {
    /// The generation.
    pub generation: GenerationId,
    /// The id its attempt will have; the account's budget already holds it.
    pub attempt: AttemptId,
    /// The account whose budget holds it.
    pub account: Arc<str>,
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
