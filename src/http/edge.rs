//! What every request passes: its id, its log line, the last word on errors (whatever refuses, a problem document leaves) and
//! the security headers.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Instant};

use actix_web::{
    Error, FromRequest, HttpMessage, HttpRequest,
    body::BoxBody,
    dev::{Payload, ServiceRequest, ServiceResponse},
    http::{
        StatusCode,
        header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS},
    },
    middleware::Next,
};
use futures_util::FutureExt;
use rand::RngExt;
use std::future::{Ready, ready};
use tracing::Instrument;

use crate::{
    domain::error::ErrorCode,
    http::{
        openai,
        problem::{self, Problem},
        quota,
    },
};

/// Carries the request id both ways.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The text that follows one request through answers, logs and the generation it makes.
#[derive(Debug, Clone)]
pub struct RequestId(pub Arc<str>);

impl FromRequest for RequestId {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(request.extensions().get::<Self>().cloned().unwrap_or_else(|| Self(fresh_id()))))
    }
}

/// Takes the client's id when it is short and printable, else draws one.
#[must_use]
pub fn request_id(headers: &HeaderMap) -> Arc<str> {
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let sane = |id: &&str| (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    given.filter(sane).map_or_else(fresh_id, Arc::from)
}

fn fresh_id() -> Arc<str> {
    let number: u128 = rand::rng().random();
    format!("req_{number:032x}").into()
}

/// Wraps the whole service.
///
/// # Errors
/// Only when a handler panicked: then the request is gone, and the error carries the whole answer.
pub async fn edge(request: ServiceRequest, next: Next<BoxBody>) -> Result<ServiceResponse<BoxBody>, Error> {
    let id = request_id(request.headers());
    request.extensions_mut().insert(RequestId(Arc::clone(&id)));
    // The query is left out: it may hold what nobody should read in a log.
    let span = tracing::info_span!("request", request.id = %id, method = %request.method(), path = shown(request.path()));
    let openai = request.path().starts_with(openai::BELOW);
    let quiet = request.path() == "/api/health";
    let began = Instant::now();
    async move {
        let answer = match AssertUnwindSafe(next.call(request)).catch_unwind().await {
            Ok(answer) => answer,
            Err(_) => Err(Problem::new(ErrorCode::InternalError, "a handler panicked").into()),
        };
        let answer = finish(answer, &id, openai);
        let status = answer.as_ref().map_or(StatusCode::INTERNAL_SERVER_ERROR, ServiceResponse::status).as_u16();
        let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if quiet {
            tracing::debug!(status, duration_ms, "request answered");
        } else {
            tracing::info!(status, duration_ms, "request answered");
        }
        answer
    }
    .instrument(span)
    .await
}

/// The path as it is logged: of a webhook's URL without its end, which is a secret.
fn shown(path: &str) -> &str {
    if path.starts_with("/hooks/") { path.rsplit_once('/').map_or(path, |(shown, _)| shown) } else { path }
}

fn finish(
    answer: Result<ServiceResponse<BoxBody>, Error>,
    id: &Arc<str>,
    openai: bool,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let response = match answer {
        Ok(response) => response,
        Err(error) => {
            let known = error.as_error::<Problem>().cloned();
            let problem = known.unwrap_or_else(|| Problem::of_status(error.as_response_error().status_code()));
            problem::log(&problem);
            let mut problem = formed(problem.with_instance(Arc::clone(id)), openai);
            for (name, value) in standing_headers(id) {
                problem = problem.with_header(name, value);
            }
            return Err(problem.into());
        }
    };
    let mut response = as_problem(response, id, openai);
    let request = response.request().clone();
    quota::tell(&request, response.headers_mut());
    for (name, value) in standing_headers(id) {
        if !response.headers().contains_key(&name) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

/// Whatever refused, in whichever form: what leaves is a problem document with the request's id.
fn as_problem(response: ServiceResponse<BoxBody>, id: &Arc<str>, openai: bool) -> ServiceResponse<BoxBody> {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let known = response.response().error().and_then(|error| error.as_error::<Problem>()).cloned();
    let problem = known.unwrap_or_else(|| foreign(status, response.headers()));
    problem::log(&problem);
    let problem = formed(problem.with_instance(Arc::clone(id)), openai);
    response.into_response(actix_web::ResponseError::error_response(&problem))
}

fn formed(problem: Problem, openai: bool) -> Problem {
    if openai { problem.as_openai() } else { problem }
}

/// A refusal of a library: the status and the headers that belong to it stay, its body goes.
fn foreign(status: StatusCode, headers: &HeaderMap) -> Problem {
    let of_the_body = [CONTENT_TYPE, CONTENT_LENGTH];
    let kept = headers.iter().filter(|(name, _)| !of_the_body.contains(name));
    kept.fold(Problem::of_status(status), |problem, (name, value)| problem.with_header(name.clone(), value.clone()))
}

/// On every answer that does not say otherwise itself.
fn standing_headers(id: &str) -> [(HeaderName, HeaderValue); 3] {
    [
        (REQUEST_ID, HeaderValue::from_str(id).unwrap_or_else(|_| HeaderValue::from_static("-"))),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ]
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderMap, HeaderValue};

    use super::{REQUEST_ID, request_id};

    #[test]
    fn a_sane_request_id_is_kept_and_any_other_replaced() {
        let with = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(value).unwrap());
            request_id(&headers)
        };
        assert_eq!(&*with(b"abc-123"), "abc-123");
        for bad in [&b"two words"[..], b"", &[b'a'; 65], b"\xff", b"tab\there"] {
            assert!(with(bad).starts_with("req_"));
        }
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }
}
