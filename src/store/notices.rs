//! What the stage that tells clients hands to the journal: deliveries it made, and what came of each try.

use crate::{
    domain::{
        event::EventId,
        id::EndpointId,
        time::Timestamp,
        webhook::{Delivery, Verdict},
    },
    store::Journal,
};

pub use crate::store::journal::notices::Notice;

/// Deliveries made of a part of the outbox.
#[derive(Debug, Clone)]
pub struct Made {
    /// So far they were made before.
    pub from: EventId,
    /// So far they are made now.
    pub to: EventId,
    /// The deliveries.
    pub deliveries: Vec<Delivery>,
}

/// A delivery after a try, or given up.
#[derive(Debug, Clone)]
pub struct Tried {
    /// The delivery.
    pub delivery: Delivery,
    /// What it means for its endpoint.
    pub endpoint: Option<(EndpointId, Verdict)>,
    /// When.
    pub at: Timestamp,
}

impl Journal {
    /// Writes deliveries with the mark up to which they were made; false when the mark stands elsewhere, and nothing was written.
    ///
    /// # Errors
    /// As [`Journal::birth`].
    pub async fn deliveries_made(&self, made: &Made) -> Result<bool, crate::store::StoreError> {
        self.notice(Notice::made(made)?).await
    }

    /// Writes what came of a try.
    ///
    /// # Errors
    /// As [`Journal::birth`].
    pub async fn delivery_tried(&self, tried: &Tried) -> Result<(), crate::store::StoreError> {
        self.notice(Notice::tried(tried)?).await.map(drop)
    }

    /// Deletes the events up to this one, which happened then.
    ///
    /// # Errors
    /// As [`Journal::birth`].
    pub async fn events_gone(&self, last: EventId, at: Timestamp) -> Result<(), crate::store::StoreError> {
        self.notice(Notice::Gone { last, at: at.0 }).await.map(drop)
    }
}
