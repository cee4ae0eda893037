//! Stands over the stages: starts every actor, watches it, rebuilds it when it panicked or hangs, and gives up a thread that
//! blocks. Knows no stage; the app hands in a factory for each child.
//!
//! ```text
//! watch (a plain OS thread: sees every beat and every arbiter, rebuilds the root)
//! └─ root supervisor ─┬─ the app's children: dispatcher, poller, reconciler, uploader, …
//!                     └─ provider supervisor ── one adapter actor per provider
//! ```
//! What each part leaves when it dies: a child leaves its rows, its pulse and its flights; a supervisor leaves the seats of its
//! children, so that the next one adopts those still running; the watch ends the process by [`Tree::failed`].
//!
//! Read in the sources of actix 0.13.5, actix-rt 2.15.0 and tokio 1.54.1 (November 2026); tests hold the first two:
//! - `Arbiter::try_with_tokio_rt` with an `Arc<Runtime>` starts one OS thread that runs `LocalSet::block_on(&runtime, …)`.
//!   Actors are local tasks of that `LocalSet` and run on that thread only. The drivers of sockets and timers stay with the
//!   workers of the shared multi-thread runtime, so that a blocked arbiter delays nothing but its own actors.
//! - A panic in a local task is caught by tokio and shown by its `JoinHandle`; `LocalSet` goes on. `abort()` from any thread
//!   drops the task on its own thread the next time that comes to poll: never while the thread is blocked.
//!   A stopped arbiter's `LocalSet` drops all its tasks, also those it was about to start.
//! - Dropping an actor's context polls it once more in the state `stopping`: `Actor::stopping` and `stopped` stay empty.
//!   Dropping one that was never polled calls `started` first.
//! - Starting an arbiter needs the `System` of the calling thread, hence the watch thread takes the one it was started under.
//! - Every arbiter thread holds the runtime's `Arc` to its end: the app keeps one of its own and drops it outside of async code.

mod arbiters;
pub mod child;
pub mod policy;
mod seat;
mod supervisor;
pub mod tree;
mod watch;

#[cfg(test)]
mod tests;

pub use crate::observe::beats;
pub use child::{ArbiterRole, ChildContext, ChildFuture, ChildSpec, child};
pub use tree::{ChildState, ChildStatus, Surroundings, Tree, TreeError};
