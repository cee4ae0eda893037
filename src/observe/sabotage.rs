//! For tests only: lets a named actor panic, hang or block its thread at its next beat.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// What happens at the next beat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// The actor's spawned future panics.
    Panic,
    /// The same, and then the rebuilt actor panics in its handler `started`.
    PanicInHandler,
    /// The actor's future never goes on.
    Hang,
    /// The actor's thread is blocked until it is released.
    Block,
}

/// The switch of one pulse.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sabotage {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    armed: Option<Act>,
    handler: bool,
    released: bool,
}

impl Sabotage {
    /// Arms it; it strikes once.
    pub(crate) fn arm(&self, act: Act) {
        self.state().armed = Some(act);
    }

    /// Whether it has struck since it was armed.
    pub(crate) fn struck(&self) -> bool {
        let state = self.state();
        state.armed.is_none() && !state.handler
    }

    /// Lets blocked threads go on.
    pub(crate) fn release(&self) {
        self.state().released = true;
        self.inner.changed.notify_all();
    }

    /// Strikes if it is armed.
    pub(crate) async fn strike(self) {
        let armed = self.state().armed.take();
        match armed {
            None => {}
            Some(Act::Panic) => panic!("sabotage"),
            Some(Act::PanicInHandler) => {
                self.state().handler = true;
                panic!("sabotage, and once more in the handler");
            }
            Some(Act::Hang) => std::future::pending().await,
            Some(Act::Block) => drop(self.inner.changed.wait_while(self.state(), |state| !state.released)),
        }
    }

    /// Strikes if it is armed for the handler.
    pub(crate) fn strike_handler(&self) {
        let armed = std::mem::take(&mut self.state().handler);
        assert!(!armed, "sabotage in the handler");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
