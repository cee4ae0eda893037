//! What actors report of themselves: beats, oldest work in hand, restarts, and the live `why` and progress of what they own.
//! Memory only; nothing here is the truth.

pub mod balances;
pub mod times;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use actix::{Actor, AsyncContext, Context};
use tokio::runtime::Handle;

use crate::{
    clock::Clock,
    domain::{id::GenerationId, time::Timestamp},
    lifeline::Lifeline,
};

#[cfg(test)]
pub(crate) mod sabotage;

/// The pulse of one child: written by it, read by its watcher. Survives the child.
#[derive(Debug, Default)]
pub struct Pulse {
    beats: AtomicU64,
    last_beat: AtomicI64,
    oldest_work: AtomicI64,
    restarts: AtomicU64,
    #[cfg(test)]
    pub(crate) sabotage: sabotage::Sabotage,
}

impl Pulse {
    /// The child is alive at `now`.
    pub fn beat(&self, now: Timestamp) {
        self.last_beat.store(now.0, Ordering::Relaxed);
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// Beats so far. The watch goes by their number, not by their instants: a clock may be set, or stand still in a test.
    #[must_use]
    pub fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
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

/// What a factory gets to build a child with; new at each restart.
#[derive(Debug, Clone)]
pub struct ChildContext {
    /// The child's name.
    pub name: String,
    /// Where it reports; survives it.
    pub pulse: Arc<Pulse>,
    /// Permission to act of its arbiter's present thread.
    pub lifeline: Lifeline,
    /// Time.
    pub clock: Clock,
    /// The socket runtime, for flights.
    pub sockets: Handle,
    /// How often to beat.
    pub beat: Duration,
}

impl ChildContext {
    /// The first beat, from the handler `started`: a child that never reaches its loop is told from one that was never begun.
    pub fn started(&self) {
        #[cfg(test)]
        self.pulse.sabotage.strike_handler();
        self.pulse.beat(self.clock.now());
    }

    /// Beats from inside a loop of its own: unlike the interval of [`beats`], it stops when that loop hangs. To be awaited; it returns
    /// at once.
    pub fn beat(&self) -> impl Future<Output = ()> + use<> {
        self.pulse.beat(self.clock.now());
        #[cfg(test)]
        return self.pulse.sabotage.clone().strike();
        #[cfg(not(test))]
        std::future::ready(())
    }

    /// Returns when the next beat is due, by the machine's time: a test's clock may stand still. Cancel safe.
    pub async fn beat_due(&self) {
        tokio::time::sleep(self.beat).await;
    }

    /// Beats and does nothing else.
    pub async fn beat_forever(&self) {
        loop {
            self.beat().await;
            self.beat_due().await;
        }
    }
}

/// Makes an actor beat now and then `every` so often; called in its `started`. One timer a context, which stands still with
/// the context: an actor hung in `ctx.wait` or in an atomic handler stops beating.
pub fn beats<A>(ctx: &mut Context<A>, pulse: &Arc<Pulse>, clock: &Clock, every: Duration)
where
    A: Actor<Context = Context<A>>,
{
    pulse.beat(clock.now());
    let (pulse, clock) = (Arc::clone(pulse), clock.clone());
    ctx.run_interval(every, move |_, _| pulse.beat(clock.now()));
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

    /// There is nothing to say of a generation that its rows do not: only its progress is kept, and where there is none, nothing.
    pub fn ordinary(&self, id: GenerationId, progress: Option<u8>) {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        match (views.get_mut(&id), progress) {
            (Some(view), Some(_)) => (view.why, view.progress) = (None, progress),
            (Some(view), None) if view.progress.is_some() => view.why = None,
            (Some(_), None) => drop(views.remove(&id)),
            (None, Some(_)) => drop(views.insert(id, LiveView { progress, ..LiveView::default() })),
            (None, None) => {}
        }
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
