//! What was offered for submission and has not moved yet. Pure: time is an argument. An offer that does not move is forgotten after a
//! while, so that a lost one leaves the row queued and nothing else.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::{
    domain::{id::GenerationId, record::ProviderName, time::Timestamp},
    wake::Offer,
};

/// Offers by generation; at most one each.
#[derive(Debug, Default)]
pub struct Offers {
    open: HashMap<GenerationId, (ProviderName, Offer, Timestamp)>,
}

impl Offers {
    /// Remembers an offer.
    pub fn put(&mut self, provider: ProviderName, offer: Offer, now: Timestamp) {
        self.open.insert(offer.generation, (provider, offer, now));
    }

    /// Whether the generation is offered at present.
    #[must_use]
    pub fn holds(&self, id: GenerationId) -> bool {
        self.open.contains_key(&id)
    }

    /// The generation moved: it may be offered again.
    pub fn moved(&mut self, id: GenerationId) {
        self.open.remove(&id);
    }

    /// Forgets offers older than `after` and returns them: their places in the budgets are to be given back.
    #[must_use]
    pub fn expired(&mut self, after: Duration, now: Timestamp) -> Vec<(ProviderName, Offer)> {
        let old: Vec<_> = self
            .open
            .values()
            .filter(|(_, _, at)| now.since(*at) >= after)
            .map(|(provider, offer, _)| (Arc::clone(provider), offer.clone()))
            .collect();
        for (_, offer) in &old {
            self.open.remove(&offer.generation);
        }
        old
    }

    /// How many are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::AttemptId;

    #[test]
    fn an_offer_that_does_not_move_is_forgotten_once() {
        let mut offers = Offers::default();
        let offer = Offer { generation: GenerationId::fresh(), attempt: AttemptId::fresh(), account: "default".into() };
        let provider: ProviderName = "kling".into();
        offers.put(Arc::clone(&provider), offer.clone(), Timestamp(0));
        assert!(offers.expired(Duration::from_secs(5), Timestamp(4_999)).is_empty());
        assert!(offers.holds(offer.generation));
        assert_eq!(offers.expired(Duration::from_secs(5), Timestamp(5_000)), [(provider, offer)]);
        assert!(offers.is_empty());
    }
}
