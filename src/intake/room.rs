//! Whether there is room for one more generation. The count is read from the database at most once a second, whoever asks, and nobody
//! waits for it who can be answered by the one before: the cap protects against running full, it is not exact.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{runtime::Handle, time::Instant};

use crate::store::{Reads, StoreError};

/// When a count is read anew: at 10,000 births a second the cap is overshot by 1 %.
const FRESH: Duration = Duration::from_secs(1);

/// How long a count is good while another is read. 60,000 rows are counted in some milliseconds, on a busy machine in 80 and more: time
/// that a request need not wait. Nor need it be refused where one count takes too long; five in a row, and nobody knows.
const GOOD: Duration = Duration::from_secs(5);

/// The cap's memory. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Room {
    last: Arc<Mutex<Option<Count>>>,
    /// Held by the one who reads.
    reading: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Clone, Copy)]
struct Count {
    unfinished: u64,
    read_at: Instant,
}

/// What a count is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worth {
    /// It answers.
    Fresh(u64),
    /// It answers, and is to be read anew.
    Good(u64),
    /// It says nothing.
    Nothing,
}

impl Worth {
    fn of(last: Option<Count>, now: Instant) -> Self {
        match last.map(|count| (count.unfinished, now.saturating_duration_since(count.read_at))) {
            Some((unfinished, age)) if age < FRESH => Self::Fresh(unfinished),
            Some((unfinished, age)) if age < GOOD => Self::Good(unfinished),
            Some(_) | None => Self::Nothing,
        }
    }
}

impl Room {
    /// Whether fewer than `cap` generations are unfinished. Call it on the socket runtime.
    ///
    /// # Errors
    /// The store's, when the count cannot be read and has not been for a while.
    pub async fn below(&self, cap: u64, reads: &Reads) -> Result<bool, StoreError> {
        let unfinished = match self.worth() {
            Worth::Fresh(unfinished) => unfinished,
            Worth::Good(unfinished) => {
                self.read_meanwhile(reads);
                unfinished
            }
            Worth::Nothing => self.read(reads).await?,
        };
        Ok(unfinished < cap)
    }

    /// Reads it, unless somebody else has just done so.
    async fn read(&self, reads: &Reads) -> Result<u64, StoreError> {
        let _turn = self.reading.lock().await;
        match self.worth() {
            Worth::Fresh(unfinished) => Ok(unfinished),
            Worth::Good(_) | Worth::Nothing => self.count(reads).await,
        }
    }

    fn read_meanwhile(&self, reads: &Reads) {
        let Ok(turn) = Arc::clone(&self.reading).try_lock_owned() else { return };
        let (room, reads) = (self.clone(), reads.clone());
        Handle::current().spawn(async move {
            if let Err(error) = room.count(&reads).await {
                tracing::warn!(error = %error, "unfinished generations could not be counted; the count before is good for some seconds");
            }
            drop(turn);
        });
    }

    async fn count(&self, reads: &Reads) -> Result<u64, StoreError> {
        let unfinished = reads.counts().await?.unfinished;
        *self.lock() = Some(Count { unfinished, read_at: Instant::now() });
        Ok(unfinished)
    }

    fn worth(&self) -> Worth {
        Worth::of(*self.lock(), Instant::now())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Count>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_answers_while_another_is_read_but_not_for_long() {
        let read_at = Instant::now();
        let worth =
            |milliseconds| Worth::of(Some(Count { unfinished: 7, read_at }), read_at + Duration::from_millis(milliseconds));
        assert_eq!([worth(0), worth(999)], [Worth::Fresh(7); 2]);
        assert_eq!([worth(1_000), worth(4_999)], [Worth::Good(7); 2]);
        assert_eq!(worth(5_000), Worth::Nothing);
        assert_eq!(Worth::of(None, read_at), Worth::Nothing);
    }
}
