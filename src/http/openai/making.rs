//! What the routes below `/v1` share that make something: the claim, the mapping, the acceptance.

use std::time::Duration;

use actix_web::HttpRequest;
use serde_json::{Map, Value, json};

use super::ask::{self, Shape, Wrong};
use crate::{
    domain::{claim::Fingerprint, error::ErrorCode},
    http::{
        Api,
        accepting::{self, Accepted},
        auth::Caller,
        edge::RequestId,
        idempotency::{self, Begun},
        problem::Problem,
    },
};

/// What a package of OpenAI's waits at most before it sends a request again: 8 seconds of its own, or a `Retry-After`; ours go to 60.
const BETWEEN_TRIES: Duration = Duration::from_secs(60);

/// A route that makes something.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// What an idempotency key is used for there.
    pub name: &'static str,
    /// What it reads.
    pub shape: Shape,
    /// How long its answer may take.
    pub longest: Duration,
}

/// Carries a request out, or finds what an equal one has made.
///
/// # Errors
/// What is wrong with the request, in the client's own names; the idempotency key's, a limit's and the store's.
pub async fn make(
    api: &Api,
    caller: Caller,
    (request, request_id): (&HttpRequest, RequestId),
    members: Map<String, Value>,
    route: Route,
) -> Result<Accepted, Problem> {
    let body = Value::Object(members);
    let same = (route.name, Fingerprint::of_json(&body));
    let patience = route.longest + BETWEEN_TRIES;
    let ticket = match idempotency::begin_or_recognise(api, caller, request.headers(), same, patience).await? {
        Begun::Before(subject) => return Accepted::before(&subject),
        Begun::New(ticket) => ticket,
    };
    let Value::Object(members) = body else { return Err(Problem::new(ErrorCode::InternalError, "the members are lost")) };
    let ask = ask::read(members, route.shape, &api.catalogue).map_err(refused)?;
    let made = accepting::accept(api, caller, request_id, (ask, Vec::new()), ticket).await;
    made.map_err(|problem| problem.with_errors(ask::rename))
}

fn refused(wrong: Wrong) -> Problem {
    match wrong {
        Wrong::Values(errors) => Problem::invalid(errors),
        Wrong::Model(detail) => {
            let details = json!({"param": "model", "code": "model_not_found"});
            Problem::new(ErrorCode::NotFound, detail).with_details(details)
        }
    }
}
