//! The courier. Woken by deliveries that were made, by those that came back, by the clock and by a slow sweep; sends webhooks. Each target
//! (an endpoint, or a project's URLs at one host) has a few places of its own, so one that hangs delays nobody else. If it dies, its
//! tries go on without it; what is pending without a try is found in the rows.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use actix::{Actor, AsyncContext, Context, WrapFuture};
use uuid::Uuid;

use crate::{
    clock::Clock,
    config::Config,
    domain::{
        id::DeliveryId,
        time::Timestamp,
        webhook::{Delivery, Destination, Endpoint, Reply, SecretAge},
    },
    flights::Flights,
    net::{
        client::Guarded,
        signing::{Owner, Signer},
    },
    notify::post::{Message, post},
    observe::ChildContext,
    store::{Journal, Reads, Retention, StoreError, Tried, Webhooks},
    wake::Wake,
};

/// How often the rows are looked through for targets with something pending.
const SWEEP: Duration = Duration::from_secs(30);

/// A delivery whose endpoint could not be read, or whose outcome could not be written, is left alone so long.
const AGAIN: Duration = Duration::from_secs(5);

/// Counter: tries by `outcome`.
const TRIES_TOTAL: &str = "longtake_webhook_tries_total";

/// What it needs.
#[derive(Clone)]
pub struct Delivering {
    /// What is pending.
    pub reads: Reads,
    /// Endpoints.
    pub webhooks: Webhooks,
    /// What came of it.
    pub journal: Journal,
    /// What is kept no longer.
    pub retention: Retention,
    /// The way out.
    pub client: Guarded,
    /// What signs.
    pub signer: Signer,
    /// Targets with something new.
    pub wake: Wake<Uuid>,
    /// Places in use; outlives the actor, as tries do.
    pub places: Places,
    /// Time.
    pub clock: Clock,
    /// `[notify]`.
    pub config: Arc<Config>,
}

/// Places in use, by target. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Places(Arc<Mutex<HashMap<Uuid, Place>>>);

#[derive(Debug, Clone, Copy)]
struct Place {
    in_use: usize,
    failing: bool,
    held_until: Timestamp,
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many more may go to a target now. One that failed last gets a single one, so that it cannot use up the places of all.
    fn free(&self, target: Uuid, each: usize, now: Timestamp) -> Result<usize, Timestamp> {
        let place = self.lock().get(&target).copied();
        let Some(place) = place else { return Ok(each) };
        if place.held_until > now {
            return Err(place.held_until);
        }
        Ok(if place.failing { 1 } else { each }.saturating_sub(place.in_use))
    }

    fn take(&self, target: Uuid) {
        let fresh = Place { in_use: 0, failing: false, held_until: Timestamp(i64::MIN) };
        self.lock().entry(target).or_insert(fresh).in_use += 1;
    }

    fn give_back(&self, target: Uuid, failing: bool, held_until: Timestamp) {
        let mut places = self.lock();
        let Some(place) = places.get_mut(&target) else { return };
        place.in_use = place.in_use.saturating_sub(1);
        place.failing = failing;
        place.held_until = held_until;
        if place.in_use == 0 && !failing {
            places.remove(&target);
        }
    }
}

/// The actor.
pub struct Courier {
    delivering: Delivering,
    flights: Arc<Flights<DeliveryId>>,
    child: ChildContext,
}

impl Courier {
    /// A courier that knows nothing yet; it reads the rows when it starts.
    #[must_use]
    pub const fn new(delivering: Delivering, flights: Arc<Flights<DeliveryId>>, child: ChildContext) -> Self {
        Self { delivering, flights, child }
    }
}

impl Actor for Courier {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.child.started();
        let rounds = Rounds {
            delivering: self.delivering.clone(),
            flights: Arc::clone(&self.flights),
            child: self.child.clone(),
            due: HashMap::new(),
        };
        ctx.spawn(rounds.run().into_actor(self));
    }
}

struct Rounds {
    delivering: Delivering,
    flights: Arc<Flights<DeliveryId>>,
    child: ChildContext,
    /// When a target is to be looked at.
    due: HashMap<Uuid, Timestamp>,
}

