//! `/api/health` (for probes and people, no key) and `/api/health/detailed` (admin). The checks run at most every two seconds,
//! whoever asks: a storm of probes must not become load.

use std::{sync::Arc, time::Duration};

use actix_web::{HttpResponse, web::Data};
use moka::future::Cache;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    domain::time::Timestamp,
    http::{
        Api,
        problem::{Problem, ProblemBody},
    },
};

/// How old a report may be.
const REPORT_AGE: Duration = Duration::from_secs(2);
/// Longest time one check may take.
const CHECK_TIME: Duration = Duration::from_secs(1);

/// The last report. Clones share it.
#[derive(Debug, Clone)]
pub struct Reports(Cache<(), Arc<Vec<Check>>>);

impl Default for Reports {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(1).time_to_live(REPORT_AGE).build())
    }
}

/// How the service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// All is well.
    Healthy,
    /// It serves, but something is wrong.
    Degraded,
    /// It cannot take or show generations.
    Unhealthy,
}

/// How the service is, in short.
#[derive(Debug, Serialize, ToSchema)]
pub struct HealthBrief {
    status: Health,
    /// Now.
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    /// Seconds since the start.
    uptime: u64,
    /// Version of the program.
    version: &'static str,
}

/// How the service is, in full.
#[derive(Debug, Serialize, ToSchema)]
pub struct HealthDetail {
    #[serde(flatten)]
    brief: HealthBrief,
    /// What it stands on.
    checks: Vec<Check>,
    /// Its actors.
    actors: Vec<ActorHealth>,
    /// Its providers.
    providers: Vec<ProviderHealth>,
    /// Unfinished generations by state; null when they cannot be counted.
    generations: Option<GenerationCounts>,
    /// Whether it is shutting down.
    draining: bool,
}

/// One thing the service stands on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Check {
    /// `reads`, `journal`, `storage` or `spool`.
    name: &'static str,
    /// Whether it answered.
    ok: bool,
    /// What was wrong.
    error: Option<String>,
}

/// One actor.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActorHealth {
    /// Name.
    name: String,
    /// Whether its last beat is recent.
    ok: bool,
    /// Last beat.
    #[schema(value_type = String, format = DateTime)]
    last_beat: Timestamp,
    /// Since when its oldest work in hand is there.
    #[schema(value_type = Option<String>, format = DateTime)]
    oldest_work: Option<Timestamp>,
    /// Restarts since the start.
    restarts: u64,
}

/// One provider.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProviderHealth {
    /// Section.
    name: String,
    /// Whether it takes anything.
    enabled: bool,
    /// Why not.
    disabled_reason: Option<String>,
    /// Its accounts.
    accounts: Vec<AccountHealth>,
}

/// One account at a provider.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountHealth {
    /// Name.
    name: String,
    /// Attempts in flight.
    in_use: usize,
    /// How many may be; 0 means no limit.
    limit: u32,
}

/// Unfinished generations by state.
#[derive(Debug, Serialize, ToSchema)]
pub struct GenerationCounts {
    waiting: u64,
    preparing: u64,
    queued: u64,
    active: u64,
    unfinished: u64,
}

/// Tells how the service is.
#[utoipa::path(
    get, path = "/api/health", operation_id = "getHealth", tag = "operation",
    responses(
        (status = 200, description = "It serves.", body = HealthBrief),
        (status = 503, description = "It is shutting down or its database is gone.", body = ProblemBody<'static>,
            content_type = "application/problem+json"),
    ),
    security(())
)]
pub async fn brief(api: Data<Api>) -> Result<HttpResponse, Problem> {
    let checks = checks(&api).await?;
    let brief = summary(&api, &checks);
    if brief.status == Health::Unhealthy {
        let reason =
            if api.draining.is_cancelled() { "it is shutting down" } else { "the database does not answer, or cannot write" };
        return Err(Problem::unavailable(reason).with_details(serde_json::to_value(&brief).unwrap_or_default()));
    }
    Ok(HttpResponse::Ok().json(brief))
}

/// Tells how the service is, in full.
#[utoipa::path(
    get, path = "/api/health/detailed", operation_id = "getDetailedHealth", tag = "operation",
    responses(
        (status = 200, description = "How it is; `status` says whether all is well.", body = HealthDetail),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = ["admin"]))
)]
pub async fn detailed(api: Data<Api>) -> Result<HttpResponse, Problem> {
    let checks = checks(&api).await?;
    let reads = api.reads.clone();
    // An unreachable database is already said by the checks.
    let counts = api.hop(async move { reads.counts().await }).await.ok();
    Ok(HttpResponse::Ok().json(HealthDetail {
        brief: summary(&api, &checks),
        checks: checks.to_vec(),
        actors: actors(&api),
        providers: providers(&api),
        generations: counts.map(|counts| GenerationCounts {
            waiting: counts.waiting,
            preparing: counts.preparing,
            queued: counts.queued,
            active: counts.active,
            unfinished: counts.unfinished,
        }),
        draining: api.draining.is_cancelled(),
    }))
}

