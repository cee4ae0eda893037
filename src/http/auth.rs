//! Who is calling. Every route states its access in [`super::routes`]; the gate stands before the handler, so a handler that
//! takes a [`Caller`] cannot be reached without one. Only the Authorization header counts, never the host.

use std::{sync::Arc, time::Duration};

use actix_web::{
    Error, FromRequest, HttpMessage, HttpRequest, HttpResponse,
    body::BoxBody,
    dev::{Payload, ServiceRequest, ServiceResponse},
    http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE},
    middleware::Next,
    web,
};
use moka::future::Cache;
use std::future::{Ready, ready};
use subtle::ConstantTimeEq;

use crate::{
    clock::Clock,
    domain::{
        error::ErrorCode,
        id::{KeyId, ProjectId},
        limits::Limits,
        money::Micros,
        quota::Quotas,
        time::Timestamp,
    },
    http::{Api, problem::Problem, quota::Pass},
    intake::key_text::KeyText,
    store::{KeyRecord, Keys, Scope, StoreError},
};

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Open,
    /// Any valid key; an admin key acts within its own project.
    Client,
    /// Admin keys.
    Admin,
}

/// How long a key is believed without asking the database: a revocation takes effect within this time.
pub const KEY_TRUST: Duration = Duration::from_secs(5);
/// Keys remembered at most, some 300 bytes each.
const REMEMBERED: u64 = 10_000;

/// Keys seen lately, by the full hash of their text. Unknown keys are not remembered.
#[derive(Debug, Clone)]
pub struct KnownKeys(Cache<[u8; 32], Arc<Known>>);

/// A key with the limit of its project.
#[derive(Debug)]
struct Known {
    record: KeyRecord,
    project_limit: Option<Micros>,
}

impl Default for KnownKeys {
    fn default() -> Self {
        Self::trusting(KEY_TRUST)
    }
}

impl KnownKeys {
    /// A memory that believes a key for so long.
    #[must_use]
    pub fn trusting(span: Duration) -> Self {
        Self(Cache::builder().max_capacity(REMEMBERED).time_to_live(span).build())
    }
}

/// Whose key it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The key.
    pub key: KeyId,
    /// Its project: everything a caller sees or makes belongs to it.
    pub project: ProjectId,
    /// What it may do.
    pub scope: Scope,
    /// What may be promised a UTC day.
    pub limits: Limits,
    /// What it may ask of the service.
    pub quotas: Quotas,
}

impl FromRequest for Caller {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        // Absent only on a route declared open: refused rather than served.
        ready(request.extensions().get::<Self>().copied().ok_or_else(|| refused("this route needs a key")))
    }
}

/// Lets a request through when its key may use the route.
///
/// # Errors
/// None of its own; a refusal is a response.
pub async fn gate(access: Access, request: ServiceRequest, next: Next<BoxBody>) -> Result<ServiceResponse<BoxBody>, Error> {
    let caller = match access {
        Access::Open => return next.call(request).await,
        Access::Client | Access::Admin => identify(&request).await,
    };
    let allowed = caller.and_then(|caller| match (access, caller.scope) {
        (Access::Admin, Scope::Client) => Err(Problem::new(ErrorCode::PermissionDenied, "this route needs an admin key")),
        (Access::Open | Access::Client | Access::Admin, Scope::Client | Scope::Admin) => Ok(caller),
    });
    let counted = allowed.and_then(|caller| Ok((caller, count(&request, caller)?)));
    match counted {
        Ok((caller, pass)) => {
            request.extensions_mut().insert(caller);
            let response = next.call(request).await?;
            Ok(match pass {
                Some((pass, clock)) => pass.ride(response, clock.now()),
                None => response,
            })
        }
        Err(problem) => {
            // Not `into_response`: it would drop the problem and keep its bytes only.
            let (request, _) = request.into_parts();
            Ok(ServiceResponse::new(request, HttpResponse::from_error(problem)))
        }
    }
}

/// Counts the request for its key, where that has limits.
fn count(request: &ServiceRequest, caller: Caller) -> Result<Option<(Pass, Clock)>, Problem> {
    let Some(api) = request.app_data::<web::Data<Api>>() else { return Ok(None) };
    let pass = api.meters.enter(request.request(), caller.key, caller.quotas, api.clock.now())?;
    Ok(pass.map(|pass| (pass, api.clock.clone())))
}

