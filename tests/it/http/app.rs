//! The service's HTTP side as the app wires it, on an embedded store in a temporary folder.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use actix_web::{
    App,
    body::to_bytes,
    dev::{Payload, Service},
    error::PayloadError,
    http::{StatusCode, header::HeaderMap},
    test::{TestRequest, init_service},
    web::{Bytes, Data},
};
use futures_util::Stream;
use longtake::{
    clock::{Clock, ManualClock},
    config::Config,
    domain::{id::NodeId, time::Timestamp},
    http::{
        Api, auth::KnownKeys, batches::upload::Uploads, configure, events::Rooms, health::Reports, hooks::InHand,
        idempotency::InFlight, quota::Meters, wait::Seats,
    },
    intake::{hook::Desk, keys, room::Room, signing::Signing, webhooks::Clerk},
    lifeline::Lifeline,
    net::{
        guard::{Allow, Reach},
        hooks::Hooks,
        signing::Signer,
    },
    observe::{Live, Pulses, balances::Balances, times::Times},
    providers::{catalogue::Catalogue, executor::Executor, registry::Registry},
    storage::Storage,
    store::{Scope, Store},
    telemetry,
    wake::Wake,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::store::bed::Bed;

/// Planted where secrets live; must never leave.
pub const CREDENTIAL: &str = "canary-credential-5d2f";

/// What signs the URLs of webhooks.
pub const HOOK_SECRET: &str = "canary-hook-secret-of-32-letters";

/// A provider that takes submits, one that has no credential, a model for each.
const CONFIG: &str = r#"
[server]
bind = "127.0.0.1:0"
max_body_bytes = 65536
max_json_depth = 8
request_timeout_s = 2
body_timeout_s = 2
workers = 1

# The machine may be busy, and no test is about slowness.
[store]
read_timeout_ms = 20000
write_timeout_ms = 20000

[storage]
kind = "memory"

[providers.flux]
base_url = "http://127.0.0.1:9"
allow_loopback = true
api_key = "canary-credential-5d2f"

[providers.kling]
base_url = "http://127.0.0.1:9"
allow_loopback = true

[models.flux-test]
provider = "flux"
upstream = "flux-test"
kind = "image"
max_images = 1
price = { per_call = 0.04 }
inputs = { seed = {}, size_or_ratio = { default = "1024x1024" } }

[models.kling-test]
provider = "kling"
upstream = "kling-test"
kind = "video"
inputs = { duration = { values = [5, 10], default = 5 } }
"#;

pub struct TestApp {
    pub api: Data<Api>,
    pub store: Store,
    pub clock: ManualClock,
    pub client: String,
    pub admin: String,
    /// A client key of another project.
    pub stranger: String,
    pub folder: TempDir,
}

/// A piece of a body, or how it breaks off.
pub type Piece = Result<Bytes, PayloadError>;

/// An answer, read to its end.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {:?}", self.body))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// Holds what every problem document holds.
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{:?}", self.body);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let body = self.json();
        assert_eq!((body["status"].as_u64(), body["code"].as_str()), (Some(u64::from(status)), Some(code)), "{body}");
        assert_eq!(body["instance"], self.header("x-request-id"));
        assert!(body["type"].as_str().unwrap().starts_with("/errors/"));
        body
    }
}

fn desk(config: &Config, store: &Store, registry: &Arc<Registry>, time: &Clock) -> Desk {
    Desk {
        hooks: Hooks::new(config.server.public_url.as_deref(), vec![HOOK_SECRET.to_owned().into()]),
        registry: Arc::clone(registry),
        signing: Signing::new(Executor::new(time.clone())),
        reads: store.reads(),
        journal: store.journal(&Lifeline::default()),
        spool: store.spool(),
        poll_now: Wake::bounded(16),
        reconcile: Wake::bounded(16),
        clock: time.clone(),
    }
}

fn clerk(config: &Config, store: &Store) -> Clerk {
    Clerk {
        webhooks: store.webhooks(),
        signer: Signer::new(vec![HOOK_SECRET.to_owned().into()]),
        allow: Arc::new(Allow {
            http: config.notify.allow_http,
            private: Reach::Hosts(config.notify.allow_private_hosts.clone()),
        }),
        wake: Wake::bounded(64),
    }
}

