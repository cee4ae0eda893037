//! A tree of actors that do on order what actors must not do.

mod arbiters;
mod escalation;
mod hangs;
mod panics;
mod shutdown;

use std::{
    collections::VecDeque,
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use actix::{Actor, AsyncContext, AtomicResponse, Context, Handler, Message, ResponseActFuture, StreamHandler, fut::wrap_future};
use futures_util::stream;
use tokio::{runtime::Runtime, sync::Notify};

use super::{ArbiterRole, ChildContext, ChildSpec, ChildState, ChildStatus, Surroundings, Tree, beats, child};
use crate::{clock::Clock, config::supervision::SupervisionConfig, domain::time::Timestamp, lifeline::Lifeline, observe::Pulses};

/// No condition of these tests takes longer, on however busy a machine; reaching it is a failure.
const BOUND: Duration = Duration::from_secs(60);

/// What an actor does on order.
type Deed = Box<dyn FnOnce(&mut Puppet, &mut Context<Puppet>) + Send>;

/// The test's end of an actor: outlives each incarnation.
#[derive(Default)]
struct Strings {
    orders: Mutex<VecDeque<Deed>>,
    given: Notify,
    /// Thread and lifeline of each incarnation.
    lives: Mutex<Vec<(ThreadId, Lifeline)>>,
    dropped: AtomicUsize,
    /// How many of the next builds panic.
    bad_builds: AtomicUsize,
}

impl Strings {
    fn order(&self, deed: impl FnOnce(&mut Context<Puppet>) + Send + 'static) {
        self.push(Box::new(move |_, ctx| deed(ctx)));
    }

    fn work_since(&self, since: Option<Timestamp>) {
        self.push(Box::new(move |puppet, _| puppet.context.pulse.works_since(since)));
    }

    fn push(&self, deed: Deed) {
        self.orders.lock().unwrap().push_back(deed);
        // All of them: an incarnation on a blocked thread still waits, too, and would swallow a `notify_one`.
        self.given.notify_waiters();
    }

    async fn next(self: Arc<Self>) -> Deed {
        loop {
            let given = self.given.notified();
            tokio::pin!(given);
            given.as_mut().enable();
            if let Some(deed) = self.orders.lock().unwrap().pop_front() {
                return deed;
            }
            given.await;
        }
    }

    /// Blocks the actor's thread until what is returned is dropped; it is blocked when this returns.
    async fn block(&self) -> mpsc::Sender<()> {
        let (release, blocked) = mpsc::channel();
        let (done, entered) = tokio::sync::oneshot::channel();
        self.order(move |_| {
            let _ = done.send(());
            assert!(blocked.recv().is_err());
        });
        tokio::time::timeout(BOUND, entered).await.expect("in time").expect("obeyed");
        release
    }

    fn builds(&self) -> usize {
        self.lives.lock().unwrap().len()
    }

    fn life(&self, number: usize) -> (ThreadId, Lifeline) {
        self.lives.lock().unwrap()[number].clone()
    }

    /// Returns once the present incarnation has obeyed an order.
    async fn obeys(&self) {
        let (done, obeyed) = tokio::sync::oneshot::channel();
        self.order(move |_| {
            let _ = done.send(());
        });
        tokio::time::timeout(BOUND, obeyed).await.expect("in time").expect("obeyed");
    }
}

/// The actor.
struct Puppet {
    strings: Arc<Strings>,
    context: ChildContext,
}

impl Puppet {
    fn spec(name: &str, arbiter: ArbiterRole, strings: &Arc<Strings>) -> ChildSpec {
        let strings = Arc::clone(strings);
        child(name, arbiter, move |context| {
            strings.lives.lock().unwrap().push((thread::current().id(), context.lifeline.clone()));
            let good = strings.bad_builds.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err();
            assert!(good, "in a factory");
            Self { strings: Arc::clone(&strings), context }
        })
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        self.strings.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

impl Actor for Puppet {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        beats(ctx, &self.context.pulse, &self.context.clock, self.context.beat);
        let orders =
            stream::unfold(Arc::clone(&self.strings), async |strings| Some((Arc::clone(&strings).next().await, strings)));
        ctx.add_stream(orders);
    }
}

impl StreamHandler<Deed> for Puppet {
    fn handle(&mut self, deed: Deed, ctx: &mut Self::Context) {
        // Here and not by a message: the order after one that ends the actor stays for its successor.
        deed(self, ctx);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct PanicNow;

impl Handler<PanicNow> for Puppet {
    type Result = ();

    fn handle(&mut self, _: PanicNow, _: &mut Self::Context) {
        panic!("in a handler");
    }
}

/// Answered by a future of its own, which panics.
#[derive(Message)]
#[rtype(result = "()")]
struct PanicLater;

impl Handler<PanicLater> for Puppet {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: PanicLater, _: &mut Self::Context) -> Self::Result {
        Box::pin(wrap_future(async {
            tokio::task::yield_now().await;
            panic!("in a ResponseActFuture");
        }))
    }
}

/// Answered by a future that holds the actor, and never ends.
#[derive(Message)]
#[rtype(result = "()")]
struct Never;

impl Handler<Never> for Puppet {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, _: Never, _: &mut Self::Context) -> Self::Result {
        AtomicResponse::new(Box::pin(wrap_future(pending())))
    }
}

/// Small values; long enough that a loaded machine does not make an actor late.
fn config() -> SupervisionConfig {
    SupervisionConfig {
        beat_ms: 10,
        late_ms: 400,
        silent_ms: 1_200,
        backoff_ms: 1,
        max_backoff_ms: 20,
        restarts: 5,
        within_s: 3_600,
        supervisor_restarts: 2,
        supervisor_within_s: 3_600,
        abandoned: 2,
    }
}

/// Runs a test on a system of its own beside a socket runtime of its own, and fails it when anything still holds that runtime
/// afterwards: every arbiter thread does to its end.
fn play<F: Future<Output = ()>>(test: impl FnOnce(Stage) -> F) {
    let sockets =
        Arc::new(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime"));
    let stage = Stage { sockets: Arc::clone(&sockets) };
    actix_rt::System::new().block_on(test(stage));
    let start = Instant::now();
    while Arc::strong_count(&sockets) > 1 {
        assert!(start.elapsed() < BOUND, "threads are left");
        thread::yield_now();
    }
}

struct Stage {
    sockets: Arc<Runtime>,
}

impl Stage {
    fn tree(&self, config: &SupervisionConfig, children: Vec<ChildSpec>, providers: Vec<(String, Vec<ChildSpec>)>) -> Tree {
        let surroundings = Surroundings { clock: Clock::System, pulses: Pulses::default(), sockets: Arc::clone(&self.sockets) };
        Tree::start(config, surroundings, children, providers).expect("a tree")
    }
}

/// Waits for a condition.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < BOUND, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn status(tree: &Tree, name: &str) -> ChildStatus {
    tree.status().into_iter().find(|status| status.name == name).expect("a child of that name")
}

fn runs(tree: &Tree, name: &str) -> bool {
    status(tree, name).state == ChildState::Running
}

/// Ends a tree of which nothing may stay.
async fn end(tree: Tree) {
    assert_eq!(tree.shutdown(BOUND).await, Vec::<String>::new());
}
