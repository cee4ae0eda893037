//! The poller's plan: which attempt is polled next. A heap in memory, outside any actor context (a context polls every timer it
//! holds at every message). Pure: time is an argument.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use crate::domain::{
    id::{AttemptId, GenerationId},
    schedule::{Strategy, next_poll},
    time::Timestamp,
};

/// What is kept of a running attempt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Waiting {
    /// Its generation.
    pub generation: GenerationId,
    /// Polls count from here.
    pub submitted_at: Timestamp,
    /// How polls follow each other.
    pub strategy: Strategy,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    waiting: Waiting,
    due: Timestamp,
    polls: u32,
    missing: u32,
    in_hand: bool,
}

/// The plan.
#[derive(Debug, Default)]
pub struct Plan {
    entries: HashMap<AttemptId, Entry>,
    /// May hold outdated pairs; an entry's own `due` decides.
    heap: BinaryHeap<Reverse<(Timestamp, AttemptId)>>,
}

/// Spreads attempts over time by their id.
#[must_use]
pub fn seed(id: AttemptId) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.0.as_bytes().hash(&mut hasher);
    hasher.finish()
}

impl Plan {
    /// Takes an attempt in; one that is known keeps its place.
    pub fn insert(&mut self, id: AttemptId, waiting: Waiting, now: Timestamp) {
        if self.entries.contains_key(&id) {
            return;
        }
        let due = next_poll(waiting.strategy, waiting.submitted_at, seed(id), now);
        self.entries.insert(id, Entry { waiting, due, polls: 0, missing: 0, in_hand: false });
        self.heap.push(Reverse((due, id)));
    }

    /// Whether it is planned.
    #[must_use]
    pub fn contains(&self, id: AttemptId) -> bool {
        self.entries.contains_key(&id)
    }

    /// Takes out up to `limit` attempts that are due; each stays known, in hand, until it is put back or removed.
    pub fn take_due(&mut self, now: Timestamp, limit: usize) -> Vec<(AttemptId, Waiting)> {
        let mut due = Vec::new();
        while due.len() < limit {
            let Some(Reverse((at, id))) = self.heap.peek().copied() else { break };
            if at > now {
                break;
            }
            self.heap.pop();
            if let Some(entry) = self.entries.get_mut(&id)
                && entry.due == at
                && !entry.in_hand
            {
                entry.in_hand = true;
                entry.polls = entry.polls.saturating_add(1);
                due.push((id, entry.waiting));
            }
        }
        due
    }

    /// When the next one is due.
    #[must_use]
    pub fn next_due(&mut self) -> Option<Timestamp> {
        while let Some(Reverse((at, id))) = self.heap.peek().copied() {
            if self.entries.get(&id).is_some_and(|entry| entry.due == at && !entry.in_hand) {
                return Some(at);
            }
            self.heap.pop();
        }
        None
    }

    /// Puts a polled attempt back: at its strategy's next instant, or after `hint`, which wins. Returns when that is.
    pub fn put_back(&mut self, id: AttemptId, hint: Option<Duration>, now: Timestamp) -> Option<Timestamp> {
        let entry = self.entries.get_mut(&id)?;
        let planned = next_poll(entry.waiting.strategy, entry.waiting.submitted_at, seed(id), now);
        entry.due = hint.map_or(planned, |hint| now.plus(hint.max(Duration::from_millis(10))));
        entry.in_hand = false;
        self.heap.push(Reverse((entry.due, id)));
        Some(entry.due)
    }

    /// Pulls the next poll to now, unless it is in hand.
    pub fn pull(&mut self, id: AttemptId, now: Timestamp) {
        if let Some(entry) = self.entries.get_mut(&id)
            && !entry.in_hand
        {
            entry.due = now;
            self.heap.push(Reverse((now, id)));
        }
    }

    /// Counts one more answer in a row that did not know the task; returns how many.
    pub fn missed(&mut self, id: AttemptId) -> u32 {
        self.entries.get_mut(&id).map_or(0, |entry| {
            entry.missing = entry.missing.saturating_add(1);
            entry.missing
        })
    }

    /// The task is known to the provider again.
    pub fn seen(&mut self, id: AttemptId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.missing = 0;
        }
    }

    /// Forgets an attempt.
    pub fn remove(&mut self, id: AttemptId) {
        self.entries.remove(&id);
    }

    /// How many are planned.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is planned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Strategy, *};

    fn waiting(submitted: i64) -> Waiting {
        Waiting {
            generation: GenerationId::fresh(),
            submitted_at: Timestamp(submitted),
            strategy: Strategy::Fixed { every: Duration::from_secs(10) },
        }
    }

    #[test]
    fn an_attempt_in_hand_is_not_taken_again_until_it_is_put_back() {
        let (mut plan, id) = (Plan::default(), AttemptId::fresh());
        plan.insert(id, waiting(0), Timestamp(0));
        assert!(plan.take_due(Timestamp(9_999), 10).is_empty());
        assert_eq!(plan.take_due(Timestamp(10_000), 10).len(), 1);
        plan.pull(id, Timestamp(11_000));
        assert!(plan.take_due(Timestamp(60_000), 10).is_empty());
        plan.put_back(id, Some(Duration::from_secs(3)), Timestamp(60_000));
        assert_eq!(plan.next_due(), Some(Timestamp(63_000)));
    }

    #[test]
    fn a_pulled_attempt_is_due_at_once_and_only_once() {
        let (mut plan, id) = (Plan::default(), AttemptId::fresh());
        plan.insert(id, waiting(0), Timestamp(0));
        plan.pull(id, Timestamp(5));
        assert_eq!(plan.take_due(Timestamp(5), 10).len(), 1);
        assert!(plan.take_due(Timestamp(100_000), 10).is_empty());
    }

    proptest! {
        #[test]
        fn no_planned_attempt_is_ever_forgotten(steps in proptest::collection::vec((0u8..5, 0usize..8), 1..200)) {
            let ids: Vec<_> = (0..8).map(|_| AttemptId::fresh()).collect();
            let mut plan = Plan::default();
            let mut known = std::collections::HashSet::new();
            let mut now = Timestamp(0);
            for (action, which) in steps {
                let id = ids[which];
                now = now.plus(Duration::from_secs(3));
                match action {
                    0 => { plan.insert(id, waiting(now.0), now); known.insert(id); }
                    1 => { plan.remove(id); known.remove(&id); }
                    2 => plan.pull(id, now),
                    3 => { plan.put_back(id, None, now); }
                    _ => { for (taken, _) in plan.take_due(now, 3) { plan.put_back(taken, None, now); } }
                }
                prop_assert_eq!(plan.len(), known.len());
            }
            let due: std::collections::HashSet<_> =
                plan.take_due(now.plus(Duration::from_secs(1_000)), 100).into_iter().map(|(id, _)| id).collect();
            prop_assert_eq!(due, known);
        }
    }
}
