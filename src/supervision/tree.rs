//! The whole tree: started once by the app, asked for its state, and shut down.

use std::{
    collections::HashSet,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use actix_rt::System;
use tokio::{
    runtime::Runtime,
    sync::watch,
    time::{Instant, timeout_at},
};

pub use super::seat::ChildState;
use super::{
    arbiters::Arbiters,
    child::{ArbiterRole, ChildSpec, Resignation},
    policy::Limits,
    seat::{Common, Seat},
    supervisor::{Branch, Escalation, supervisor},
    watch::{Failure, Signal, Watch, WatchThread},
};
use crate::{clock::Clock, config::supervision::SupervisionConfig, domain::time::Timestamp, observe::Pulses, wake::Wake};

/// Name of the root supervisor's pulse.
const ROOT: &str = "root-supervisor";
/// Name of the provider supervisor's pulse.
const PROVIDERS: &str = "provider-supervisor";

/// What a tree stands in.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Time.
    pub clock: Clock,
    /// Where children report.
    pub pulses: Pulses,
    /// The one multi-thread runtime that owns all sockets and timers. Arbiters hold it until their threads end, so the caller
    /// keeps an `Arc` of its own and drops that outside of async code.
    pub sockets: Arc<Runtime>,
}

/// Why a tree did not start.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The configuration would kill healthy actors.
    #[error("{0}")]
    Config(String),
    /// Two children of that name; pulses are by name.
    #[error("two actors are called {0}")]
    Duplicate(String),
    /// `Tree::start` must be called on a thread of an actix `System`.
    #[error("no actix system runs on this thread")]
    NoSystem,
    /// The operating system gave no thread.
    #[error("no thread for an arbiter or the watch")]
    Thread(#[source] io::Error),
}

/// What a child shows of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildStatus {
    /// Its name.
    pub name: String,
    /// Restarts since the process started.
    pub restarts: u64,
    /// Its last beat; none before the first.
    pub last_beat: Option<Timestamp>,
    /// Since when its oldest work in hand is there.
    pub oldest_work: Option<Timestamp>,
    /// Whether it runs.
    pub state: ChildState,
}

/// The running tree. Dropping it orders all to end without waiting.
pub struct Tree {
    arbiters: Arc<Arbiters>,
    /// In the order of shutdown: the app's children as given, the providers', the supervisors.
    seats: Vec<Arc<Seat>>,
    signal: Arc<Signal>,
    watch: Mutex<Option<WatchThread>>,
    failure: Failure,
    closing: Arc<AtomicBool>,
    abandoned: Arc<AtomicU32>,
}

impl Tree {
    /// Starts every child on its arbiter, under its supervisor, under the watch. The children of `providers` come under the
    /// provider supervisor; `children` come under the root and are stopped first, in this order.
    ///
    /// # Errors
    /// [`TreeError`], with nothing left running.
    pub fn start(
        config: &SupervisionConfig,
        surroundings: Surroundings,
        children: Vec<ChildSpec>,
        providers: Vec<(String, Vec<ChildSpec>)>,
    ) -> Result<Self, TreeError> {
        if let Some(problem) = config.problem() {
            return Err(TreeError::Config(problem));
        }
        let adapters: Vec<_> = providers.into_iter().flat_map(|(_, children)| children).collect();
        check_names(children.iter().chain(&adapters))?;
        let system = System::try_current().ok_or(TreeError::NoSystem)?;
        let Surroundings { clock, pulses, sockets } = surroundings;
        let handle = sockets.handle().clone();
        let roles = [&ArbiterRole::Supervisors].into_iter().chain(children.iter().chain(&adapters).map(|spec| &spec.arbiter));
        let arbiters = Arc::new(Arbiters::start(system, sockets, roles).map_err(TreeError::Thread)?);
        let closing = Arc::new(AtomicBool::new(false));
        let common = Common {
            arbiters: Arc::downgrade(&arbiters),
            sockets: handle,
            clock,
            beat: config.beat(),
            closing: Arc::clone(&closing),
        };
        let plan = Plan { config, pulses, common, signal: Arc::default(), failure: Failure(Arc::new(watch::Sender::new(None))) };
        let (root, seats) = plan.seats(children, adapters);
        let tree = Self {
            arbiters,
            seats,
            signal: plan.signal,
            watch: Mutex::new(None),
            failure: plan.failure,
            closing,
            abandoned: Arc::default(),
        };
        tree.watch_over(config, root).map_err(TreeError::Thread)?;
        Ok(tree)
    }

    fn watch_over(&self, config: &SupervisionConfig, root: Arc<Seat>) -> io::Result<()> {
        let watch = Watch {
            config: config.clone(),
            arbiters: Arc::clone(&self.arbiters),
            root,
            seats: self.seats.clone(),
            signal: Arc::clone(&self.signal),
            failure: self.failure.clone(),
            abandoned: Arc::clone(&self.abandoned),
        };
        *self.watch.lock().unwrap_or_else(PoisonError::into_inner) = Some(watch.start()?);
        Ok(())
    }

