//! A dispatcher with one provider, of which the test is the adapter actor.

use std::{cell::RefCell, collections::VecDeque, sync::Arc, time::Duration};

use actix::Actor as _;
use futures_util::future::join_all;
use longtake::{
    clock::{Clock, ManualClock},
    config::{Config, providers::ProviderConfig},
    dispatch::dispatcher::{Dispatch, Dispatcher},
    domain::{
        attempt::AttemptEvent,
        batch::{Batch, BatchOptions, BatchPlace},
        generation::{GenerationEvent, GenerationState},
        id::{BatchId, GenerationId, KeyId, NodeId, ProjectId},
        limits::Limits,
        money::Micros,
        record::{Attempt, Generation},
        retry::RetryPolicy,
        settle::Ending,
        slots::Slots,
    },
    lifeline::Lifeline,
    observe::{ChildContext, Live, Pulses},
    providers::{
        catalogue::Catalogue,
        registry::{Account, Registry},
    },
    store::{
        Birth, Journal, Load, Loaded, NewAttempt, Store, Transition,
        change::{Change, End, Start, commit},
    },
    wake::{Offer, Wakes},
};
use tokio::runtime::Handle as Runtime;

use crate::store::bed::{Bed, NOW, attempt, birth, generation, journal};

/// Bounds every wait: far beyond what a slow machine needs.
const BOUND: Duration = Duration::from_secs(120);

/// What a line costs.
pub const PRICE: Micros = Micros(350_000);

/// The provider of [`crate::store::bed::generation`].
const PROVIDER: &str = "kling";

pub struct Desk<'a> {
    pub store: Store,
    pub journal: Journal,
    bed: &'a Bed,
    registry: Arc<Registry>,
    wakes: Wakes,
    clock: ManualClock,
    config: Arc<Config>,
    offers: RefCell<VecDeque<Offer>>,
}

impl<'a> Desk<'a> {
    /// A desk whose provider has so many slots (0: as many as it takes), with a store that remembers so many rows.
    pub async fn open(bed: &'a Bed, slots: u32, recent: usize) -> Self {
        let mut config = Config::default();
        let provider = ProviderConfig {
            base_url: "http://127.0.0.1:9".to_owned(),
            allow_loopback: true,
            api_key: Some("test-key".into()),
            requests_per_minute: 0,
            concurrency: slots,
            ..ProviderConfig::default()
        };
        config.providers.insert(PROVIDER.to_owned(), provider);
        let registry = Arc::new(Registry::new(&config).unwrap());
        let clock = ManualClock::at(NOW);
        let store_config = longtake::config::store::StoreConfig { recent, ..bed.config.clone() };
        let (folder, runtime) = (bed.folder.path(), Runtime::current());
        let store = Store::open(&store_config, folder, NodeId::fresh(), Clock::Manual(clock.clone()), &runtime).await.unwrap();
        Self {
            journal: journal(&store),
            bed,
            wakes: Wakes::new(registry.all().map(|provider| Arc::clone(&provider.name))),
            registry,
            store,
            clock,
            config: Arc::new(config),
            offers: RefCell::default(),
        }
    }

    /// Starts the dispatcher; its first sweep comes at once.
    pub fn start(&self) {
        let clock = Clock::Manual(self.clock.clone());
        let dispatch = Dispatch {
            reads: self.store.reads(),
            journal: self.journal.clone(),
            spool: self.store.spool(),
            registry: Arc::clone(&self.registry),
            catalogue: Arc::new(Catalogue::new(&self.config).unwrap()),
            live: Live::default(),
            clock: clock.clone(),
            wakes: self.wakes.clone(),
            config: Arc::clone(&self.config),
        };
        let child = ChildContext {
            name: "dispatcher".to_owned(),
            pulse: Pulses::default().of("dispatcher"),
            lifeline: Lifeline::default(),
            clock,
            sockets: Runtime::current(),
            beat: Duration::from_secs(1),
        };
        Dispatcher::new(dispatch, child).start();
    }

    /// Lets the next sweep come.
    pub fn sweep(&self) {
        self.pass(Duration::from_millis(self.config.dispatch.sweep_ms));
    }

    /// Lets time pass.
    pub fn pass(&self, span: Duration) {
        self.clock.advance(span);
    }

    /// Writes a generation of one output.
    pub async fn born(&self, row: Generation) -> Generation {
        let row = single(row);
        self.journal.birth(birth(&row)).await.unwrap();
        row
    }

    /// Writes many, in the order of their ids.
    pub async fn born_many(&self, count: usize, row: impl Fn() -> Generation) -> Vec<Generation> {
        let rows: Vec<_> = (0..count).map(|_| single(row())).collect();
        for some in rows.chunks(2_000) {
            let births = some.iter().map(|row| self.journal.birth(birth(row)));
            join_all(births).await.into_iter().for_each(Result::unwrap);
        }
        rows
    }

    pub fn wake(&self, id: GenerationId) {
        self.wakes.dispatch.one(id);
    }

    /// The next offer.
    pub async fn offer(&self) -> Offer {
        let taken = || self.offers.borrow_mut().pop_front();
        if let Some(offer) = taken() {
            return offer;
        }
        let woken = tokio::time::timeout(BOUND, self.wakes.offers[PROVIDER].next()).await.expect("an offer");
        self.offers.borrow_mut().extend(woken.ids);
        taken().unwrap()
    }

    /// Commits the intent.
    pub async fn submitted(&self, offer: &Offer) {
        self.step(offer, |loaded| {
            let price = loaded.generation.call_price;
            let new = Attempt { id: offer.attempt, price, ..attempt(&loaded.generation, 1) };
            let mut change = Change::of(&loaded.generation, NOW);
            change.advance(&GenerationEvent::Intent { slot: 0 }, None, "submitted").ok()?;
            change.intent(NewAttempt { attempt: new, request: serde_json::Value::Null }, "submitted");
            Some(change.entry())
        })
        .await;
    }

