//! What fails too often is its supervisor's failure, in the end the process's.

use std::sync::Arc;

use super::{ArbiterRole, BOUND, ChildState, Puppet, Strings, config, end, play, runs, status, until};
use crate::config::supervision::SupervisionConfig;

#[test]
fn a_child_of_the_root_that_fails_too_often_ends_the_process() {
    play(async |stage| {
        let (bad, good) = (Arc::<Strings>::default(), Arc::<Strings>::default());
        let config = SupervisionConfig { restarts: 2, ..config() };
        let children = vec![Puppet::spec("bad", ArbiterRole::Rest, &bad), Puppet::spec("good", ArbiterRole::Rest, &good)];
        let tree = stage.tree(&config, children, vec![]);
        for _ in 0..3 {
            bad.order(|_| panic!("again"));
        }
        let reason = tokio::time::timeout(BOUND, tree.failed()).await.expect("in time");
        assert!(reason.contains("bad") && reason.contains("2 restarts") && reason.contains("panicked: again"), "{reason}");
        assert_eq!((bad.builds(), status(&tree, "bad").state), (3, ChildState::GivenUp));
        good.obeys().await;
        end(tree).await;
    });
}

#[test]
fn a_provider_that_fails_too_often_restarts_all_providers_and_in_the_end_the_process() {
    play(async |stage| {
        let (bad, good, other) = (Arc::<Strings>::default(), Arc::<Strings>::default(), Arc::<Strings>::default());
        let config = SupervisionConfig { restarts: 1, supervisor_restarts: 1, ..config() };
        let provider = |name: &str, strings| {
            let role = ArbiterRole::Provider(name.to_owned());
            (name.to_owned(), vec![Puppet::spec(&format!("{name} adapter"), role, strings)])
        };
        let tree = stage.tree(
            &config,
            vec![Puppet::spec("poller", ArbiterRole::Polling, &other)],
            vec![provider("bad", &bad), provider("good", &good)],
        );
        for strings in [&bad, &good, &other] {
            strings.obeys().await;
        }
        for _ in 0..2 {
            bad.order(|_| panic!("again"));
        }
        until("all providers start afresh", || bad.builds() == 3 && good.builds() == 2 && runs(&tree, "bad adapter")).await;
        bad.obeys().await;
        good.obeys().await;
        assert_eq!(status(&tree, "provider-supervisor").restarts, 1);
        assert_eq!((other.builds(), status(&tree, "root-supervisor").restarts), (1, 0), "the rest is not touched");
        for _ in 0..2 {
            bad.order(|_| panic!("again"));
        }
        let reason = tokio::time::timeout(BOUND, tree.failed()).await.expect("in time");
        assert!(reason.contains("provider-supervisor") && reason.contains("bad adapter failed"), "{reason}");
        other.obeys().await;
        end(tree).await;
    });
}
