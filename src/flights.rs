//! Work in hand that outlives its actor: a POST, a poll, a download. Each is a task on the socket runtime, entered in a table
//! that the app owns. Rebuilding an actor leaves its flights in the air; a flight that panics takes nothing along.

use std::{
    any::Any,
    collections::{HashMap, HashSet},
    fmt::Debug,
    hash::Hash,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{runtime::Handle, sync::Notify};

use crate::{clock::Clock, domain::time::Timestamp};

/// The table is full; the caller keeps the work where it is and tries later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("as many flights as allowed are in the air")]
pub struct Full;

/// The flights of one kind. Clones are the same table.
#[derive(Debug)]
pub struct Flights<Id: Eq + Hash> {
    table: Arc<Table<Id>>,
}

impl<Id: Eq + Hash> Clone for Flights<Id> {
    fn clone(&self) -> Self {
        Self { table: Arc::clone(&self.table) }
    }
}

#[derive(Debug)]
struct Table<Id: Eq + Hash> {
    name: &'static str,
    limit: usize,
    clock: Clock,
    in_air: Mutex<HashMap<Id, Timestamp>>,
    landed: Notify,
    panics: AtomicU64,
}

impl<Id: Eq + Hash> Table<Id> {
    fn lock(&self) -> MutexGuard<'_, HashMap<Id, Timestamp>> {
        self.in_air.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the entry out however the flight ends, also when the runtime drops it.
struct Landing<Id: Eq + Hash> {
    table: Arc<Table<Id>>,
    id: Id,
}

impl<Id: Eq + Hash> Drop for Landing<Id> {
    fn drop(&mut self) {
        self.table.lock().remove(&self.id);
        self.table.landed.notify_waiters();
    }
}

impl<Id: Eq + Hash + Clone + Debug + Send + 'static> Flights<Id> {
    /// An empty table for at most `limit` flights; `name` is its word in logs and metrics.
    #[must_use]
    pub fn bounded(name: &'static str, limit: usize, clock: Clock) -> Self {
        let table = Table { name, limit, clock, in_air: Mutex::default(), landed: Notify::new(), panics: AtomicU64::new(0) };
        Self { table: Arc::new(table) }
    }

    /// Starts `flight` on `sockets`, unless one of that id is in the air: then it answers false and drops the new one unpolled.
    ///
    /// # Errors
    /// [`Full`] at the limit; `flight` is dropped unpolled.
    pub fn start(&self, id: Id, sockets: &Handle, flight: impl Future<Output = ()> + Send + 'static) -> Result<bool, Full> {
        {
            let mut in_air = self.table.lock();
            if in_air.contains_key(&id) {
                return Ok(false);
            }
            if in_air.len() >= self.table.limit {
                return Err(Full);
            }
            in_air.insert(id.clone(), self.table.clock.now());
        }
        let landing = Landing { table: Arc::clone(&self.table), id };
        let work = sockets.spawn(flight);
        sockets.spawn(async move {
            if let Err(Ok(panic)) = work.await.map_err(tokio::task::JoinError::try_into_panic) {
                landing.table.panics.fetch_add(1, Ordering::Relaxed);
                metrics::counter!("longtake_flight_panics_total", "kind" => landing.table.name).increment(1);
                let reason = panic_text(panic.as_ref());
                tracing::error!(kind = landing.table.name, id = ?landing.id, reason, "a flight panicked");
            }
        });
        Ok(true)
    }

    /// Whether a flight of that id is in the air.
    #[must_use]
    pub fn contains(&self, id: &Id) -> bool {
        self.table.lock().contains_key(id)
    }

    /// What is in the air. Looks at all of them.
    #[must_use]
    pub fn ids(&self) -> HashSet<Id> {
        self.table.lock().keys().cloned().collect()
    }

    /// Flights in the air.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.lock().len()
    }

    /// Whether none is in the air.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.lock().is_empty()
    }

    /// How many may be.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.table.limit
    }

    /// When the oldest flight in the air was started. Looks at all of them: for a beat, not for a loop.
    #[must_use]
    pub fn oldest_since(&self) -> Option<Timestamp> {
        self.table.lock().values().min().copied()
    }

    /// Flights that panicked so far.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.table.panics.load(Ordering::Relaxed)
    }

    /// Waits until none is in the air, `within` at most, and tells whether it came to that. For draining, when no more are
    /// started. Cancel safe.
    pub async fn idle(&self, within: Duration) -> bool {
        tokio::time::timeout(within, self.all_landed()).await.is_ok()
    }

    async fn all_landed(&self) {
        loop {
            let landed = self.table.landed.notified();
            tokio::pin!(landed);
            // Registered before the look, so that a landing in between is not missed.
            landed.as_mut().enable();
            if self.is_empty() {
                return;
            }
            landed.await;
        }
    }
}

