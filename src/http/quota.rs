//! Limits of keys: how many requests a minute and how many at a time, counted in this process, and the headers that tell what is left
//! (draft-ietf-httpapi-ratelimit-headers, snapshot of September 2025).
//!
//! A 304 costs no quota: a client that asks politely is not the one to slow down.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use actix_web::{
    HttpMessage, HttpRequest,
    body::{BodySize, BoxBody, MessageBody},
    dev::ServiceResponse,
    http::{
        StatusCode,
        header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
    },
    web::Bytes,
};
use serde_json::json;

use crate::{
    domain::{
        error::ErrorCode,
        id::KeyId,
        quota::{Left, Limit, Quotas, Usage, WINDOW},
        time::Timestamp,
    },
    http::{openai, problem::Problem},
};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LEFT: HeaderName = HeaderName::from_static("ratelimit");

/// When to come back where nothing tells when a running request ends, in seconds.
const SHORT_WAIT_S: u64 = 1;

/// What keys have used; only those with a limit are kept, some 100 bytes each. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Meters(Arc<Mutex<HashMap<KeyId, Usage>>>);

/// A request that was counted; dropped when it has ended, whichever way.
#[derive(Debug)]
pub struct Pass {
    meters: Meters,
    key: KeyId,
    quotas: Quotas,
    entered: Timestamp,
}

/// What the headers of an answer will tell; kept with the request until it leaves.
#[derive(Debug, Clone, Copy)]
struct Told {
    quotas: Quotas,
    left: Left,
}

impl Meters {
    /// Counts a request of a key; none when the key has no limit.
    ///
    /// # Errors
    /// `RATE_LIMITED` when a limit is met.
    pub fn enter(&self, request: &HttpRequest, key: KeyId, quotas: Quotas, now: Timestamp) -> Result<Option<Pass>, Problem> {
        if !quotas.any() {
            return Ok(None);
        }
        let (entered, left) = {
            let mut meters = self.lock();
            let usage = meters.entry(key).or_default();
            (usage.enter(quotas, now), usage.left(quotas, now))
        };
        request.extensions_mut().insert(Told { quotas, left });
        match entered {
            Ok(()) => Ok(Some(Pass { meters: self.clone(), key, quotas, entered: now })),
            Err(limit) => Err(refused(limit)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<KeyId, Usage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(usage) = self.meters.lock().get_mut(&self.key) {
            usage.leave();
        }
    }
}

impl Pass {
    /// Lets the request run on until its answer is sent to the end.
    pub fn ride(self, response: ServiceResponse<BoxBody>, now: Timestamp) -> ServiceResponse<BoxBody> {
        let left = {
            let mut meters = self.meters.lock();
            let usage = meters.entry(self.key).or_default();
            if response.status() == StatusCode::NOT_MODIFIED {
                usage.refund(self.entered);
            }
            usage.left(self.quotas, now)
        };
        response.request().extensions_mut().insert(Told { quotas: self.quotas, left });
        response.map_body(|_, body| Riding { body, _pass: self }.boxed())
    }
}

/// A body that gives the request's place back once it is sent, or nobody reads it any more. (So it is never taken for its bytes.)
struct Riding {
    body: BoxBody,
    _pass: Pass,
}

impl MessageBody for Riding {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}

fn refused(limit: Limit) -> Problem {
    let (policy, detail, wait) = match limit {
        Limit::PerMinute(limit, wait) => {
            ("requests", format!("this key may send {limit} requests a minute"), wait.as_millis().div_ceil(1_000))
        }
        Limit::AtOnce(limit) => {
            ("in-flight", format!("this key may have {limit} requests under way at a time"), u128::from(SHORT_WAIT_S))
        }
    };
    Problem::new(ErrorCode::RateLimited, detail)
        .with_details(json!({"violatedPolicies": [policy]}))
        .with_header(RETRY_AFTER, value(wait.max(1).to_string()))
}

/// Adds what is left to an answer, also to one that refuses.
pub fn tell(request: &HttpRequest, headers: &mut HeaderMap) {
    let Some(Told { quotas, left }) = request.extensions().get::<Told>().copied() else { return };
    let (mut policies, mut lefts) = (Vec::new(), Vec::new());
    if let (Some(limit), Some((rest, until))) = (quotas.per_minute, left.per_minute) {
        let until = until.as_millis().div_ceil(1_000);
        policies.push(format!("\"requests\";q={limit};w={}", WINDOW.as_secs()));
        lefts.push(format!("\"requests\";r={rest};t={until}"));
        if request.path().starts_with(openai::BELOW) {
            // What clients of OpenAI's API read; instants as Go writes durations.
            let names = ["limit", "remaining", "reset"].map(|word| format!("x-ratelimit-{word}-requests"));
            for (name, text) in names.iter().zip([limit.to_string(), rest.to_string(), format!("{until}s")]) {
                if let Ok(name) = HeaderName::try_from(name.as_str()) {
                    headers.insert(name, value(text));
                }
            }
        }
    }
    if let (Some(limit), Some(rest)) = (quotas.at_once, left.at_once) {
        policies.push(format!("\"in-flight\";q={limit};qu=\"concurrent-requests\""));
        lefts.push(format!("\"in-flight\";r={rest}"));
    }
    headers.insert(POLICY, value(policies.join(", ")));
    headers.insert(LEFT, value(lefts.join(", ")));
}

fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("0"))
}

/// A body that nobody reads to its end gives its place back, too.
#[cfg(test)]
mod tests {
    use actix_web::{HttpResponse, test::TestRequest};

    use super::*;

    const ONE: Quotas = Quotas { per_minute: None, at_once: Some(1) };

    #[test]
    fn a_place_is_taken_until_the_body_is_gone() {
        let (meters, key, now) = (Meters::default(), KeyId::fresh(), Timestamp(0));
        let request = || TestRequest::default().to_http_request();
        let pass = meters.enter(&request(), key, ONE, now).unwrap().unwrap();
        let answer = pass.ride(ServiceResponse::new(request(), HttpResponse::Ok().body("x")), now);
        let refused = meters.enter(&request(), key, ONE, now).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::RateLimited);
        drop(answer);
        assert!(meters.enter(&request(), key, ONE, now).is_ok());
    }
}
