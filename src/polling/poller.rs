//! The polling actor. Woken by attempts that began to run, by cancels, by the clock and by a slow sweep; writes nothing itself (its
//! polls do, when something ended). If it dies, a new one reads the running attempts again; polls in flight go on without it.

use std::{sync::Arc, time::Duration};

use actix::{Actor, AsyncContext, Context, WrapFuture};

use crate::{
    domain::{
        id::{AttemptId, GenerationId},
        schedule::Strategy,
        time::Timestamp,
    },
    flights::Flights,
    observe::ChildContext,
    polling::{
        cancel,
        plan::{Room, Waiting},
        poll::{Polling, Shared},
        route::Route,
    },
    store::WaitingRow,
    wake::Woken,
};

/// How often a page of the running attempts is looked through for what lost wakes left behind, once all are known; a wake is lost
/// when the process ends, after which all are read, or when too many come at once, after which all are read, too.
const SWEEP: Duration = Duration::from_secs(1);

/// How often cancelled generations are looked for.
const CANCELS: Duration = Duration::from_secs(10);

/// A page that could not be read is read again after this.
const AGAIN: Duration = Duration::from_millis(200);

/// Ids that are read at once.
const IDS: usize = 500;

/// A place is tried again after this when an earlier poll of the same attempt is still in flight.
const STILL_IN_FLIGHT: Duration = Duration::from_secs(1);

/// Of the polls in flight one account has at most this share, in quarters.
const SHARE: usize = 3;

/// The actor.
pub struct Poller {
    polling: Polling,
    flights: Arc<Flights<AttemptId>>,
    child: ChildContext,
}

impl Poller {
    /// A poller that knows nothing yet; it reads the rows when it starts.
    #[must_use]
    pub fn new(polling: Polling, flights: Arc<Flights<AttemptId>>, child: ChildContext) -> Self {
        Self { polling, flights, child }
    }
}

impl Actor for Poller {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.child.started();
        let now = self.polling.clock.now();
        let rounds = Rounds {
            polling: self.polling.clone(),
            flights: Arc::clone(&self.flights),
            child: self.child.clone(),
            shared: Arc::new(Shared::new(&self.polling.config.polling, self.polling.times.clone())),
            reading: Reading { after: None, all: true, next: now, began: now },
            cancels_at: now,
        };
        // The rounds never end by themselves; a panic in them ends the actor, which supervision sees.
        ctx.spawn(rounds.run().into_actor(self));
    }
}

/// How far the running attempts are read.
#[derive(Debug, Clone, Copy)]
struct Reading {
    /// The last one of the page before.
    after: Option<AttemptId>,
    /// Everything is to be read, page by page without a pause.
    all: bool,
    /// When the next page is due.
    next: Timestamp,
    /// When the first one was read.
    began: Timestamp,
}

/// The loop behind the actor, outside its context's timers.
struct Rounds {
    polling: Polling,
    flights: Arc<Flights<AttemptId>>,
    child: ChildContext,
    shared: Arc<Shared>,
    reading: Reading,
    cancels_at: Timestamp,
}

impl Rounds {
    async fn run(mut self) {
        self.recall().await;
        loop {
            self.child.beat().await;
            if self.child.lifeline.check().is_err() {
                return;
            }
            self.read_on().await;
            if self.polling.clock.now() >= self.cancels_at {
                self.look_for_cancels().await;
            }
            self.start_due();
            let clock = self.polling.clock.clone();
            let wakes = self.polling.wakes.clone();
            tokio::select! {
                () = clock.sleep_until(self.next_round()) => {}
                () = self.child.beat_due() => {}
                () = self.shared.changed.notified() => {}
                woken = wakes.polling.next() => self.take_in(woken).await,
                woken = wakes.poll_now.next() => self.pull(woken).await,
                woken = wakes.cancel.next() => self.cancels(woken).await,
            }
        }
    }

    /// How long models took before this start, so that a restart does not begin cold. Only a help: what fails is left out.
    async fn recall(&self) {
        match self.polling.reads.took_lately().await {
            Ok(all) => {
                for took in all {
                    let model: Arc<str> = took.model.into();
                    if matches!(self.strategy(&model), Strategy::Adaptive(_)) {
                        self.shared.learner.recalled(&model, took.finished_at.since(took.submitted_at));
                    }
                }
            }
            Err(error) => tracing::info!(error = %error, "how long models took is not read; it is learned anew"),
        }
    }

    fn next_round(&self) -> Timestamp {
        let upkeep = self.reading.next.min(self.cancels_at);
        let room = self.room();
        let due = if room.free == 0 { None } else { self.shared.plan().next_due(room.each) };
        due.map_or(upkeep, |due| due.min(upkeep))
    }

    fn room(&self) -> Room {
        let all = self.polling.config.polling.concurrency;
        Room { free: all.saturating_sub(self.flights.len()), each: (all * SHARE / 4).max(1) }
    }

    fn start_due(&self) {
        let now = self.polling.clock.now();
        let admit = |route: &Route| {
            let provider = self.polling.registry.provider(&route.provider);
            let account = provider.and_then(|provider| provider.account(&route.account));
            account.map_or(Ok(()), |account| account.budget.try_poll(now))
        };
        let due = self.shared.plan().take_due(now, self.room(), admit);
        for task in due {
            let poll = self.polling.clone().poll(task.clone(), Arc::clone(&self.shared));
            if !matches!(self.flights.start(task.id, &self.child.sockets, poll), Ok(true)) {
                self.shared.put_back(&task, Some(STILL_IN_FLIGHT), now);
            }
        }
        self.child.pulse.works_since(self.flights.oldest_since());
    }

