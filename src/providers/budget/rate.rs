//! A rate in events a minute: the generic cell rate algorithm, a token bucket kept as one instant instead of a level.

use crate::domain::time::Timestamp;

/// One minute in microseconds; milliseconds would round 7,000 a minute to 6,666.
const MINUTE_US: i64 = 60_000_000;

/// How many may come at once after a rest: a second's worth, but at least 10 and at most a minute's. Providers count in
/// windows of a second to a minute, and ten at once is what a small batch or a restart makes; a minute's worth at once would
/// meet every provider's short window with a wall.
fn burst(per_minute: u32) -> i64 {
    i64::from((per_minute / 60).max(10).min(per_minute))
}

/// A rate limit and how much of it is used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    /// Microseconds from one event to the next; 0 means no limit.
    interval_us: i64,
    /// How far `next_us` may run ahead of now.
    ahead_us: i64,
    /// When the next event would come, had all come evenly.
    next_us: i64,
}

impl Rate {
    pub(super) fn per_minute(limit: u32) -> Self {
        if limit == 0 {
            return Self { interval_us: 0, ahead_us: 0, next_us: i64::MIN };
        }
        let per_minute = i64::from(limit);
        // Rounded up: a minute must never hold more than the limit and the burst.
        let interval_us = (MINUTE_US + per_minute - 1) / per_minute;
        Self { interval_us, ahead_us: (burst(limit) - 1) * interval_us, next_us: i64::MIN }
    }

    /// Takes one, or says when one is there.
    pub(super) fn take(&mut self, now: Timestamp) -> Result<(), Timestamp> {
        self.next_us = self.look(now)?.saturating_add(self.interval_us);
        Ok(())
    }

    /// When the next event counts as coming, if it may come now; else when it may.
    pub(super) fn look(&self, now: Timestamp) -> Result<i64, Timestamp> {
        if self.interval_us == 0 {
            return Ok(i64::MIN);
        }
        let now_us = now.0.saturating_mul(1000);
        // Never further ahead than a full burst: otherwise a clock that was set back by an hour would stop an account for one.
        let next_us = self.next_us.clamp(now_us, now_us.saturating_add(self.ahead_us).saturating_add(self.interval_us));
        let free_us = next_us.saturating_sub(self.ahead_us);
        if free_us > now_us { Err(Timestamp(free_us.saturating_add(999) / 1000)) } else { Ok(next_us) }
    }
}
