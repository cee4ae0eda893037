//! The service as a client sees it, through the fault proxy.

use std::{fmt, time::Duration};

use anyhow::{Context as _, ensure};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::keyed::id;

/// Longest wait of a client for one answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// The same where nothing is in the way: the machine may be busy.
const CALM_PATIENCE: Duration = Duration::from_secs(60);

/// On a machine that is busy enough even a connection that nobody cuts is closed now and then, since its request came too slowly.
const CALM_TRIES: u32 = 8;
const BREATH: Duration = Duration::from_millis(500);

/// A client with its key.
#[derive(Debug, Clone)]
pub struct Api {
    http: reqwest::Client,
    base: String,
    key: String,
    /// Tries of what is only read and cannot be read.
    tries: u32,
}

/// What a client learned from one POST.
#[derive(Debug)]
pub enum Posted {
    /// 202, with the id.
    Accepted(String),
    /// Anything else.
    Unknown,
}

/// A request that may be sent again.
#[derive(Debug, Clone)]
pub struct Keyed {
    pub path: &'static str,
    pub content_type: &'static str,
    pub body: Vec<u8>,
    pub key: String,
}

/// What a client learned from one try of it.
#[derive(Debug)]
pub enum Told {
    /// 202, whole.
    Made { answer: Box<Value>, replayed: bool },
    /// Any other answer, with what it says.
    Refused(StatusCode, String),
    /// No clear answer.
    Nothing,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Made { answer, replayed } => {
                let again = if *replayed { ", as before" } else { "" };
                write!(f, "202 {}{again}", id(answer))
            }
            Self::Refused(status, _) => write!(f, "{status}"),
            Self::Nothing => f.write_str("no answer"),
        }
    }
}

/// What a client learned from one look at a generation.
#[derive(Debug)]
pub enum Looked {
    Shown(Box<Value>),
    /// 404: for something that was acknowledged, that is a loss.
    Gone,
    /// No clear answer this time.
    Nothing,
}

/// Few kept connections: a restart of the node breaks them, and the next message should not suffer for it.
fn http(patience: Duration) -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder().no_proxy().timeout(patience).pool_max_idle_per_host(2).build()
}

impl Api {
    pub fn new(base: String, key: String) -> anyhow::Result<Self> {
        Ok(Self { http: http(PATIENCE)?, base, key, tries: 1 })
    }

    /// The same client when nothing is in the way any more.
    pub fn patient(&self) -> anyhow::Result<Self> {
        Ok(Self { http: http(CALM_PATIENCE)?, tries: CALM_TRIES, ..self.clone() })
    }

    pub async fn post(&self, body: &Value) -> Posted {
        let url = format!("{}/api/external/generation", self.base);
        let Ok(reply) = self.http.post(url).bearer_auth(&self.key).json(body).send().await else { return Posted::Unknown };
        if reply.status() != StatusCode::ACCEPTED {
            return Posted::Unknown;
        }
        match reply.json::<Value>().await {
            Ok(answer) => answer["id"].as_str().map_or(Posted::Unknown, |id| Posted::Accepted(id.to_owned())),
            Err(_) => Posted::Unknown,
        }
    }

    /// One try of a request with a key.
    pub async fn send(&self, keyed: &Keyed) -> Told {
        let request = self.http.post(format!("{}{}", self.base, keyed.path)).bearer_auth(&self.key);
        let request = request.header("content-type", keyed.content_type).header("idempotency-key", &keyed.key);
        let Ok(reply) = request.body(keyed.body.clone()).send().await else { return Told::Nothing };
        let (status, replayed) = (reply.status(), reply.headers().contains_key("idempotency-replayed"));
        let Ok(text) = reply.text().await else { return Told::Nothing };
        if status != StatusCode::ACCEPTED {
            return Told::Refused(status, text);
        }
        serde_json::from_str(&text).map_or(Told::Nothing, |answer| Told::Made { answer: Box::new(answer), replayed })
    }

    /// What a client does to its batch; the status of the answer, if there was one.
    pub async fn steer(&self, id: &str, verb: &str, body: Option<&Value>) -> Option<StatusCode> {
        let request = self.http.post(format!("{}/api/external/generation/batch/{id}/{verb}", self.base)).bearer_auth(&self.key);
        let request = if let Some(body) = body { request.json(body) } else { request };
        Some(request.send().await.ok()?.status())
    }

    /// All batches of the project, as lists show them.
    pub async fn batches(&self) -> anyhow::Result<Vec<Value>> {
        self.pages("/api/external/generation/batch?limit=100").await
    }

    /// One batch.
    pub async fn batch(&self, id: &str) -> anyhow::Result<Value> {
        self.json(&format!("/api/external/generation/batch/{id}")).await
    }

    /// All its tasks.
    pub async fn tasks(&self, id: &str) -> anyhow::Result<Vec<Value>> {
        self.pages(&format!("/api/external/generation/batch/{id}/tasks?limit=100")).await
    }

    /// Every generation of the project, as lists show them.
    pub async fn list(&self) -> anyhow::Result<Vec<Value>> {
        self.pages("/api/external/generation?limit=100").await
    }

    /// Every delivery of the project.
    pub async fn deliveries(&self) -> anyhow::Result<Vec<Value>> {
        self.paged("/api/external/webhooks/deliveries?limit=100", "before").await
    }

