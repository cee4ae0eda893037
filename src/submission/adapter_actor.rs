//! The adapter actor, one a provider. Woken by offers; starts a flight for each and writes nothing itself. If it dies, its flights go
//! on, and offers it had not taken up are made again.

use std::sync::Arc;

use actix::{Actor, AsyncContext, Context, WrapFuture};

use crate::{
    domain::{id::AttemptId, record::ProviderName},
    flights::Flights,
    observe::ChildContext,
    submission::flight::Submission,
};

/// The actor.
pub struct AdapterActor {
    provider: ProviderName,
    submission: Submission,
    flights: Arc<Flights<AttemptId>>,
    child: ChildContext,
}

impl AdapterActor {
    /// The actor of that provider.
    #[must_use]
    pub const fn new(
        provider: ProviderName,
        submission: Submission,
        flights: Arc<Flights<AttemptId>>,
        child: ChildContext,
    ) -> Self {
        Self { provider, submission, flights, child }
    }
}

impl Actor for AdapterActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.child.started();
        let rounds = rounds(self.provider.clone(), self.submission.clone(), Arc::clone(&self.flights), self.child.clone());
        ctx.spawn(rounds.into_actor(self));
    }
}

async fn rounds(name: ProviderName, submission: Submission, flights: Arc<Flights<AttemptId>>, child: ChildContext) {
    let offers = submission.wakes.offers.get(&name).cloned();
    let provider = submission.registry.provider(&name).cloned();
    let (Some(offers), Some(provider)) = (offers, provider) else {
        // A provider that is not configured gets no offers; the actor only beats.
        return child.beat_forever().await;
    };
    loop {
        child.beat().await;
        child.pulse.works_since(flights.oldest_since());
        let woken = tokio::select! {
            () = child.beat_due() => continue,
            woken = offers.next() => woken,
        };
        // An arbiter that hung and came back has a successor by now.
        if child.lifeline.check().is_err() {
            return;
        }
        for offer in woken.ids {
            let flight = submission.clone().fly(Arc::clone(&provider), offer.clone());
            if flights.start(offer.attempt, &child.sockets, flight).is_err() {
                // The table is full: the offer is lost, and dispatch makes it again.
                tracing::warn!(generation.id = %offer.generation, "too many submits are in flight");
            }
        }
    }
}