    /// Resolves with the reason when the process must end: too many escalations, too many abandoned threads, or the watch
    /// itself died. The caller drains, shuts down and exits non-zero.
    pub fn failed(&self) -> impl Future<Output = String> + Send + use<> {
        let mut told = self.failure.0.subscribe();
        async move {
            let reason = told.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
            match reason {
                Some(reason) => reason,
                // The tree is gone without a failure.
                None => std::future::pending().await,
            }
        }
    }

    /// Every child, the app's first, the supervisors last.
    #[must_use]
    pub fn status(&self) -> Vec<ChildStatus> {
        let show = |seat: &Arc<Seat>| ChildStatus {
            name: seat.spec.name.clone(),
            restarts: seat.pulse.restarts(),
            last_beat: (seat.pulse.beats() > 0).then(|| seat.pulse.last_beat()),
            oldest_work: seat.pulse.oldest_work(),
            state: seat.state(),
        };
        self.seats.iter().map(show).collect()
    }

    /// Threads that were given up so far.
    #[must_use]
    pub fn abandoned(&self) -> u32 {
        self.abandoned.load(Ordering::SeqCst)
    }

    /// Ends the children in order, then the arbiters' threads, and returns what did not end in time (empty: all is gone).
    /// Flights are not children: drain their tables first.
    pub async fn shutdown(&self, within: Duration) -> Vec<String> {
        let start = Instant::now();
        self.order_end();
        let mut left = Vec::new();
        let watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(watch) = watch {
            match timeout_at(start + within, watch.ended).await {
                Ok(_) => drop(watch.thread.join()),
                Err(_) => left.push("the watch".to_owned()),
            }
        }
        // A quarter of the time stays for the threads.
        left.extend(self.end_children(start, within.mul_f32(0.75)).await);
        self.arbiters.stop();
        left.extend(self.arbiters.gone(start + within).await);
        if !left.is_empty() {
            tracing::warn!(left = left.join(", "), "supervision ended with leftovers");
        }
        left
    }

    async fn end_children(&self, start: Instant, within: Duration) -> Vec<String> {
        for seat in &self.seats {
            seat.close();
            // One on a blocked thread must not use up the time of those after it.
            let patience = Instant::now() + within / 10;
            let _ = timeout_at(patience.min(start + within / 2), seat.closed()).await;
        }
        let mut left = Vec::new();
        for seat in &self.seats {
            if timeout_at(start + within, seat.closed()).await.is_err() {
                left.push(format!("actor {}", seat.spec.name));
            }
        }
        left
    }

    fn order_end(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.signal.stop();
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.order_end();
        for seat in &self.seats {
            seat.close();
        }
        self.arbiters.stop();
    }
}

fn check_names<'a>(children: impl Iterator<Item = &'a ChildSpec>) -> Result<(), TreeError> {
    let mut names = HashSet::from([ROOT, PROVIDERS]);
    for spec in children {
        if !names.insert(&spec.name) {
            return Err(TreeError::Duplicate(spec.name.clone()));
        }
    }
    Ok(())
}

/// Puts the tree together, from the leaves to the root.
struct Plan<'a> {
    config: &'a SupervisionConfig,
    pulses: Pulses,
    common: Common,
    signal: Arc<Signal>,
    failure: Failure,
}

impl Plan<'_> {
    /// The root's seat, and all seats in the order of shutdown.
    fn seats(&self, children: Vec<ChildSpec>, adapters: Vec<ChildSpec>) -> (Arc<Seat>, Vec<Arc<Seat>>) {
        let workers = Limits::of_workers(self.config);
        let supervisors = Limits::of_supervisors(self.config);
        let place = |specs: Vec<ChildSpec>, wake: &Wake<usize>, limits: Limits| -> Vec<Arc<Seat>> {
            let numbered = specs.into_iter().enumerate();
            numbered.map(|(index, spec)| self.seat(spec, limits, told(wake, index))).collect()
        };

        let adapters_wake = Wake::bounded(adapters.len());
        let adapters = place(adapters, &adapters_wake, workers);
        let escalation = Escalation::Resign(Resignation::default());
        let providers = Arc::new(Branch { seats: adapters.clone(), wake: adapters_wake, escalation });

        let wake = Wake::bounded(children.len() + 1);
        let mut order = place(children, &wake, workers);
        let over_providers = self.seat(supervisor(PROVIDERS, providers), supervisors, told(&wake, order.len()));
        let failure = self.failure.clone();
        let escalation = Escalation::Process(Box::new(move |reason| failure.because(reason)));
        let seats = order.iter().chain([&over_providers]).cloned().collect();
        let signal = Arc::clone(&self.signal);
        let root = supervisor(ROOT, Arc::new(Branch { seats, wake, escalation }));
        let root = self.seat(root, supervisors, move || signal.look());

        order.extend(adapters);
        order.extend([over_providers, Arc::clone(&root)]);
        (root, order)
    }

    fn seat(&self, spec: ChildSpec, limits: Limits, tell: impl Fn() + Send + Sync + 'static) -> Arc<Seat> {
        let pulse = self.pulses.of(&spec.name);
        Seat::new(spec, pulse, limits, self.common.clone(), tell)
    }
}

fn told(wake: &Wake<usize>, index: usize) -> impl Fn() + Send + Sync + use<> {
    let wake = wake.clone();
    move || wake.one(index)
}
