//! The dispatcher. Woken by births, by places that became free, and by a slow sweep; offers queued generations to the adapter actors
//! within the budgets, and ends what may not be submitted any more. If it dies, its offers are forgotten with it and made again from
//! the rows; an offer made twice loses at the compare-and-set of its intent.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use actix::{Actor, AsyncContext, Context, WrapFuture};

use crate::{
    clock::Clock,
    config::Config,
    dispatch::{offers::Offers, unsubmitted},
    domain::{
        id::{AttemptId, GenerationId},
        record::Generation,
        time::Timestamp,
    },
    observe::{ChildContext, Live},
    providers::registry::{Provider, Registry},
    store::{
        Journal, Reads, Spool, StoreError,
        change::{Start, commit},
    },
    wake::{Offer, Wakes},
};

/// Rows a round looks at for cancels and deadlines.
const ENDINGS: u64 = 500;

/// What the dispatcher needs.
#[derive(Clone)]
pub struct Dispatch {
    /// Rows.
    pub reads: Reads,
    /// Writes.
    pub journal: Journal,
    /// Evidence that waits for the database.
    pub spool: Spool,
    /// Providers with their budgets.
    pub registry: Arc<Registry>,
    /// Live `why`.
    pub live: Live,
    /// Time.
    pub clock: Clock,
    /// In and out.
    pub wakes: Wakes,
    /// `[dispatch]`.
    pub config: Arc<Config>,
}

/// The actor.
pub struct Dispatcher {
    dispatch: Dispatch,
    child: ChildContext,
}

impl Dispatcher {
    /// A dispatcher without memory.
    #[must_use]
    pub const fn new(dispatch: Dispatch, child: ChildContext) -> Self {
        Self { dispatch, child }
    }
}

impl Actor for Dispatcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.child.started();
        let rounds = Rounds { dispatch: self.dispatch.clone(), child: self.child.clone(), offers: Mutex::default() };
        ctx.spawn(rounds.run().into_actor(self));
    }
}

struct Rounds {
    dispatch: Dispatch,
    child: ChildContext,
    offers: Mutex<Offers>,
}

impl Rounds {
    async fn run(self) {
        let sweep = Duration::from_millis(self.dispatch.config.dispatch.sweep_ms);
        let mut sweep_at = self.dispatch.clock.now();
        loop {
            self.child.beat().await;
            let woken = tokio::select! {
                () = self.dispatch.clock.sleep_until(sweep_at) => None,
                () = self.child.beat_due() => continue,
                woken = self.dispatch.wakes.dispatch.next() => Some(woken),
            };
            if self.child.lifeline.check().is_err() {
                return;
            }
            if let Err(error) = self.round(woken.as_ref().map(|woken| &woken.ids)).await {
                tracing::warn!(error = %error, "a round of dispatch failed; the sweep makes it again");
            }
            if woken.is_none() {
                sweep_at = self.dispatch.clock.now().plus(sweep);
            }
        }
    }

    async fn round(&self, woken: Option<&std::collections::HashSet<GenerationId>>) -> Result<(), StoreError> {
        // Before anything further is submitted, the database knows what providers told us while it was away.
        let merged = self.dispatch.spool.merge(&self.dispatch.journal, &self.dispatch.reads).await?;
        merged.attempts.into_iter().for_each(|attempt| self.dispatch.wakes.reconcile.one(attempt));
        let now = self.dispatch.clock.now();
        for id in woken.into_iter().flatten() {
            self.offers().moved(*id);
        }
        if woken.is_none() {
            self.give_back_lost(now).await?;
            self.end_unsubmitted().await?;
        }
        for provider in self.dispatch.registry.all() {
            self.offer_of(provider).await?;
        }
        Ok(())
    }

    /// A lost offer's place in the budget is free again, unless its intent was committed after all.
    async fn give_back_lost(&self, now: Timestamp) -> Result<(), StoreError> {
        let after = Duration::from_millis(self.dispatch.config.dispatch.offer_ms);
        let lost = self.offers().expired(after, now);
        for (provider, offer) in lost {
            let submitted = self.dispatch.reads.attempt(offer.attempt).await?.is_some();
            let account = self.dispatch.registry.provider(&provider).and_then(|provider| provider.account(&offer.account));
            if let (false, Some(account)) = (submitted, account) {
                account.withdraw(offer.attempt);
            }
        }
        Ok(())
    }

    async fn end_unsubmitted(&self) -> Result<(), StoreError> {
        let now = self.dispatch.clock.now();
        let mut ids: BTreeSet<_> = self.dispatch.reads.cancel_wanted(ENDINGS).await?.into_iter().collect();
        ids.extend(self.dispatch.reads.queue_expired(now, ENDINGS).await?);
        for id in ids {
            let decide = |loaded: &crate::store::Loaded| unsubmitted::end(loaded, now);
            let after = commit(&self.dispatch.reads, &self.dispatch.journal, Start::Load(id), decide).await?;
            if after.is_some_and(|loaded| loaded.generation.state().terminal()) {
                self.dispatch.live.forget(id);
            }
        }
        Ok(())
    }

    async fn offer_of(&self, provider: &Arc<Provider>) -> Result<(), StoreError> {
        let now = self.dispatch.clock.now();
        let queued = self.dispatch.reads.queued(&provider.name, now, self.dispatch.config.dispatch.batch).await?;
        let mut full: Option<String> = provider.disabled.clone();
        for generation in queued {
            if self.offers().holds(generation.id) || generation.cancel_requested_at.is_some() {
                continue;
            }
            let why = match &full {
                Some(why) => why.clone(),
                None => match self.place(provider, &generation) {
                    Ok(offer) => {
                        self.hand_over(provider, offer);
                        continue;
                    }
                    Err(why) => why,
                },
            };
            self.dispatch.live.update(generation.id, |view| view.why = Some(why.clone()));
            full = Some(why);
        }
        Ok(())
    }

    /// A place in the budget of the first account that has one.
    fn place(&self, provider: &Provider, generation: &Generation) -> Result<Offer, String> {
        let now = self.dispatch.clock.now();
        let attempt = AttemptId::fresh();
        let mut why = format!("{}: no account is configured", provider.name);
        for account in &provider.accounts {
            match account.admit(attempt, now) {
                Ok(()) => return Ok(Offer { generation: generation.id, attempt, account: Arc::clone(&account.name) }),
                Err(wait) => why = wait.why,
            }
        }
        Err(why)
    }

    fn hand_over(&self, provider: &Provider, offer: Offer) {
        self.offers().put(Arc::clone(&provider.name), offer.clone(), self.dispatch.clock.now());
        if let Some(wake) = self.dispatch.wakes.offers.get(&provider.name) {
            wake.one(offer);
        }
    }

    fn offers(&self) -> std::sync::MutexGuard<'_, Offers> {
        self.offers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
