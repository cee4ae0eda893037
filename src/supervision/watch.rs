//! The watch: a plain OS thread that needs no arbiter and no runtime to see that one of them is stuck. Ends actors that hang,
//! replaces arbiters that are silent, and keeps the root supervisor running.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::{oneshot, watch};

use super::{
    arbiters::Arbiters,
    child::ArbiterRole,
    seat::{Seat, Step},
};
use crate::config::supervision::SupervisionConfig;

/// Wakes the watch early, and ends it.
#[derive(Default)]
pub(super) struct Signal {
    order: Mutex<Order>,
    given: Condvar,
}

#[derive(Default)]
struct Order {
    look: bool,
    stop: bool,
}

impl Signal {
    pub(super) fn look(&self) {
        self.order.lock().unwrap_or_else(PoisonError::into_inner).look = true;
        self.given.notify_all();
    }

    pub(super) fn stop(&self) {
        self.order.lock().unwrap_or_else(PoisonError::into_inner).stop = true;
        self.given.notify_all();
    }

    /// Waits for an order, `span` at most, and tells whether to go on.
    fn wait(&self, span: Duration) -> bool {
        let order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.given.wait_timeout_while(order, span, |order| !order.look && !order.stop);
        let (mut order, _) = waited.unwrap_or_else(PoisonError::into_inner);
        order.look = false;
        !order.stop
    }
}

/// Tells once and for all why the process must end.
#[derive(Clone)]
pub(super) struct Failure(pub(super) Arc<watch::Sender<Option<String>>>);

impl Failure {
    /// The first reason stays.
    pub(super) fn because(&self, reason: String) {
        self.0.send_if_modified(|before| {
            let first = before.is_none();
            if first {
                tracing::error!(reason, "supervision gives up: the process must end");
                *before = Some(reason);
            }
            first
        });
    }
}

/// For how long a mark has not changed.
struct Silence<Mark> {
    mark: Mark,
    lasted: Duration,
}

impl<Mark: PartialEq> Silence<Mark> {
    fn look(&mut self, mark: Mark, passed: Duration) -> Duration {
        if self.mark == mark {
            self.lasted += passed;
        } else {
            *self = Self { mark, lasted: Duration::ZERO };
        }
        self.lasted
    }
}

/// How much of the time since the last round counts. A watch that could not run itself (the process was stopped, the machine
/// suspended or starved) has seen nothing, and nobody is late by it.
fn credited(elapsed: Duration, round: Duration) -> Duration {
    elapsed.min(round.saturating_mul(2))
}

/// All that the watch looks at.
pub(super) struct Watch {
    pub(super) config: SupervisionConfig,
    pub(super) arbiters: Arc<Arbiters>,
    pub(super) root: Arc<Seat>,
    /// The root's among them.
    pub(super) seats: Vec<Arc<Seat>>,
    pub(super) signal: Arc<Signal>,
    pub(super) failure: Failure,
    pub(super) abandoned: Arc<AtomicU32>,
}

/// The watch's thread and the sign of its end.
pub(super) struct WatchThread {
    pub(super) thread: thread::JoinHandle<()>,
    pub(super) ended: oneshot::Receiver<()>,
}

impl Watch {
    /// Starts the thread, which starts the root supervisor.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub(super) fn start(self) -> io::Result<WatchThread> {
        let (farewell, ended) = oneshot::channel();
        let thread = thread::Builder::new().name("watch".to_owned()).spawn(move || {
            let mut last_word = LastWord { failure: self.failure.clone(), done: false, _farewell: farewell };
            Rounds { watch: self, arbiters: HashMap::new(), children: HashMap::new() }.run();
            last_word.done = true;
        })?;
        Ok(WatchThread { thread, ended })
    }
}

/// Ends the process when the watch panics: nobody watches the watch.
struct LastWord {
    failure: Failure,
    done: bool,
    _farewell: oneshot::Sender<()>,
}

impl Drop for LastWord {
    fn drop(&mut self) {
        if !self.done {
            self.failure.because("the watch over the actors panicked".to_owned());
        }
    }
}

/// The watch at work: what it has seen so far.
struct Rounds {
    watch: Watch,
    /// By role: the thread's number and its signs of life.
    arbiters: HashMap<ArbiterRole, Silence<(u64, u64)>>,
    /// By name: the child's turn and its beats.
    children: HashMap<String, Silence<(u64, u64)>>,
}

