//! The notifier. Woken by commits that hold events and by a slow sweep; the one reader of the outbox of this process. It tells every
//! event to the streams, and makes the deliveries that follow from it: with the mark of how far it came, in one commit. If it dies, a
//! new one reads on where the mark stands; streams leave out what they were told before.

use std::{sync::Arc, time::Duration};

use actix::{Actor, AsyncContext, Context, WrapFuture};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    clock::Clock,
    domain::{
        event::{EventId, Told},
        time::Timestamp,
        webhook::ends_for,
    },
    notify::deliveries::{self, Wanted},
    observe::ChildContext,
    store::{Feed, Gone, Journal, Made, Reads, StoreError, Watch, Webhooks},
    wake::Wake,
};

/// Events a read.
const PAGE: u64 = 500;

/// How often the outbox is looked at although nobody rang: what another process has committed.
const SWEEP: Duration = Duration::from_secs(30);

/// Pages of old events that go in one sweep: 1,600 events a second, more than come.
const FORGOTTEN: usize = 100;

/// Between two reads while somebody follows: at most a tenth of the time that news may take, and under load one read for many commits.
const PACE: Duration = Duration::from_millis(10);

/// Between two reads while nobody does.
const PACE_ALONE: Duration = Duration::from_millis(200);

/// Events that wait for an older transaction are looked at again after this, doubled up to the longest: it is over within moments,
/// or somebody's session idles in it for hours.
const HELD_BACK: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// After a read that failed.
const AGAIN: Duration = Duration::from_secs(1);

/// How long the list of endpoints is believed: what another process changed of it is known after this.
const BELIEVED: Duration = Duration::from_secs(30);

/// What it needs.
#[derive(Debug, Clone)]
pub struct Notifying {
    /// The outbox.
    pub reads: Reads,
    /// Endpoints.
    pub webhooks: Webhooks,
    /// Takes the deliveries.
    pub journal: Journal,
    /// Where streams hear of it.
    pub feed: Feed,
    /// Rings for commits.
    pub watch: Watch,
    /// Wakes who delivers.
    pub wake: Wake<Uuid>,
    /// Time.
    pub clock: Clock,
    /// How long events are kept.
    pub kept: Duration,
}

/// The actor.
pub struct Notifier {
    notifying: Notifying,
    child: ChildContext,
}

impl Notifier {
    /// A notifier that has read nothing yet.
    #[must_use]
    pub const fn new(notifying: Notifying, child: ChildContext) -> Self {
        Self { notifying, child }
    }
}

impl Actor for Notifier {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.child.started();
        let rounds = Rounds {
            notifying: self.notifying.clone(),
            child: self.child.clone(),
            place: None,
            wanted: Wanted::default(),
            known: None,
            held_back: HELD_BACK.0,
            forget_at: Instant::now(),
        };
        ctx.spawn(rounds.run().into_actor(self));
    }
}

/// How far the outbox is read.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// By this one.
    read: EventId,
    /// As the mark says: it stays behind while nobody wants to be told, since a commit that only moves it would be a waste.
    marked: EventId,
}

struct Rounds {
    notifying: Notifying,
    child: ChildContext,
    /// None before the marks are read.
    place: Option<Place>,
    wanted: Wanted,
    /// By which count of changes the endpoints are known, and until when that is believed.
    known: Option<(u64, Instant)>,
    held_back: Duration,
    /// When old events are looked for.
    forget_at: Instant,
}

