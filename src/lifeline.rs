//! A lifeline: permission to act that can be taken away. A thread that hangs cannot be killed; what it tries after it was
//! given up is refused by the journal and the executor instead.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// The permission of one arbiter's actors. Clones share one fate.
#[derive(Debug, Clone)]
pub struct Lifeline {
    alive: Arc<AtomicBool>,
}

/// The caller was given up; it must do nothing further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the lifeline of the caller was revoked")]
pub struct Revoked;

impl Default for Lifeline {
    fn default() -> Self {
        Self { alive: Arc::new(AtomicBool::new(true)) }
    }
}

impl Lifeline {
    /// Takes the permission away for good.
    pub fn revoke(&self) {
        self.alive.store(false, Ordering::SeqCst);
    }

    /// Asks for permission.
    ///
    /// # Errors
    /// [`Revoked`] once it was taken away.
    pub fn check(&self) -> Result<(), Revoked> {
        if self.alive.load(Ordering::SeqCst) { Ok(()) } else { Err(Revoked) }
    }
}