impl Rounds {
    fn run(mut self) {
        let round = self.watch.config.beat();
        let mut last = Instant::now();
        loop {
            let now = Instant::now();
            let passed = credited(now.saturating_duration_since(last), round);
            last = now;
            let present = self.look_at_arbiters(passed);
            self.look_at_children(&present, passed);
            let wait = self.keep_root(now).map_or(round, |due| due.min(round));
            if !self.watch.signal.wait(wait) {
                return;
            }
        }
    }

    /// Replaces silent threads. Returns the present thread of each role and whether it gave a sign since the last round.
    fn look_at_arbiters(&mut self, passed: Duration) -> HashMap<ArbiterRole, (u64, bool)> {
        let mut present = HashMap::new();
        for (role, number, answers) in self.watch.arbiters.probe() {
            let mark = (number, answers);
            let silence = self.arbiters.entry(role.clone()).or_insert(Silence { mark, lasted: Duration::ZERO });
            let lasted = silence.look(mark, passed);
            if lasted >= self.watch.config.silent() {
                self.abandon(&role, lasted);
            } else {
                present.insert(role, (number, lasted.is_zero()));
            }
        }
        present
    }

    fn abandon(&self, role: &ArbiterRole, silent: Duration) {
        let abandoned = self.watch.abandoned.fetch_add(1, Ordering::SeqCst) + 1;
        let silent_ms = silent.as_millis();
        tracing::error!(arbiter = %role, silent_ms, abandoned, "an arbiter is silent: its thread is abandoned");
        metrics::counter!("longtake_arbiters_abandoned_total").increment(1);
        if let Err(error) = self.watch.arbiters.replace(role) {
            self.watch.failure.because(format!("no thread for a new arbiter ({role}): {error}"));
        }
        if abandoned >= self.watch.config.abandoned {
            self.watch.failure.because(format!("{abandoned} arbiter threads were abandoned, the last of them: {role}"));
        }
    }

    /// Ends children that are late on a live arbiter, and gives up those on a thread that was abandoned. Only time in which the
    /// arbiter lives counts: a child is not late by the fault of its neighbour.
    fn look_at_children(&mut self, present: &HashMap<ArbiterRole, (u64, bool)>, passed: Duration) {
        for seat in &self.watch.seats {
            // No entry: the role's thread was replaced just now; the next round knows the new one.
            let Some((number, alive)) = present.get(&seat.spec.arbiter) else { continue };
            seat.leave_unless_on(*number);
            let Some(turn) = seat.running() else { continue };
            let mark = (turn, seat.pulse.beats());
            let silence = self.children.entry(seat.spec.name.clone()).or_insert(Silence { mark, lasted: Duration::ZERO });
            let lasted = silence.look(mark, if *alive { passed } else { Duration::ZERO });
            if lasted >= self.watch.config.late() {
                seat.abort_hung(turn);
            }
        }
    }

    /// Does for the root supervisor what it does for its children. Returns when to look again.
    fn keep_root(&self, now: Instant) -> Option<Duration> {
        match self.watch.root.settle(now) {
            Step::Rest => None,
            Step::LookAgain(after) => Some(after),
            Step::Escalate(reason) => {
                self.watch.failure.because(reason);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Silence, credited};

    #[test]
    fn silence_lasts_until_the_mark_changes() {
        let mut silence = Silence { mark: (0, 0), lasted: Duration::ZERO };
        let second = Duration::from_secs(1);
        assert_eq!(silence.look((0, 0), second), second);
        assert_eq!(silence.look((0, 0), second), second * 2);
        assert_eq!(silence.look((0, 1), second), Duration::ZERO, "a beat");
        assert_eq!(silence.look((0, 1), second), second);
        assert_eq!(silence.look((1, 1), second), Duration::ZERO, "a rebuilt child");
    }

    #[test]
    fn a_process_that_was_stopped_for_an_hour_finds_nobody_late() {
        let round = Duration::from_millis(500);
        assert_eq!(credited(Duration::from_millis(400), round), Duration::from_millis(400));
        assert_eq!(credited(Duration::from_secs(3_600), round), Duration::from_secs(1));
    }
}