impl Rounds {
    async fn run(mut self) {
        let (mut look_at, mut earliest) = (Instant::now(), Instant::now());
        loop {
            self.child.beat().await;
            tokio::select! {
                () = tokio::time::sleep_until(look_at) => {}
                () = self.child.beat_due() => continue,
                _ = self.notifying.watch.outbox().next() => {}
            }
            tokio::time::sleep_until(earliest).await;
            if self.child.lifeline.check().is_err() {
                return;
            }
            let wait = match self.read_on().await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "events could not be read; it is tried again");
                    self.place = None;
                    AGAIN
                }
            };
            let pace = if self.notifying.feed.followed() { PACE } else { PACE_ALONE };
            (look_at, earliest) = (Instant::now() + wait, Instant::now() + pace.min(wait));
        }
    }

    /// Reads to the end; answers when to look again.
    async fn read_on(&mut self) -> Result<Duration, StoreError> {
        let mut place = match self.place {
            Some(place) => place,
            None => self.begin().await?,
        };
        loop {
            self.child.beat().await;
            let page = self.notifying.reads.outbox(place.read, PAGE).await?;
            let events: Vec<Arc<Told>> = page.events.into_iter().map(Arc::new).collect();
            self.notifying.feed.tell(&events);
            place = self.deliver(place, &events).await?;
            self.place = Some(place);
            // Somebody else may have come farther: then it goes on from where the mark stands.
            if page.more || events.last().is_some_and(|last| place.read < last.id) {
                continue;
            }
            self.notifying.feed.begin(place.read);
            if page.held_back {
                let wait = self.held_back;
                self.held_back = (wait * 2).min(HELD_BACK.1);
                return Ok(wait);
            }
            self.held_back = HELD_BACK.0;
            if self.forget_at <= Instant::now() {
                self.forget_at = Instant::now() + SWEEP;
                self.forget_old(place).await?;
            }
            return Ok(SWEEP);
        }
    }

    async fn begin(&self) -> Result<Place, StoreError> {
        let marks = self.notifying.reads.outbox_marks().await?;
        self.notifying.feed.gone(marks.gone);
        Ok(Place { read: marks.read, marked: marks.read })
    }

    /// Makes the deliveries of these events.
    async fn deliver(&mut self, place: Place, events: &[Arc<Told>]) -> Result<Place, StoreError> {
        let Some(last) = events.last() else { return Ok(place) };
        self.ask_who_wants(events).await?;
        let deliveries = deliveries::of(events, &self.wanted, self.notifying.clock.now());
        if deliveries.is_empty() {
            return Ok(Place { read: last.id, ..place });
        }
        let made = Made { from: place.marked, to: last.id, deliveries };
        if !self.notifying.journal.deliveries_made(&made).await? {
            return self.begin().await;
        }
        made.deliveries.iter().for_each(|delivery| self.notifying.wake.one(delivery.target()));
        Ok(Place { read: last.id, marked: last.id })
    }

    async fn ask_who_wants(&mut self, events: &[Arc<Told>]) -> Result<(), StoreError> {
        let changes = self.notifying.webhooks.changes();
        if self.known.is_none_or(|(known, until)| known != changes || until <= Instant::now()) {
            self.wanted.endpoints = self.endpoints().await?;
            self.known = Some((changes, Instant::now() + BELIEVED));
        }
        let ends = || events.iter().filter(|event| ends_for(event));
        let generations: Vec<_> = ends().filter_map(|event| event.generation).collect();
        let whole = ends().filter(|event| event.generation.is_none());
        let batches: Vec<_> = whole.filter_map(|event| event.batch).collect();
        self.wanted.generations.clear();
        self.wanted.batches.clear();
        if !generations.is_empty() {
            self.wanted.generations = self.notifying.reads.webhook_urls(&generations).await?;
        }
        if !batches.is_empty() {
            self.wanted.batches = self.notifying.reads.batch_webhook_urls(&batches).await?;
        }
        Ok(())
    }

    async fn endpoints(&self) -> Result<Vec<crate::domain::webhook::Endpoint>, StoreError> {
        let mut all = Vec::new();
        loop {
            let page = self.notifying.webhooks.enabled(all.last().map(|last: &crate::domain::webhook::Endpoint| last.id)).await?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
    }

    /// Deletes events that are old enough and behind the mark, a page at a time.
    async fn forget_old(&self, place: Place) -> Result<(), StoreError> {
        let before: Timestamp = self.notifying.clock.now().minus(self.notifying.kept);
        let mut gone = self.notifying.reads.outbox_marks().await?.gone.last;
        for _ in 0..FORGOTTEN {
            self.child.beat().await;
            let page = self.notifying.reads.outbox(gone, PAGE).await?;
            let old: Vec<_> = page.events.iter().take_while(|event| event.at < before && event.id <= place.read).collect();
            let Some(last) = old.last() else { break };
            self.notifying.journal.events_gone(last.id, last.at).await?;
            self.notifying.feed.gone(Gone { last: last.id, at: last.at });
            gone = last.id;
            if old.len() < page.events.len() || !page.more {
                break;
            }
        }
        Ok(())
    }
}
