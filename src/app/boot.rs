//! The parts, built in the order of their needs, on the socket runtime.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::{Context as _, bail};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::{
    app::{Parts, SUBMITS},
    clock::Clock,
    config::{Config, notify::NotifyConfig},
    domain::{
        attempt::AttemptState,
        id::{AttemptId, NodeId},
    },
    flights::Flights,
    http::{Api, batches::upload::Uploads, events::Rooms, wait::Seats},
    intake::{hook::Desk, signing::Signing, webhooks::Clerk},
    lifeline::Lifeline,
    net::{
        client,
        guard::{Allow, Reach},
        hooks::{self, Hooks},
        signing::Signer,
    },
    notify::courier::Places,
    observe::{Live, Pulses, balances::Balances, times::Times},
    providers::{catalogue::Catalogue, executor::Executor, registry::Registry},
    storage::{Storage, key::Names},
    store::{SlotRow, Store, StoreError},
    wake::Wakes,
};

/// How often the metrics recorder is tended; its own documentation asks for seconds.
const UPKEEP: Duration = Duration::from_secs(5);

/// Longest wait for a connection to where a client wants to be told.
const WEBHOOK_CONNECT: Duration = Duration::from_secs(5);

/// Balances read at once at most; one more waits for its next turn.
const READINGS: usize = 64;

/// Builds everything that has no actor.
pub(super) async fn parts(config: Config, clock: Clock, sockets: Handle) -> anyhow::Result<Parts> {
    crate::net::install_tls();
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("the data folder {} cannot be made", config.data_dir.display()))?;
    let registry = match Registry::new(&config) {
        Ok(registry) => Arc::new(registry),
        Err(problems) => bail!("providers: {}", problems.join("; ")),
    };
    let catalogue = match Catalogue::new(&config) {
        Ok(catalogue) => Arc::new(catalogue),
        Err(problems) => bail!("models: {}", problems.join("; ")),
    };
    let secrets = hooks::load(&config.server, &config.data_dir).context("the server secret cannot be had")?;
    let names = Names::new(secrets.first().cloned().context("there is no server secret")?);
    let hooks = Hooks::new(config.server.public_url.as_deref(), secrets.clone());
    let outward =
        client::outward(outward(&config.notify), WEBHOOK_CONNECT).context("the client for webhooks cannot be set up")?;
    let storage = Storage::open(&config.storage, &config.data_dir).await.context("the storage does not open")?;
    let store = Store::open(&config.store, &config.data_dir, NodeId::fresh(), clock.clone(), &sockets)
        .await
        .context("the store does not open")?;
    let transfers = config.assets.concurrency.max(1);
    let polls = config.polling.concurrency.max(1);
    Ok(Parts {
        wakes: Wakes::new(registry.all().map(|provider| Arc::clone(&provider.name))),
        executor: Executor::new(clock.clone()),
        submits: Arc::new(Flights::bounded("submits", SUBMITS, clock.clone())),
        lookups: Arc::new(Flights::bounded("lookups", SUBMITS, clock.clone())),
        // Cancels share the table.
        polls: Arc::new(Flights::bounded("polls", polls.saturating_mul(2), clock.clone())),
        deliveries: Arc::new(Flights::bounded("webhooks", config.notify.webhooks.max(1), clock.clone())),
        places: Places::default(),
        outward,
        signer: Signer::new(secrets),
        transfers: Arc::new(Flights::bounded("transfers", transfers, clock.clone())),
        readings: Arc::new(Flights::bounded("balances", READINGS, clock.clone())),
        balances: Balances::default(),
        times: Times::default(),
        draining: CancellationToken::new(),
        live: Live::default(),
        pulses: Pulses::default(),
        lifeline: Lifeline::default(),
        config: Arc::new(config),
        clock,
        store,
        registry,
        catalogue,
        storage,
        names,
        hooks,
    })
}

/// How long a read of the start is tried again: a database that just started, or a machine under load, may take longer than the
/// short limit of reads.
const SLOW_START: Duration = Duration::from_secs(30);

/// Wait between such tries.
const SLOW_START_PAUSE: Duration = Duration::from_millis(500);

