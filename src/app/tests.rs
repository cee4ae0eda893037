//! The whole service in one process, with sabotaged actors: every generation still ends right, no flight is lost, restarts are
//! counted.

mod batches;

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use sqlx::ConnectOptions as _;
use tokio::runtime::{Builder, Runtime};

use crate::{
    app::{App, children},
    clock::Clock,
    config::{Config, load, polling::StrategyName, simulator::SimulatorConfig},
    domain::record::{Asset, AssetState},
    observe::sabotage::Act,
    simulator::{RunningSimulator, Simulator},
    store::Scope,
};

/// Bounds every wait: far beyond what a slow machine needs, so that only a lost generation reaches it.
const BOUND: Duration = Duration::from_secs(90);

struct Bed {
    app: App,
    simulator: RunningSimulator,
    http: reqwest::Client,
    key: String,
    folder: tempfile::TempDir,
}

fn config(folder: &std::path::Path, simulator: &str) -> Config {
    let mut config = load::shipped().unwrap();
    folder.clone_into(&mut config.data_dir);
    "127.0.0.1:0".clone_into(&mut config.server.bind);
    // How fast this machine's disk is today is not what these tests ask.
    config.store.read_timeout_ms = 20_000;
    config.store.write_timeout_ms = 20_000;
    config.polling.base_ms = 20;
    config.polling.cap_ms = 100;
    config.dispatch.sweep_ms = 100;
    config.dispatch.offer_ms = 500;
    config.supervision.beat_ms = 20;
    config.supervision.late_ms = 400;
    config.supervision.silent_ms = 800;
    config.supervision.backoff_ms = 1;
    config.supervision.abandoned = 50;
    config.server.drain_s = 5;
    for (name, provider) in &mut config.providers {
        provider.base_url = match name.as_str() {
            "pollo" => format!("{simulator}/pollo/api/platform"),
            "replicate" => format!("{simulator}/replicate/v1"),
            "tuzi-kling" => format!("{simulator}/tuzi"),
            other => format!("{simulator}/{other}"),
        };
        provider.allow_loopback = true;
        provider.api_key = Some("test-key".to_owned().into());
        provider.requests_per_minute = 0;
        provider.polls_per_minute = 0;
        provider.concurrency = 0;
    }
    config
}

fn fast() -> SimulatorConfig {
    SimulatorConfig { image_ms: 150, video_ms: 300, ..SimulatorConfig::default() }
}

impl Bed {
    async fn new(sockets: &Arc<Runtime>) -> Self {
        Self::with(sockets, |_| {}).await
    }

    async fn polled(sockets: &Arc<Runtime>, strategy: StrategyName) -> Self {
        let change = |config: &mut Config| {
            config.polling.strategy = strategy;
            // Balances are rows, which are written when they are read.
            config.spend.balances_s = 0;
        };
        Self::with(sockets, change).await
    }

    async fn with(sockets: &Arc<Runtime>, change: impl FnOnce(&mut Config)) -> Self {
        Self::beside(sockets, SimulatorConfig { tiny_outputs: true, ..fast() }, change).await
    }

    async fn beside(sockets: &Arc<Runtime>, simulated: SimulatorConfig, change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let simulator = Simulator::start(simulated).unwrap();
        let mut config = config(folder.path(), &simulator.url);
        config.polling.strategy = StrategyName::Exponential;
        change(&mut config);
        let app = App::start(config, Arc::clone(sockets), Clock::System).await.unwrap();
        let key = app.mint_key("test", Scope::Client).await.unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { app, simulator, http, key, folder }
    }

    async fn submit(&self, model: &str, prompt: &str) -> String {
        let url = format!("{}/api/external/generation", self.app.url());
        let body = json!({ "modelIdentifier": model, "prompt": prompt });
        let reply = self.http.post(url).bearer_auth(&self.key).json(&body).send().await.unwrap();
        let status = reply.status();
        let answer: Value = reply.json().await.unwrap();
        assert_eq!(status, 202, "{answer}");
        answer["id"].as_str().unwrap().to_owned()
    }

    async fn show(&self, id: &str) -> Value {
        let url = format!("{}/api/external/generation/{id}", self.app.url());
        self.http.get(url).bearer_auth(&self.key).send().await.unwrap().json().await.unwrap()
    }