/// The text of a panic, as far as it is one.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".to_owned())
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        panic::panic_any,
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
        time::Duration,
    };

    use tokio::{runtime::Handle, sync::oneshot};

    use super::{Flights, Full};
    use crate::{
        clock::{Clock, ManualClock},
        domain::time::Timestamp,
    };

    /// Reaching it is a failure.
    const BOUND: Duration = Duration::from_secs(60);

    fn table(limit: usize) -> Flights<u32> {
        Flights::bounded("tests", limit, Clock::System)
    }

    /// A flight that lands when the sender is dropped.
    fn until_dropped() -> (oneshot::Sender<()>, impl Future<Output = ()> + Send) {
        let (release, released) = oneshot::channel();
        (release, async move {
            let _ = released.await;
        })
    }

    #[tokio::test]
    async fn an_id_flies_once_at_a_time_and_again_after_it_landed() {
        let (flights, flown) = (table(9), Arc::new(AtomicU32::new(0)));
        let count = || {
            let flown = Arc::clone(&flown);
            async move {
                flown.fetch_add(1, Ordering::SeqCst);
            }
        };
        let (release, flight) = until_dropped();
        assert_eq!(flights.start(7, &Handle::current(), flight), Ok(true));
        assert_eq!(flights.start(7, &Handle::current(), count()), Ok(false));
        assert!(flights.contains(&7) && !flights.contains(&8));
        drop(release);
        assert!(flights.idle(BOUND).await);
        assert_eq!(flights.start(7, &Handle::current(), count()), Ok(true));
        assert!(flights.idle(BOUND).await);
        assert_eq!((flown.load(Ordering::SeqCst), flights.len()), (1, 0), "the refused one never flew");
    }

    #[tokio::test]
    async fn a_full_table_refuses_until_one_has_landed() {
        let flights = table(2);
        let (first, flight) = until_dropped();
        assert_eq!(flights.start(1, &Handle::current(), flight), Ok(true));
        assert_eq!(flights.start(2, &Handle::current(), pending()), Ok(true));
        assert_eq!(flights.start(3, &Handle::current(), pending()), Err(Full));
        assert_eq!(flights.start(2, &Handle::current(), pending()), Ok(false), "known is not refused as full");
        drop(first);
        while flights.contains(&1) {
            tokio::task::yield_now().await;
        }
        assert_eq!(flights.start(3, &Handle::current(), pending()), Ok(true));
        assert_eq!((flights.len(), flights.limit()), (2, 2));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_flight_that_panics_lands_is_counted_and_takes_nothing_along() {
        let flights = table(9);
        let (release, beside) = until_dropped();
        flights.start(1, &Handle::current(), beside).unwrap();
        flights.start(2, &Handle::current(), async { panic!("in the air") }).unwrap();
        flights.start(3, &Handle::current(), async { panic_any(5_u8) }).unwrap();
        while flights.len() > 1 {
            tokio::task::yield_now().await;
        }
        assert!(flights.contains(&1));
        assert_eq!(flights.panics(), 2);
        assert_eq!(flights.start(2, &Handle::current(), async {}), Ok(true), "its id may fly again");
        drop(release);
        assert!(flights.idle(BOUND).await);
        assert_eq!(flights.panics(), 2);
    }

    #[tokio::test]
    async fn waiting_for_idleness_ends_at_its_bound() {
        let flights = table(9);
        assert!(flights.idle(Duration::ZERO).await, "nothing is in the air");
        let (release, flight) = until_dropped();
        flights.start(1, &Handle::current(), flight).unwrap();
        assert!(!flights.idle(Duration::from_millis(5)).await);
        drop(release);
        assert!(flights.idle(BOUND).await && flights.is_empty());
    }

    #[tokio::test]
    async fn the_oldest_flight_is_the_first_started_of_those_in_the_air() {
        let clock = ManualClock::at(Timestamp(1_000));
        let flights = Flights::bounded("tests", 9, Clock::Manual(clock.clone()));
        assert_eq!(flights.oldest_since(), None);
        let (first, flight) = until_dropped();
        flights.start(1, &Handle::current(), flight).unwrap();
        clock.advance(Duration::from_secs(5));
        flights.start(2, &Handle::current(), pending()).unwrap();
        assert_eq!(flights.oldest_since(), Some(Timestamp(1_000)));
        drop(first);
        while flights.contains(&1) {
            tokio::task::yield_now().await;
        }
        assert_eq!(flights.oldest_since(), Some(Timestamp(6_000)));
    }

    #[test]
    fn a_runtime_that_ends_takes_its_flights_out_of_the_table() {
        let flights = table(9);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        flights.start(1, runtime.handle(), pending()).unwrap();
        assert!(flights.contains(&1));
        drop(runtime);
        assert!(flights.is_empty());
    }
}