async fn page_of_slots(parts: &Parts, state: AttemptState, after: Option<AttemptId>) -> Result<Vec<SlotRow>, StoreError> {
    let began = tokio::time::Instant::now();
    loop {
        match parts.store.reads().slots_taken(state, after).await {
            Err(error @ (StoreError::Timeout | StoreError::Unavailable { .. })) if began.elapsed() < SLOW_START => {
                tracing::warn!(error = %error, "open attempts are not read yet; it is tried again");
                tokio::time::sleep(SLOW_START_PAUSE).await;
            }
            read => return read,
        }
    }
}

/// Fills the accounts' slots with what is open already, before anything new is dispatched.
pub(super) async fn occupy(parts: Parts) -> anyhow::Result<()> {
    for state in [AttemptState::Submitting, AttemptState::Unconfirmed, AttemptState::Running] {
        let mut after = None;
        loop {
            let page = page_of_slots(&parts, state, after).await.context("open attempts cannot be read")?;
            for slot in &page {
                let provider = parts.registry.provider(&slot.provider);
                if let Some(account) = provider.and_then(|provider| provider.account(&slot.account)) {
                    account.budget.occupy(slot.id());
                }
            }
            after = page.last().map(SlotRow::id);
            if after.is_none() {
                break;
            }
        }
    }
    Ok(())
}

/// What the handlers use.
pub(super) fn api(parts: &Parts, sockets: Handle, metrics: PrometheusHandle) -> Api {
    Api {
        journal: parts.store.journal(&parts.lifeline),
        reads: parts.store.reads(),
        desk: desk(parts),
        keys: parts.store.keys(),
        decisions: parts.store.decisions(),
        videos: parts.store.videos(),
        catalogue: Arc::clone(&parts.catalogue),
        registry: Arc::clone(&parts.registry),
        live: parts.live.clone(),
        pulses: parts.pulses.clone(),
        balances: parts.balances.clone(),
        times: parts.times.clone(),
        storage: parts.storage.clone(),
        dispatch_wake: parts.wakes.dispatch.clone(),
        cancel_wake: parts.wakes.cancel.clone(),
        reconcile_wake: parts.wakes.reconcile.clone(),
        clock: parts.clock.clone(),
        config: Arc::clone(&parts.config),
        runtime: sockets,
        started_at: parts.clock.now(),
        metrics,
        draining: parts.draining.clone(),
        watch: parts.store.watch(),
        feed: parts.store.feed(),
        clerk: clerk(parts),
        streams: Rooms::of(&parts.config.notify),
        waiting: Seats::of(parts.config.notify.max_waiters),
        known_keys: Default::default(),
        room: Default::default(),
        meters: Default::default(),
        in_flight: Default::default(),
        uploads: Uploads::of(&parts.config),
        hooks_in_hand: Default::default(),
        health: Default::default(),
        bound: OnceLock::new(),
    }
}

/// What takes in what clients say about their webhooks.
fn clerk(parts: &Parts) -> Clerk {
    Clerk {
        webhooks: parts.store.webhooks(),
        signer: parts.signer.clone(),
        allow: Arc::new(outward(&parts.config.notify)),
        wake: parts.wakes.webhooks.clone(),
    }
}

/// Where webhooks may go.
fn outward(config: &NotifyConfig) -> Allow {
    let private = Reach::Hosts(config.allow_private_hosts.clone());
    Allow { http: config.allow_http, private }
}

/// What receives webhooks.
fn desk(parts: &Parts) -> Desk {
    Desk {
        hooks: parts.hooks.clone(),
        registry: Arc::clone(&parts.registry),
        signing: Signing::new(parts.executor.clone()),
        reads: parts.store.reads(),
        journal: parts.store.journal(&parts.lifeline),
        spool: parts.store.spool(),
        poll_now: parts.wakes.poll_now.clone(),
        reconcile: parts.wakes.reconcile.clone(),
        clock: parts.clock.clone(),
    }
}

/// Lets the server run until it is stopped by its handle.
#[expect(clippy::disallowed_methods, reason = "the server is no actor; its handle ends it, and App holds that")]
pub(super) fn run(server: actix_web::dev::Server) {
    actix_rt::spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(error = %error, "the HTTP server ended");
        }
    });
}

/// Keeps histograms small between two scrapes.
pub(super) async fn tend(metrics: PrometheusHandle) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        metrics.run_upkeep();
    }
}
