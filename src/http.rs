//! The HTTP side: authenticates, parses, hands to intake, shows what the store holds. Handlers are thin; [`routes`] shows
//! every path on one screen, [`problem`] is the only error that leaves.
//!
//! Workers only parse: whatever touches the database or the net hops to the socket runtime ([`Api::hop`]).

pub mod accepting;
pub mod auth;
pub mod batches;
pub mod body;
pub mod cursor;
pub mod docs;
pub mod dto;
pub mod edge;
pub mod etag;
pub mod events;
pub mod generations;
pub mod health;
pub mod hooks;
pub mod idempotency;
pub mod listing;
pub mod media;
pub mod metrics;
pub mod models;
pub mod openai;
pub mod openapi;
pub mod problem;
pub mod quota;
pub mod routes;
pub mod server;
pub mod unconfirmed;
pub mod spend;
pub mod view;
pub mod wait;
pub mod webhooks;

use std::{
    future::Future,
    sync::{Arc, OnceLock},
    time::Duration,
};

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    clock::Clock,
    config::Config,
    domain::{
        error::ErrorCode,
        id::{AttemptId, GenerationId},
        time::Timestamp,
    },
    http::problem::Problem,
    intake::{hook::Desk, room::Room, webhooks::Clerk},
    observe::{Live, Pulses, balances::Balances, times::Times},
    providers::{catalogue::Catalogue, registry::Registry},
    storage::Storage,
    store::{Decisions, Feed, Journal, Keys, Reads, Videos, Watch},
    wake::Wake,
};

pub use routes::configure;
pub use server::serve;

/// Longest time an answer may take once the request is read. Reads end after `read_timeout_ms` and the journal after its own
/// timeouts; this bounds what neither of them does.
pub(crate) const ANSWER_TIME: Duration = Duration::from_secs(30);

/// Everything the handlers use.
#[derive(Debug)]
pub struct Api {
    /// Writes.
    pub journal: Journal,
    /// Reads.
    pub reads: Reads,
    /// Receives webhooks.
    pub desk: Desk,
    /// API keys.
    pub keys: Keys,
    /// Deletes videos below `/v1`.
    pub videos: Videos,
    /// What operators decide.
    pub decisions: Decisions,
    /// Models.
    pub catalogue: Arc<Catalogue>,
    /// Providers.
    pub registry: Arc<Registry>,
    /// What owners know beyond their rows.
    pub live: Live,
    /// How the actors are.
    pub pulses: Pulses,
    /// What is left on the accounts.
    pub balances: Balances,
    /// How long models take.
    pub times: Times,
    /// Results.
    pub storage: Storage,
    /// Wakes dispatch.
    pub dispatch_wake: Wake<GenerationId>,
    /// Wakes who carries out cancels.
    pub cancel_wake: Wake<GenerationId>,
    /// Wakes the reconciler.
    pub reconcile_wake: Wake<AttemptId>,
    /// Time.
    pub clock: Clock,
    /// Configuration.
    pub config: Arc<Config>,
    /// The socket runtime.
    pub runtime: Handle,
    /// When the process was up.
    pub started_at: Timestamp,
    /// Renders `/api/metrics`.
    pub metrics: PrometheusHandle,
    /// Cancelled when nothing new is taken any more, and nobody waits any longer.
    pub draining: CancellationToken,
    /// Takes in what clients say about their webhooks.
    pub clerk: Clerk,
    /// Where streams hear of events.
    pub feed: Feed,
    /// Room for streams.
    pub streams: events::Rooms,
    /// News of what is committed here.
    pub watch: Watch,
    /// Room for those who wait for them.
    pub waiting: wait::Seats,
    /// Keys seen lately; start with `Default`.
    pub known_keys: auth::KnownKeys,
    /// The cap on unfinished generations; start with `Default`.
    pub room: Room,
    /// What keys have used of their limits; start with `Default`.
    pub meters: quota::Meters,
    /// Requests with an idempotency key in hand; start with `Default`.
    pub in_flight: idempotency::InFlight,
    /// Batches that are arriving as lines.
    pub uploads: batches::upload::Uploads,
    /// Webhooks in hand; start with `Default`.
    pub hooks_in_hand: hooks::InHand,
    /// The last health report; start with `Default`.
    pub health: health::Reports,
    /// How clients reach us when `server.public_url` says nothing; set by [`serve`] once the port is known.
    pub bound: OnceLock<String>,
}

impl Api {
    /// Runs work on the socket runtime and waits for it. A client that leaves does not stop it: it is cancelled by nobody.
    ///
    /// # Errors
    /// The work's own; `INTERNAL_ERROR` when it panicked, `SERVICE_UNAVAILABLE` when it takes longer than 30 seconds.
    pub async fn hop<T, E, F>(&self, work: F) -> Result<T, Problem>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: Into<Problem> + Send + 'static,
    {
        let task = self.runtime.spawn(work.in_current_span());
        match tokio::time::timeout(ANSWER_TIME, task).await {
            Ok(Ok(answer)) => answer.map_err(Into::into),
            Ok(Err(lost)) => {
                tracing::error!(panicked = lost.is_panic(), "work for a request was lost");
                Err(Problem::new(ErrorCode::InternalError, "the request was broken off by a fault of ours"))
            }
            Err(_) => Err(Problem::new(ErrorCode::ServiceUnavailable, "no answer in time; ask again what became of it")),
        }
    }

    /// The start of every URL we hand out, without a trailing slash. Never taken from the request: a Host header is a claim.
    #[must_use]
    pub fn base_url(&self) -> &str {
        let configured = self.config.server.public_url.as_deref();
        configured.or_else(|| self.bound.get().map(String::as_str)).unwrap_or_default().trim_end_matches('/')
    }
}
