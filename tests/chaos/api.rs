//! The service as a client sees it, through the fault proxy.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use reqwest::StatusCode;
use serde_json::{Value, json};

/// Longest wait of a client for one answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// A client with its key.
#[derive(Debug, Clone)]
pub struct Api {
    http: reqwest::Client,
    base: String,
    key: String,
}

/// What a client learned from one POST.
#[derive(Debug)]
pub enum Posted {
    /// 202, with the id.
    Accepted(String),
    /// Anything else that was answered.
    Refused(StatusCode),
    /// No clear answer.
    Unknown,
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

impl Api {
    pub fn new(base: String, key: String) -> anyhow::Result<Self> {
        // Few kept connections: a restart of the node breaks them, and the next message should not suffer for it.
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).pool_max_idle_per_host(2).build()?;
        Ok(Self { http, base, key })
    }

    pub async fn post(&self, body: &Value) -> Posted {
        let url = format!("{}/api/external/generation", self.base);
        let Ok(reply) = self.http.post(url).bearer_auth(&self.key).json(body).send().await else { return Posted::Unknown };
        let status = reply.status();
        if status != StatusCode::ACCEPTED {
            return Posted::Refused(status);
        }
        // The status alone is the promise; without the id the client must look for it in the list.
        match reply.json::<Value>().await {
            Ok(answer) => answer["id"].as_str().map_or(Posted::Unknown, |id| Posted::Accepted(id.to_owned())),
            Err(_) => Posted::Unknown,
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
        let reply = self.http.get(format!("{}{path}", self.base)).bearer_auth(&self.key).send().await?;
        let status = reply.status();
        let text = reply.text().await?;
        ensure!(status.is_success(), "{path}: {status}: {text}");
        serde_json::from_str(&text).with_context(|| format!("{path} answered no JSON"))
    }

    /// Every generation of the project, in full.
    pub async fn all(&self) -> anyhow::Result<Vec<Value>> {
        let (mut ids, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.json(&format!("/api/external/generation?limit=100{cursor}")).await?;
            for item in page["data"].as_array().into_iter().flatten() {
                ids.push(item["id"].as_str().context("an item without an id")?.to_owned());
            }
            match page["nextCursor"].as_str() {
                Some(next) if page["hasMore"] == json!(true) => cursor = format!("&cursor={next}"),
                _ => break,
            }
        }
        let mut all = Vec::with_capacity(ids.len());
        for id in ids {
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

    pub async fn metrics(&self) -> anyhow::Result<String> {
        let reply = self.http.get(format!("{}/api/metrics", self.base)).bearer_auth(&self.key).send().await?;
        Ok(reply.error_for_status()?.text().await?)
    }

    /// The bytes at a URL of a result.
    pub async fn bytes(&self, url: &str) -> anyhow::Result<Vec<u8>> {
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