    /// Makes an endpoint, unless an earlier try has made it whose answer was lost; its secret.
    pub async fn endpoint(&self, url: &str) -> anyhow::Result<String> {
        let known = self.json("/api/external/webhooks").await?;
        let known = known["data"].as_array().into_iter().flatten().find(|endpoint| endpoint["url"] == url);
        if let Some(id) = known.and_then(|endpoint| endpoint["id"].as_str()) {
            let secret = self.json(&format!("/api/external/webhooks/{id}/secret")).await?;
            return secret["secret"].as_str().map(str::to_owned).context("an endpoint without a secret");
        }
        let sent = self.http.post(format!("{}/api/external/webhooks", self.base)).bearer_auth(&self.key);
        let made: Value = sent.json(&json!({ "url": url })).send().await?.error_for_status()?.json().await?;
        made["secret"].as_str().map(str::to_owned).context("an endpoint without a secret")
    }

    /// What signs for URLs that are named with a generation or a batch.
    pub async fn secret(&self) -> anyhow::Result<String> {
        let secret = self.json("/api/external/webhooks/secret").await?;
        secret["secret"].as_str().map(str::to_owned).context("a project without a secret")
    }

    async fn pages(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        self.paged(path, "cursor").await
    }

    async fn paged(&self, path: &str, name: &str) -> anyhow::Result<Vec<Value>> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.json(&format!("{path}{cursor}")).await?;
            all.extend(page["data"].as_array().into_iter().flatten().cloned());
            match page["nextCursor"].as_str() {
                Some(next) if page["hasMore"] == json!(true) => cursor = format!("&{name}={next}"),
                _ => return Ok(all),
            }
        }
    }

    pub async fn cancel(&self, id: &str) -> bool {
        let url = format!("{}/api/external/generation/{id}/cancel", self.base);
        let sent = self.http.post(url).bearer_auth(&self.key).send().await;
        sent.is_ok_and(|reply| reply.status().is_success())
    }

    pub async fn look(&self, id: &str) -> Looked {
        let url = format!("{}/api/external/generation/{id}", self.base);
        match self.http.get(url).bearer_auth(&self.key).send().await {
            Ok(reply) if reply.status() == StatusCode::NOT_FOUND => Looked::Gone,
            Ok(reply) if reply.status().is_success() => {
                reply.json().await.map_or(Looked::Nothing, |shown| Looked::Shown(Box::new(shown)))
            }
            Ok(_) | Err(_) => Looked::Nothing,
        }
    }

    async fn json(&self, path: &str) -> anyhow::Result<Value> {
        for _ in 1..self.tries {
            match self.json_once(path).await {
                Ok(answer) => return Ok(answer),
                Err(_) => tokio::time::sleep(BREATH).await,
            }
        }
        self.json_once(path).await
    }

    async fn json_once(&self, path: &str) -> anyhow::Result<Value> {
        let reply = self.http.get(format!("{}{path}", self.base)).bearer_auth(&self.key).send().await?;
        let status = reply.status();
        let text = reply.text().await?;
        ensure!(status.is_success(), "{path}: {status}: {text}");
        serde_json::from_str(&text).with_context(|| format!("{path} answered no JSON"))
    }

    /// Every generation of the project, in full.
    pub async fn all(&self) -> anyhow::Result<Vec<Value>> {
        let mut all = Vec::new();
        for item in self.list().await? {
            let id = item["id"].as_str().context("an item without an id")?;
            all.push(self.json(&format!("/api/external/generation/{id}")).await?);
        }
        Ok(all)
    }

    pub async fn history(&self, id: &str) -> anyhow::Result<Value> {
        self.json(&format!("/api/external/generation/{id}/history")).await
    }

    /// The totals of the spend report.
    pub async fn spend(&self) -> anyhow::Result<Value> {
        Ok(self.json("/api/admin/spend").await?["total"].clone())
    }

    /// The books of one generation.
    pub async fn books(&self, id: &str) -> anyhow::Result<Value> {
        Ok(self.json(&format!("/api/admin/generations/{id}/ledger")).await?["total"].clone())
    }

    /// Every submit whose outcome is or stayed unknown, as operators see them.
    pub async fn doubts(&self) -> anyhow::Result<Vec<Value>> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.json(&format!("/api/admin/generations?stage=unconfirmed&limit=100{cursor}")).await?;
            all.extend(page["data"].as_array().into_iter().flatten().cloned());
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(all),
            }
        }
    }

    /// Decides about one of them; the status of the answer, if there was one.
    pub async fn resolve(&self, attempt: &str, decision: &Value) -> Option<StatusCode> {
        let url = format!("{}/api/admin/generations/{attempt}/resolve", self.base);
        Some(self.http.post(url).bearer_auth(&self.key).json(decision).send().await.ok()?.status())
    }

    pub async fn metrics(&self) -> anyhow::Result<String> {
        let reply = self.http.get(format!("{}/api/metrics", self.base)).bearer_auth(&self.key).send().await?;
        Ok(reply.error_for_status()?.text().await?)
    }

    /// The bytes at a URL of a result.
    pub async fn bytes(&self, url: &str) -> anyhow::Result<Vec<u8>> {
        for _ in 1..self.tries {
            match self.bytes_once(url).await {
                Ok(bytes) => return Ok(bytes),
                Err(_) => tokio::time::sleep(BREATH).await,
            }
        }
        self.bytes_once(url).await
    }

    async fn bytes_once(&self, url: &str) -> anyhow::Result<Vec<u8>> {
        let reply = self.http.get(url).send().await?.error_for_status()?;
        Ok(reply.bytes().await?.to_vec())
    }

    /// The simulator's ledger, with the digests of every output.
    pub async fn ledger(&self, sandbox: &str) -> anyhow::Result<Vec<Value>> {
        let reply = self.http.get(format!("{sandbox}/ledger")).timeout(Duration::from_secs(60)).send().await?;
        let ledger: Value = reply.error_for_status()?.json().await?;
        ledger["entries"].as_array().cloned().context("a ledger without entries")
    }
}
