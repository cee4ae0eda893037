//! When a batch will have ended, as far as can be said: by the pace at which its lines ended lately, else by how long such lines take.
//! Pure. A forecast of what waits for somebody (a pause, a budget) would be a guess; there is none.

use std::time::Duration;

use crate::domain::{
    batch::{Batch, BatchStatus},
    time::Timestamp,
};

/// How fast lines ended lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// The first of the ends looked at.
    pub first: Timestamp,
    /// The last of them.
    pub last: Timestamp,
    /// How many they were.
    pub ends: u32,
}

/// Ends that make a pace: fewer are chance.
const ENOUGH: u32 = 3;

/// When the last line will have ended. `typical` is how long one takes from its submit to its end.
#[must_use]
pub fn end(batch: &Batch, pace: Option<Pace>, typical: Option<Duration>, now: Timestamp) -> Option<Timestamp> {
    let runs = match batch.status() {
        BatchStatus::Processing => true,
        // What is under way still ends; nothing else does.
        BatchStatus::Cancelling => false,
        BatchStatus::Paused
        | BatchStatus::Completed
        | BatchStatus::Cancelled
        | BatchStatus::PartialFailed
        | BatchStatus::Failed => return None,
    };
    let left = if runs && batch.stopped_at.is_none() { batch.counts.open() } else { batch.counts.running };
    let by_pace = pace.filter(|pace| pace.ends >= ENOUGH).and_then(|pace| at_pace(pace, left, now));
    by_pace.or_else(|| Some(now.plus(span(left, batch.concurrency(), typical?))))
}

/// While nothing ends, the pace slows down: the time since the last end counts.
fn at_pace(pace: Pace, left: u32, now: Timestamp) -> Option<Timestamp> {
    let spans = pace.ends.saturating_sub(1).max(1);
    let each = pace.last.since(pace.first) / spans;
    let since = now.since(pace.last);
    let each = if since > each { (pace.last.since(pace.first) + since) / (spans + 1) } else { each };
    (!each.is_zero()).then(|| now.plus(each.saturating_mul(left)))
}

/// How long so many lines take, so many of them at a time, each so long.
#[must_use]
pub fn span(lines: u32, at_once: u32, typical: Duration) -> Duration {
    typical.saturating_mul(lines.div_ceil(at_once.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        batch::{BatchOptions, CancelMode, CancelWish},
        id::{BatchId, KeyId, ProjectId},
    };

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(minute: i64) -> Timestamp {
        Timestamp(minute * 60_000)
    }

    fn batch(total: u32, completed: u32, running: u32) -> Batch {
        let owner = (ProjectId::fresh(), KeyId::fresh());
        let mut batch = Batch::loading(BatchId::fresh(), owner, 1, BatchOptions::default(), at(0));
        batch.visible_at = Some(at(0));
        (batch.counts.total, batch.counts.completed, batch.counts.running) = (total, completed, running);
        batch
    }

    #[test]
    fn the_pace_of_the_last_ends_says_when() {
        let pace = Pace { first: at(0), last: at(10), ends: 11 };
        assert_eq!(end(&batch(50, 20, 3), Some(pace), None, at(10)), Some(at(40)));
        let slower = end(&batch(50, 20, 3), Some(pace), None, at(21));
        assert!(slower > Some(at(51)), "nothing has ended for eleven minutes: {slower:?}");
    }

    #[test]
    fn before_there_is_a_pace_rounds_of_typical_lines_do() {
        assert_eq!(end(&batch(10, 0, 3), None, Some(MINUTE), at(5)), Some(at(9)), "four rounds of three");
        let chance = Pace { first: at(4), last: at(5), ends: 2 };
        assert_eq!(end(&batch(10, 0, 3), Some(chance), Some(MINUTE), at(5)), Some(at(9)));
        assert_eq!(end(&batch(10, 0, 3), None, None, at(5)), None);
    }

    #[test]
    fn what_waits_for_somebody_has_no_forecast_and_what_is_cancelled_counts_what_is_under_way() {
        let mut paused = batch(10, 1, 0);
        paused.paused_at = Some(at(1));
        assert_eq!(end(&paused, None, Some(MINUTE), at(5)), None);
        assert_eq!(end(&batch(10, 10, 0), None, Some(MINUTE), at(5)), None);
        let mut cancelled = batch(100, 1, 3);
        cancelled.cancel = Some(CancelWish { at: at(1), mode: CancelMode::Queued });
        assert_eq!(end(&cancelled, None, Some(MINUTE), at(5)), Some(at(6)));
    }
}
