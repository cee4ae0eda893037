//! An actor that stops beating while its thread lives is aborted and rebuilt.

use std::{
    future::pending,
    sync::{Arc, atomic::Ordering},
};

use actix::{AsyncContext, Context, fut::wrap_future};

use super::{ArbiterRole, Never, Puppet, Strings, config, end, play, runs, status, until};
use crate::config::supervision::SupervisionConfig;

fn is_ended(deed: impl FnOnce(&mut Context<Puppet>) + Send + 'static) {
    play(async |stage| {
        let (victim, neighbour) = (Arc::<Strings>::default(), Arc::<Strings>::default());
        let children =
            vec![Puppet::spec("victim", ArbiterRole::Rest, &victim), Puppet::spec("neighbour", ArbiterRole::Rest, &neighbour)];
        let tree = stage.tree(&config(), children, vec![]);
        victim.obeys().await;
        victim.order(deed);
        until("the victim is rebuilt", || victim.builds() == 2 && runs(&tree, "victim")).await;
        victim.obeys().await;
        neighbour.obeys().await;
        assert_eq!(victim.dropped.load(Ordering::SeqCst), 1, "the hung value is gone");
        assert_eq!((status(&tree, "victim").restarts, neighbour.builds()), (1, 1));
        assert_eq!(victim.life(0).0, victim.life(1).0, "on the same thread");
        assert_eq!(tree.abandoned(), 0);
        end(tree).await;
    });
}

#[test]
fn an_actor_that_waits_for_ever_is_rebuilt() {
    is_ended(|ctx| ctx.wait(wrap_future(pending())));
}

#[test]
fn an_actor_whose_atomic_handler_never_answers_is_rebuilt() {
    is_ended(|ctx| ctx.notify(Never));
}

#[test]
fn an_actor_that_always_hangs_escalates() {
    play(async |stage| {
        let strings = Arc::<Strings>::default();
        let config = SupervisionConfig { restarts: 1, ..config() };
        let tree = stage.tree(&config, vec![Puppet::spec("sleeper", ArbiterRole::Rest, &strings)], vec![]);
        for _ in 0..2 {
            strings.order(|ctx| ctx.wait(wrap_future(pending())));
        }
        let reason = tokio::time::timeout(super::BOUND, tree.failed()).await.expect("in time");
        assert!(reason.contains("sleeper") && reason.contains("hung"), "{reason}");
        end(tree).await;
    });
}

#[test]
fn an_actor_is_not_hung_by_the_fault_of_its_neighbour() {
    play(async |stage| {
        let (busy, neighbour, sleeper) = (Arc::<Strings>::default(), Arc::<Strings>::default(), Arc::<Strings>::default());
        let children = vec![
            Puppet::spec("busy", ArbiterRole::Rest, &busy),
            Puppet::spec("neighbour", ArbiterRole::Rest, &neighbour),
            Puppet::spec("sleeper", ArbiterRole::Polling, &sleeper),
        ];
        let config = SupervisionConfig { silent_ms: 3_600_000, ..config() };
        let tree = stage.tree(&config, children, vec![]);
        neighbour.obeys().await;
        let release = busy.block().await;
        // Twice as long as it takes to find an actor hung, the thread of the other two is blocked.
        for builds in [2, 3] {
            sleeper.order(|ctx| ctx.wait(wrap_future(pending())));
            until("the sleeper is rebuilt", || sleeper.builds() == builds).await;
        }
        drop(release);
        busy.obeys().await;
        neighbour.obeys().await;
        // And the watch has looked again since.
        sleeper.order(|ctx| ctx.wait(wrap_future(pending())));
        until("the sleeper is rebuilt", || sleeper.builds() == 4).await;
        assert_eq!((busy.builds(), neighbour.builds()), (1, 1));
        end(tree).await;
    });
}
