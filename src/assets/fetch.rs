//! One GET of a result, redirects followed by hand: every hop passes the caller's guard, for a provider's URL may lead
//! anywhere. Texts name hosts only; the rest of such URLs is a credential.

use std::time::Duration;

use reqwest::{
    Client, Response, StatusCode,
    header::{ACCEPT_ENCODING, HeaderMap, IF_RANGE, LOCATION, RANGE},
};
use url::Url;

/// Hops followed, beside the first request. Result URLs of the providers redirect at most once.
const MAX_REDIRECTS: usize = 3;

/// Whether a URL may be fetched; the error says why not.
pub type Guard<'a> = &'a (dyn Fn(&Url) -> Result<(), String> + Send + Sync);

/// How results are fetched. The client follows no redirects, uses no proxy, and resolves names with the guard's eyes.
#[derive(Clone, Copy)]
pub struct Downloader<'a> {
    /// The client.
    pub client: &'a Client,
    /// Asked for every hop.
    pub guard: Guard<'a>,
}

/// Where a GET begins.
#[derive(Debug, Clone, Copy)]
pub struct Position<'a> {
    /// First byte wanted.
    pub offset: u64,
    /// Only if the file is still the one with this validator (RFC 9110 §13.1.5); a server that has another sends all of it.
    pub if_range: Option<&'a str>,
}

impl Position<'_> {
    /// The whole file.
    pub const START: Self = Self { offset: 0, if_range: None };
}

/// An answer whose body has not been read.
#[derive(Debug)]
pub struct Opened {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// The body, chunk by chunk.
    pub body: Response,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchError {
    /// The guard forbids it, or the redirects lead nowhere: another try would end the same way.
    Forbidden(String),
    /// The way or the server failed.
    Failed(String),
}

/// Sends the GET and follows redirects; waits at most `patience` for each answer.
///
/// # Errors
/// [`FetchError`]; statuses are not judged here.
pub async fn open(
    downloader: Downloader<'_>,
    url: &Url,
    position: Position<'_>,
    patience: Duration,
) -> Result<Opened, FetchError> {
    let mut url = url.clone();
    for _ in 0..=MAX_REDIRECTS {
        (downloader.guard)(&url).map_err(FetchError::Forbidden)?;
        let response = get(downloader.client, &url, position, patience).await?;
        if !response.status().is_redirection() {
            return Ok(Opened { status: response.status(), headers: response.headers().clone(), body: response });
        }
        url = next_hop(&url, response.headers())?;
    }
    Err(FetchError::Forbidden(format!("more than {MAX_REDIRECTS} redirects")))
}

async fn get(client: &Client, url: &Url, position: Position<'_>, patience: Duration) -> Result<Response, FetchError> {
    // A compressed answer would have other lengths and ranges than the file.
    let mut request = client.get(url.clone()).header(ACCEPT_ENCODING, "identity");
    if position.offset > 0 {
        request = request.header(RANGE, format!("bytes={}-", position.offset));
        if let Some(validator) = position.if_range {
            request = request.header(IF_RANGE, validator);
        }
    }
    let host = url.host_str().unwrap_or_default();
    match tokio::time::timeout(patience, request.send()).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(FetchError::Failed(format!("{host}: {}", cause(&error)))),
        Err(_) => Err(FetchError::Failed(format!("{host}: no answer within {} ms", patience.as_millis()))),
    }
}

fn next_hop(url: &Url, headers: &HeaderMap) -> Result<Url, FetchError> {
    let forbidden = |text: &str| Err(FetchError::Forbidden(text.to_owned()));
    let Some(location) = headers.get(LOCATION).and_then(|value| value.to_str().ok()) else {
        return forbidden("a redirect without a location");
    };
    let Ok(next) = url.join(location) else { return forbidden("a redirect to something that is no URL") };
    if !matches!(next.scheme(), "http" | "https") {
        return forbidden("a redirect to something that is not http");
    }
    if url.scheme() == "https" && next.scheme() == "http" {
        return forbidden("a redirect from https to http");
    }
    Ok(next)
}

/// The innermost cause; it holds no URL, which the outer ones do.
#[must_use]
pub fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let text = cause.to_string();
    if text.contains("://") { "the request failed".to_owned() } else { text }
}