    /// Reads the next page of running attempts, when it is time: at the start all of them one after the other, with polls leaving
    /// in between; later one page in a while, round and round.
    async fn read_on(&mut self) {
        let now = self.polling.clock.now();
        if now < self.reading.next {
            return;
        }
        let page = match self.polling.reads.running(self.reading.after).await {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(error = %error, "running attempts are not read; it is tried again");
                self.reading.next = now.plus(AGAIN);
                return;
            }
        };
        page.iter().for_each(|row| self.plan(row));
        self.reading.after = page.last().map(WaitingRow::id);
        if self.reading.after.is_none() && self.reading.all {
            let took_ms = u64::try_from(self.polling.clock.now().since(self.reading.began).as_millis()).unwrap_or(u64::MAX);
            tracing::info!(running = self.shared.plan().len(), took_ms, "all running attempts are planned");
            self.reading.all = false;
        }
        self.reading.next = if self.reading.all { now } else { now.plus(SWEEP) };
    }

    async fn take_in(&mut self, woken: Woken<AttemptId>) {
        let ids: Vec<AttemptId> = woken.ids.into_iter().collect();
        for ids in ids.chunks(IDS) {
            match self.polling.reads.running_of(ids).await {
                Ok(rows) => rows.iter().for_each(|row| self.plan(row)),
                Err(error) => {
                    tracing::debug!(error = %error, "woken attempts are not read; all are read again");
                    self.read_all();
                }
            }
        }
        if woken.everywhere {
            self.read_all();
        }
    }

    /// Polls now what a provider called back about. An attempt whose poll is in flight is polled once more after it, since the provider
    /// may have answered that poll before it finished; one that does not run yet, as soon as it does.
    async fn pull(&mut self, woken: Woken<AttemptId>) {
        let new = woken.ids.iter().copied().filter(|id| !self.shared.plan().contains(*id)).collect();
        self.take_in(Woken { ids: new, everywhere: woken.everywhere }).await;
        let now = self.polling.clock.now();
        for id in woken.ids {
            if self.flights.contains(&id) || !self.shared.plan().contains(id) {
                self.shared.again(id);
            }
            self.shared.plan().pull(id, now);
        }
    }

    fn read_all(&mut self) {
        let now = self.polling.clock.now();
        self.reading = Reading { after: None, all: true, next: now, began: now };
    }

    fn plan(&self, row: &WaitingRow) {
        let mut plan = self.shared.plan();
        if plan.contains(row.id()) {
            return;
        }
        let number = plan.routes.number(&row.route_key(), || self.route(row));
        let (Some(number), Some(handle)) = (number, row.handle()) else {
            tracing::error!(attempt.id = %row.id(), "a running attempt cannot be read: nobody polls it");
            return;
        };
        let waiting = Waiting { id: row.id(), generation: row.generation(), handle, submitted_at: row.submitted_at() };
        let now = self.polling.clock.now();
        plan.insert(waiting, number, self.shared.learner.course(&row.model).as_deref(), now);
        if self.shared.is_wanted_again(row.id()) {
            plan.pull(row.id(), now);
        }
    }

    fn route(&self, row: &WaitingRow) -> Option<Route> {
        let (endpoint, kind) = row.sent()?;
        let model = self.polling.catalogue.model(&row.model);
        Some(Route {
            provider: row.provider.as_str().into(),
            account: row.account.as_str().into(),
            endpoint,
            kind,
            model: row.model.as_str().into(),
            strategy: self.strategy(&row.model),
            max_duration: model.and_then(|model| model.max_duration_s).map(Duration::from_secs),
        })
    }

    fn strategy(&self, model: &str) -> Strategy {
        let config = &self.polling.config.polling;
        let own = self.polling.catalogue.model(model).and_then(|model| model.strategy);
        config.strategy(own.unwrap_or(config.strategy))
    }

    async fn look_for_cancels(&mut self) {
        self.cancels_at = self.polling.clock.now().plus(CANCELS);
        match self.polling.reads.cancel_wanted(crate::store::reads::LONGEST_LIST).await {
            Ok(wanted) => self.cancels(Woken { ids: wanted.into_iter().collect(), everywhere: false }).await,
            Err(error) => tracing::warn!(error = %error, "cancelled generations are not read; it is tried again"),
        }
    }

    /// Asks the providers to cancel, each in a flight of its own: one that does not answer holds up nobody.
    async fn cancels(&self, woken: Woken<GenerationId>) {
        let ids: Vec<_> = woken.ids.into_iter().collect();
        let loaded = match self.polling.reads.loads(&ids).await {
            Ok(loaded) => loaded,
            Err(error) => {
                tracing::debug!(error = %error, "cancelled generations not read; the sweep will find them");
                return;
            }
        };
        for attempt in cancel::running(&loaded) {
            let asked = cancel::ask(self.polling.clone(), attempt.clone(), Arc::clone(&self.shared));
            // Not started when a poll of it is in flight; the sweep asks again.
            let _ = self.flights.start(attempt.id, &self.child.sockets, asked);
        }
    }
}
