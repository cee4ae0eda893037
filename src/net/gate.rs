//! The gate of a paid call: a check that runs **after the connection stands and before a byte of the request leaves**, and the
//! memory of whether it was passed. So "never sent" is a fact of this file, not a guess from an error's text.
//!
//! reqwest's connector layers see no request, so the call's own gate travels in a task-local. That is sound because the submit
//! client keeps no connections: hyper-util then awaits the connect in the caller's task (`Client::one_connection_for` in
//! hyper-util 0.1.21, where a disabled pool returns `connect_to(..)` at once; only a pooled client may spawn it), and reqwest
//! 0.13.5 polls that future in place. Should either change, the layer finds no gate and refuses: it fails closed, and
//! `a_layer_without_a_gate_refuses` and the tests over sockets tell. A client for each call would do without the task-local, but
//! loads the machine's root certificates each time.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;

tokio::task_local! {
    static GATE: Gate;
}

/// A check that says why a call must not go out.
pub type Check = Box<dyn Fn() -> Result<(), &'static str> + Send + Sync>;

/// The gate of one call. Clones are the same gate.
#[derive(Clone)]
pub struct Gate {
    inner: Arc<Inner>,
}

struct Inner {
    check: Check,
    passed: AtomicBool,
    refusal: OnceLock<&'static str>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("passed", &self.passed()).field("refusal", &self.refusal()).finish()
    }
}

impl Gate {
    /// A gate that asks `check` once the connection stands.
    #[must_use]
    pub fn new(check: Check) -> Self {
        Self { inner: Arc::new(Inner { check, passed: AtomicBool::new(false), refusal: OnceLock::new() }) }
    }

    /// Runs a call of a gated client under this gate.
    pub async fn scope<F: Future>(&self, call: F) -> F::Output {
        GATE.scope(self.clone(), call).await
    }

    /// Whether the gate was passed: from then on a byte of the request may have left.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.inner.passed.load(Ordering::SeqCst)
    }

    /// Why the check refused, if it did.
    #[must_use]
    pub fn refusal(&self) -> Option<&'static str> {
        self.inner.refusal.get().copied()
    }

    fn pass(&self) -> Result<(), Closed> {
        match (self.inner.check)() {
            Ok(()) => {
                self.inner.passed.store(true, Ordering::SeqCst);
                Ok(())
            }
            Err(reason) => {
                let _first_reason_stays = self.inner.refusal.set(reason);
                Err(Closed(reason))
            }
        }
    }
}

/// The gate did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not sent: {0}")]
pub struct Closed(&'static str);

/// The connector layer of the submit client.
#[derive(Debug, Clone, Copy, Default)]
pub struct GateLayer;

impl<S> Layer<S> for GateLayer {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { inner }
    }
}

/// A connector whose connections are handed out only by an open gate.
#[derive(Debug, Clone)]
pub struct Gated<S> {
    inner: S,
}

/// reqwest's error type of connectors.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl<S, Destination> Service<Destination> for Gated<S>
where
    S: Service<Destination, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, destination: Destination) -> Self::Future {
        let connecting = self.inner.call(destination);
        Box::pin(async move {
            let connection = connecting.await?;
            GATE.try_with(Gate::pass).unwrap_or(Err(Closed("no gate around this call")))?;
            Ok(connection)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{Ready, ready},
        task::{Context, Poll},
    };

    use tower_layer::Layer;
    use tower_service::Service;

    use super::{BoxError, Gate, GateLayer};

    #[derive(Clone)]
    struct Connects;

    impl Service<()> for Connects {
        type Response = &'static str;
        type Error = BoxError;
        type Future = Ready<Result<&'static str, BoxError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, (): ()) -> Self::Future {
            ready(Ok("connection"))
        }
    }

    #[tokio::test]
    async fn a_layer_without_a_gate_refuses() {
        let refused = GateLayer.layer(Connects).call(()).await;
        assert!(refused.is_err_and(|error| error.to_string().contains("no gate")));
    }

    #[tokio::test]
    async fn an_open_gate_passes_once_connected_and_a_closed_one_says_why() {
        let open = Gate::new(Box::new(|| Ok(())));
        assert!(!open.passed());
        assert_eq!(open.scope(GateLayer.layer(Connects).call(())).await.ok(), Some("connection"));
        assert!(open.passed());

        let closed = Gate::new(Box::new(|| Err("too late")));
        assert!(closed.scope(GateLayer.layer(Connects).call(())).await.is_err());
        assert_eq!((closed.passed(), closed.refusal()), (false, Some("too late")));
    }
}
