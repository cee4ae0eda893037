//! Starting is refused when it cannot go well, and the end leaves nothing.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{ArbiterRole, ChildState, Puppet, Strings, Surroundings, Tree, config, end, play, until};
use crate::{
    clock::Clock,
    config::supervision::SupervisionConfig,
    observe::Pulses,
    supervision::{TreeError, beats, child},
};

/// An actor that writes down its end.
struct Mortal {
    name: &'static str,
    ends: Arc<Mutex<Vec<&'static str>>>,
    context: crate::supervision::ChildContext,
}

impl actix::Actor for Mortal {
    type Context = actix::Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        beats(ctx, &self.context.pulse, &self.context.clock, self.context.beat);
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        self.ends.lock().unwrap().push(self.name);
    }
}

#[test]
fn children_end_in_the_order_given_and_nothing_is_left() {
    play(async |stage| {
        let ends = Arc::new(Mutex::new(Vec::new()));
        let spec = |name: &'static str, role| {
            let ends = Arc::clone(&ends);
            child(name, role, move |context| Mortal { name, ends: Arc::clone(&ends), context })
        };
        let children = vec![
            spec("dispatcher", ArbiterRole::Rest),
            spec("poller", ArbiterRole::Polling),
            spec("uploader", ArbiterRole::Assets),
        ];
        let role = ArbiterRole::Provider("kling".to_owned());
        let tree = stage.tree(&config(), children, vec![("kling".to_owned(), vec![spec("kling", role)])]);
        until("all run", || tree.status().iter().all(|status| status.state == ChildState::Running)).await;
        end(tree).await;
        assert_eq!(*ends.lock().unwrap(), ["dispatcher", "poller", "uploader", "kling"]);
        until("no factory, actor or thread holds on", || Arc::strong_count(&ends) == 1).await;
    });
}

#[test]
fn a_tree_may_end_before_it_has_begun() {
    play(async |stage| {
        let strings = Arc::<Strings>::default();
        end(stage.tree(&config(), vec![Puppet::spec("early", ArbiterRole::Rest, &strings)], vec![])).await;
    });
}

#[test]
fn a_blocked_actor_is_named_at_the_end_and_keeps_nobody_else() {
    play(async |stage| {
        let (stuck, free) = (Arc::<Strings>::default(), Arc::<Strings>::default());
        let children = vec![Puppet::spec("stuck", ArbiterRole::Polling, &stuck), Puppet::spec("free", ArbiterRole::Rest, &free)];
        let config = SupervisionConfig { silent_ms: 3_600_000, ..config() };
        let tree = stage.tree(&config, children, vec![]);
        stuck.obeys().await;
        free.obeys().await;
        let release = stuck.block().await;
        assert_eq!(tree.shutdown(Duration::from_secs(5)).await, ["actor stuck", "arbiter polling"]);
        drop(tree);
        until("nothing of the free one is left", || Arc::strong_count(&free) == 1).await;
        drop(release);
    });
}

#[test]
fn a_tree_that_is_dropped_ends_too() {
    play(async |stage| {
        let strings = Arc::<Strings>::default();
        let tree = stage.tree(&config(), vec![Puppet::spec("orphan", ArbiterRole::Rest, &strings)], vec![]);
        strings.obeys().await;
        drop(tree);
        until("all is gone", || Arc::strong_count(&strings) == 1).await;
    });
}

#[test]
fn a_tree_that_cannot_go_well_does_not_start() {
    play(async |stage| {
        let strings = Arc::<Strings>::default();
        let start = |config: &SupervisionConfig, names: &[&str]| {
            let surroundings =
                Surroundings { clock: Clock::System, pulses: Pulses::default(), sockets: Arc::clone(&stage.sockets) };
            let children = names.iter().map(|name| Puppet::spec(name, ArbiterRole::Rest, &strings)).collect();
            Tree::start(config, surroundings, children, vec![])
        };
        assert!(matches!(start(&config(), &["a", "b", "a"]), Err(TreeError::Duplicate(name)) if name == "a"));
        assert!(matches!(start(&config(), &["root-supervisor"]), Err(TreeError::Duplicate(_))));
        let hasty = SupervisionConfig { late_ms: 20, ..config() };
        assert!(matches!(start(&hasty, &["a"]), Err(TreeError::Config(text)) if text.contains("late_ms")));
        let outside = std::thread::scope(|scope| scope.spawn(|| start(&config(), &["a"]).err()).join().unwrap());
        assert!(matches!(outside, Some(TreeError::NoSystem)));
        assert_eq!(strings.builds(), 0);
    });
}
