//! The arbiters by role: each an OS thread with the actors of that role, all sharing the socket runtime. A blocked one is
//! replaced, since a thread cannot be killed.

use std::{
    cell::RefCell,
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use actix_rt::{Arbiter, ArbiterHandle, System};
use tokio::{
    runtime::Runtime,
    sync::oneshot,
    time::{Instant, timeout_at},
};

use super::child::ArbiterRole;
use crate::lifeline::Lifeline;

thread_local! {
    /// Dropped as the last act of an arbiter's thread; its other end then knows that the thread is gone.
    static FAREWELL: RefCell<Option<oneshot::Sender<()>>> = const { RefCell::new(None) };
}

/// One thread in one role. Its successor has another number and a new lifeline.
struct Incarnation {
    number: u64,
    arbiter: Arbiter,
    lifeline: Lifeline,
    asked: u64,
    answered: Arc<AtomicU64>,
    gone: oneshot::Receiver<()>,
}

/// Where a child starts.
pub(super) struct Ground {
    pub(super) number: u64,
    pub(super) handle: ArbiterHandle,
    pub(super) lifeline: Lifeline,
}

/// All arbiters of a tree.
pub(super) struct Arbiters {
    system: System,
    sockets: Arc<Runtime>,
    by_role: Mutex<HashMap<ArbiterRole, Incarnation>>,
    started: AtomicU64,
}

impl Arbiters {
    /// Starts one for each role.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub(super) fn start<'a>(
        system: System,
        sockets: Arc<Runtime>,
        roles: impl Iterator<Item = &'a ArbiterRole>,
    ) -> io::Result<Self> {
        let arbiters = Self { system, sockets, by_role: Mutex::default(), started: AtomicU64::new(0) };
        for role in roles {
            if arbiters.ground(role).is_none() {
                arbiters.replace(role)?;
            }
        }
        Ok(arbiters)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ArbiterRole, Incarnation>> {
        self.by_role.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The present thread of a role.
    pub(super) fn ground(&self, role: &ArbiterRole) -> Option<Ground> {
        let by_role = self.lock();
        by_role.get(role).map(|present| Ground {
            number: present.number,
            handle: present.arbiter.handle(),
            lifeline: present.lifeline.clone(),
        })
    }

    /// Starts a new thread in a role. The one before it, if any, loses its permission to act and is left alone; should it ever
    /// come back, it finds the order to stop.
    ///
    /// # Errors
    /// When the operating system gives no thread; the old one is revoked all the same.
    pub(super) fn replace(&self, role: &ArbiterRole) -> io::Result<()> {
        let before = self.lock().remove(role);
        if let Some(before) = before {
            before.lifeline.revoke();
            before.arbiter.stop();
        }
        let fresh = self.incarnate()?;
        self.lock().insert(role.clone(), fresh);
        Ok(())
    }

    fn incarnate(&self) -> io::Result<Incarnation> {
        // `Arbiter` asks the calling thread for its system; the watch thread has none of its own.
        System::set_current(self.system.clone());
        let (farewell, gone) = oneshot::channel();
        let sockets = Arc::clone(&self.sockets);
        let arbiter = Arbiter::try_with_tokio_rt(move || {
            FAREWELL.set(Some(farewell));
            Ok(sockets)
        })?;
        Ok(Incarnation {
            number: self.started.fetch_add(1, Ordering::Relaxed),
            arbiter,
            lifeline: Lifeline::default(),
            asked: 0,
            answered: Arc::default(),
            gone,
        })
    }

    /// Asks every thread for a sign of life and tells how many each has given: role, number, answers. One question at a time:
    /// a silent thread's queue does not grow.
    pub(super) fn probe(&self) -> Vec<(ArbiterRole, u64, u64)> {
        let mut by_role = self.lock();
        let mut signs = Vec::with_capacity(by_role.len());
        for (role, present) in by_role.iter_mut() {
            let answers = present.answered.load(Ordering::Acquire);
            if answers == present.asked {
                present.asked += 1;
                let answered = Arc::clone(&present.answered);
                present.arbiter.spawn_fn(move || {
                    answered.fetch_add(1, Ordering::Release);
                });
            }
            signs.push((role.clone(), present.number, answers));
        }
        signs
    }

    /// Tells every thread to end.
    pub(super) fn stop(&self) {
        for present in self.lock().values() {
            present.lifeline.revoke();
            present.arbiter.stop();
        }
    }

    /// Waits until the threads have ended and returns the roles of those that did not.
    pub(super) async fn gone(&self, deadline: Instant) -> Vec<String> {
        let all: Vec<_> = self.lock().drain().collect();
        let mut left = Vec::new();
        for (role, last) in all {
            match timeout_at(deadline, last.gone).await {
                // The thread's very last act is behind it: joining takes microseconds.
                Ok(_) => drop(last.arbiter.join()),
                Err(_) => left.push(format!("arbiter {role}")),
            }
        }
        left
    }
}

impl Drop for Arbiters {
    fn drop(&mut self) {
        // An arbiter does not end when it is dropped: its system holds it too.
        self.stop();
    }
}
