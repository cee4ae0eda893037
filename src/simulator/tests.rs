//! The sandboxes over real sockets, as a client sees them. Nothing here looks inside.

mod bfl;
mod control;
mod kling;
mod outputs;
mod pollo;
mod replicate;
mod tuzi;

use std::future::Future;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{RunningSimulator, Simulator};
use crate::config::simulator::SimulatorConfig;

/// A running simulator and a client of it.
struct Rig {
    simulator: RunningSimulator,
    client: reqwest::Client,
}

impl Rig {
    /// Quick tasks, and no limit that a test did not ask for.
    fn config() -> SimulatorConfig {
        let mut config = SimulatorConfig { image_ms: 0, video_ms: 0, ..SimulatorConfig::default() };
        config.webhook_retry_ms = vec![10, 10];
        config.flux.active_tasks = 0;
        config.replicate.creates_per_minute = 0;
        config.replicate.others_per_minute = 0;
        config
    }

    fn start() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut SimulatorConfig)) -> Self {
        let mut config = Self::config();
        change(&mut config);
        let simulator = Simulator::start(config).unwrap();
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap();
        Self { simulator, client }
    }

    fn call(&self, method: Method, path: &str) -> RequestBuilder {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.simulator.url) };
        self.client.request(method, url).header("x-key", "test-key").header("x-api-key", "test-key").bearer_auth("test-key")
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        read(self.call(Method::GET, path).send().await.unwrap()).await
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        read(self.call(Method::POST, path).json(body).send().await.unwrap()).await
    }

    /// Polls until `done`, for at most ten seconds.
    async fn until(&self, path: &str, done: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..1_000 {
            let (_, body) = self.get(path).await;
            if done(&body) {
                return body;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{path} never came to its end");
    }

    async fn ledger(&self, query: &str) -> Value {
        self.get(&format!("/ledger?{query}")).await.1
    }

    /// Downloads an output and checks it against the ledger.
    async fn download(&self, url: &str) -> Vec<u8> {
        let response = self.client.get(url).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let bytes = response.bytes().await.unwrap().to_vec();
        let ledger = self.ledger("").await;
        let outputs = ledger["entries"].as_array().unwrap().iter().flat_map(|entry| entry["outputs"].as_array().unwrap());
        let known: Vec<&Value> = outputs.filter(|output| output["url"] == url).collect();
        assert_eq!(known.len(), 1, "{url} is in the ledger once");
        assert_eq!(known[0]["sha256"], super::files::sha256_hex(&bytes));
        bytes
    }
}

async fn read(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Runs an async test body.
fn run(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future);
}

/// A receiver of webhooks: answers `status` to each and hands on head and body.
async fn receiver(statuses: Vec<u16>) -> (String, tokio::sync::mpsc::UnboundedReceiver<(String, Vec<u8>)>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook?job=7", listener.local_addr().unwrap());
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    #[expect(clippy::disallowed_methods, reason = "test")]
    tokio::spawn(async move {
        let mut statuses = statuses.into_iter();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = Vec::new();
            let (head, body) = loop {
                let mut chunk = [0; 4_096];
                let count = stream.read(&mut chunk).await.unwrap();
                bytes.extend_from_slice(&chunk[..count]);
                let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
                let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
                let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap().parse::<usize>().unwrap();
                if bytes.len() >= end + 4 + length {
                    break (head, bytes[end + 4..].to_vec());
                }
            };
            let status = statuses.next().unwrap_or(200);
            let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            sender.send((head, body)).ok();
        }
    });
    (url, receiver)
}

/// The value of a header in a lower-case head.
fn header<'a>(head: &'a str, name: &str) -> &'a str {
    head.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a string: {value}"))
}

fn decoded(bytes: &[u8]) -> (u32, u32) {
    let picture = image::load_from_memory(bytes).unwrap();
    (picture.width(), picture.height())
}

fn kling_body(prompt: &str) -> Value {
    json!({"model_name": "kling-v2-6", "prompt": prompt, "duration": "5"})
}
