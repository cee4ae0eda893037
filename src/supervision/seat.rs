//! The seat of one child: what outlives every incarnation of it. Holds whether it runs, where, and its failures; a supervisor
//! that is rebuilt finds its children's seats as they are. All decisions about a seat are its supervisor's, in [`Seat::settle`];
//! the watch only ends what hangs.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    sync::Notify,
    task::{AbortHandle, JoinError},
};

use super::{
    arbiters::Arbiters,
    child::{ChildContext, ChildSpec},
    policy::{self, Limits, Next},
};
use crate::{clock::Clock, flights::panic_text, lifeline::Lifeline, observe::Pulse};

/// Why a child ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    /// It panicked, with this text.
    Panicked(String),
    /// It stopped beating on a live arbiter and was aborted.
    Hung,
    /// Its arbiter was given up.
    ArbiterSilent,
    /// It ended by itself and left this reason.
    Resigned(String),
    /// It ended by itself; children are not meant to.
    Stopped,
}

impl fmt::Display for Cause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(text) => write!(out, "panicked: {text}"),
            Self::Hung => out.write_str("hung: no beat on a live arbiter, aborted"),
            Self::ArbiterSilent => out.write_str("its arbiter fell silent and was abandoned"),
            Self::Resigned(reason) => out.write_str(reason),
            Self::Stopped => out.write_str("stopped by itself"),
        }
    }
}

/// What all seats of a tree share.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) arbiters: Weak<Arbiters>,
    pub(super) sockets: Handle,
    pub(super) clock: Clock,
    pub(super) beat: Duration,
    pub(super) closing: Arc<AtomicBool>,
}

/// Where a child is in its life.
enum Phase {
    /// Never started, or to be started afresh.
    Idle,
    /// Its start was handed to an arbiter.
    Starting { ground: u64 },
    /// It runs; `hung` once the watch aborted it.
    Running { ground: u64, abort: AbortHandle, hung: bool },
    /// It ended and its supervisor has not looked yet.
    Ended(Cause),
    /// It waits for its restart.
    Resting { due: Instant },
    /// It failed too often.
    GivenUp,
    /// The tree shuts down.
    Closed,
}

struct State {
    /// Counts starts; what an earlier incarnation reports late is recognised by it.
    turn: u64,
    phase: Phase,
    failures: Vec<Instant>,
    closed: bool,
}

/// Whether a child is there, for status and watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildState {
    /// About to run.
    Starting,
    /// Runs.
    Running,
    /// Ended; it will be restarted.
    Resting,
    /// Failed too often; its supervisor escalated.
    GivenUp,
    /// Stopped for good.
    Stopped,
}

/// What a supervisor has to do about a seat.
pub(super) enum Step {
    /// Nothing until the next wake.
    Rest,
    /// Look again after this span.
    LookAgain(Duration),
    /// Escalate for this reason.
    Escalate(String),
}

/// The seat of one child.
pub(super) struct Seat {
    pub(super) spec: Arc<ChildSpec>,
    pub(super) pulse: Arc<Pulse>,
    limits: Limits,
    common: Common,
    /// Tells the supervisor that there is something to look at.
    tell: Box<dyn Fn() + Send + Sync>,
    state: Mutex<State>,
    ended: Notify,
}

