//! A panic, wherever it happens, costs its actor one restart and its neighbours nothing.

use std::sync::{Arc, atomic::Ordering};

use actix::{ActorContext, AsyncContext, Context, fut::wrap_future};

use tokio::sync::oneshot;

use super::{ArbiterRole, ChildState, PanicLater, PanicNow, Puppet, Strings, config, end, play, runs, status, until};
use crate::{clock::Clock, config::supervision::SupervisionConfig, domain::time::Timestamp, flights::Flights};

/// Panics are noticed at once; that a busy machine lets nobody run for a second is no silence here.
fn patient() -> SupervisionConfig {
    SupervisionConfig { late_ms: 30_000, silent_ms: 60_000, ..config() }
}

/// Lets one of two actors on one arbiter do a deed that ends it.
fn survives(deed: impl FnOnce(&mut Context<Puppet>) + Send + 'static) {
    play(async |stage| {
        let (victim, neighbour) = (Arc::<Strings>::default(), Arc::<Strings>::default());
        let children =
            vec![Puppet::spec("victim", ArbiterRole::Rest, &victim), Puppet::spec("neighbour", ArbiterRole::Rest, &neighbour)];
        let tree = stage.tree(&patient(), children, vec![]);
        victim.obeys().await;
        neighbour.obeys().await;
        victim.order(deed);
        until("the victim is rebuilt", || victim.builds() == 2 && runs(&tree, "victim")).await;
        victim.obeys().await;
        neighbour.obeys().await;
        assert_eq!(victim.dropped.load(Ordering::SeqCst), 1, "the old value is gone");
        assert_eq!(status(&tree, "victim").restarts, 1);
        assert_eq!((status(&tree, "neighbour").restarts, neighbour.builds()), (0, 1));
        let ((before, _), (after, lifeline)) = (victim.life(0), victim.life(1));
        assert_eq!(before, after, "on the same thread");
        assert!(lifeline.check().is_ok(), "whose lifeline holds");
        end(tree).await;
    });
}

#[test]
fn an_actor_that_panics_in_a_handler_is_rebuilt() {
    survives(|ctx| ctx.notify(PanicNow));
}

#[test]
fn an_actor_that_panics_in_a_stream_handler_is_rebuilt() {
    survives(|_| panic!("in a stream handler"));
}

#[test]
fn an_actor_that_panics_in_a_spawned_future_is_rebuilt() {
    survives(|ctx| {
        ctx.spawn(wrap_future(async {
            tokio::task::yield_now().await;
            panic!("in a spawned future");
        }));
    });
}

#[test]
fn an_actor_that_panics_in_a_response_future_is_rebuilt() {
    survives(|ctx| ctx.notify(PanicLater));
}

#[test]
fn an_actor_that_stops_by_itself_is_rebuilt() {
    survives(Context::stop);
}

#[test]
fn a_factory_that_panics_is_called_again() {
    play(async |stage| {
        let strings = Arc::<Strings>::default();
        strings.bad_builds.store(3, Ordering::SeqCst);
        let tree = stage.tree(&patient(), vec![Puppet::spec("late bloomer", ArbiterRole::Rest, &strings)], vec![]);
        strings.obeys().await;
        assert_eq!((strings.builds(), status(&tree, "late bloomer").restarts), (4, 3));
        end(tree).await;
    });
}

#[test]
fn a_restart_waits_for_its_backoff() {
    play(async |stage| {
        let strings = Arc::<Strings>::default();
        let config = SupervisionConfig { backoff_ms: 3_600_000, max_backoff_ms: 3_600_000, ..patient() };
        let tree = stage.tree(&config, vec![Puppet::spec("patient", ArbiterRole::Rest, &strings)], vec![]);
        strings.order(|_| panic!("once"));
        until("it rests", || status(&tree, "patient").state == ChildState::Resting).await;
        assert_eq!((strings.builds(), status(&tree, "patient").restarts), (1, 0), "an hour is not over");
        end(tree).await;
    });
}

#[test]
fn what_an_actor_had_in_hand_is_no_longer_shown_after_its_restart() {
    play(async |stage| {
        let strings = Arc::<Strings>::default();
        let tree = stage.tree(&patient(), vec![Puppet::spec("worker", ArbiterRole::Rest, &strings)], vec![]);
        strings.work_since(Some(Timestamp(5)));
        strings.obeys().await;
        assert_eq!(status(&tree, "worker").oldest_work, Some(Timestamp(5)));
        strings.order(|_| panic!("once"));
        until("it is rebuilt", || strings.builds() == 2).await;
        assert_eq!(status(&tree, "worker").oldest_work, None);
        end(tree).await;
    });
}

#[test]
fn what_an_actor_started_as_a_flight_outlives_it() {
    play(async |stage| {
        let strings = Arc::<Strings>::default();
        let flights = Flights::bounded("tests", 9, Clock::System);
        let tree = stage.tree(&patient(), vec![Puppet::spec("pilot", ArbiterRole::Rest, &strings)], vec![]);
        let (landing, ordered) = oneshot::channel::<()>();
        let (landed, arrival) = oneshot::channel();
        let (table, sockets) = (flights.clone(), stage.sockets.handle().clone());
        strings.order(move |_| {
            let flight = async move {
                let _ = ordered.await;
                let _ = landed.send(());
            };
            assert_eq!(table.start(1, &sockets, flight), Ok(true));
            panic!("after the start");
        });
        until("the pilot is rebuilt", || strings.builds() == 2).await;
        strings.obeys().await;
        assert!(flights.contains(&1));
        drop(landing);
        tokio::time::timeout(super::BOUND, arrival).await.expect("in time").expect("landed");
        assert!(flights.idle(super::BOUND).await);
        end(tree).await;
    });
}
