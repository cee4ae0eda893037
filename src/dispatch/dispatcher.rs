//! The dispatcher. Woken by births, by places that became free, and by a slow sweep; offers queued generations to the adapter actors
//! within the budgets, and ends what may not be submitted any more. If it dies, its offers are forgotten with it and made again from
//! the rows; an offer made twice loses at the compare-and-set of its intent.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use actix::{Actor, AsyncContext, Context, WrapFuture};

use crate::{
    clock::Clock,
    config::Config,
    dispatch::{offers::Offers, unsubmitted},
    domain::{
        generation::GenerationState,
        id::{AttemptId, GenerationId},
        record::{Generation, ProviderName},
        time::Timestamp,
    },
    observe::{ChildContext, Live},
    providers::registry::{Provider, Registry},
    store::{
        Journal, Reads, Remembered, Spool, StoreError,
        change::{Start, commit},
    },
    wake::{Offer, Wakes, Woken},
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
        // Until the first sweep nobody knows what waits.
        let crowd = self.dispatch.registry.all().map(|provider| Arc::clone(&provider.name)).collect();
        let rounds = Rounds {
            dispatch: self.dispatch.clone(),
            child: self.child.clone(),
            offers: Mutex::default(),
            crowd: Mutex::new(crowd),
        };
        ctx.spawn(rounds.run().into_actor(self));
    }
}

struct Rounds {
    dispatch: Dispatch,
    child: ChildContext,
    offers: Mutex<Offers>,
    /// Providers at which something due waits for a place, as far as the last look showed: their order is the database's.
    crowd: Mutex<HashSet<ProviderName>>,
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
            if let Err(error) = self.round(woken.as_ref()).await {
                tracing::warn!(error = %error, "a round of dispatch failed; the sweep makes it again");
            }
            if woken.is_none() {
                sweep_at = self.dispatch.clock.now().plus(sweep);
            }
        }
    }

    async fn round(&self, woken: Option<&Woken<GenerationId>>) -> Result<(), StoreError> {
        // Before anything further is submitted, the database knows what providers told us while it was away.
        let merged = self.dispatch.spool.merge(&self.dispatch.journal, &self.dispatch.reads).await?;
        merged.attempts.into_iter().for_each(|attempt| self.dispatch.wakes.reconcile.one(attempt));
        let now = self.dispatch.clock.now();
        let Some(woken) = woken else {
            self.give_back_lost(now).await?;
            self.end_unsubmitted().await?;
            return self.offer_all(|_| true).await;
        };
        let mut everywhere = woken.everywhere;
        for id in &woken.ids {
            self.offers().moved(*id);
            match self.dispatch.reads.remembered(*id) {
                Remembered::Row(generation) => self.offer_known(&generation, now),
                // Its place may have become free, for those that wait for one.
                Remembered::Over => {}
                Remembered::Nothing => everywhere = true,
            }
        }
        // A provider that takes nothing is looked at by the sweep only.
        self.offer_all(|provider| provider.disabled.is_none() && (everywhere || self.crowd().contains(&provider.name))).await
    }

    async fn offer_all(&self, which: impl Fn(&Provider) -> bool) -> Result<(), StoreError> {
        for provider in self.dispatch.registry.all().filter(|provider| which(provider)) {
            self.offer_of(provider).await?;
        }
        Ok(())
    }

    /// Offers a generation of which the row is at hand. Where others wait, the database says whose turn it is.
    fn offer_known(&self, generation: &Generation, now: Timestamp) {
        let due = generation.state() == GenerationState::Queued && generation.progress.not_before <= now;
        let Some(provider) = self.dispatch.registry.provider(&generation.provider) else { return };
        if !due || provider.disabled.is_some() || self.crowd().contains(&provider.name) || !self.wanted(generation) {
            return;
        }
        match self.place(provider, generation) {
            Ok(offer) => self.hand_over(provider, offer),
            Err(why) => {
                self.dispatch.live.update(generation.id, |view| view.why = Some(why));
                self.crowd().insert(Arc::clone(&provider.name));
            }
        }
    }

    /// Whether it is neither offered already nor cancelled.
    fn wanted(&self, generation: &Generation) -> bool {
        !self.offers().holds(generation.id) && generation.cancel_requested_at.is_none()
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
        let page = self.dispatch.config.dispatch.batch;
        let queued = self.dispatch.reads.queued(&provider.name, now, page).await?;
        let more = u64::try_from(queued.len()).is_ok_and(|found| found >= page);
        let mut full: Option<String> = provider.disabled.clone();
        for generation in queued {
            if !self.wanted(&generation) {
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
        if more || full.is_some() {
            self.crowd().insert(Arc::clone(&provider.name));
        } else {
            self.crowd().remove(&provider.name);
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

    fn crowd(&self) -> MutexGuard<'_, HashSet<ProviderName>> {
        self.crowd.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn offers(&self) -> MutexGuard<'_, Offers> {
        self.offers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
