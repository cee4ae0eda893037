//! The demo's side of the HTTP API: it knows nothing that a client could not know.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;

/// A client with a key.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    key: String,
}

impl Client {
    /// A client of the server at `url`.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(url: &str, key: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
        Ok(Self { http, url: url.to_owned(), key: key.to_owned() })
    }

    /// POST /api/external/generation: the status and the body.
    ///
    /// # Errors
    /// When no JSON comes back.
    pub async fn submit(&self, body: &Value) -> anyhow::Result<(u16, Value)> {
        let url = format!("{}/api/external/generation", self.url);
        let reply = self.http.post(url).bearer_auth(&self.key).json(body).send().await?;
        Ok((reply.status().as_u16(), reply.json().await?))
    }

    /// GET of a path of the API.
    ///
    /// # Errors
    /// When the answer is not a success.
    pub async fn fetch(&self, path: &str) -> anyhow::Result<Value> {
        let reply = self.http.get(format!("{}{path}", self.url)).bearer_auth(&self.key).send().await?;
        if !reply.status().is_success() {
            bail!("GET {path} answered {}", reply.status());
        }
        reply.json().await.with_context(|| format!("GET {path} answered no JSON"))
    }

    /// POST …/cancel.
    ///
    /// # Errors
    /// When the answer is not a success.
    pub async fn cancel(&self, id: &str) -> anyhow::Result<()> {
        let url = format!("{}/api/external/generation/{id}/cancel", self.url);
        let reply = self.http.post(url).bearer_auth(&self.key).send().await?;
        if !reply.status().is_success() {
            bail!("cancelling {id} answered {}", reply.status());
        }
        Ok(())
    }

    /// The bytes at a result's URL: how many.
    ///
    /// # Errors
    /// When they cannot be fetched.
    pub async fn size_of(&self, url: &str) -> anyhow::Result<usize> {
        let reply = self.http.get(url).send().await?.error_for_status()?;
        Ok(reply.bytes().await?.len())
    }
}
