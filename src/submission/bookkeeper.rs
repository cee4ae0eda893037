//! The bookkeeper. Woken by its interval alone; reads what is left on the accounts where a provider tells it, to be shown beside our
//! own books. Writes nothing. If it dies, a new one goes on with the same plan; a try that was lost comes again.

use std::{sync::Arc, time::Duration};

use actix::{Actor, AsyncContext, Context, WrapFuture};

use crate::{
    clock::Clock,
    config::Config,
    domain::{balance::Reading, record::Endpoint},
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
    store::Reads,
};

/// How often it looks who is due: far below any sensible interval.
const LOOK: Duration = Duration::from_millis(500);

/// What it needs.
#[derive(Clone)]
pub struct Bookkeeping {
    /// Our own books.
    pub reads: Reads,
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
    if every.is_zero() {
        return child.beat_forever().await;
    }
    let mut look_at = books.clock.now();
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
    books.balances.take(&key, told, books.clock.now());
}

fn why(fault: &Fault) -> String {
    match &fault.provider_message {
        Some(said) => format!("{}: {said}", fault.message),
        None => fault.message.clone(),
    }
}
