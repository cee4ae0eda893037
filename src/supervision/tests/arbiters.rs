//! A thread that blocks is abandoned; everything else goes on.

use std::{
    sync::{Arc, Barrier, atomic::Ordering, mpsc},
    thread,
    time::{Duration, Instant},
};

use actix::{AsyncContext, System, fut::wrap_future};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

use super::{ArbiterRole, BOUND, ChildState, Puppet, Stage, Strings, config, end, play, runs, status, until};
use crate::{
    clock::Clock,
    config::supervision::SupervisionConfig,
    supervision::{
        arbiters::{Arbiters, Ground},
        policy::Limits,
        seat::{Common, Seat, Step},
    },
};

fn provider(name: &str) -> ArbiterRole {
    ArbiterRole::Provider(name.to_owned())
}

/// Sends a byte through a socket and back, all of it on the actor's arbiter.
async fn speaks_tcp(strings: &Strings) {
    let (done, heard) = oneshot::channel();
    strings.order(move |ctx| {
        ctx.spawn(wrap_future(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut out = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (mut inward, _) = listener.accept().await.unwrap();
            out.write_all(&[7]).await.unwrap();
            let _ = done.send(inward.read_u8().await.unwrap());
        }));
    });
    assert_eq!(tokio::time::timeout(BOUND, heard).await.expect("in time").expect("heard"), 7);
}

#[test]
fn an_arbiter_that_blocks_is_replaced_with_all_its_actors_and_nothing_else() {
    play(async |stage| {
        let (blocked, beside, elsewhere) = (Arc::<Strings>::default(), Arc::<Strings>::default(), Arc::<Strings>::default());
        let adapters =
            vec![Puppet::spec("adapter", provider("slow"), &blocked), Puppet::spec("second", provider("slow"), &beside)];
        let tree = stage.tree(
            &config(),
            vec![Puppet::spec("poller", ArbiterRole::Polling, &elsewhere)],
            vec![("slow".to_owned(), adapters)],
        );
        blocked.obeys().await;
        beside.obeys().await;
        let release = blocked.block().await;
        speaks_tcp(&elsewhere).await;
        until("both have a new place", || blocked.builds() == 2 && beside.builds() == 2).await;
        for strings in [&blocked, &beside] {
            strings.obeys().await;
            let ((before, old), (after, new)) = (strings.life(0), strings.life(1));
            assert_ne!(before, after, "on another thread");
            assert!(old.check().is_err() && new.check().is_ok());
        }
        speaks_tcp(&blocked).await;
        elsewhere.obeys().await;
        assert!(elsewhere.life(0).1.check().is_ok());
        assert_eq!((tree.abandoned(), elsewhere.builds(), status(&tree, "adapter").restarts), (1, 1, 1));
        // Back from its sleep the old thread finds that it was given up, and ends with what it held.
        drop(release);
        until("the old value is gone", || blocked.dropped.load(Ordering::SeqCst) == 1).await;
        assert_eq!(blocked.builds(), 2, "it does not count as another end");
        end(tree).await;
    });
}

#[test]
fn the_second_abandoned_thread_ends_the_process() {
    play(async |stage| {
        let (first, second) = (Arc::<Strings>::default(), Arc::<Strings>::default());
        let children =
            vec![Puppet::spec("first", ArbiterRole::Polling, &first), Puppet::spec("second", ArbiterRole::Assets, &second)];
        let tree = stage.tree(&config(), children, vec![]);
        second.obeys().await;
        let release = first.block().await;
        until("the first is replaced", || first.builds() == 2).await;
        let (failed, reason) = oneshot::channel();
        let told = tree.failed();
        stage.sockets.spawn(async move { failed.send(told.await) });
        let release = (release, second.block().await);
        let reason = tokio::time::timeout(BOUND, reason).await.expect("in time").expect("a reason");
        assert!(reason.contains("abandoned") && reason.contains("assets"), "{reason}");
        assert_eq!(tree.abandoned(), 2);
        until("the second runs anew, for draining", || second.builds() == 2 && runs(&tree, "second")).await;
        drop(release);
        end(tree).await;
    });
}

#[test]
fn every_arbiter_blocked_at_once_does_not_stop_the_watch() {
    play(async |stage| {
        let all: Vec<_> = (0..3).map(|_| Arc::<Strings>::default()).collect();
        let roles = [ArbiterRole::Supervisors, ArbiterRole::Polling, ArbiterRole::Rest];
        let children = all.iter().zip(roles).map(|(strings, role)| Puppet::spec(&format!("on {role}"), role, strings)).collect();
        let config = SupervisionConfig { abandoned: 3, ..config() };
        let tree = stage.tree(&config, children, vec![]);
        for strings in &all {
            strings.obeys().await;
        }
        let mut releases = Vec::new();
        for strings in &all {
            releases.push(strings.block().await);
        }
        until("all are replaced", || all.iter().all(|strings| strings.builds() == 2)).await;
        tokio::time::timeout(BOUND, tree.failed()).await.expect("the third ends the process");
        drop(releases);
        end(tree).await;
    });
}

