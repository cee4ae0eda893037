//! One try of one delivery: signed, guarded, bounded. Nothing is followed, little of the answer is read.

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, header::RETRY_AFTER};
use url::Url;

use crate::{
    domain::{time::Timestamp, webhook::Reply},
    net::{body::CappedBody, client::Guarded},
};

/// Bytes of an answer that are read.
const READ: u64 = 2_048;

/// A signed message.
#[derive(Debug)]
pub struct Message {
    /// Where to.
    pub url: String,
    /// Its id.
    pub id: String,
    /// The signatures.
    pub signature: String,
    /// What it says.
    pub body: String,
    /// When it is sent.
    pub at: Timestamp,
}

/// Sends it and waits for an answer, at most so long.
pub async fn post(client: &Guarded, message: Message, longest: Duration) -> Reply {
    let Ok(url) = Url::parse(&message.url) else { return Reply::Refused("not a URL".to_owned()) };
    let request = match client.request(Method::POST, &url) {
        Ok(request) => request,
        Err(refused) => return Reply::Refused(refused.to_string()),
    };
    let request = request
        .header("content-type", "application/json")
        .header("webhook-id", message.id)
        .header("webhook-timestamp", message.at.0.div_euclid(1_000).to_string())
        .header("webhook-signature", message.signature)
        .body(message.body);
    match tokio::time::timeout(longest, answer(request, longest, message.at)).await {
        Ok(reply) => reply,
        Err(_) => Reply::Unanswered(format!("no answer within {} s", longest.as_secs_f64())),
    }
}

async fn answer(request: reqwest::RequestBuilder, longest: Duration, now: Timestamp) -> Reply {
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) => return failed(&error.without_url()),
    };
    let (status, asked) = (response.status(), asked(response.status(), response.headers(), now));
    let mut body = Vec::new();
    // A body that is too long or breaks off changes nothing: the status has said it.
    if let Ok(mut rest) = CappedBody::new(response, READ, longest) {
        while let Ok(Some(piece)) = rest.next().await {
            body.extend_from_slice(&piece);
        }
    }
    Reply::Answered { status: status.as_u16(), asked, body: String::from_utf8_lossy(&body).into_owned() }
}

/// What the guard's resolver refused is hidden among the causes.
fn failed(error: &reqwest::Error) -> Reply {
    let mut texts = vec![error.to_string()];
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        if next.downcast_ref::<crate::net::guard::Refused>().is_some() {
            return Reply::Refused(next.to_string());
        }
        texts.push(next.to_string());
        cause = next.source();
    }
    Reply::Unanswered(texts.join(": "))
}

/// `Retry-After`, as seconds or as a date (RFC 9110 §10.2.3).
fn asked(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    if status.is_success() {
        return None;
    }
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => chrono::DateTime::parse_from_rfc2822(text).ok().map(|at| Timestamp(at.timestamp_millis()).since(now)),
    }
}
