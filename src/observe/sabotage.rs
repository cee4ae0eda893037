//! For tests only: lets a named actor panic, hang or block its thread at its next beat.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// What happens at the next beat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// The actor's future panics.
    Panic,
    /// The actor's future never goes on.
    Hang,
    /// The actor's thread is blocked until it is released.
    Block,
}

/// The switch of one pulse.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sabotage {
    inner: Arc<(Mutex<(Option<Act>, bool)>, Condvar)>,
}

impl Sabotage {
    /// Arms it; it strikes once.
    pub(crate) fn arm(&self, act: Act) {
        self.inner.0.lock().unwrap_or_else(PoisonError::into_inner).0 = Some(act);
    }

    /// Whether it has struck since it was armed.
    pub(crate) fn struck(&self) -> bool {
        self.inner.0.lock().unwrap_or_else(PoisonError::into_inner).0.is_none()
    }

    /// Lets blocked threads go on.
    pub(crate) fn release(&self) {
        self.inner.0.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        self.inner.1.notify_all();
    }

    /// Strikes if it is armed.
    pub(crate) async fn strike(self) {
        let armed = self.inner.0.lock().unwrap_or_else(PoisonError::into_inner).0.take();
        match armed {
            None => {}
            Some(Act::Panic) => panic!("sabotage"),
            Some(Act::Hang) => std::future::pending().await,
            Some(Act::Block) => self.block(),
        }
    }

    fn block(&self) {
        let released = self.inner.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.inner.1.wait_while(released, |(_, released)| !*released));
    }
}
