//! The polling actor. Woken by attempts that began to run, by cancels, by the clock and by a slow sweep; writes nothing itself (its
//! polls do, when something ended). If it dies, a new one reads the running attempts again; polls in flight go on without it.

use std::{sync::Arc, time::Duration};

use actix::{Actor, AsyncContext, Context, WrapFuture};

use crate::{
    domain::{attempt::AttemptState, id::AttemptId, record::Attempt, schedule::Strategy, time::Timestamp},
    flights::Flights,
    observe::ChildContext,
    polling::{
        cancel,
        plan::Waiting,
        poll::{Polling, Shared},
    },
    store::StoreError,
    wake::Woken,
};

/// Rows a page when the running attempts are read.
const PAGE: u64 = 1_000;

/// How often everything is looked through for what lost wakes left behind.
const SWEEP: Duration = Duration::from_secs(10);

/// A place is tried again after this when an earlier poll of the same attempt is still in flight.
const STILL_IN_FLIGHT: Duration = Duration::from_secs(1);

/// The actor.
pub struct Poller {
    polling: Polling,
    flights: Arc<Flights<AttemptId>>,
    child: ChildContext,
    shared: Arc<Shared>,
}

impl Poller {
    /// A poller that knows nothing yet; it reads the rows when it starts.
    #[must_use]
    pub fn new(polling: Polling, flights: Arc<Flights<AttemptId>>, child: ChildContext) -> Self {
        Self { polling, flights, child, shared: Arc::default() }
    }
}

impl Actor for Poller {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.child.started();
        let rounds = Rounds {
            polling: self.polling.clone(),
            flights: Arc::clone(&self.flights),
            child: self.child.clone(),
            shared: Arc::clone(&self.shared),
        };
        // The rounds never end by themselves; a panic in them ends the actor, which supervision sees.
        ctx.spawn(rounds.run().into_actor(self));
    }
}

/// The loop behind the actor, outside its context's timers.
struct Rounds {
    polling: Polling,
    flights: Arc<Flights<AttemptId>>,
    child: ChildContext,
    shared: Arc<Shared>,
}

impl Rounds {
    async fn run(self) {
        let mut sweep_at = self.polling.clock.now();
        loop {
            self.child.beat().await;
            if self.child.lifeline.check().is_err() {
                return;
            }
            if self.polling.clock.now() >= sweep_at {
                if let Err(error) = self.sweep().await {
                    tracing::warn!(error = %error, "the sweep for running attempts failed; it is made again");
                }
                sweep_at = self.polling.clock.now().plus(SWEEP);
            }
            self.start_due();
            let due = self.shared.plan().next_due().map_or(sweep_at, |due| due.min(sweep_at));
            let due = if self.free() == 0 { sweep_at } else { due };
            tokio::select! {
                () = self.polling.clock.sleep_until(due) => {}
                () = self.child.beat_due() => {}
                () = self.shared.changed.notified() => {}
                woken = self.polling.wakes.polling.next() => self.take_in(woken).await,
                woken = self.polling.wakes.poll_now.next() => self.pull(woken).await,
                woken = self.polling.wakes.cancel.next() => self.cancels(woken).await,
            }
        }
    }

    fn free(&self) -> usize {
        self.polling.config.polling.concurrency.saturating_sub(self.flights.len())
    }

    fn start_due(&self) {
        let now = self.polling.clock.now();
        let due = self.shared.plan().take_due(now, self.free());
        for (id, _) in due {
            let poll = self.polling.clone().poll(id, Arc::clone(&self.shared));
            if !matches!(self.flights.start(id, &self.child.sockets, poll), Ok(true)) {
                self.shared.plan().put_back(id, Some(STILL_IN_FLIGHT), now);
            }
        }
        self.child.pulse.works_since(self.flights.oldest_since());
    }

    async fn take_in(&self, woken: Woken<AttemptId>) {
        for id in woken.ids {
            match self.polling.reads.attempt(id).await {
                Ok(Some(attempt)) => self.plan(&attempt),
                Ok(None) => {}
                Err(error) => tracing::debug!(attempt.id = %id, error = %error, "not read; the sweep will find it"),
            }
        }
        if woken.everywhere
            && let Err(error) = self.sweep().await
        {
            tracing::warn!(error = %error, "the sweep for running attempts failed; it is made again");
        }
    }

    /// Polls now what a provider called back about. An attempt whose poll is in flight is polled once more after it, since the provider
    /// may have answered that poll before it finished; one that does not run yet, as soon as it does.
    async fn pull(&self, woken: Woken<AttemptId>) {
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

    async fn sweep(&self) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = self.polling.reads.attempts_in(AttemptState::Running, after, PAGE).await?;
            for attempt in &page {
                self.plan(attempt);
            }
            after = page.last().map(|attempt| attempt.id);
            if u64::try_from(page.len()).unwrap_or(PAGE) < PAGE {
                break;
            }
        }
        let wanted = self.polling.reads.cancel_wanted(PAGE).await?;
        self.cancels(Woken { ids: wanted.into_iter().collect(), everywhere: false }).await;
        Ok(())
    }

    fn plan(&self, attempt: &Attempt) {
        if attempt.state == AttemptState::Running {
            let waiting = Waiting {
                generation: attempt.generation,
                submitted_at: attempt.submitted_at.unwrap_or(attempt.created_at),
                strategy: self.strategy(attempt),
            };
            let now: Timestamp = self.polling.clock.now();
            let new = !self.shared.plan().contains(attempt.id);
            self.shared.plan().insert(attempt.id, waiting, now);
            if new && self.shared.is_wanted_again(attempt.id) {
                self.shared.plan().pull(attempt.id, now);
            }
        }
    }

    fn strategy(&self, attempt: &Attempt) -> Strategy {
        let config = &self.polling.config.polling;
        let own = self.polling.catalogue.model(&attempt.model).and_then(|model| model.strategy);
        config.strategy(own.unwrap_or(config.strategy))
    }

    /// Asks the providers to cancel, each in a flight of its own: one that does not answer holds up nobody.
    async fn cancels(&self, woken: Woken<crate::domain::id::GenerationId>) {
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
