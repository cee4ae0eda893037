//! `POST /hooks/{provider}/{attempt}/{token}`: where providers call us back. The token in the URL stands in for a key and is checked
//! before anything else; no answer is ever a 500, for a provider that meets one may stop to call.

use std::{sync::Arc, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::RETRY_AFTER,
    web::{Data, Path, Payload},
};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::Semaphore;

use crate::{
    domain::error::ErrorCode,
    http::{
        Api, body,
        problem::{Problem, ProblemBody},
    },
    intake::hook::Outcome,
};

/// Largest webhook. The largest documented one, a Replicate prediction with its logs, stays far below.
const LARGEST: usize = 1024 * 1024;

/// Longest time a provider may take to send one: BFL gives up after 30 seconds itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// Webhooks in hand at a time. Each is one read and at most one write, so this many are minutes' worth of a million waiting
/// generations; past it a provider is asked to come again.
const MOST: usize = 256;

/// Counter: webhooks by `provider` and `outcome`.
const WEBHOOKS_TOTAL: &str = "longtake_webhooks_total";

/// Room for webhooks in hand. Clones share it.
#[derive(Debug, Clone)]
pub struct InHand(Arc<Semaphore>);

impl Default for InHand {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST)))
    }
}

/// Takes a provider's call back.
///
/// For providers only: the URL is made for one attempt and handed to its provider with the submit.
#[utoipa::path(
    post, path = "/hooks/{provider}/{attempt}/{token}", operation_id = "receiveWebhook", tag = "webhooks",
    params(
        ("provider" = String, Path, description = "Section of the configuration."),
        ("attempt" = String, Path, description = "The attempt, `att_…`."),
        ("token" = String, Path, description = "Proves the URL."),
    ),
    responses(
        (status = 200, description = "Taken; also when it tells nothing new."),
        (status = 401, description = "Its signature is missing, wrong or too old.", body = ProblemBody<'static>,
            content_type = "application/problem+json"),
        (status = 404, description = "We made no such URL.", body = ProblemBody<'static>, content_type = "application/problem+json"),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(())
)]
pub async fn receive(
    request: HttpRequest,
    path: Path<(String, String, String)>,
    payload: Payload,
    api: Data<Api>,
) -> Result<HttpResponse, Problem> {
    let (provider, attempt, token) = path.into_inner();
    let Some(attempt) = api.desk.admit(&provider, &attempt, &token) else {
        count(&api, &provider, "wrong_token");
        return Err(Problem::new(ErrorCode::NotFound, "there is no such path; /docs/ shows what there is"));
    };
    let Ok(_room) = api.hooks_in_hand.0.try_acquire() else {
        count(&api, &provider, "limited");
        return Err(Problem::new(ErrorCode::RateLimited, "too many webhooks at once")
            .with_header(RETRY_AFTER, actix_web::http::header::HeaderValue::from_static("5")));
    };
    let body = body::raw(&request, payload, (LARGEST, PATIENCE)).await.inspect_err(|_| count(&api, &provider, "unreadable"))?;
    let (desk, headers, named) = (api.desk.clone(), headers(&request), provider.clone());
    let received = async move { Ok::<_, Problem>(desk.receive((&named, attempt), &headers, &body).await) };
    let outcome = api.hop(received).await.unwrap_or(Outcome::Lost);
    count(&api, &provider, outcome.as_str());
    match outcome {
        Outcome::Lost => Err(Problem::unavailable("it cannot be kept at the moment; send it again")),
        Outcome::Unchecked => Err(Problem::unavailable("its signature cannot be checked at the moment; send it again")),
        Outcome::Forged => {
            tracing::warn!(provider, attempt.id = %attempt, "a webhook without a right signature is refused");
            Err(Problem::new(ErrorCode::AuthenticationFailed, "the signature is missing, wrong or too old"))
        }
        Outcome::Recorded
        | Outcome::Known
        | Outcome::Hint
        | Outcome::Contradicts
        | Outcome::Foreign
        | Outcome::UnknownAttempt
        | Outcome::UnknownProvider
        | Outcome::Spooled => Ok(HttpResponse::Ok().finish()),
    }
}

/// The set of labels stays closed: a name that is not configured counts as `unknown`.
fn count(api: &Api, provider: &str, outcome: &'static str) {
    let provider = api.registry.provider(provider).map_or_else(|| "unknown".to_owned(), |known| known.name.to_string());
    metrics::counter!(WEBHOOKS_TOTAL, "provider" => provider, "outcome" => outcome).increment(1);
}

/// The headers as adapters read them; actix has types of its own.
fn headers(request: &HttpRequest) -> HeaderMap {
    let pair = |(name, value): (&actix_web::http::header::HeaderName, &actix_web::http::header::HeaderValue)| {
        let name = HeaderName::from_bytes(name.as_str().as_bytes()).ok()?;
        Some((name, HeaderValue::from_bytes(value.as_bytes()).ok()?))
    };
    request.headers().iter().filter_map(pair).collect()
}