impl Seat {
    pub(super) fn new(
        spec: ChildSpec,
        pulse: Arc<Pulse>,
        limits: Limits,
        common: Common,
        tell: impl Fn() + Send + Sync + 'static,
    ) -> Arc<Self> {
        let state = State { turn: 0, phase: Phase::Idle, failures: Vec::new(), closed: false };
        Arc::new(Self {
            spec: Arc::new(spec),
            pulse,
            limits,
            common,
            tell: Box::new(tell),
            state: Mutex::new(state),
            ended: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what is due: starts, restarts, or answers a failure. Called by its supervisor alone, or by two of them when an
    /// abandoned thread comes back to the old one: hence all of it under one lock.
    pub(super) fn settle(self: &Arc<Self>, now: Instant) -> Step {
        let mut state = self.lock();
        match &state.phase {
            Phase::Idle => self.start(&mut state),
            Phase::Ended(cause) => {
                let cause = cause.clone();
                self.answer(&mut state, &cause, now)
            }
            Phase::Resting { due } if *due <= now => self.start(&mut state),
            Phase::Resting { due } => Step::LookAgain(due.saturating_duration_since(now)),
            Phase::Starting { .. } | Phase::Running { .. } | Phase::GivenUp | Phase::Closed => Step::Rest,
        }
    }

    fn answer(&self, state: &mut State, cause: &Cause, now: Instant) -> Step {
        state.failures.retain(|at| policy::is_recent(*at, now, &self.limits));
        let (actor, reason) = (self.spec.name.as_str(), cause.to_string());
        match policy::next(&state.failures, now, &self.limits) {
            Next::Restart { after } => {
                tracing::warn!(actor, reason, after_ms = after.as_millis(), "an actor ended and will be restarted");
                state.failures.push(now);
                state.phase = Phase::Resting { due: now + after };
                Step::LookAgain(after)
            }
            Next::Escalate => {
                let restarts = state.failures.len();
                tracing::error!(actor, reason, restarts, "an actor ended too often: its supervisor gives up");
                state.phase = Phase::GivenUp;
                Step::Escalate(format!("{actor} failed after {restarts} restarts within {:?}: {reason}", self.limits.within))
            }
        }
    }

    fn start(self: &Arc<Self>, state: &mut State) -> Step {
        if self.common.closing.load(Ordering::SeqCst) {
            return Step::Rest;
        }
        let Some(ground) = self.common.arbiters.upgrade().and_then(|arbiters| arbiters.ground(&self.spec.arbiter)) else {
            return Step::Rest;
        };
        state.turn += 1;
        state.phase = Phase::Starting { ground: ground.number };
        let turn = state.turn;
        if turn > 1 {
            self.pulse.restarted();
            metrics::counter!("longtake_actor_restarts_total", "actor" => self.spec.name.clone()).increment(1);
        }
        self.pulse.works_since(None);
        let (seat, lifeline) = (Arc::clone(self), ground.lifeline);
        // A thread that ended refuses this; the watch finds it silent and replaces it.
        ground.handle.spawn_fn(move || seat.sit_down(turn, ground.number, lifeline));
        Step::Rest
    }

    /// Runs on the child's arbiter.
    fn sit_down(self: &Arc<Self>, turn: u64, ground: u64, lifeline: Lifeline) {
        // A thread that was abandoned may come back and find this in its queue.
        if lifeline.check().is_err() || !self.wants(turn) {
            return;
        }
        let handle = self.spec.spawn_here(ChildContext {
            name: self.spec.name.clone(),
            pulse: Arc::clone(&self.pulse),
            lifeline,
            clock: self.common.clock.clone(),
            sockets: self.common.sockets.clone(),
            beat: self.common.beat,
        });
        if !self.run(turn, ground, handle.abort_handle()) {
            handle.abort();
            return;
        }
        let seat = Arc::clone(self);
        // Awaited off the arbiter, which may never come back to it.
        self.common.sockets.spawn(async move {
            let end = handle.await;
            seat.end(turn, end);
        });
    }

    fn wants(&self, turn: u64) -> bool {
        let state = self.lock();
        state.turn == turn && !state.closed
    }

    fn run(&self, turn: u64, ground: u64, abort: AbortHandle) -> bool {
        let mut state = self.lock();
        let wanted = state.turn == turn && !state.closed;
        if wanted {
            state.phase = Phase::Running { ground, abort, hung: false };
        }
        wanted
    }

    fn end(&self, turn: u64, end: Result<(), JoinError>) {
        let mut state = self.lock();
        if state.turn != turn {
            return;
        }
        let hung = matches!(state.phase, Phase::Running { hung: true, .. });
        state.phase = if state.closed { Phase::Closed } else { Phase::Ended(self.cause(end, hung)) };
        drop(state);
        self.ended.notify_waiters();
        (self.tell)();
    }

    fn cause(&self, end: Result<(), JoinError>, hung: bool) -> Cause {
        match end.map_err(JoinError::try_into_panic) {
            Err(Ok(panic)) => Cause::Panicked(panic_text(panic.as_ref())),
            Err(Err(_)) | Ok(()) if hung => Cause::Hung,
            Err(Err(_)) => Cause::Stopped,
            Ok(()) => self.spec.resignation.take().map_or(Cause::Stopped, Cause::Resigned),
        }
    }

    /// The turn that runs now, if one does: what the watch watches.
    pub(super) fn running(&self) -> Option<u64> {
        let state = self.lock();
        matches!(state.phase, Phase::Running { hung: false, .. }).then_some(state.turn)
    }

    /// Ends a hung child. Its supervisor hears of it when the arbiter has dropped it.
    pub(super) fn abort_hung(&self, late: u64) {
        let mut state = self.lock();
        if state.turn == late
            && let Phase::Running { abort, hung, .. } = &mut state.phase
        {
            *hung = true;
            abort.abort();
        }
    }

    /// Gives up a child that sits on another thread than `present`, the one its role has now.
    pub(super) fn leave_unless_on(&self, present: u64) {
        let mut state = self.lock();
        match &state.phase {
            Phase::Starting { ground } if *ground != present => {}
            // Should the thread ever come back, it drops the child first.
            Phase::Running { ground, abort, .. } if *ground != present => abort.abort(),
            Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Idle
            | Phase::Ended(_)
            | Phase::Resting { .. }
            | Phase::GivenUp
            | Phase::Closed => return,
        }
        state.turn += 1;
        state.phase = Phase::Ended(Cause::ArbiterSilent);
        drop(state);
        self.ended.notify_waiters();
        (self.tell)();
    }

    /// Ends the child and forgets its failures, for a supervisor that starts over.
    pub(super) fn clear(&self) {
        let mut state = self.lock();
        if let Phase::Running { abort, .. } = &state.phase {
            abort.abort();
        }
        state.turn += 1;
        state.phase = Phase::Idle;
        state.failures.clear();
    }

    /// Orders the child to end for good.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        if let Phase::Running { abort, .. } = &state.phase {
            abort.abort();
        } else {
            state.phase = Phase::Closed;
        }
    }

    /// Returns once a closed child has ended. Cancel safe.
    pub(super) async fn closed(&self) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.state() != ChildState::Running {
                return;
            }
            ended.await;
        }
    }

    pub(super) fn state(&self) -> ChildState {
        match self.lock().phase {
            Phase::Idle | Phase::Starting { .. } => ChildState::Starting,
            Phase::Running { .. } => ChildState::Running,
            Phase::Ended(_) | Phase::Resting { .. } => ChildState::Resting,
            Phase::GivenUp => ChildState::GivenUp,
            Phase::Closed => ChildState::Stopped,
        }
    }
}
