//! The real binary, killed and started again: what was accepted ends, and nothing is submitted twice.

mod books;
mod cli;
mod cli_batch;
mod deletion;
mod disk;
mod idempotency;
mod openai;
mod spool;
mod webhooks;

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use longtake::{
    config::simulator::SimulatorConfig,
    simulator::{RunningSimulator, Simulator},
};
use serde_json::{Value, json};

/// Bounds every wait: far beyond what a slow machine needs.
pub const BOUND: Duration = Duration::from_secs(60);

/// Between two looks.
pub const LOOK: Duration = Duration::from_millis(20);

pub struct Bed {
    pub folder: tempfile::TempDir,
    pub environment: Vec<(&'static str, String)>,
    pub simulator: RunningSimulator,
    pub http: reqwest::Client,
    pub key: String,
}

pub struct Server {
    pub child: Child,
    pub url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// SIGKILL: nothing of the process gets a word in.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; returns the exit code.
    fn terminate(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

fn configuration(simulator: &str) -> String {
    let mut text = String::from(
        "[server]\nbind = \"127.0.0.1:0\"\ndrain_s = 5\n[store]\nread_timeout_ms = 20000\nwrite_timeout_ms = 20000\n\
         [polling]\nbase_ms = 50\ncap_ms = 200\n\
         [dispatch]\nreconcile_ms = 100\nreconcile_image_s = 2\nlease_ttl_ms = 100\n[assets]\nretry_delay_ms = 50\nmax_retry_delay_ms = 200\n",
    );
    for (name, path) in
        [("kling", "kling"), ("pollo", "pollo/api/platform"), ("replicate", "replicate/v1"), ("flux", "flux"), ("tuzi", "tuzi")]
    {
        text.push_str(&format!(
            "[providers.{name}]\nbase_url = \"{simulator}/{path}\"\nallow_loopback = true\napi_key = \"test-{name}\"\n"
        ));
    }
    text
}

impl Bed {
    pub fn new() -> Self {
        Self::with(Vec::new())
    }

    /// A bed whose processes run with these variables.
    pub fn with(environment: Vec<(&'static str, String)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let simulated = SimulatorConfig { image_ms: 200, video_ms: 400, ..SimulatorConfig::default() };
        let simulator = Simulator::start(simulated).unwrap();
        std::fs::write(folder.path().join("longtake.toml"), configuration(&simulator.url)).unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut bed = Self { folder, environment, simulator, http, key: String::new() };
        bed.key = bed.make_key("test")["key"].as_str().unwrap().to_owned();
        bed
    }

    pub fn command(&self) -> Command {
        self.surrounded(Command::new(env!("CARGO_BIN_EXE_longtake")))
    }

    fn surrounded(&self, mut command: Command) -> Command {
        command.current_dir(&self.folder).env("LONGTAKE__DATA_DIR", self.folder.path().join("data"));
        command.env_remove("LONGTAKE_CONFIG").envs(self.environment.iter().cloned());
        command
    }

    fn make_key(&self, name: &str) -> Value {
        let made = self.command().args(["keys", "create", "--name", name, "--json"]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        serde_json::from_slice(&made.stdout).unwrap()
    }

    pub fn serve(&self) -> Server {
        self.serve_with(&[])
    }

    /// Serves with these variables besides.
    pub fn serve_with(&self, variables: &[(&str, &str)]) -> Server {
        let mut command = self.command();
        command.envs(variables.iter().copied());
        Self::started(command)
    }

    /// Serves through a program that is given the binary's path and arguments.
    pub fn serve_by(&self, program: &[&str]) -> Server {
        let mut command = self.surrounded(Command::new(program[0]));
        command.args(&program[1..]).arg(env!("CARGO_BIN_EXE_longtake"));
        Self::started(command)
    }

    fn started(mut command: Command) -> Server {
        let mut child = command.arg("serve").env("NO_COLOR", "1").stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut seen = Vec::new();
        let url = loop {
            let Some(Ok(line)) = lines.next() else { panic!("the server ended before it was ready:\n{}", seen.join("\n")) };
            if let Some(rest) = line.split(" url=").nth(1).filter(|_| line.contains("ready")) {
                break rest.split_whitespace().next().unwrap().trim_matches('"').to_owned();
            }
            seen.push(line);
        };
        // The pipe must be read on, or the server blocks when it is full.
        std::thread::spawn(move || lines.for_each(drop));
        Server { child, url }
    }

    pub async fn submit(&self, server: &Server, body: Value) -> String {
        let url = format!("{}/api/external/generation", server.url);
        let reply = self.http.post(url).bearer_auth(&self.key).json(&body).send().await.unwrap();
        let (status, answer) = (reply.status(), reply.json::<Value>().await.unwrap());
        assert_eq!(status, 202, "{answer}");
        answer["id"].as_str().unwrap().to_owned()
    }

    pub async fn show(&self, server: &Server, id: &str) -> Value {
        let url = format!("{}/api/external/generation/{id}", server.url);
        self.http.get(url).bearer_auth(&self.key).send().await.unwrap().json().await.unwrap()
    }

    pub async fn wait(&self, server: &Server, id: &str, what: &str, done: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let shown = self.show(server, id).await;
            if done(&shown) {
                return shown;
            }
            assert!(start.elapsed() < BOUND, "{id} never was {what}: {shown}");
            tokio::time::sleep(LOOK).await;
        }
    }

    pub async fn ended(&self, server: &Server, id: &str) -> Value {
        let terminal = |shown: &Value| matches!(shown["status"].as_str(), Some("SUCCESS" | "FAILED" | "CANCELLED"));
        self.wait(server, id, "ended", terminal).await
    }

    pub async fn ledger(&self) -> Vec<Value> {
        let url = format!("{}/ledger?outputs=0", self.simulator.url);
        let ledger: Value = self.http.get(url).send().await.unwrap().json().await.unwrap();
        ledger["entries"].as_array().unwrap().clone()
    }

    async fn accepted_by_provider(&self) {
        let start = Instant::now();
        while self.ledger().await.is_empty() {
            assert!(start.elapsed() < BOUND, "the provider saw no submit");
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn result_bytes(shown: &Value) -> u64 {
    shown["results"][0]["bytes"].as_u64().unwrap()
}

#[actix_web::test]
async fn a_kill_during_a_submit_is_looked_up_and_never_submitted_again() {
    let bed = Bed::new();
    let server = bed.serve();
    let id = bed.submit(&server, json!({ "modelIdentifier": "kling-2.6", "prompt": "a dam [[sim hang=20000]]" })).await;
    bed.accepted_by_provider().await;
    server.kill();
    let server = bed.serve();
    let shown = bed.ended(&server, &id).await;
    assert_eq!(shown["status"], "SUCCESS", "{shown}");
    assert!(result_bytes(&shown) > 0);
    assert_eq!(bed.ledger().await.len(), 1, "one submit, one bill");
    assert_eq!(shown["attempts"].as_array().unwrap().len(), 1);
}

#[actix_web::test]
async fn a_kill_during_a_submit_that_cannot_be_looked_up_ends_unconfirmed() {
    let bed = Bed::with(vec![("LONGTAKE__PROVIDERS__FLUX__SUBMIT_TIMEOUT_MS", "2000".to_owned())]);
    let server = bed.serve();
    let id = bed.submit(&server, json!({ "modelIdentifier": "flux-2-pro", "prompt": "a dam [[sim hang=20000]]" })).await;
    bed.accepted_by_provider().await;
    server.kill();
    let server = bed.serve();
    let shown = bed.ended(&server, &id).await;
    assert_eq!((shown["status"].as_str(), shown["error"]["code"].as_str()), (Some("FAILED"), Some("SUBMISSION_UNCONFIRMED")));
    assert_eq!(bed.ledger().await.len(), 1, "it is not submitted a second time");
}

#[actix_web::test]
async fn a_kill_while_waiting_polls_on_without_a_new_submit() {
    let bed = Bed::new();
    let server = bed.serve();
    let mut ids = Vec::new();
    for model in ["kling-2.6", "pollo-2.5", "flux-schnell", "flux-2-pro"] {
        ids.push(bed.submit(&server, json!({ "modelIdentifier": model, "prompt": "a night [[sim slow=10000]]" })).await);
    }
    for id in &ids {
        bed.wait(&server, id, "running", |shown| shown["stage"] == "running").await;
    }
    server.kill();
    let server = bed.serve();
    for id in &ids {
        let shown = bed.ended(&server, id).await;
        assert_eq!(shown["status"], "SUCCESS", "{shown}");
    }
    assert_eq!(bed.ledger().await.len(), ids.len());
}

#[actix_web::test]
async fn a_kill_while_storing_stores_after_the_restart() {
    let bed = Bed::new();
    let server = bed.serve();
    // The storage refuses: its folder is a file.
    let media = bed.folder.path().join("data/media");
    std::fs::rename(&media, bed.folder.path().join("aside")).unwrap();
    std::fs::write(&media, "in the way").unwrap();
    let id = bed.submit(&server, json!({ "modelIdentifier": "kling-2.6", "prompt": "a shelf" })).await;
    bed.wait(&server, &id, "storing", |shown| shown["stage"] == "storing").await;
    server.kill();
    std::fs::remove_file(&media).unwrap();
    let server = bed.serve();
    let shown = bed.ended(&server, &id).await;
    assert_eq!(shown["status"], "SUCCESS", "{shown}");
    let url = shown["results"][0]["url"].as_str().unwrap().to_owned();
    let bytes = bed.http.get(url).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(u64::try_from(bytes.len()).unwrap(), result_bytes(&shown));
    assert_eq!(bed.ledger().await.len(), 1);
}

#[actix_web::test]
async fn sigterm_drains_exits_zero_and_a_second_start_continues() {
    let bed = Bed::new();
    let server = bed.serve();
    let id = bed.submit(&server, json!({ "modelIdentifier": "kling-2.6", "prompt": "a long night [[sim slow=10000]]" })).await;
    bed.wait(&server, &id, "running", |shown| shown["stage"] == "running").await;
    assert_eq!(server.terminate(), Some(0));
    let server = bed.serve();
    assert_eq!(bed.ended(&server, &id).await["status"], "SUCCESS");
    assert_eq!(bed.ledger().await.len(), 1);
}

#[actix_web::test]
async fn a_second_server_on_the_same_data_refuses_to_start_and_keys_are_made_beside_the_first() {
    let bed = Bed::new();
    let server = bed.serve();
    let second = bed.command().arg("serve").output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another server"), "{}", String::from_utf8_lossy(&second.stderr));
    let key = bed.make_key("late");
    let url = format!("{}/api/external/models", server.url);
    let reply = bed.http.get(&url).bearer_auth(key["key"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(reply.status(), 200);
    let gone = bed.command().args(["keys", "revoke", key["id"].as_str().unwrap()]).output().unwrap();
    assert!(gone.status.success());
    let start = Instant::now();
    while bed.http.get(&url).bearer_auth(key["key"].as_str().unwrap()).send().await.unwrap().status() != 401 {
        assert!(start.elapsed() < BOUND, "a revoked key stays valid");
        tokio::time::sleep(LOOK).await;
    }
}

#[actix_web::test]
async fn on_postgresql_a_kill_and_a_second_server_end_as_on_sqlite() {
    let Some(database) = crate::store::bed::Bed::postgres().await else { return };
    let bed = Bed::with(vec![("LONGTAKE__STORE__URL", database.config.url.clone())]);
    let server = bed.serve();
    let second = bed.command().arg("serve").output().unwrap();
    assert!(String::from_utf8_lossy(&second.stderr).contains("another server"), "{}", String::from_utf8_lossy(&second.stderr));
    let mut ids = Vec::new();
    for model in ["kling-2.6", "pollo-2.5", "flux-schnell", "flux-2-pro"] {
        ids.push(bed.submit(&server, json!({ "modelIdentifier": model, "prompt": "a night [[sim slow=10000]]" })).await);
    }
    for id in &ids {
        bed.wait(&server, id, "running", |shown| shown["stage"] == "running").await;
    }
    server.kill();
    let server = bed.serve();
    for id in &ids {
        let shown = bed.ended(&server, id).await;
        assert_eq!(shown["status"], "SUCCESS", "{shown}");
    }
    assert_eq!(bed.ledger().await.len(), ids.len());
    drop(server);
    database.drop_all().await;
}

#[actix_web::test]
async fn results_go_to_the_bucket_and_are_read_by_a_presigned_url() {
    let s3 = crate::storage::s3_server::S3Server::start().await;
    let bed = Bed::with(s3.environment());
    let server = bed.serve();
    for model in ["kling-2.6", "tuzi-flux-kontext-pro"] {
        let id = bed.submit(&server, json!({ "modelIdentifier": model, "prompt": "a bucket" })).await;
        let shown = bed.ended(&server, &id).await;
        assert_eq!(shown["status"], "SUCCESS", "{shown}");
        let url = shown["results"][0]["url"].as_str().unwrap().to_owned();
        assert!(url.contains("X-Amz-Signature"), "{url}");
        let bytes = bed.http.get(url).send().await.unwrap().error_for_status().unwrap().bytes().await.unwrap();
        assert_eq!(u64::try_from(bytes.len()).unwrap(), result_bytes(&shown));
    }
    let kept = s3.files();
    assert!(kept.iter().any(|file| file.contains("/kling/")) && !kept.iter().any(|file| file.contains("staged")), "{kept:?}");
}

#[actix_web::test]
async fn without_upload_the_providers_own_url_is_handed_out_with_its_expiry() {
    let bed = Bed::with(vec![("LONGTAKE__PROVIDERS__FLUX__UPLOAD_TO_S3", "false".to_owned())]);
    let server = bed.serve();
    let id = bed.submit(&server, json!({ "modelIdentifier": "flux-2-pro", "prompt": "a link" })).await;
    let shown = bed.ended(&server, &id).await;
    assert_eq!(shown["status"], "SUCCESS", "{shown}");
    assert!(shown["results"][0]["url"].as_str().unwrap().starts_with(&bed.simulator.url));
    assert!(shown["results"][0]["expiresAt"].is_string(), "{shown}");
}

#[actix_web::test]
async fn an_overdue_generation_says_so_and_ends_only_after_its_late_window() {
    let bed = Bed::with(vec![
        ("LONGTAKE__POLLING__MAX_IMAGE_S", "1".to_owned()),
        ("LONGTAKE__POLLING__LATE_IMAGE_S", "15".to_owned()),
        ("LONGTAKE__POLLING__OVERDUE_MS", "100".to_owned()),
    ]);
    let server = bed.serve();
    let late = bed.submit(&server, json!({ "modelIdentifier": "flux-2-pro", "prompt": "late [[sim slow=3000]]" })).await;
    let never = bed.submit(&server, json!({ "modelIdentifier": "flux-2-pro", "prompt": "never [[sim slow=600000]]" })).await;
    bed.wait(&server, &never, "overdue", |shown| shown["stage"] == "overdue").await;
    assert_eq!(bed.ended(&server, &late).await["status"], "SUCCESS", "what is late is not lost");
    let shown = bed.ended(&server, &never).await;
    assert_eq!((shown["status"].as_str(), shown["error"]["code"].as_str()), (Some("FAILED"), Some("TASK_TIMEOUT")));
}

#[actix_web::test]
async fn a_cancel_ends_what_is_queued_asks_the_provider_where_it_can_and_delivers_what_is_paid() {
    let bed = Bed::with(vec![("LONGTAKE__PROVIDERS__FLUX__CONCURRENCY", "1".to_owned())]);
    let server = bed.serve();
    let slow = "a slow one [[sim slow=10000]]";
    let submit = async |model: &str| bed.submit(&server, json!({ "modelIdentifier": model, "prompt": slow })).await;
    let (first, queued) = (submit("flux-2-pro").await, submit("flux-2-pro").await);
    let (paid, stoppable) = (submit("kling-2.6").await, submit("flux-schnell").await);
    for id in [&first, &paid, &stoppable] {
        bed.wait(&server, id, "running", |shown| shown["stage"] == "running").await;
    }
    let why = bed.show(&server, &queued).await["why"].as_str().unwrap().to_owned();
    assert!(why.contains("1 of 1 slots"), "{why}");
    for id in [&queued, &paid, &stoppable] {
        let url = format!("{}/api/external/generation/{id}/cancel", server.url);
        let reply = bed.http.post(url).bearer_auth(&bed.key).send().await.unwrap();
        assert_eq!(reply.status(), 202);
    }
    assert_eq!(bed.ended(&server, &queued).await["status"], "CANCELLED");
    assert_eq!(bed.ended(&server, &stoppable).await["status"], "CANCELLED");
    let shown = bed.ended(&server, &paid).await;
    assert_eq!((shown["status"].as_str(), shown["cancelRequested"].as_bool()), (Some("SUCCESS"), Some(true)), "{shown}");
    assert_eq!(bed.ended(&server, &first).await["status"], "SUCCESS");
    assert_eq!(bed.ledger().await.len(), 3, "the queued one never reached the provider");
}

#[actix_web::test]
async fn one_refused_output_of_two_is_missing_and_the_other_is_delivered() {
    let bed = Bed::new();
    let server = bed.serve();
    let body = json!({ "modelIdentifier": "flux-2-pro", "prompt": "a pair [[sim refuse=422 times=1]]", "numberOfOutputs": 2 });
    let id = bed.submit(&server, body).await;
    let shown = bed.ended(&server, &id).await;
    assert_eq!(shown["status"], "SUCCESS", "{shown}");
    assert_eq!(shown["results"].as_array().unwrap().len(), 1);
    assert_eq!(shown["missing"][0]["error"]["code"], "INVALID_REQUEST", "{shown}");
}

#[actix_web::test]
async fn a_provider_that_cannot_be_reached_is_tried_again_and_never_billed_twice() {
    let bed = Bed::with(vec![("LONGTAKE__PROVIDERS__POLLO__RETRY__INITIAL_DELAY_MS", "50".to_owned())]);
    let server = bed.serve();
    // Refused, throttled and maintained: each explicit and unbilled by the provider's table.
    for (model, prompt) in [
        ("kling-2.6", "a [[sim refuse=5001 times=1]]"),
        ("flux-2-pro", "b [[sim throttle=2]]"),
        ("flux-schnell", "c [[sim throttle=1]]"),
    ] {
        let id = bed.submit(&server, json!({ "modelIdentifier": model, "prompt": prompt })).await;
        let shown = bed.ended(&server, &id).await;
        assert_eq!(shown["status"], "SUCCESS", "{shown}");
        assert!(shown["attempts"].as_array().unwrap().len() > 1);
    }
    assert_eq!(bed.ledger().await.len(), 3);
}

#[actix_web::test]
async fn a_submit_that_never_arrived_ends_unconfirmed_with_what_the_attempt_met_and_is_not_repeated() {
    let bed = Bed::with(vec![
        ("LONGTAKE__DISPATCH__RECONCILE_VIDEO_S", "1".to_owned()),
        ("LONGTAKE__PROVIDERS__KLING__SUBMIT_TIMEOUT_MS", "2000".to_owned()),
    ]);
    let server = bed.serve();
    let id = bed.submit(&server, json!({ "modelIdentifier": "kling-2.6", "prompt": "lost [[sim drop=before]]" })).await;
    let shown = bed.ended(&server, &id).await;
    assert_eq!((shown["status"].as_str(), shown["error"]["code"].as_str()), (Some("FAILED"), Some("SUBMISSION_UNCONFIRMED")));
    assert_eq!(shown["error"]["details"]["cause"], "PROVIDER_ERROR", "{shown}");
    assert_eq!(shown["attempts"].as_array().unwrap().len(), 1);
    assert!(bed.ledger().await.is_empty());
}

#[actix_web::test]
async fn a_provider_without_a_credential_is_off_says_so_and_hurts_nobody() {
    let bed = Bed::new();
    let path = bed.folder.path().join("longtake.toml");
    let kept: Vec<_> =
        std::fs::read_to_string(&path).unwrap().lines().filter(|line| !line.contains("test-pollo")).map(str::to_owned).collect();
    std::fs::write(&path, kept.join("\n")).unwrap();
    let server = bed.serve();
    let url = format!("{}/api/external/generation", server.url);
    let body = json!({ "modelIdentifier": "pollo-2.5", "prompt": "a key" });
    let reply = bed.http.post(url).bearer_auth(&bed.key).json(&body).send().await.unwrap();
    assert_eq!(reply.status(), 503);
    let problem: Value = reply.json().await.unwrap();
    assert!(problem["detail"].as_str().unwrap().contains("pollo"), "{problem}");
    let id = bed.submit(&server, json!({ "modelIdentifier": "flux-2-pro", "prompt": "another" })).await;
    assert_eq!(bed.ended(&server, &id).await["status"], "SUCCESS");
}