async fn checks(api: &Api) -> Result<Arc<Vec<Check>>, Problem> {
    let (reads, journal, storage) = (api.reads.clone(), api.journal.clone(), api.storage.clone());
    let spool = api.desk.spool.clone();
    let reports = api.health.clone();
    api.hop(async move {
        // Boxed: a storage's future is large, and everything above would carry it.
        let run = Box::pin(async move {
            let (reads, journal, storage) = futures_util::join!(
                check("reads", reads.ping()),
                check("journal", journal.ping()),
                check("storage", storage.ping()),
            );
            Arc::new(vec![reads, journal, storage, spooled(spool.waiting())])
        });
        Ok::<_, Problem>(reports.0.get_with((), run).await)
    })
    .await
}

async fn check<E: std::fmt::Display>(name: &'static str, ping: impl Future<Output = Result<(), E>>) -> Check {
    let error = match tokio::time::timeout(CHECK_TIME, ping).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("no answer in time".to_owned()),
    };
    Check { name, ok: error.is_none(), error }
}

/// Receipts that wait for the database are safe, and yet nothing further is submitted before they are in it.
fn spooled(waiting: u64) -> Check {
    let error = (waiting > 0).then(|| format!("{waiting} receipts of providers wait for the database"));
    Check { name: "spool", ok: error.is_none(), error }
}

fn summary(api: &Api, checks: &[Check]) -> HealthBrief {
    let now = api.clock.now();
    let late = actors(api).iter().any(|actor| !actor.ok);
    HealthBrief {
        status: judge(checks, late, api.draining.is_cancelled()),
        timestamp: now,
        uptime: now.since(api.started_at).as_secs(),
        version: env!("CARGO_PKG_VERSION"),
    }
}

/// The storage may be away for hours without a loss, a late actor is being restarted, and what is spooled is safe: they only degrade.
fn judge(checks: &[Check], late: bool, draining: bool) -> Health {
    let failed = |name: &str| checks.iter().any(|check| check.name == name && !check.ok);
    if draining || failed("reads") || failed("journal") {
        Health::Unhealthy
    } else if late || failed("storage") || failed("spool") {
        Health::Degraded
    } else {
        Health::Healthy
    }
}

fn actors(api: &Api) -> Vec<ActorHealth> {
    let (now, patience) = (api.clock.now(), Duration::from_millis(api.config.supervision.silent_ms));
    let health = |(name, pulse): (String, Arc<crate::observe::Pulse>)| ActorHealth {
        name,
        ok: now.since(pulse.last_beat()) <= patience,
        last_beat: pulse.last_beat(),
        oldest_work: pulse.oldest_work(),
        restarts: pulse.restarts(),
    };
    api.pulses.all().into_iter().map(health).collect()
}

fn providers(api: &Api) -> Vec<ProviderHealth> {
    let of = |provider: &Arc<crate::providers::registry::Provider>| ProviderHealth {
        name: provider.name.to_string(),
        enabled: provider.disabled.is_none(),
        disabled_reason: provider.disabled.clone(),
        accounts: provider
            .accounts
            .iter()
            .map(|account| {
                let (in_use, limit) = account.budget.in_use();
                AccountHealth { name: account.name.to_string(), in_use, limit }
            })
            .collect(),
    };
    api.registry.all().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::{Check, Health, judge};

    #[test]
    fn only_the_database_and_the_end_make_it_unhealthy() {
        let with = |broken: &str| {
            ["reads", "journal", "storage", "spool"].map(|name| Check { name, ok: name != broken, error: None }).to_vec()
        };
        assert_eq!(judge(&with(""), false, false), Health::Healthy);
        assert_eq!(judge(&with("storage"), false, false), Health::Degraded);
        assert_eq!(judge(&with("spool"), false, false), Health::Degraded);
        assert_eq!(judge(&with(""), true, false), Health::Degraded);
        assert_eq!(judge(&with("reads"), false, false), Health::Unhealthy);
        assert_eq!(judge(&with("journal"), true, false), Health::Unhealthy);
        assert_eq!(judge(&with(""), false, true), Health::Unhealthy);
    }
}
