//! What a child is to its supervisor: a name, a place, and a way to build it anew.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use actix::{Actor, Context, dev::channel};
use tokio::task::JoinHandle;

pub use crate::observe::ChildContext;

/// Messages an actor's mailbox holds; senders beyond it are refused. Children are woken by wakes, so it stays nearly empty.
const MAILBOX: usize = 16;

/// A running child. Not `Send`: it lives and dies on its arbiter.
pub type ChildFuture = Pin<Box<dyn Future<Output = ()>>>;

/// Which arbiter (one thread) a child runs on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ArbiterRole {
    /// The supervisors alone, so that no child can block them.
    Supervisors,
    /// One provider's actors.
    Provider(String),
    /// The poller.
    Polling,
    /// The uploader.
    Assets,
    /// Everything else.
    Rest,
}

impl fmt::Display for ArbiterRole {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Supervisors => out.write_str("supervisors"),
            Self::Provider(name) => write!(out, "provider {name}"),
            Self::Polling => out.write_str("polling"),
            Self::Assets => out.write_str("assets"),
            Self::Rest => out.write_str("rest"),
        }
    }
}

/// Why a child ended by itself, left by it for its supervisor.
#[derive(Clone, Default)]
pub(super) struct Resignation(Arc<Mutex<Option<String>>>);

impl Resignation {
    pub(super) fn hand_in(&self, reason: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }

    pub(super) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// How to build one child; made by [`child`].
pub struct ChildSpec {
    /// Unique in the tree; also the pulse's name and the metric's label.
    pub name: String,
    /// Where it runs.
    pub arbiter: ArbiterRole,
    /// Builds it; called on its arbiter, again at each restart.
    pub start: Box<dyn Fn(ChildContext) -> ChildFuture + Send + Sync>,
    pub(super) resignation: Resignation,
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ChildSpec").field("name", &self.name).field("arbiter", &self.arbiter).finish_non_exhaustive()
    }
}

impl ChildSpec {
    /// Starts the child on the arbiter of the calling thread. The handle shows its end: also a panic of the factory, which runs
    /// inside the task. Only supervision and tests call it.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that starts a child; its supervisor holds the handle")]
    pub fn spawn_here(self: &Arc<Self>, context: ChildContext) -> JoinHandle<()> {
        let spec = Arc::clone(self);
        actix_rt::spawn(async move { (spec.start)(context).await })
    }
}

/// Describes an actor as a child. `factory` builds a new value at each start, from the rows and never from the old value.
///
/// The actor must call [`beats`](crate::observe::beats) in `started`: one that does not is taken for hung, and a context
/// without any timer, stream or address ends by itself at once.
pub fn child<A>(
    name: impl Into<String>,
    arbiter: ArbiterRole,
    factory: impl Fn(ChildContext) -> A + Send + Sync + 'static,
) -> ChildSpec
where
    A: Actor<Context = Context<A>>,
{
    let start = move |context: ChildContext| -> ChildFuture {
        let actor = factory(context);
        let (_, receiver) = channel::channel(MAILBOX);
        Box::pin(Context::with_receiver(receiver).into_future(actor))
    };
    ChildSpec { name: name.into(), arbiter, start: Box::new(start), resignation: Resignation::default() }
}