    /// The provider has it.
    pub async fn accepted(&self, offer: &Offer) {
        self.step(offer, |loaded| {
            let mut attempt = loaded.attempts.first()?.clone();
            (attempt.charged, attempt.submitted_at) = (true, Some(NOW));
            let mut change = Change::of(&loaded.generation, NOW);
            change.attempt(&mut attempt, AttemptEvent::Accepted, "accepted").ok()?;
            Some(change.entry())
        })
        .await;
    }

    /// It is accepted, finished and stored.
    pub async fn delivered(&self, offer: &Offer) {
        self.accepted(offer).await;
        self.step(offer, |loaded| {
            let mut attempt = loaded.attempts.first()?.clone();
            let mut change = Change::of(&loaded.generation, NOW);
            change.attempt(&mut attempt, AttemptEvent::Finished, "finished").ok()?;
            Some(change.entry())
        })
        .await;
        self.step(offer, |loaded| ended(loaded, AttemptEvent::Stored, Ending::Delivered)).await;
        self.free(offer);
    }

    /// The provider refuses it for good.
    pub async fn failed(&self, offer: &Offer) {
        self.step(offer, |loaded| ended(loaded, AttemptEvent::Refused, Ending::Final)).await;
        self.free(offer);
    }

    async fn step(&self, offer: &Offer, decide: impl Fn(&Loaded) -> Option<Transition>) {
        let done = commit(&self.store.reads(), &self.journal, Start::Load(offer.generation), decide).await.unwrap();
        assert!(done.is_some(), "{} takes the step", offer.generation);
        self.wake(offer.generation);
    }

    /// A visible batch of lines of one output; `tweak` sees the lines before.
    pub async fn load(
        &self,
        options: BatchOptions,
        count: u32,
        tweak: impl Fn(&[Generation], &mut Birth),
    ) -> (Batch, Vec<Generation>) {
        let batch = Batch::loading(BatchId::fresh(), (ProjectId::fresh(), KeyId::fresh()), 17, options, NOW);
        let mut load = Load::begin(&self.journal, batch).await.unwrap();
        let (mut births, mut rows) = (Vec::new(), Vec::new());
        for index in 0..count {
            let batch = load.batch();
            let row = Generation { key: batch.key, call_price: PRICE, ..single(generation(batch.project)) };
            let mut birth = birth(&Generation { batch: Some(BatchPlace { id: batch.id, index, custom_id: None }), ..row });
            tweak(&rows, &mut birth);
            rows.push(birth.generation.clone());
            births.push(birth);
        }
        while !births.is_empty() {
            let rest = births.split_off(births.len().min(1_000));
            load.add(std::mem::replace(&mut births, rest), NOW).await.unwrap();
        }
        (load.publish(Limits::default(), None, NOW).await.unwrap(), rows)
    }

    pub async fn batch(&self, id: BatchId) -> Batch {
        self.store.reads().batch_by_id(id).await.unwrap().unwrap()
    }

    pub async fn row(&self, id: GenerationId) -> Generation {
        self.store.reads().generation(id).await.unwrap().unwrap()
    }

    pub fn everywhere(&self) {
        self.wakes.dispatch.everywhere();
    }

    /// Offers that were made and not asked for yet.
    pub fn waiting_offers(&self) -> usize {
        let more = self.wakes.offers[PROVIDER].take().map_or(0, |woken| woken.ids.len());
        self.offers.borrow().len() + more
    }

    /// The provider is done with it: its slot is free again.
    pub fn free(&self, offer: &Offer) {
        self.account(offer).budget.release(offer.attempt);
        self.wake(offer.generation);
    }

    /// The offer was not carried out.
    pub fn withdraw(&self, offer: &Offer) {
        self.account(offer).withdraw(offer.attempt);
        self.wake(offer.generation);
    }

    fn account(&self, offer: &Offer) -> Arc<Account> {
        Arc::clone(self.registry.provider(PROVIDER).unwrap().account(&offer.account).unwrap())
    }

    /// How many generations are in a state, by its number.
    pub async fn states(&self, state: i16) -> i64 {
        self.bed.number(&format!("SELECT count(*) FROM generations WHERE state = {state}")).await
    }

    /// Waits until something is so.
    pub async fn until(&self, what: &str, so: impl AsyncFn() -> bool) {
        let seen = async {
            while !so().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(BOUND, seen).await.unwrap_or_else(|_| panic!("never: {what}"));
    }

    pub async fn close(self) {
        self.store.close().await;
    }
}

/// The attempt ends, and its slot with it.
fn ended(loaded: &Loaded, event: AttemptEvent, ending: Ending) -> Option<Transition> {
    let mut attempt = loaded.attempts.first()?.clone();
    let policy = RetryPolicy {
        max_attempts: 3,
        initial_delay: Duration::from_secs(1),
        multiplier: 2.0,
        max_delay: Duration::from_secs(30),
        jitter: false,
    };
    let end = End { event, ending, failure: None, shown: None, policy: &policy, unit: 0.5, reason: "ended" };
    let mut change = Change::of(&loaded.generation, NOW);
    change.end(loaded, &mut attempt, &end).ok()?;
    Some(change.entry())
}

fn single(row: Generation) -> Generation {
    let mut row = Generation { outputs: 1, ..row };
    row.progress.slots = Slots::owed(1, 1);
    assert_eq!(row.state(), GenerationState::Queued);
    row
}