impl TestApp {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::build(change, KnownKeys::default()).await
    }

    /// On a bed's database, and without a memory: every answer is the database's. One at a time.
    pub async fn on(bed: &Bed) -> Self {
        Self::on_with(bed, |_| {}).await
    }

    pub async fn on_with(bed: &Bed, change: impl FnOnce(&mut Config)) -> Self {
        let place = |config: &mut Config| {
            config.store = bed.config.clone();
            config.data_dir = bed.folder.path().to_owned();
            change(config);
        };
        Self::build(place, KnownKeys::default()).await
    }

    /// Asks the database about every key anew.
    pub async fn distrustful() -> Self {
        Self::build(|_| {}, KnownKeys::trusting(Duration::ZERO)).await
    }

    async fn build(change: impl FnOnce(&mut Config), known_keys: KnownKeys) -> Self {
        // Set by `main` in the program; the second call of a process changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = TempDir::new().unwrap();
        let mut config: Config = toml::from_str(CONFIG).unwrap();
        config.data_dir = folder.path().to_owned();
        change(&mut config);
        let clock = ManualClock::at(Timestamp::parse("2026-11-21T12:00:00Z").unwrap());
        let time = Clock::Manual(clock.clone());
        let runtime = tokio::runtime::Handle::current();
        let store = Store::open(&config.store, &config.data_dir, NodeId::fresh(), time.clone(), &runtime).await.unwrap();
        let storage = Storage::open(&config.storage, &config.data_dir).await.unwrap();
        let key = async |name: &str, project: Option<&str>, scope| {
            keys::create(&store.keys(), name, project, scope, time.now()).await.unwrap().text.reveal().to_owned()
        };
        let client = key("client", None, Scope::Client).await;
        let admin = key("admin", None, Scope::Admin).await;
        keys::create_project(&store.keys(), "other").await.unwrap();
        let stranger = key("stranger", Some("other"), Scope::Client).await;
        let registry = Arc::new(Registry::new(&config).unwrap());
        let desk = desk(&config, &store, &registry, &time);
        let clerk = clerk(&config, &store);
        let streams = Rooms::of(&config.notify);
        let waiting = Seats::of(config.notify.max_waiters);
        let api = Data::new(Api {
            journal: store.journal(&Lifeline::default()),
            reads: store.reads(),
            desk,
            keys: store.keys(),
            decisions: store.decisions(),
            videos: store.videos(),
            catalogue: Arc::new(Catalogue::new(&config).unwrap()),
            registry,
            live: Live::default(),
            pulses: Pulses::default(),
            balances: Balances::default(),
            times: Times::default(),
            storage,
            dispatch_wake: Wake::bounded(16),
            cancel_wake: Wake::bounded(16),
            reconcile_wake: Wake::bounded(16),
            started_at: time.now(),
            clock: time.clone(),
            uploads: Uploads::of(&config),
            config: Arc::new(config),
            runtime,
            metrics: telemetry::metrics(),
            draining: CancellationToken::new(),
            watch: store.watch(),
            feed: store.feed(),
            clerk,
            streams,
            waiting,
            known_keys,
            room: Room::default(),
            meters: Meters::default(),
            in_flight: InFlight::default(),
            hooks_in_hand: InHand::default(),
            health: Reports::default(),
            bound: OnceLock::new(),
        });
        Self { api, store, clock, client, admin, stranger, folder }
    }

    pub async fn send(&self, request: TestRequest) -> Answer {
        self.take(request, None).await
    }

    /// Sends a body in pieces, which may end badly or never.
    pub async fn stream(&self, request: TestRequest, body: impl Stream<Item = Piece> + 'static) -> Answer {
        self.take(request, Some(Box::pin(body))).await
    }

    async fn take(&self, request: TestRequest, body: Option<Pin<Box<dyn Stream<Item = Piece>>>>) -> Answer {
        let api = self.api.clone();
        let service = init_service(App::new().configure(move |config| configure(config, api))).await;
        let mut request = request.to_request();
        if let Some(payload) = body {
            request = request.replace_payload(Payload::Stream { payload }).0;
        }
        let response = match service.call(request).await {
            Ok(response) => response.into_parts().1.map_into_boxed_body(),
            // What the server makes of an error that no middleware turned into a response.
            Err(error) => error.error_response(),
        };
        let (status, headers) = (response.status(), response.headers().clone());
        let body = to_bytes(response.into_body()).await.unwrap_or_else(|_| panic!("no body"));
        Answer { status, headers, body }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(with_key(TestRequest::get().uri(path), &self.client)).await
    }

    pub async fn post(&self, body: &Value) -> Answer {
        let request = TestRequest::post().uri("/api/external/generation").set_json(body);
        self.send(with_key(request, &self.client)).await
    }
}

pub fn with_key(request: TestRequest, key: &str) -> TestRequest {
    request.insert_header(("authorization", format!("Bearer {key}")))
}