    async fn all_succeed(&self, ids: &[String]) {
        let everything = async {
            for id in ids {
                loop {
                    let shown = self.show(id).await;
                    match shown["status"].as_str().unwrap() {
                        "SUCCESS" => break,
                        "PENDING" | "PROCESSING" => tokio::time::sleep(Duration::from_millis(20)).await,
                        other => panic!("{id} ended {other}: {shown}"),
                    }
                }
            }
        };
        tokio::time::timeout(BOUND, everything).await.expect("every generation ends");
    }

    /// The generation, once it has ended.
    async fn ended(&self, id: &str) -> Value {
        let end = async {
            loop {
                let shown = self.show(id).await;
                if !matches!(shown["status"].as_str().unwrap(), "PENDING" | "PROCESSING") {
                    return shown;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(BOUND, end).await.expect("it ends")
    }

    async fn until(&self, id: &str, what: &str, done: impl Fn(&Value) -> bool) -> Value {
        let seen = async {
            loop {
                let shown = self.show(id).await;
                if done(&shown) {
                    return shown;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(BOUND, seen).await {
            Ok(shown) => shown,
            Err(_) => panic!("{id} never was {what}: {}", self.show(id).await),
        }
    }

    async fn entries(&self) -> Vec<Value> {
        let ledger: Value =
            self.http.get(format!("{}/ledger?outputs=0", self.simulator.url)).send().await.unwrap().json().await.unwrap();
        ledger["entries"].as_array().unwrap().clone()
    }

    async fn billed(&self) -> u64 {
        u64::try_from(self.entries().await.len()).unwrap()
    }

    /// A task of our account at Kling that no generation knows of.
    async fn stranger(&self, model: &str) -> String {
        let url = format!("{}/kling/v1/videos/text2video", self.simulator.url);
        let body = json!({ "model_name": model.replace("kling-", "kling-v").replace('.', "-"), "prompt": "of nobody" });
        let answer: Value = self.http.post(url).bearer_auth("test-key").json(&body).send().await.unwrap().json().await.unwrap();
        answer["data"]["task_id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// Moves the results of a generation as somebody does who read their rows before they were stored.
    async fn move_again(&self, generation: &str) {
        let (reads, id) = (self.app.parts.store.reads(), generation.parse().unwrap());
        let assets = children::assets(&self.app.parts, Arc::default());
        let moving = self.app.sockets.spawn(async move {
            for asset in reads.load(id).await.unwrap().unwrap().assets {
                assets.clone().store(Asset { state: AssetState::Pending, storage_key: None, ..asset }).await;
            }
        });
        moving.await.unwrap();
    }

    /// Waits until nothing is left of a deleted video's files, as far as is known.
    async fn purged(&self, generation: &str) {
        let (reads, id) = (self.app.parts.store.reads(), generation.parse().unwrap());
        let done = self.app.sockets.spawn(async move {
            while reads.videos_to_purge(10).await.unwrap().contains(&id) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        tokio::time::timeout(BOUND, done).await.expect("it is erased").unwrap();
    }

    /// Strikes an actor and waits until it was struck and rebuilt.
    async fn strike(&self, actor: &str, act: Act) {
        let pulse = self.app.pulse(actor);
        let before = pulse.restarts();
        pulse.sabotage.arm(act);
        let struck = async {
            while !pulse.sabotage.struck() || pulse.restarts() == before {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(BOUND, struck).await.unwrap_or_else(|_| panic!("{actor} is not rebuilt after {act:?}"));
    }

    async fn close(self) {
        for actor in ACTORS {
            self.app.pulse(actor).sabotage.release();
        }
        self.app.shutdown().await;
        self.simulator.stop();
    }
}

const ACTORS: [&str; 10] = [
    "dispatcher",
    "reconciler",
    "poller",
    "uploader",
    "bookkeeper",
    "adapter-kling",
    "adapter-pollo",
    "adapter-replicate",
    "adapter-flux",
    "adapter-tuzi",
];

const MODELS: [&str; 5] = ["kling-2.6", "pollo-2.5", "flux-schnell", "flux-2-pro", "tuzi-flux-kontext-pro"];

/// Generations of every provider, submitted while `act` strikes each actor in turn.
fn under_load(act: Act) {
    let sockets = Arc::new(Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap());
    actix_rt::System::new().block_on(async {
        let bed = Bed::new(&sockets).await;
        let mut ids = Vec::new();
        for (round, actor) in ACTORS.iter().enumerate() {
            for model in MODELS {
                ids.push(bed.submit(model, &format!("round {round}")).await);
            }
            bed.strike(actor, act).await;
        }
        bed.all_succeed(&ids).await;
        let submitted = u64::try_from(ids.len()).unwrap();
        assert_eq!(bed.billed().await, submitted, "each is billed once");
        bed.close().await;
    });
}

#[test]
fn every_generation_ends_right_while_each_actor_panics() {
    under_load(Act::Panic);
}

#[test]
fn every_generation_ends_right_while_each_actor_panics_in_its_handler_too() {
    under_load(Act::PanicInHandler);
}

#[test]
fn every_generation_ends_right_while_each_actor_hangs() {
    under_load(Act::Hang);
}

#[test]
fn every_generation_ends_right_while_each_arbiter_thread_is_blocked() {
    under_load(Act::Block);
}

/// A connection of its own, which sees what any other commits.
struct Beside {
    connection: sqlx::SqliteConnection,
    log: std::path::PathBuf,
}

impl Beside {
    async fn open(folder: &std::path::Path) -> Self {
        let file = folder.join("longtake.db");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file);
        Self { connection: options.connect().await.unwrap(), log: file.with_extension("db-wal") }
    }

    /// SQLite's count of others' commits, and the bytes of the log.
    async fn look(&mut self) -> (i64, u64) {
        let version = sqlx::query_scalar("PRAGMA data_version").fetch_one(&mut self.connection).await.unwrap();
        (version, std::fs::metadata(&self.log).unwrap().len())
    }
}

#[test]
fn a_thousand_polls_write_nothing() {
    let sockets = Arc::new(Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap());
    actix_rt::System::new().block_on(async {
        let bed = Bed::polled(&sockets, StrategyName::Adaptive).await;
        for round in 0..20 {
            bed.submit("flux-schnell", &format!("round {round} [[sim slow=600000]]")).await;
        }
        let polls = async |more_than: u64| {
            loop {
                let ledger: Value =
                    bed.http.get(format!("{}/ledger", bed.simulator.url)).send().await.unwrap().json().await.unwrap();
                let entries = ledger["entries"].as_array().unwrap();
                let polls: Vec<_> = entries.iter().map(|entry| entry["polls"].as_u64().unwrap()).collect();
                if polls.len() == 20 && polls.iter().all(|polls| *polls > 0) && polls.iter().sum::<u64>() > more_than {
                    return polls.iter().sum::<u64>();
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let before = polls(0).await;
        let commits = bed.app.commits();
        let mut beside = Beside::open(bed.folder.path()).await;
        let stands = beside.look().await;
        let after = tokio::time::timeout(BOUND, polls(before + 1_000)).await.expect("a thousand polls are made");
        assert!(after - before > 1_000);
        assert_eq!(bed.app.commits(), commits, "polls wrote to the database");
        assert_eq!(beside.look().await, stands, "polls wrote to the file");
        bed.close().await;
    });
}

#[test]
fn an_address_that_expired_is_asked_for_anew_once() {
    let sockets = Arc::new(Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap());
    actix_rt::System::new().block_on(async {
        let bed = Bed::new(&sockets).await;
        for model in ["kling-2.6", "pollo-2.5", "flux-schnell", "flux-2-pro"] {
            let id = bed.submit(model, "once [[sim resign=1]]").await;
            let shown = bed.ended(&id).await;
            assert_eq!(shown["status"], "SUCCESS", "{shown}");
            assert!(shown["results"][0]["bytes"].as_u64().unwrap() > 0, "{shown}");
            let id = bed.submit(model, "for ever [[sim resign=9]]").await;
            let shown = bed.ended(&id).await;
            assert_eq!((&shown["status"], &shown["error"]["code"]), (&json!("FAILED"), &json!("OUTPUT_EXPIRED")), "{shown}");
        }
        bed.close().await;
    });
}

fn files(folder: &std::path::Path) -> usize {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}

#[test]
fn a_stored_result_is_not_moved_again_for_somebody_who_read_before() {
    let sockets = Arc::new(Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap());
    actix_rt::System::new().block_on(async {
        let bed = Bed::new(&sockets).await;
        let id = bed.submit("kling-2.6", "once").await;
        let before = bed.ended(&id).await;
        bed.move_again(&id).await;
        assert_eq!(bed.show(&id).await["results"], before["results"]);
        assert_eq!(files(&bed.folder.path().join("media")), 1);
        bed.close().await;
    });
}

/// What is unconfirmed is given up soon, and what turns up late is soon found.
fn hasty(config: &mut Config) {
    config.dispatch.not_after_ms = 1_000;
    config.dispatch.lease_ttl_ms = 100;
    config.dispatch.reconcile_video_s = 1;
    config.providers.values_mut().for_each(|provider| provider.submit_timeout_ms = 2_000);
}

#[test]
fn a_late_result_of_a_deleted_video_is_paid_for_and_erased() {
    let sockets = Arc::new(Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap());
    actix_rt::System::new().block_on(async {
        let bed = Bed::with(&sockets, hasty).await;
        let id = bed.submit("kling-2.6", "to be deleted").await;
        assert_eq!(bed.ended(&id).await["status"], "SUCCESS");
        let url = format!("{}/v1/videos/{id}", bed.app.url());
        assert_eq!(bed.http.delete(url).bearer_auth(&bed.key).send().await.unwrap().status(), 200);
        bed.until(&id, "erased", |shown| shown["results"] == json!([])).await;
        bed.purged(&id).await;
        let made = bed.stranger("kling-2.6").await;
        bed.app.evidence(&id, &made).await.unwrap();
        let shown = bed.until(&id, "delivered twice", |shown| shown["attempts"][1]["state"] == "delivered").await;
        bed.purged(&id).await;
        assert_eq!((files(&bed.folder.path().join("media")), bed.show(&id).await["lateResults"].clone()), (0, json!([])));
        assert_eq!((&shown["status"], &shown["cost"]["charged"]), (&json!("SUCCESS"), &json!("0.560000")), "{shown}");
        bed.close().await;
    });
}

#[test]
fn a_second_task_of_one_submit_is_delivered_late_and_evidence_alone_brings_a_given_up_one_back() {
    let sockets = Arc::new(Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap());
    actix_rt::System::new().block_on(async {
        let bed = Bed::with(&sockets, hasty).await;
        let late = |shown: &Value| shown["lateResults"].as_array().is_some_and(|late| !late.is_empty());
        let task = |shown: &Value| shown["attempts"][0]["providerTaskId"].as_str().map(str::to_owned);

        // The provider made two of one: here the second is somebody else's, whose generation is gone.
        let (first, second) = (bed.submit("kling-2.6", "first").await, bed.submit("kling-2.6", "second").await);
        bed.until(&first, "running", |shown| task(shown).is_some()).await;
        let made = bed.stranger("kling-2.6").await;
        bed.app.evidence(&first, &made).await.unwrap();
        let shown = bed.until(&first, "late", late).await;
        assert_eq!(shown["status"], "SUCCESS", "{shown}");
        let states: Vec<_> = shown["attempts"].as_array().unwrap().iter().map(|attempt| attempt["state"].clone()).collect();
        assert_eq!(states, ["delivered", "delivered"], "both are paid, so both are delivered");
        assert_eq!(shown["attempts"][1]["providerTaskId"], made.as_str());
        bed.until(&second, "ended", |shown| shown["status"] == "SUCCESS").await;

        let lost = bed.submit("pollo-2.5", "lost [[sim drop=after]]").await;
        let shown = bed.until(&lost, "given up", |shown| shown["status"] == "FAILED").await;
        assert_eq!(shown["error"]["code"], "SUBMISSION_UNCONFIRMED");
        let entries = bed.entries().await;
        let billed = entries.iter().find(|entry| entry["prompt"].as_str().unwrap().contains("lost")).unwrap();
        bed.app.evidence(&lost, billed["taskId"].as_str().unwrap()).await.unwrap();
        let shown = bed.until(&lost, "late", late).await;
        assert_eq!((shown["status"].as_str(), shown["cost"]["atRisk"].as_str()), (Some("FAILED"), Some("0.000000")), "{shown}");
        bed.close().await;
    });
}
