//! The wiring: builds everything from a configuration, starts the actors downstream first, then the HTTP server, and takes it all down
//! in the other order. No decisions.

mod boot;
mod children;
#[cfg(test)]
mod tests;

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::web;
use anyhow::Context as _;
use tokio::runtime::{Handle, Runtime};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    config::Config,
    domain::id::{AssetId, AttemptId, DeliveryId},
    flights::Flights,
    http,
    intake::keys,
    lifeline::Lifeline,
    net::{client::Guarded, hooks::Hooks, signing::Signer},
    notify::courier::Places,
    observe::{
        Live, Pulses,
        balances::{AccountKey, Balances},
        times::Times,
    },
    providers::{catalogue::Catalogue, executor::Executor, registry::Registry},
    storage::{Storage, key::Names},
    store::{Scope, Store},
    supervision::{Surroundings, Tree},
    wake::Wakes,
};

/// Submits in flight at most, over all providers; budgets keep far below it.
const SUBMITS: usize = 4_096;

/// A running service.
pub struct App {
    parts: Parts,
    tree: Tree,
    server: actix_web::dev::ServerHandle,
    url: String,
    drain: Duration,
    sockets: Handle,
    upkeep: tokio::task::JoinHandle<()>,
}

/// What the wiring shares out.
#[derive(Clone)]
struct Parts {
    config: Arc<Config>,
    clock: Clock,
    store: Store,
    registry: Arc<Registry>,
    catalogue: Arc<Catalogue>,
    executor: Executor,
    storage: Storage,
    names: Names,
    hooks: Hooks,
    live: Live,
    pulses: Pulses,
    wakes: Wakes,
    /// Of work in hand: flights outlive their actors, so this one is taken away only at the very end.
    lifeline: Lifeline,
    submits: Arc<Flights<AttemptId>>,
    lookups: Arc<Flights<AttemptId>>,
    polls: Arc<Flights<AttemptId>>,
    transfers: Arc<Flights<AssetId>>,
    deliveries: Arc<Flights<DeliveryId>>,
    places: Places,
    outward: Guarded,
    signer: Signer,
    readings: Arc<Flights<AccountKey>>,
    balances: Balances,
    times: Times,
    /// Cancelled when nothing new is taken any more.
    draining: CancellationToken,
}

impl App {
    /// Starts the service. `sockets` owns every socket; the caller keeps it until after [`App::shutdown`] and drops it outside of async
    /// code. Must be called on a thread of an actix `System`.
    ///
    /// # Errors
    /// Whatever keeps it from starting, with its reason.
    pub async fn start(config: Config, sockets: Arc<Runtime>, clock: Clock) -> anyhow::Result<Self> {
        let metrics = crate::telemetry::metrics();
        let upkeep = sockets.spawn(boot::tend(metrics.clone()));
        let handle = sockets.handle().clone();
        let parts = hop(&handle, boot::parts(config, clock, handle.clone())).await??;
        hop(&handle, boot::occupy(parts.clone())).await??;
        let drain = Duration::from_secs(parts.config.server.drain_s);
        let surroundings =
            Surroundings { clock: parts.clock.clone(), pulses: parts.pulses.clone(), sockets: Arc::clone(&sockets) };
        let tree = Tree::start(&parts.config.supervision, surroundings, children::stages(&parts), children::adapters(&parts))
            .context("the actors do not start")?;
        let api = web::Data::new(boot::api(&parts, handle, metrics));
        let (server, _) = match http::serve(api.clone()) {
            Ok(serving) => serving,
            Err(error) => {
                let _ = tree.shutdown(drain).await;
                return Err(error).context("the HTTP server does not start");
            }
        };
        let (server_handle, url) = (server.handle(), api.base_url().to_owned());
        boot::run(server);
        tracing::info!(url = %url, "ready");
        Ok(Self { parts, tree, server: server_handle, url, drain, sockets: sockets.handle().clone(), upkeep })
    }

