//! The factories of the actors: what supervision calls at each start.

use std::{sync::Arc, time::Duration};

use tokio::sync::Notify;

use crate::{
    app::Parts,
    assets::{store_asset::Assets, uploader::Uploader},
    dispatch::dispatcher::{Dispatch, Dispatcher},
    notify::{
        courier::{Courier, Delivering},
        notifier::{Notifier, Notifying},
    },
    polling::{poll::Polling, poller::Poller},
    submission::{
        adapter_actor::AdapterActor,
        bookkeeper::{Bookkeeper, Bookkeeping},
        flight::Submission,
        reconciler::Reconciler,
    },
    supervision::{ArbiterRole, ChildSpec, child},
};

/// The stages' actors, in the order in which they are stopped: who hands out work first.
pub(super) fn stages(parts: &Parts) -> Vec<ChildSpec> {
    vec![dispatcher(parts), reconciler(parts), poller(parts), uploader(parts), bookkeeper(parts), notifier(parts), courier(parts)]
}

/// One adapter actor a provider.
pub(super) fn adapters(parts: &Parts) -> Vec<(String, Vec<ChildSpec>)> {
    let one = |name: &Arc<str>| {
        let (name, submission) = (Arc::clone(name), submission(parts));
        let flights = Arc::clone(&parts.submits);
        let spec = child(format!("adapter-{name}"), ArbiterRole::Provider(name.to_string()), {
            let name = Arc::clone(&name);
            move |child| AdapterActor::new(Arc::clone(&name), submission.clone(), Arc::clone(&flights), child)
        });
        (name.to_string(), vec![spec])
    };
    parts.registry.all().map(|provider| one(&provider.name)).collect()
}

fn dispatcher(parts: &Parts) -> ChildSpec {
    let parts = parts.clone();
    child("dispatcher", ArbiterRole::Rest, move |child| {
        let dispatch = Dispatch {
            reads: parts.store.reads(),
            journal: parts.store.journal(&child.lifeline),
            spool: parts.store.spool(),
            registry: Arc::clone(&parts.registry),
            catalogue: Arc::clone(&parts.catalogue),
            live: parts.live.clone(),
            clock: parts.clock.clone(),
            wakes: parts.wakes.clone(),
            config: Arc::clone(&parts.config),
        };
        Dispatcher::new(dispatch, child)
    })
}

fn reconciler(parts: &Parts) -> ChildSpec {
    let (submission, submits, lookups) = (submission(parts), Arc::clone(&parts.submits), Arc::clone(&parts.lookups));
    child("reconciler", ArbiterRole::Rest, move |child| {
        Reconciler::new(submission.clone(), Arc::clone(&submits), Arc::clone(&lookups), child)
    })
}

fn bookkeeper(parts: &Parts) -> ChildSpec {
    let books = Bookkeeping {
        reads: parts.store.reads(),
        retention: parts.store.retention(),
        kept: parts.store.balances(),
        registry: Arc::clone(&parts.registry),
        executor: parts.executor.clone(),
        balances: parts.balances.clone(),
        clock: parts.clock.clone(),
        config: Arc::clone(&parts.config),
    };
    let readings = Arc::clone(&parts.readings);
    child("bookkeeper", ArbiterRole::Rest, move |child| Bookkeeper::new(books.clone(), Arc::clone(&readings), child))
}

fn notifier(parts: &Parts) -> ChildSpec {
    let notifying = Notifying {
        reads: parts.store.reads(),
        webhooks: parts.store.webhooks(),
        journal: parts.store.journal(&parts.lifeline),
        feed: parts.store.feed(),
        watch: parts.store.watch(),
        wake: parts.wakes.webhooks.clone(),
        clock: parts.clock.clone(),
        kept: Duration::from_secs(parts.config.notify.keep_s),
    };
    child("notifier", ArbiterRole::Rest, move |child| Notifier::new(notifying.clone(), child))
}

fn courier(parts: &Parts) -> ChildSpec {
    let delivering = Delivering {
        reads: parts.store.reads(),
        webhooks: parts.store.webhooks(),
        journal: parts.store.journal(&parts.lifeline),
        retention: parts.store.retention(),
        client: parts.outward.clone(),
        signer: parts.signer.clone(),
        wake: parts.wakes.webhooks.clone(),
        places: parts.places.clone(),
        clock: parts.clock.clone(),
        config: Arc::clone(&parts.config),
    };
    let flights = Arc::clone(&parts.deliveries);
    child("courier", ArbiterRole::Rest, move |child| Courier::new(delivering.clone(), Arc::clone(&flights), child))
}

fn poller(parts: &Parts) -> ChildSpec {
    let parts = parts.clone();
    child("poller", ArbiterRole::Polling, move |child| {
        let polling = Polling {
            reads: parts.store.reads(),
            journal: parts.store.journal(&parts.lifeline),
            registry: Arc::clone(&parts.registry),
            catalogue: Arc::clone(&parts.catalogue),
            executor: parts.executor.clone(),
            storage: parts.storage.clone(),
            live: parts.live.clone(),
            times: parts.times.clone(),
            clock: parts.clock.clone(),
            wakes: parts.wakes.clone(),
            config: Arc::clone(&parts.config),
        };
        Poller::new(polling, Arc::clone(&parts.polls), child)
    })
}

fn uploader(parts: &Parts) -> ChildSpec {
    let (parts, freed) = (parts.clone(), Arc::new(Notify::new()));
    child("uploader", ArbiterRole::Assets, move |child| {
        Uploader::new(assets(&parts, Arc::clone(&freed)), Arc::clone(&parts.transfers), child)
    })
}

pub(super) fn assets(parts: &Parts, freed: Arc<Notify>) -> Assets {
    Assets {
        reads: parts.store.reads(),
        journal: parts.store.journal(&parts.lifeline),
        videos: parts.store.videos(),
        registry: Arc::clone(&parts.registry),
        executor: parts.executor.clone(),
        storage: parts.storage.clone(),
        names: parts.names.clone(),
        live: parts.live.clone(),
        clock: parts.clock.clone(),
        wakes: parts.wakes.clone(),
        config: Arc::clone(&parts.config),
        freed,
    }
}

fn submission(parts: &Parts) -> Submission {
    Submission {
        store: parts.store.clone(),
        reads: parts.store.reads(),
        journal: parts.store.journal(&parts.lifeline),
        registry: Arc::clone(&parts.registry),
        catalogue: Arc::clone(&parts.catalogue),
        executor: parts.executor.clone(),
        storage: parts.storage.clone(),
        hooks: parts.hooks.clone(),
        live: parts.live.clone(),
        clock: parts.clock.clone(),
        wakes: parts.wakes.clone(),
        config: Arc::clone(&parts.config),
        lifeline: parts.lifeline.clone(),
    }
}