impl Rounds {
    async fn run(mut self) {
        let clock = self.delivering.clock.clone();
        let mut sweep_at = clock.now();
        loop {
            self.child.beat().await;
            self.child.pulse.works_since(self.flights.oldest_since());
            let next = self.due.values().min().copied().map_or(sweep_at, |due| due.min(sweep_at));
            let wake = self.delivering.wake.clone();
            let woken = tokio::select! {
                woken = wake.next() => Some(woken),
                () = clock.sleep_until(next) => None,
                () = self.child.beat_due() => continue,
            };
            if self.child.lifeline.check().is_err() {
                return;
            }
            let now = clock.now();
            let everywhere = woken.as_ref().is_some_and(|woken| woken.everywhere);
            self.due.extend(woken.into_iter().flat_map(|woken| woken.ids).map(|target| (target, now)));
            if everywhere || now >= sweep_at {
                sweep_at = now.plus(SWEEP);
                if let Err(error) = self.sweep(now).await {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "pending webhooks could not be read; they are again"
                    );
                }
            }
            self.start_due(now).await;
        }
    }

    async fn sweep(&mut self, now: Timestamp) -> Result<(), StoreError> {
        for target in self.delivering.reads.delivery_targets().await? {
            self.due.entry(target).or_insert(now);
        }
        let kept = Duration::from_secs(self.delivering.config.notify.keep_s);
        self.delivering.retention.deliveries(now.minus(kept)).await.map(drop)
    }

    async fn start_due(&mut self, now: Timestamp) {
        let due: Vec<Uuid> = self.due.iter().filter(|(_, at)| **at <= now).map(|(target, _)| *target).collect();
        for target in due {
            let again = match self.start(target, now).await {
                Ok(again) => again,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "pending webhooks could not be read; they are again"
                    );
                    Some(now.plus(AGAIN))
                }
            };
            match again {
                Some(at) => drop(self.due.insert(target, at)),
                None => drop(self.due.remove(&target)),
            }
        }
    }

    /// Starts what is due of a target; answers when to look at it again. A try that comes back wakes its target.
    async fn start(&self, target: Uuid, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let notify = &self.delivering.config.notify;
        let free = match self.delivering.places.free(target, notify.webhooks_per_endpoint, now) {
            Ok(free) => free.min(notify.webhooks.saturating_sub(self.flights.len())),
            Err(held_until) => return Ok(Some(held_until)),
        };
        if free == 0 {
            // Full in all: whoever comes back wakes its own target only.
            let full = self.flights.len() >= notify.webhooks;
            return Ok(full.then(|| now.plus(Duration::from_millis(100))));
        }
        let limit = u64::try_from(notify.webhooks_per_endpoint.saturating_mul(2)).unwrap_or(u64::MAX);
        let mut started = 0;
        // Of one that lands while the rows are read, the row may be that from before its try; who lands wakes its target.
        let flying = self.flights.ids();
        for delivery in self.delivering.reads.deliveries_of(target, limit).await? {
            if flying.contains(&delivery.id) || self.flights.contains(&delivery.id) {
                continue;
            }
            if delivery.next_at > now {
                return Ok(Some(delivery.next_at));
            }
            if started == free {
                return Ok(None);
            }
            started += 1;
            self.delivering.places.take(target);
            let id = delivery.id;
            if self.flights.start(id, &self.child.sockets, self.delivering.clone().deliver(delivery, target)) != Ok(true) {
                self.delivering.places.give_back(target, false, now);
                return Ok(Some(now.plus(AGAIN)));
            }
        }
        Ok(None)
    }
}

impl Delivering {
    /// A try, from the row to the row.
    async fn deliver(self, delivery: Delivery, target: Uuid) {
        let (failing, held_until) = match self.attempt(delivery).await {
            Ok(reply) => {
                let held = reply.as_ref().and_then(Reply::asked).map(|asked| self.clock.now().plus(asked));
                (reply.is_some_and(|reply| !reply.success()), held)
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a webhook is not recorded; it is sent again");
                (true, Some(self.clock.now().plus(AGAIN)))
            }
        };
        self.places.give_back(target, failing, held_until.unwrap_or(Timestamp(i64::MIN)));
        self.wake.one(target);
    }

    /// None: it was dropped without a try.
    async fn attempt(&self, delivery: Delivery) -> Result<Option<Reply>, StoreError> {
        let (url, owner, secret, endpoint) = match &delivery.to {
            Destination::Url(url) => {
                let project = delivery.told.project;
                (url.clone(), Owner::Project(project), self.webhooks.secret(project).await?, None)
            }
            Destination::Endpoint(id) => match self.webhooks.endpoint(*id).await? {
                Some(endpoint) if endpoint.disabled_at.is_none() => {
                    (endpoint.url.clone(), Owner::Endpoint(*id), endpoint.secret, Some(endpoint))
                }
                Some(_) => return self.drop_it(delivery, "the endpoint is disabled").await,
                None => return self.drop_it(delivery, "the endpoint is gone").await,
            },
        };
        let reply = self.send(&delivery, url, (owner, secret)).await;
        self.record(delivery, &reply, endpoint.as_ref()).await?;
        Ok(Some(reply))
    }

    async fn send(&self, delivery: &Delivery, url: String, (owner, secret): (Owner, SecretAge)) -> Reply {
        let (id, body, at) = (delivery.message(), delivery.told.body(), self.clock.now());
        let signature = self.signer.sign((owner, &secret.signing(at)), (&id, at), &body);
        let longest = Duration::from_millis(self.config.notify.webhook_timeout_ms);
        post(&self.client, Message { url, id, signature, body, at }, longest).await
    }

    async fn record(&self, delivery: Delivery, reply: &Reply, endpoint: Option<&Endpoint>) -> Result<(), StoreError> {
        let at = self.clock.now();
        let outcome = if reply.success() { "delivered" } else { "failed" };
        metrics::counter!(TRIES_TOTAL, "outcome" => outcome).increment(1);
        let delivery = delivery.tried(reply, &self.config.notify.webhook_retry_ms, rand::random(), at);
        if !reply.success() {
            let (status, tries) = (delivery.status, delivery.tries);
            tracing::info!(delivery.id = %delivery.id, status, tries, state = delivery.state.as_str(), "a webhook was not taken");
        }
        let endpoint = endpoint.map(|endpoint| (endpoint.id, endpoint.after(reply, at)));
        self.journal.delivery_tried(&Tried { delivery, endpoint, at }).await
    }

    async fn drop_it(&self, delivery: Delivery, why: &str) -> Result<Option<Reply>, StoreError> {
        let at = self.clock.now();
        let delivery = delivery.dropped(why, at);
        self.journal.delivery_tried(&Tried { delivery, endpoint: None, at }).await?;
        Ok(None)
    }
}