    /// How it is reached on this machine, without a trailing slash.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Makes a key of the default project; its text is seen only here.
    ///
    /// # Errors
    /// When the store does not take it.
    pub async fn mint_key(&self, name: &str, scope: Scope) -> anyhow::Result<String> {
        let (keys, name, now) = (self.parts.store.keys(), name.to_owned(), self.parts.clock.now());
        let minted = hop(&self.sockets, async move { keys::create(&keys, &name, None, scope, now).await }).await??;
        Ok(minted.text.reveal().to_owned())
    }

    /// The pulse of that actor.
    #[cfg(test)]
    pub(crate) fn pulse(&self, actor: &str) -> Arc<crate::observe::Pulse> {
        self.parts.pulses.of(actor)
    }

    /// Records what somebody learned of an attempt, as an inbound webhook does; wakes nobody.
    #[cfg(test)]
    pub(crate) async fn evidence(&self, generation: &str, task: &str) -> anyhow::Result<()> {
        let (store, lifeline, at) = (self.parts.store.clone(), self.parts.lifeline.clone(), self.parts.clock.now());
        let (id, task_id) = (generation.parse()?, task.to_owned());
        hop(&self.sockets, async move {
            let loaded = store.reads().load(id).await?.context("no such generation")?;
            let attempt = loaded.attempts.first().context("no attempt")?;
            let account = format!("{}/{}", attempt.provider, attempt.account);
            let handle = crate::domain::record::Handle { task_id, poll_url: None };
            let (attempt, generation) = (attempt.id, attempt.generation);
            let evidence = crate::store::Evidence { attempt, generation, account, handle, source: "webhook", at };
            store.journal(&lifeline).evidence(evidence).await?;
            Ok(())
        })
        .await?
    }

    /// Commits of the journal so far.
    #[cfg(test)]
    pub(crate) fn commits(&self) -> u64 {
        self.parts.store.journal(&self.parts.lifeline).counts().commits
    }

    /// Resolves with the reason when the process must end.
    pub fn failed(&self) -> impl Future<Output = String> + Send + use<> {
        let (tree, store) = (self.tree.failed(), self.parts.store.clone());
        async move {
            tokio::select! {
                reason = tree => reason,
                () = store.lock_lost() => "the database lock is lost: another server has taken over".to_owned(),
            }
        }
    }

    /// Stops accepting, finishes or hands back what is in hand within the configured time, and closes the store. What does not finish in
    /// time is found in the rows by the next start.
    pub async fn shutdown(self) {
        let end = Instant::now() + self.drain;
        let left_of_it = || end.saturating_duration_since(Instant::now());
        // Those who wait for news are answered now; the server would wait for them.
        self.parts.draining.cancel();
        // Actors first: nothing new is begun while the last answers go out.
        let (left, ()) = tokio::join!(self.tree.shutdown(left_of_it()), self.server.stop(true));
        if !left.is_empty() {
            tracing::warn!(left = left.join(", "), "actors did not end in time");
        }
        let parts = self.parts;
        let (submits, polls) = (parts.submits.idle(left_of_it()), parts.polls.idle(left_of_it()));
        let (lookups, transfers) = (parts.lookups.idle(left_of_it()), parts.transfers.idle(left_of_it()));
        let webhooks = parts.deliveries.idle(left_of_it());
        let (submits, polls, lookups, transfers, webhooks) = tokio::join!(submits, polls, lookups, transfers, webhooks);
        if !(submits && polls && lookups && transfers && webhooks) {
            tracing::warn!(
                submits,
                polls,
                lookups,
                transfers,
                webhooks,
                "work in hand did not end in time; the next start takes it up"
            );
        }
        parts.lifeline.revoke();
        self.upkeep.abort();
        parts.store.close().await;
        tracing::info!("stopped");
    }
}

/// Runs a future on the socket runtime: what it opens belongs there.
async fn hop<T: Send + 'static>(sockets: &Handle, work: impl Future<Output = T> + Send + 'static) -> anyhow::Result<T> {
    sockets.spawn(work).await.context("the start was broken off")
}
