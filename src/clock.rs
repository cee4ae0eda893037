//! Time as an argument: the system's, or a test's that stands still until it is moved.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use crate::domain::time::Timestamp;

/// Where the path takes its time from.
#[derive(Debug, Clone)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// A test's clock.
    Manual(ManualClock),
}

impl Clock {
    /// The present instant.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => Timestamp(chrono::Utc::now().timestamp_millis()),
            Self::Manual(manual) => manual.now(),
        }
    }

    /// Returns once `due` has come. Cancel safe.
    pub async fn sleep_until(&self, due: Timestamp) {
        match self {
            // Re-read every minute: the machine's clock may be set while we wait.
            Self::System => loop {
                let left = due.since(self.now());
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(Duration::from_secs(60))).await;
            },
            Self::Manual(manual) => manual.sleep_until(due).await,
        }
    }

    /// Returns once `span` has passed. Cancel safe.
    pub async fn sleep(&self, span: Duration) {
        self.sleep_until(self.now().plus(span)).await;
    }
}

/// A clock that a test moves by hand.
#[derive(Debug, Clone)]
pub struct ManualClock {
    now: Arc<AtomicI64>,
    moved: Arc<Notify>,
}

impl ManualClock {
    /// A clock that stands at `start`.
    #[must_use]
    pub fn at(start: Timestamp) -> Self {
        Self { now: Arc::new(AtomicI64::new(start.0)), moved: Arc::default() }
    }

    /// Moves it forward and wakes every sleeper whose time has come.
    pub fn advance(&self, span: Duration) {
        self.now.fetch_add(crate::domain::time::millis(span), Ordering::SeqCst);
        self.moved.notify_waiters();
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::SeqCst))
    }

    async fn sleep_until(&self, due: Timestamp) {
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            // Registered before the check, so that a move in between is not missed.
            moved.as_mut().enable();
            if self.now() >= due {
                return;
            }
            moved.await;
        }
    }
}