#[test]
fn a_new_supervisor_adopts_the_children_that_run_and_answers_for_the_others() {
    play(async |stage| {
        let (blocker, worker) = (Arc::<Strings>::default(), Arc::<Strings>::default());
        let children =
            vec![Puppet::spec("blocker", ArbiterRole::Supervisors, &blocker), Puppet::spec("worker", ArbiterRole::Rest, &worker)];
        let tree = stage.tree(&config(), children, vec![]);
        blocker.obeys().await;
        worker.obeys().await;
        let release = blocker.block().await;
        worker.order(|_| panic!("while nobody looks"));
        until("the worker is rebuilt", || worker.builds() == 2).await;
        worker.obeys().await;
        assert_eq!(status(&tree, "root-supervisor").restarts, 1);
        assert_eq!(status(&tree, "provider-supervisor").restarts, 1);
        worker.order(|_| panic!("under the new one"));
        until("the worker is rebuilt again", || worker.builds() == 3).await;
        assert_eq!(status(&tree, "worker").restarts, 2);
        drop(release);
        end(tree).await;
    });
}

#[test]
fn an_actor_starts_on_the_arbiter_it_is_given() {
    play(async |stage| {
        let strings = Arc::<Strings>::default();
        let spec = Arc::new(Puppet::spec("guest", ArbiterRole::Rest, &strings));
        let context = super::ChildContext {
            name: "guest".to_owned(),
            pulse: Arc::default(),
            lifeline: crate::lifeline::Lifeline::default(),
            clock: Clock::System,
            sockets: stage.sockets.handle().clone(),
            beat: Duration::from_millis(10),
        };
        let handle = spec.spawn_here(context);
        strings.obeys().await;
        assert_eq!(strings.life(0).0, thread::current().id());
        strings.order(|_| panic!("seen by its handle"));
        let end = tokio::time::timeout(BOUND, handle).await.expect("in time");
        assert!(end.expect_err("a panic").is_panic());
    });
}

/// One seat without a tree: the test is its supervisor and its watch.
struct Alone {
    arbiters: Arc<Arbiters>,
    seat: Arc<Seat>,
    strings: Arc<Strings>,
}

impl Alone {
    fn on(stage: &Stage) -> Self {
        let role = ArbiterRole::Rest;
        let arbiters = Arbiters::start(System::current(), Arc::clone(&stage.sockets), [&role].into_iter()).unwrap();
        let (arbiters, strings) = (Arc::new(arbiters), Arc::<Strings>::default());
        let common = Common {
            arbiters: Arc::downgrade(&arbiters),
            sockets: stage.sockets.handle().clone(),
            clock: Clock::System,
            beat: Duration::from_millis(10),
            closing: Arc::default(),
        };
        let spec = Puppet::spec("alone", role, &strings);
        let seat = Seat::new(spec, Arc::default(), Limits::of_workers(&config()), common, || {});
        Self { arbiters, seat, strings }
    }

    fn ground(&self) -> Ground {
        self.arbiters.ground(&ArbiterRole::Rest).unwrap()
    }

    fn abandon(&self) {
        self.arbiters.replace(&ArbiterRole::Rest).unwrap();
        self.seat.leave_unless_on(self.ground().number);
    }

    async fn end(self) {
        self.seat.close();
        tokio::time::timeout(BOUND, self.seat.closed()).await.expect("in time");
        self.arbiters.stop();
        assert_eq!(self.arbiters.gone(tokio::time::Instant::now() + BOUND).await, Vec::<String>::new());
    }
}

#[test]
fn an_actor_about_to_start_on_a_blocked_thread_starts_on_the_new_one_alone() {
    play(async |stage| {
        let alone = Alone::on(&stage);
        let old = alone.ground();
        let (release, blocked) = mpsc::channel::<()>();
        old.handle.spawn_fn(move || assert!(blocked.recv().is_err()));
        let now = Instant::now();
        assert!(matches!(alone.seat.settle(now), Step::Rest));
        assert_eq!(alone.seat.state(), ChildState::Starting);
        alone.abandon();
        assert!(matches!(alone.seat.settle(now), Step::LookAgain(_)), "a failure as any other");
        assert!(matches!(alone.seat.settle(now + BOUND), Step::Rest));
        alone.strings.obeys().await;
        drop(release);
        until("the old thread has ended", || !old.handle.alive()).await;
        assert_eq!((alone.strings.builds(), alone.seat.pulse.restarts()), (1, 1));
        alone.end().await;
    });
}

#[test]
fn an_abandoned_actor_that_ends_after_all_changes_nothing() {
    play(async |stage| {
        let alone = Alone::on(&stage);
        let now = Instant::now();
        alone.seat.settle(now);
        alone.strings.obeys().await;
        let release = alone.strings.block().await;
        alone.abandon();
        let Step::LookAgain(wait) = alone.seat.settle(now) else { panic!("a failure as any other") };
        drop(release);
        // What waits for the old one's end holds the seat until it has reported it.
        until("the old one has ended", || Arc::strong_count(&alone.seat) == 1).await;
        assert_eq!(alone.strings.dropped.load(Ordering::SeqCst), 1);
        assert!(matches!(alone.seat.settle(now), Step::LookAgain(left) if left == wait), "no second failure");
        alone.seat.settle(now + BOUND);
        alone.strings.obeys().await;
        assert_eq!((alone.strings.builds(), alone.seat.pulse.restarts()), (2, 1));
        alone.end().await;
    });
}

#[test]
fn two_supervisors_that_look_at_once_start_a_child_once() {
    play(async |stage| {
        let alone = Alone::on(&stage);
        for builds in 1..=50 {
            let together = Barrier::new(3);
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        together.wait();
                        alone.seat.settle(Instant::now());
                    });
                }
            });
            alone.strings.obeys().await;
            assert_eq!(alone.strings.builds(), builds);
            alone.seat.clear();
            // It may finish the poll it is in, and so take the next order.
            until("it is gone", || alone.strings.dropped.load(Ordering::SeqCst) == builds).await;
        }
        assert_eq!(alone.seat.pulse.restarts(), 49);
        alone.end().await;
    });
}
