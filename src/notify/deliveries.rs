//! Which deliveries follow from events. Pure.

use std::collections::HashMap;

use crate::domain::{
    event::Told,
    id::{BatchId, GenerationId},
    time::Timestamp,
    webhook::{Delivery, Destination, Endpoint, ends_for},
};

/// Who wants to be told.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Endpoints to which something is sent.
    pub endpoints: Vec<Endpoint>,
    /// URLs that were named with generations.
    pub generations: HashMap<GenerationId, String>,
    /// URLs that were named with batches.
    pub batches: HashMap<BatchId, String>,
}

/// The deliveries of these events. A URL that was named with a batch is told of the batch, not of each line.
#[must_use]
pub fn of(events: &[impl AsRef<Told>], wanted: &Wanted, now: Timestamp) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    for event in events.iter().map(AsRef::as_ref) {
        let endpoints = wanted.endpoints.iter().filter(|endpoint| endpoint.wants(event));
        let endpoints = endpoints.map(|endpoint| Destination::Endpoint(endpoint.id));
        let named = match (event.generation, event.batch) {
            (Some(generation), _) => wanted.generations.get(&generation),
            (None, Some(batch)) => wanted.batches.get(&batch),
            (None, None) => None,
        };
        let named = named.filter(|_| ends_for(event)).map(|url| Destination::Url(url.clone()));
        deliveries.extend(endpoints.chain(named).map(|to| Delivery::of(event.clone(), to, now)));
    }
    deliveries
}
