//! The reconciler's decisions: when to ask for an unconfirmed attempt, and when to give it up. Pure.

use std::{collections::HashMap, time::Duration};

use crate::{
    config::dispatch::DispatchConfig,
    domain::{
        id::AttemptId,
        record::{Attempt, Kind},
        time::Timestamp,
    },
};

/// Longest gap between two lookups of one attempt.
const LONGEST_GAP: Duration = Duration::from_secs(30);

/// When each unconfirmed attempt is looked up next.
#[derive(Debug, Default)]
pub struct Agenda {
    next: HashMap<AttemptId, (Timestamp, Duration)>,
}

impl Agenda {
    /// Whether it is due; if so, plans the lookup after this one, each gap twice the one before.
    pub fn due(&mut self, id: AttemptId, first_gap: Duration, now: Timestamp) -> bool {
        let (at, gap) = self.next.get(&id).copied().unwrap_or((now, first_gap));
        if now < at {
            return false;
        }
        self.next.insert(id, (now.plus(gap), (gap * 2).min(LONGEST_GAP)));
        true
    }

    /// Keeps only attempts that are still unconfirmed.
    pub fn keep(&mut self, open: impl Fn(AttemptId) -> bool) {
        self.next.retain(|id, _| open(*id));
    }
}

/// When the reconciler gives up on an attempt: by kind, from the instant its outcome became unknown.
#[must_use]
pub fn deadline(attempt: &Attempt, config: &DispatchConfig) -> Timestamp {
    let patience = match attempt.kind {
        Kind::Image => config.reconcile_image_s,
        Kind::Video => config.reconcile_video_s,
    };
    attempt.unconfirmed_since.unwrap_or(attempt.updated_at).plus(Duration::from_secs(patience))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookups_come_at_once_and_then_ever_more_rarely() {
        let (mut agenda, id) = (Agenda::default(), AttemptId::fresh());
        let asked: Vec<i64> =
            (0..130).filter(|second| agenda.due(id, Duration::from_secs(2), Timestamp(second * 1_000))).collect();
        assert_eq!(asked, [0, 2, 6, 14, 30, 60, 90, 120]);
    }
}
