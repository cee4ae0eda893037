//! The bookkeeper. Woken by its interval alone; reads what is left on the accounts where a provider tells it, to be shown beside our
//! own books, one row an account, and removes idempotency keys whose time is over. If it dies, a new one goes on with the same plan; a try
//! that was lost comes again.

use std::{sync::Arc, time::Duration};

use actix::{Actor, AsyncContext, Context, WrapFuture};

use crate::{
    clock::Clock,
    config::Config,
    domain::{balance::Reading, claim, record::Endpoint, time::Timestamp},
    flights::Flights,
    observe::{
        ChildContext,
        balances::{AccountKey, Balances},
    },
    providers::{
        adapter::{Fault, HttpCall},
        executor::Executor,
        registry::{Account, Provider, Registry},
    },
    store::{KeptBalances, Reads, Retention},
};

/// How often it looks who is due: far below any sensible interval.
const LOOK: Duration = Duration::from_millis(500);

/// How often old idempotency keys are looked for: what is kept for two days may stay ten minutes longer.
const SWEEP: Duration = Duration::from_secs(600);

/// What it needs.
#[derive(Clone)]
pub struct Bookkeeping {
    /// Our own books.
    pub reads: Reads,
    /// Removes idempotency keys.
    pub retention: Retention,
    /// Where commands beside the server find what is known.
    pub kept: KeptBalances,
    /// Providers.
    pub registry: Arc<Registry>,
    /// IO, through its budgets.
    pub executor: Executor,
    /// What is known.
    pub balances: Balances,
    /// Time.
    pub clock: Clock,
    /// `[spend]`.
    pub config: Arc<Config>,
}

/// The actor.
pub struct Bookkeeper {
    books: Bookkeeping,
    flights: Arc<Flights<AccountKey>>,
    child: ChildContext,
}

impl Bookkeeper {
    /// A bookkeeper; `flights` holds its work in hand.
    #[must_use]
    pub const fn new(books: Bookkeeping, flights: Arc<Flights<AccountKey>>, child: ChildContext) -> Self {
        Self { books, flights, child }
    }
}

impl Actor for Bookkeeper {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.child.started();
        let rounds = rounds(self.books.clone(), Arc::clone(&self.flights), self.child.clone());
        ctx.spawn(rounds.into_actor(self));
    }
}

async fn rounds(books: Bookkeeping, flights: Arc<Flights<AccountKey>>, child: ChildContext) {
    let every = Duration::from_secs(books.config.spend.balances_s);
    let mut look_at = books.clock.now();
    let mut sweep_at = look_at;
    loop {
        child.beat().await;
        child.pulse.works_since(flights.oldest_since());
        tokio::select! {
            () = books.clock.sleep_until(look_at) => {}
            () = child.beat_due() => continue,
        }
        if child.lifeline.check().is_err() {
            return;
        }
        let now = books.clock.now();
        look_at = now.plus(LOOK);
        if sweep_at <= now {
            let more = beating(&child, sweep(&books, now)).await;
            sweep_at = if more { look_at } else { now.plus(SWEEP) };
        }
        if !every.is_zero() {
            read_those_due(&books, &flights, &child, every);
        }
    }
}

/// Waits for work that has a longest time of its own, and beats meanwhile.
async fn beating<T>(child: &ChildContext, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = child.beat_due() => child.beat().await,
        }
    }
}

/// One commit; whether there may be more to remove.
async fn sweep(books: &Bookkeeping, now: Timestamp) -> bool {
    books.retention.claims(now.minus(claim::KEPT)).await.unwrap_or_else(|error| {
        tracing::warn!(error = &error as &dyn std::error::Error, "old idempotency keys were not removed; tried again later");
        false
    })
}

fn read_those_due(books: &Bookkeeping, flights: &Flights<AccountKey>, child: &ChildContext, every: Duration) {
    let now = books.clock.now();
    for (provider, account) in accounts(&books.registry) {
        let key: AccountKey = (Arc::clone(&provider.name), Arc::clone(&account.name));
        let Some((endpoint, call)) = provider.balance(now) else { continue };
        if !books.balances.due(&key, every, rand::random(), now) {
            continue;
        }
        // A table that is full, or a try still under way: the next interval tries again.
        let reading = read(books.clone(), (provider, account), (endpoint, call), key.clone());
        let _ = flights.start(key, &child.sockets, reading);
    }
}

/// Every account that may be used.
fn accounts(registry: &Registry) -> impl Iterator<Item = (Arc<Provider>, Arc<Account>)> {
    let usable = registry.all().filter(|provider| provider.disabled.is_none());
    usable.flat_map(|provider| provider.accounts.iter().map(move |account| (Arc::clone(provider), Arc::clone(account))))
}

/// One call to one account, and what our books say at the same time.
async fn read(
    books: Bookkeeping,
    (provider, account): (Arc<Provider>, Arc<Account>),
    (endpoint, call): (Endpoint, HttpCall),
    key: AccountKey,
) {
    let told = match books.executor.ask(&provider, &account, &endpoint, call).await {
        Ok(reply) => provider.adapter.read_balance(&reply),
        Err(fault) => Err(fault),
    };
    let told = match told {
        Ok(balances) => match books.reads.charged_by(&provider.name).await {
            Ok(charged) => Ok(Reading { balances, charged, at: books.clock.now() }),
            Err(error) => Err(error.to_string()),
        },
        Err(fault) => Err(why(&fault)),
    };
    if let Err(error) = &told {
        tracing::warn!(provider = %provider.name, account = %account.name, error, "a balance could not be read");
    }
    if let Some(known) = books.balances.take(&key, told, books.clock.now())
        && let Err(error) = books.kept.keep(&known).await
    {
        // For commands beside the server only; the next reading writes it again.
        tracing::warn!(provider = %provider.name, account = %account.name, error = %error, "a balance could not be written down");
    }
}

fn why(fault: &Fault) -> String {
    match &fault.provider_message {
        Some(said) => format!("{}: {said}", fault.message),
        None => fault.message.clone(),
    }
}