async fn identify(request: &ServiceRequest) -> Result<Caller, Problem> {
    let given = request.headers().get(AUTHORIZATION).ok_or_else(|| refused("no key was given"))?;
    let text = given.to_str().ok().and_then(bearer).ok_or_else(|| refused("send `Authorization: Bearer lt_…`"))?;
    let key = KeyText::parse(text).ok_or_else(|| refused("the key is not one of ours: a character is wrong or missing"))?;
    let Some(api) = request.app_data::<web::Data<Api>>() else {
        return Err(Problem::new(ErrorCode::InternalError, "the service is not wired"));
    };
    let record = find(api, &key).await?.ok_or_else(|| refused("the key is unknown"))?;
    valid(&record.record, api.clock.now())?;
    let KeyRecord { id, project, scope, daily_limit, quotas, .. } = record.record;
    let (server, limits) = (&api.config.server, Limits { project: record.project_limit, key: daily_limit });
    let others = Quotas { per_minute: Some(server.requests_per_minute), at_once: Some(server.in_flight) };
    Ok(Caller { key: id, project, scope, limits, quotas: quotas.or(others) })
}

/// The scheme is case-insensitive (RFC 9110 §11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, rest) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| rest.trim())
}

async fn find(api: &Api, key: &KeyText) -> Result<Option<Arc<Known>>, Problem> {
    let hash = key.hash();
    let record = match api.known_keys.0.get(&hash).await {
        Some(record) => Some(record),
        None => {
            let keys = api.keys.clone();
            let found = api.hop(async move { known(&keys, &hash).await }).await?.map(Arc::new);
            if let Some(record) = &found {
                api.known_keys.0.insert(hash, Arc::clone(record)).await;
            }
            found
        }
    };
    // The lookups compared in their own ways; this one takes the same time whatever differs.
    Ok(record.filter(|known| bool::from(known.record.hash.ct_eq(&hash))))
}

async fn known(keys: &Keys, hash: &[u8; 32]) -> Result<Option<Known>, StoreError> {
    let Some(record) = keys.by_hash(hash).await? else { return Ok(None) };
    let project = keys.project_by_id(record.project).await?;
    Ok(Some(Known { record, project_limit: project.and_then(|project| project.daily_limit) }))
}

fn valid(record: &KeyRecord, now: Timestamp) -> Result<(), Problem> {
    if record.revoked_at.is_some_and(|at| at <= now) {
        return Err(refused("the key is revoked"));
    }
    if record.expires_at.is_some_and(|at| at <= now) {
        return Err(refused("the key has expired"));
    }
    Ok(())
}

fn refused(detail: &str) -> Problem {
    Problem::new(ErrorCode::AuthenticationFailed, detail)
        .with_header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"longtake\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(revoked: Option<i64>, expires: Option<i64>) -> KeyRecord {
        let (revoked_at, expires_at) = (revoked.map(Timestamp), expires.map(Timestamp));
        KeyRecord {
            id: KeyId::fresh(),
            project: ProjectId::fresh(),
            name: "n".to_owned(),
            scope: Scope::Client,
            hash: [0; 32],
            last4: String::new(),
            created_at: Timestamp(0),
            revoked_at,
            expires_at,
            daily_limit: None,
            quotas: Quotas::default(),
        }
    }

    #[test]
    fn a_key_is_valid_until_it_is_revoked_or_expires() {
        let now = Timestamp(10);
        assert!(valid(&record(None, None), now).is_ok());
        assert!(valid(&record(None, Some(11)), now).is_ok());
        assert!(valid(&record(None, Some(10)), now).is_err());
        assert!(valid(&record(Some(10), None), now).is_err());
    }

    #[test]
    fn the_bearer_scheme_is_read_in_any_case_and_nothing_else_is() {
        assert_eq!(bearer("Bearer x"), Some("x"));
        assert_eq!(bearer("bEARER  x"), Some("x"));
        assert_eq!(bearer("Basic x"), None);
        assert_eq!(bearer("x"), None);
    }
}
