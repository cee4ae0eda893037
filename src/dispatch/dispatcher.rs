//! The dispatcher. Woken by births, by places that became free, and by a slow sweep; offers queued generations to the adapter actors
//! within the budgets, and does the work at the end of the line. If it dies, its offers are forgotten with it and made again from the
//! rows; an offer made twice loses at the compare-and-set of its intent.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use actix::{Actor, AsyncContext, Context, WrapFuture};

use crate::{
    clock::Clock,
    config::Config,
    dispatch::{
        endings::{self, Cursors},
        look::{Around, Look},
        offers::Offers,
        plan::Turns,
    },
    domain::{
        generation::GenerationState,
        id::{AttemptId, GenerationId},
        record::{Generation, ProviderName},
        time::Timestamp,
    },
    observe::{ChildContext, Live},
    providers::{
        catalogue::Catalogue,
        registry::{Provider, Registry},
    },
    store::{Journal, Reads, Remembered, Spool, StoreError},
    wake::{Offer, Wakes, Woken},
};

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
    /// Models, for how long they may take.
    pub catalogue: Arc<Catalogue>,
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
            offers: Offers::default(),
            turns: HashMap::new(),
            crowd,
            batches: true,
            cursors: Cursors::default(),
        };
        ctx.spawn(rounds.run().into_actor(self));
    }
}

struct Rounds {
    dispatch: Dispatch,
    child: ChildContext,
    offers: Offers,
    /// Who went when, by provider.
    turns: HashMap<ProviderName, Turns>,
    /// Providers at which something that could go waits for a place, as far as the last look showed: whose turn it is, is the plan's
    /// decision over all that waits.
    crowd: HashSet<ProviderName>,
    /// Whether there were open batches when somebody last asked everywhere.
    batches: bool,
    cursors: Cursors,
}

/// What a look at a provider is for. What is outside of batches and could go at once needs none, where nobody waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sought {
    /// No look.
    Nothing,
    /// Lines of batches: a place of one may have become free.
    Batches,
    /// Whatever waits.
    Anything,
}

/// What wakes told.
struct Heard {
    /// What any provider may have to offer.
    sought: Sought,
    /// What others may have waited for.
    ended: Vec<GenerationId>,
    /// Of which nothing is remembered, as of all that a client wished cancelled.
    unknown: Vec<GenerationId>,
}

