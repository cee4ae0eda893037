//! One request and its answer, and what may go wrong on the way. Texts name the provider and the kind of trouble; never a URL,
//! a header or a body.

use std::{error::Error, time::Duration};

use http::{HeaderName, HeaderValue, header};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    clock::Clock,
    domain::error::ErrorCode,
    net::{
        body::{BodyError, CappedBody},
        client::Guarded,
        guard::Refused,
    },
    providers::adapter::{Body, Fault, HttpCall, Reply, Then},
};

/// How long a call may take in all, and how large its answer may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) timeout: Duration,
    pub(super) cap: u64,
}

/// A request that only has to be sent.
pub(super) struct Prepared {
    pub(super) client: reqwest::Client,
    pub(super) request: reqwest::Request,
}

impl Prepared {
    /// The same once more; none when its body cannot be repeated.
    pub(super) fn again(&self) -> Option<Self> {
        self.request.try_clone().map(|request| Self { client: self.client.clone(), request })
    }
}

/// Why there is no complete answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The adapter cannot use this credential here.
    Unauthorized(Fault),
    /// The guard refused the URL.
    Forbidden(Refused),
    /// The request could not be built.
    Unbuildable,
    /// The gate's check refused.
    Held(&'static str),
    /// No connection: DNS, refused, TLS, connect timeout.
    NoWay(String),
    /// No complete answer in time.
    Timeout(Duration),
    /// The connection broke; `answered` says whether the answer had begun.
    Cut { answered: bool, how: String },
    /// The answer is too large.
    TooLarge(u64),
}

impl Trouble {
    /// The same trouble of a call whose gate was never reached: it was the way to the provider.
    pub(super) fn before_the_gate(self) -> Self {
        match self {
            Self::Timeout(limit) => Self::NoWay(format!("no connection within {} ms", limit.as_millis())),
            Self::Cut { how, .. } => Self::NoWay(how),
            other @ (Self::Unauthorized(_)
            | Self::Forbidden(_)
            | Self::Unbuildable
            | Self::Held(_)
            | Self::NoWay(_)
            | Self::TooLarge(_)) => other,
        }
    }

    /// The fault for the stages. `then` is what follows where the trouble itself does not say.
    pub(super) fn fault(self, provider: &str, then: Then) -> Fault {
        let (code, message, then) = match self {
            Self::Unauthorized(fault) => return fault,
            // Another try would meet the same wall; somebody must change the configuration.
            Self::Forbidden(refused) => {
                (ErrorCode::ProviderUnavailable, format!("{provider} may not be spoken to: {refused}"), Then::Final)
            }
            Self::Unbuildable => (ErrorCode::InternalError, format!("the request to {provider} cannot be built"), Then::Final),
            Self::Held(why) => (ErrorCode::ServiceUnavailable, format!("not sent to {provider}: {why}"), then),
            Self::NoWay(how) => (ErrorCode::ProviderUnavailable, format!("{provider} cannot be reached: {how}"), then),
            Self::Timeout(limit) => {
                (ErrorCode::ProviderTimeout, format!("{provider} did not answer within {} ms", limit.as_millis()), then)
            }
            Self::Cut { how, .. } => (ErrorCode::ProviderError, format!("{provider} broke off: {how}"), then),
            Self::TooLarge(cap) => (ErrorCode::ProviderError, format!("{provider} answered with more than {cap} bytes"), then),
        };
        Fault { code, message, http_status: None, provider_code: None, provider_message: None, retry_after: None, then }
    }
}

/// Builds the request. The credential's headers are marked sensitive, so that no Debug prints them and HTTP/2 does not index them.
pub(super) fn prepare(client: &Guarded, call: HttpCall, headers: Vec<(HeaderName, SecretString)>) -> Result<Prepared, Trouble> {
    let mut builder = client.request(call.method, &call.url).map_err(Trouble::Forbidden)?;
    for (name, secret) in headers {
        let mut value = HeaderValue::from_str(secret.expose_secret()).map_err(|_| Trouble::Unbuildable)?;
        value.set_sensitive(true);
        builder = builder.header(name, value);
    }
    builder = match call.body {
        Body::Empty => builder,
        Body::Json(value) => {
            let bytes = serde_json::to_vec(&value).map_err(|_| Trouble::Unbuildable)?;
            builder.header(header::CONTENT_TYPE, HeaderValue::from_static("application/json")).body(bytes)
        }
        Body::Form(fields) => builder
            .multipart(fields.into_iter().fold(reqwest::multipart::Form::new(), |form, (name, value)| form.text(name, value))),
    };
    let (client, request) = builder.header(header::ACCEPT, HeaderValue::from_static("application/json")).build_split();
    request.map(|request| Prepared { client, request }).map_err(|_| Trouble::Unbuildable)
}

/// Sends and reads, within the bounds.
pub(super) async fn exchange(prepared: Prepared, bounds: Bounds, clock: &Clock) -> Result<Reply, Trouble> {
    let whole = async {
        let response = prepared.client.execute(prepared.request).await.map_err(unsent_or_cut)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = CappedBody::new(response, bounds.cap, bounds.timeout).map_err(unread)?;
        let body = body.collect().await.map_err(unread)?;
        Ok(Reply { status, headers, body, at: clock.now() })
    };
    tokio::time::timeout(bounds.timeout, whole).await.unwrap_or(Err(Trouble::Timeout(bounds.timeout)))
}

fn unsent_or_cut(error: reqwest::Error) -> Trouble {
    let how = root(&error);
    match error {
        // Also a connect timeout, which is both.
        error if error.is_connect() && error.is_timeout() => Trouble::NoWay("connecting took too long".to_owned()),
        error if error.is_connect() => Trouble::NoWay(how),
        _ => Trouble::Cut { answered: false, how },
    }
}

fn unread(error: BodyError) -> Trouble {
    match error {
        BodyError::TooLarge(cap) => Trouble::TooLarge(cap),
        BodyError::Stalled(limit) => Trouble::Timeout(limit),
        BodyError::Cut(error) => Trouble::Cut { answered: true, how: root(&error) },
    }
}

/// The innermost cause: "Connection refused (os error 111)". The outer texts of reqwest hold the URL, the inner ones do not.
fn root(error: &reqwest::Error) -> String {
    let mut innermost: Option<&(dyn Error + 'static)> = error.source();
    while let Some(deeper) = innermost.and_then(Error::source) {
        innermost = Some(deeper);
    }
    innermost.map_or_else(|| "no further cause".to_owned(), ToString::to_string)
}
