//! Whether there is room for one more generation. The count is read from the database at most once a second, whoever asks:
//! the cap protects against running full, it is not exact.

use std::time::Duration;

use moka::future::Cache;

use crate::store::{Reads, StoreError};

/// How old the count may be: at 10,000 births a second the cap is overshot by 1 %.
const COUNT_AGE: Duration = Duration::from_secs(1);

/// The cap's memory. Clones share it.
#[derive(Debug, Clone)]
pub struct Room {
    unfinished: Cache<(), u64>,
}

impl Default for Room {
    fn default() -> Self {
        Self { unfinished: Cache::builder().max_capacity(1).time_to_live(COUNT_AGE).build() }
    }
}

impl Room {
    /// Whether fewer than `cap` generations are unfinished.
    ///
    /// # Errors
    /// The store's, when the count cannot be read.
    pub async fn below(&self, cap: u64, reads: &Reads) -> Result<bool, std::sync::Arc<StoreError>> {
        let count = async { reads.counts().await.map(|counts| counts.unfinished) };
        Ok(self.unfinished.try_get_with((), count).await? < cap)
    }
}
