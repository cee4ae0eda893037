//! `/api/metrics`: the Prometheus text format. Counters of the stages are written as they happen; what actors and the journal
//! count themselves is taken over at the scrape.

use actix_web::{HttpResponse, web::Data};

use crate::http::{
    Api,
    problem::{Problem, ProblemBody},
};

/// Shows the metrics.
#[utoipa::path(
    get, path = "/api/metrics", operation_id = "getMetrics", tag = "operation",
    responses(
        (status = 200, description = "Prometheus text format.", body = String, content_type = "text/plain"),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = ["admin"]))
)]
pub async fn render(api: Data<Api>) -> Result<HttpResponse, Problem> {
    let reads = api.reads.clone();
    // Without a database the rest is still worth a scrape.
    let counts = api.hop(async move { reads.counts().await }).await.ok();
    if let Some(counts) = counts {
        for (state, count) in
            [("waiting", counts.waiting), ("preparing", counts.preparing), ("queued", counts.queued), ("active", counts.active)]
        {
            metrics::gauge!("longtake_generations_unfinished", "state" => state).set(exact(count));
        }
    }
    take_over(&api);
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(api.metrics.render()))
}

fn take_over(api: &Api) {
    let now = api.clock.now();
    let counts = api.journal.counts();
    metrics::counter!("longtake_store_commits_total").absolute(counts.commits);
    metrics::counter!("longtake_store_births_total").absolute(counts.births);
    metrics::counter!("longtake_store_transitions_total").absolute(counts.transitions);
    metrics::counter!("longtake_store_evidence_total").absolute(counts.evidence);
    metrics::counter!("longtake_store_transitions_lost_total").absolute(counts.lost);
    metrics::counter!("longtake_store_reads_total").absolute(api.reads.asked());
    metrics::gauge!("longtake_streams_open").set(exact(api.streams.taken()));
    metrics::gauge!("longtake_requests_waiting").set(exact(api.waiting.taken()));
    metrics::gauge!("longtake_spooled_receipts").set(exact(api.desk.spool.waiting()));
    for (name, pulse) in api.pulses.all() {
        metrics::counter!("longtake_actor_restarts_total", "actor" => name.clone()).absolute(pulse.restarts());
        let age = now.since(pulse.last_beat()).as_secs_f64();
        metrics::gauge!("longtake_actor_last_beat_age_seconds", "actor" => name).set(age);
    }
    for provider in api.registry.all() {
        for account in &provider.accounts {
            let labels = [("provider", provider.name.to_string()), ("account", account.name.to_string())];
            let in_use = u64::try_from(account.budget.in_use().0).unwrap_or(u64::MAX);
            metrics::gauge!("longtake_attempts_in_flight", &labels).set(exact(in_use));
        }
    }
    metrics::gauge!("longtake_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    metrics::gauge!("longtake_uptime_seconds").set(now.since(api.started_at).as_secs_f64());
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
const fn exact(count: u64) -> f64 {
    count as f64
}
