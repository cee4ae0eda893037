//! Rate and concurrency limits of the sandboxes: fixed windows per account, and slots that free themselves at a task's end.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// Says what a window has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) allowed: bool,
    pub(super) remaining: u32,
    /// Seconds until it starts anew, at least 1.
    pub(super) reset_secs: u64,
}

/// Asks for slots of one pool.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    pub(super) pool: String,
    pub(super) wanted: u32,
    /// 0: no limit.
    pub(super) limit: u32,
}

/// Holds the counters.
#[derive(Debug, Default)]
pub(super) struct Limits {
    windows: HashMap<String, (u64, u32)>,
    /// End times of the tasks in each pool, soonest first.
    active: HashMap<String, BinaryHeap<Reverse<u64>>>,
}

impl Limits {
    /// Counts one call in the pool's window of `secs` seconds; a `limit` of 0 allows all.
    pub(super) fn count(&mut self, pool: &str, limit: u32, secs: u64, now: u64) -> Window {
        let length = secs.saturating_mul(1_000);
        let window = self.windows.entry(pool.to_owned()).or_insert((now, 0));
        if now >= window.0.saturating_add(length) {
            *window = (now, 0);
        }
        let left_ms = window.0.saturating_add(length).saturating_sub(now);
        let reset_secs = left_ms.div_ceil(1_000).max(1);
        if limit == 0 {
            return Window { allowed: true, remaining: u32::MAX, reset_secs };
        }
        let allowed = window.1 < limit;
        if allowed {
            window.1 += 1;
        }
        Window { allowed, remaining: limit - window.1, reset_secs }
    }

    /// Tells whether the pool has room now.
    pub(super) fn has_room(&mut self, slots: &Slots, now: u64) -> bool {
        let active = self.active.entry(slots.pool.clone()).or_default();
        while active.peek().is_some_and(|end| end.0 <= now) {
            active.pop();
        }
        slots.limit == 0 || active.len() + slots.wanted as usize <= slots.limit as usize
    }

    /// Takes the slots until `end`.
    pub(super) fn take(&mut self, slots: &Slots, end: u64) {
        if slots.limit == 0 {
            return;
        }
        let active = self.active.entry(slots.pool.clone()).or_default();
        active.extend((0..slots.wanted).map(|_| Reverse(end)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_allows_its_limit_and_starts_anew() {
        let mut limits = Limits::default();
        assert!(limits.count("a", 1, 60, 1_000).allowed);
        let full = limits.count("a", 1, 60, 2_000);
        assert_eq!(full, Window { allowed: false, remaining: 0, reset_secs: 59 });
        assert!(limits.count("a", 1, 60, 61_000).allowed);
    }

    #[test]
    fn slots_free_themselves_at_the_end_of_their_task() {
        let mut limits = Limits::default();
        let two = Slots { pool: "k".into(), wanted: 2, limit: 3 };
        assert!(limits.has_room(&two, 0));
        limits.take(&two, 100);
        assert!(!limits.has_room(&two, 99));
        assert!(limits.has_room(&two, 100));
    }
}
