//! What was offered for submission and has not moved yet. Pure: time is an argument. An offer that does not move is forgotten after a
//! while, so that a lost one leaves the row queued and nothing else.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::{
    domain::{
        id::{BatchId, GenerationId},
        record::{Generation, ProviderName},
        time::Timestamp,
    },
    wake::Offer,
};

/// Offers by generation; at most one each.
#[derive(Debug, Default)]
pub struct Offers {
    open: HashMap<GenerationId, Open>,
}

#[derive(Debug)]
struct Open {
    provider: ProviderName,
    batch: Option<BatchId>,
    version: i32,
    offer: Offer,
    at: Timestamp,
}

impl Offers {
    /// Remembers an offer of this row.
    pub fn put(&mut self, row: &Generation, offer: Offer, now: Timestamp) {
        let (provider, batch) = (Arc::clone(&row.provider), row.batch.as_ref().map(|place| place.id));
        self.open.insert(row.id, Open { provider, batch, version: row.version, offer, at: now });
    }

    /// The open offer of a generation.
    #[must_use]
    pub fn open(&self, id: GenerationId) -> Option<(&ProviderName, &Offer)> {
        self.open.get(&id).map(|open| (&open.provider, &open.offer))
    }

    /// The offer that was made of this very version of the row.
    #[must_use]
    pub fn made_of(&self, row: &Generation) -> Option<&Offer> {
        self.open.get(&row.id).filter(|open| open.version == row.version).map(|open| &open.offer)
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
            .filter(|open| now.since(open.at) >= after)
            .map(|open| (Arc::clone(&open.provider), open.offer.clone()))
            .collect();
        for (_, offer) in &old {
            self.open.remove(&offer.generation);
        }
        old
    }

    /// How many are open at a provider.
    #[must_use]
    pub fn at(&self, provider: &str) -> usize {
        self.open.values().filter(|open| &*open.provider == provider).count()
    }

    /// How many are open of a batch.
    #[must_use]
    pub fn of(&self, batch: BatchId) -> u32 {
        u32::try_from(self.open.values().filter(|open| open.batch == Some(batch)).count()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{batch::BatchPlace, id::AttemptId, record::tests::generation};

    #[test]
    fn an_offer_that_does_not_move_is_forgotten_once() {
        let (mut offers, batch) = (Offers::default(), BatchId::fresh());
        let mut row = generation();
        row.batch = Some(BatchPlace { id: batch, index: 0, custom_id: None });
        let offer = Offer { generation: row.id, attempt: AttemptId::fresh(), account: "default".into() };
        offers.put(&row, offer.clone(), Timestamp(0));
        assert_eq!((offers.at(&row.provider), offers.at("other"), offers.of(batch), offers.of(BatchId::fresh())), (1, 0, 1, 0));
        assert!(offers.expired(Duration::from_secs(5), Timestamp(4_999)).is_empty());
        assert!(offers.holds(row.id));
        assert_eq!(offers.expired(Duration::from_secs(5), Timestamp(5_000)), [(row.provider.clone(), offer)]);
        assert_eq!((offers.at(&row.provider), offers.of(batch)), (0, 0));
    }

    #[test]
    fn an_offer_is_known_by_the_version_that_it_was_made_of() {
        let (mut offers, row) = (Offers::default(), generation());
        let offer = Offer { generation: row.id, attempt: AttemptId::fresh(), account: "default".into() };
        offers.put(&row, offer.clone(), Timestamp(0));
        assert_eq!(offers.made_of(&row), Some(&offer));
        assert_eq!(offers.made_of(&Generation { version: row.version + 1, ..row.clone() }), None);
        assert_eq!(offers.made_of(&generation()), None);
    }
}
