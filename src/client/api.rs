//! Requests and answers: JSON both ways, problem documents read, what may pass tried again.

use std::{fmt, time::Duration};

use bytes::Bytes;
use reqwest::{RequestBuilder, StatusCode, header::HeaderMap};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::{Failure, failure::Refusal};

/// Longest wait for an answer: the longest that may be asked for (60 s), and the way.
const ANSWER: Duration = Duration::from_secs(75);

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// Longest silence while a result is downloaded.
const SILENCE: Duration = Duration::from_secs(30);

/// First wait before a request is tried again, and the longest.
const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(5);

/// Speaks to one service with one key.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    /// For results: however long they take, as long as something comes.
    files: reqwest::Client,
    base: String,
    key: SecretString,
    /// How long a request that may pass is tried again.
    patience: Duration,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &self.base).finish_non_exhaustive()
    }
}

/// What a request carries.
#[derive(Debug, Clone)]
pub enum Sent {
    /// Nothing.
    Nothing,
    /// One JSON value.
    Json(Value),
    /// Lines of JSON (`application/x-ndjson`).
    Lines(Bytes),
}

/// A successful answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What it says; null where it is no JSON.
    pub body: Value,
    /// When to ask again.
    pub retry_after: Option<Duration>,
    /// The service waits where it is asked to: asking again at once is no hammering.
    pub waits: bool,
    /// Names what was seen.
    pub tag: Option<String>,
}

impl Client {
    /// A client of the service at `url` that tries a request again for as long as `patience` where it may pass.
    ///
    /// # Errors
    /// When that is no address, the key cannot be one, or no HTTP client can be made.
    pub fn new(url: &str, key: SecretString, patience: Duration) -> Result<Self, Failure> {
        let base = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let Some(base) = base else {
            return Err(Failure::Unusable(format!("`{url}` is no address of a service, such as http://127.0.0.1:8080")));
        };
        if key.expose_secret().is_empty() {
            return Err(Failure::NoKey);
        }
        if !key.expose_secret().bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Failure::Unusable("the key holds characters that no key of the service has".to_owned()));
        }
        // Err means that another part has installed one: equally good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let [http, files] = [ANSWER, SILENCE].map(|silence| {
            let builder = reqwest::Client::builder().connect_timeout(CONNECT).read_timeout(silence);
            // A proxy of the surroundings leads away from this machine.
            let builder = if is_loopback(&base) { builder.no_proxy() } else { builder };
            builder.build().map_err(|error| Failure::Unusable(format!("no HTTP client can be made: {error}")))
        });
        Ok(Self { http: http?, files: files?, base: base.as_str().trim_end_matches('/').to_owned(), key, patience })
    }

    /// GET of a path of the API.
    ///
    /// # Errors
    /// As the answer says, after further tries where it may pass.
    pub async fn fetch(&self, path: &str) -> Result<Answer, Failure> {
        self.persist(|| self.authorized(self.http.get(self.at(path)))).await
    }

    /// GET of a path of the API that answers no JSON.
    ///
    /// # Errors
    /// As the answer says.
    pub async fn text(&self, path: &str) -> Result<Bytes, Failure> {
        let reply = self.files.get(self.at(path)).bearer_auth(self.key.expose_secret()).send().await;
        let reply = reply.map_err(|source| self.unreachable(source))?;
        let (status, headers) = (reply.status(), reply.headers().clone());
        let text = reply.bytes().await.map_err(|source| self.unreachable(source))?;
        if status.is_success() {
            return Ok(text);
        }
        Err(self.refused(status, retry_after(&headers), &serde_json::from_slice(&text).unwrap_or(Value::Null)))
    }

    /// GET of something that changes, answered when it is not what `seen` names any more, or after so many seconds: then the body is
    /// null. One try only: who waits goes on by itself.
    ///
    /// # Errors
    /// As the answer says.
    pub async fn await_change(&self, path: &str, seconds: u64, seen: Option<&str>) -> Result<Answer, Failure> {
        let request = self.authorized(self.http.get(self.at(path))).header("prefer", format!("wait={seconds}"));
        self.once(seen.into_iter().fold(request, |request, tag| request.header("if-none-match", tag))).await
    }

    /// POST to a path of the API. What is sent is done once, however often it is tried: by the idempotency key where something is made,
    /// by its nature elsewhere.
    ///
    /// # Errors
    /// As the answer says, after further tries where it may pass.
    pub async fn send(&self, path: &str, sent: &Sent, idempotency: Option<&str>) -> Result<Answer, Failure> {
        self.persist(|| {
            let request = self.authorized(self.http.post(self.at(path)));
            let request = match sent {
                Sent::Nothing => request,
                Sent::Json(value) => request.json(value),
                Sent::Lines(lines) => request.header("content-type", "application/x-ndjson").body(lines.clone()),
            };
            // A string of structured fields (RFC 8941): quoted.
            idempotency.into_iter().fold(request, |request, key| request.header("idempotency-key", format!("\"{key}\"")))
        })
        .await
    }

    /// GET of a result; the key is not for whoever keeps it.
    ///
    /// # Errors
    /// When nobody answers.
    pub(super) async fn result(&self, url: &str) -> Result<reqwest::Response, reqwest::Error> {
        self.files.get(url).send().await?.error_for_status()
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        request.bearer_auth(self.key.expose_secret()).timeout(ANSWER)
    }

    async fn persist(&self, request: impl Fn() -> RequestBuilder) -> Result<Answer, Failure> {
        let until = Instant::now() + self.patience;
        let mut pause = FIRST;
        loop {
            match self.once(request()).await {
                Err(failure) if failure.passes() => {
                    let wait = failure.retry_after().unwrap_or(pause);
                    if Instant::now() + wait >= until {
                        return Err(failure);
                    }
                    tokio::time::sleep(wait).await;
                    pause = (pause * 2).min(LONGEST);
                }
                done => return done,
            }
        }
    }

    async fn once(&self, request: RequestBuilder) -> Result<Answer, Failure> {
        let reply = request.send().await.map_err(|source| self.unreachable(source))?;
        let (status, headers) = (reply.status(), reply.headers().clone());
        let text = reply.bytes().await.map_err(|source| self.unreachable(source))?;
        let body = serde_json::from_slice(&text).unwrap_or(Value::Null);
        let retry_after = retry_after(&headers);
        let unchanged = status == StatusCode::NOT_MODIFIED;
        if unchanged || status.is_success() && (body != Value::Null || text.is_empty()) {
            let tag = headers.get("etag").and_then(|tag| tag.to_str().ok()).map(str::to_owned);
            return Ok(Answer { body, retry_after, waits: headers.contains_key("preference-applied"), tag });
        }
        Err(self.refused(status, retry_after, &body))
    }

    fn unreachable(&self, source: reqwest::Error) -> Failure {
        Failure::Unreachable { url: self.base.clone(), source: source.without_url() }
    }

    fn refused(&self, status: StatusCode, retry_after: Option<Duration>, body: &Value) -> Failure {
        match Refusal::read(status.as_u16(), retry_after, body) {
            Some(refusal) if !status.is_success() => Failure::Refused(Box::new(refusal)),
            Some(_) | None => Failure::Foreign { url: self.base.clone(), status: status.as_u16() },
        }
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Seconds; the service sends no dates.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get("retry-after")?.to_str().ok()?.parse().ok().map(Duration::from_secs)
}