impl Rounds {
    async fn run(mut self) {
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

    async fn round(&mut self, woken: Option<&Woken<GenerationId>>) -> Result<(), StoreError> {
        // Before anything further is submitted, the database knows what providers told us while it was away.
        let merged = self.dispatch.spool.merge(&self.dispatch.journal, &self.dispatch.reads).await?;
        merged.attempts.into_iter().for_each(|attempt| self.dispatch.wakes.reconcile.one(attempt));
        let Some(woken) = woken else { return self.sweep().await };
        let heard = self.hear(woken).await;
        if woken.everywhere {
            self.batches = self.any_batches().await?;
        }
        if woken.everywhere || !heard.ended.is_empty() {
            endings::batches(&self.dispatch).await;
        }
        endings::cancelled(&self.dispatch, &heard.unknown).await;
        endings::dependents(&self.dispatch, &heard.ended).await;
        self.offer_all(heard.sought).await
    }

    /// Takes in whom the wakes name and offers who can go at once.
    async fn hear(&mut self, woken: &Woken<GenerationId>) -> Heard {
        let now = self.dispatch.clock.now();
        let sought = if woken.everywhere { Sought::Anything } else { Sought::Nothing };
        let mut heard = Heard { sought, ended: Vec::new(), unknown: Vec::new() };
        for id in &woken.ids {
            let remembered = self.dispatch.reads.remembered(*id);
            if !self.in_hand(*id, &remembered).await {
                self.offers.moved(*id);
            }
            match remembered {
                Remembered::Row(row) => {
                    // Its place may have become free for another line of its batch.
                    if row.batch.is_some() {
                        heard.sought = heard.sought.max(Sought::Batches);
                        heard.ended.extend(Some(*id).filter(|_| row.state().terminal()));
                    }
                    self.offer_known(&row, now);
                }
                // Its place may have become free, for those that wait for one.
                Remembered::Over { batch: false } => {}
                Remembered::Over { batch: true } => {
                    heard.sought = heard.sought.max(Sought::Batches);
                    heard.ended.push(*id);
                }
                Remembered::Nothing => {
                    heard.sought = Sought::Anything;
                    heard.ended.push(*id);
                    heard.unknown.push(*id);
                }
            }
        }
        heard
    }

    /// Whether what a wake names is on offer and has not moved: the wake of a birth may come after a look at the database has found it.
    /// An offer that came to nothing has given its place in the budget back.
    async fn in_hand(&self, id: GenerationId, remembered: &Remembered) -> bool {
        let Some((provider, offer)) = self.offers.open(id) else { return false };
        let account = self.dispatch.registry.provider(provider).and_then(|provider| provider.account(&offer.account));
        let held = account.is_some_and(|account| account.budget.holds(offer.attempt));
        match remembered {
            Remembered::Row(row) => held && self.offers.made_of(row).is_some(),
            Remembered::Over { .. } => false,
            // Of a row that is not remembered, its attempt tells.
            Remembered::Nothing => held && matches!(self.dispatch.reads.attempt(offer.attempt).await, Ok(None)),
        }
    }

    async fn any_batches(&self) -> Result<bool, StoreError> {
        Ok(!self.dispatch.reads.open_batches(None, 1).await?.is_empty())
    }

    async fn sweep(&mut self) -> Result<(), StoreError> {
        self.batches = self.any_batches().await?;
        self.give_back_lost().await?;
        endings::sweep(&self.dispatch, &mut self.cursors).await;
        self.offer_all(Sought::Anything).await?;
        endings::budgets(&self.dispatch).await;
        Ok(())
    }

    /// Looks at every provider, for what is sought; where others wait for a place, for anything.
    async fn offer_all(&mut self, sought: Sought) -> Result<(), StoreError> {
        let providers: Vec<_> = self.dispatch.registry.all().filter(|provider| provider.disabled.is_none()).cloned().collect();
        for provider in providers {
            let sought = if self.crowd.contains(&provider.name) { Sought::Anything } else { sought };
            if sought != Sought::Nothing {
                self.offer_of(&provider, sought).await?;
            }
        }
        Ok(())
    }

    /// Offers a generation of which the row is at hand. Where others wait, and where a batch has its conditions, the plan
    /// says whose turn it is.
    fn offer_known(&mut self, row: &Generation, now: Timestamp) {
        if row.state() != GenerationState::Queued {
            return;
        }
        // What was said of its last submit is over.
        self.dispatch.live.forget(row.id);
        let Some(provider) = self.dispatch.registry.provider(&row.provider).cloned() else { return };
        let wanted = row.progress.not_before <= now && row.cancel_requested_at.is_none() && !self.offers.holds(row.id);
        if !wanted || row.batch.is_some() || provider.disabled.is_some() || self.crowd.contains(&provider.name) {
            return;
        }
        match self.place(&provider, row, now) {
            Some(offer) => self.hand_over(&provider, row, offer, now),
            None => drop(self.crowd.insert(Arc::clone(&provider.name))),
        }
    }

    /// A lost offer's place in the budget is free again, unless its intent was committed after all.
    async fn give_back_lost(&mut self) -> Result<(), StoreError> {
        let after = Duration::from_millis(self.dispatch.config.dispatch.offer_ms);
        for (provider, offer) in self.offers.expired(after, self.dispatch.clock.now()) {
            let submitted = self.dispatch.reads.attempt(offer.attempt).await?.is_some();
            let account = self.dispatch.registry.provider(&provider).and_then(|provider| provider.account(&offer.account));
            if let (false, Some(account)) = (submitted, account) {
                account.withdraw(offer.attempt);
            }
        }
        Ok(())
    }

    /// Lets those go at a provider whose turn it is, as far as there is room.
    async fn offer_of(&mut self, provider: &Arc<Provider>, sought: Sought) -> Result<(), StoreError> {
        let now = self.dispatch.clock.now();
        // Nobody need be asked who goes next where nobody can; and until it is known that nobody waits, somebody may.
        self.crowd.insert(Arc::clone(&provider.name));
        if provider.room(now).is_ok() && !self.fill(provider, sought, now).await? {
            self.crowd.remove(&provider.name);
        }
        Ok(())
    }

    /// Offers head after head until nothing waits or nothing has room; answers whether anything that could go is left.
    async fn fill(&mut self, provider: &Arc<Provider>, sought: Sought, now: Timestamp) -> Result<bool, StoreError> {
        let dispatch = self.dispatch.clone();
        let (page, step) = (dispatch.config.dispatch.batch, Duration::from_secs(dispatch.config.dispatch.priority_s));
        let most = usize::try_from(page).unwrap_or(usize::MAX);
        let (batches, singles) = (self.batches, sought == Sought::Anything);
        let mut look =
            Look::at(&provider.name, now, page, Around { reads: &dispatch.reads, offers: &self.offers, batches, singles })
                .await?;
        self.turns(provider).forget_idle(&look.heads(), step, now);
        while let Some(at) = self.turns(provider).next(&look.heads(), step, now) {
            let Some(row) = look.row(at).cloned() else { break };
            // What was handed over is to move before more is: their queue is bounded.
            if self.offers.at(&provider.name) >= most {
                return Ok(true);
            }
            let Some(offer) = self.place(provider, &row, now) else { return Ok(true) };
            self.hand_over(provider, &row, offer, now);
            if provider.room(now).is_err() {
                return Ok(true);
            }
            look.take(at, Around { reads: &dispatch.reads, offers: &self.offers, batches, singles }).await?;
        }
        Ok(look.more())
    }

    fn turns(&mut self, provider: &Provider) -> &mut Turns {
        self.turns.entry(Arc::clone(&provider.name)).or_default()
    }

    /// A place in the budget of the first account that has one.
    fn place(&self, provider: &Provider, row: &Generation, now: Timestamp) -> Option<Offer> {
        let attempt = AttemptId::fresh();
        let account = provider.accounts.iter().find(|account| account.admit(attempt, now).is_ok())?;
        Some(Offer { generation: row.id, attempt, account: Arc::clone(&account.name) })
    }

    fn hand_over(&mut self, provider: &Provider, row: &Generation, offer: Offer, now: Timestamp) {
        self.turns(provider).went(row.project, row.priority, now);
        self.offers.put(row, offer.clone(), now);
        if let Some(wake) = self.dispatch.wakes.offers.get(&provider.name) {
            wake.one(offer);
        }
    }
}
