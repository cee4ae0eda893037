//! What is remembered of a call: a span, two metrics with closed label sets, and the account's breaker.

use std::time::Instant;

use metrics::{counter, histogram};
use tracing::Span;

use crate::{
    domain::time::Timestamp,
    providers::{
        adapter::{HttpCall, Reply},
        breaker::Way,
        executor::exchange::Trouble,
        registry::{Account, Provider},
    },
};

/// Counter: calls by `provider`, `call` (submit, ask) and `outcome`.
pub const REQUESTS_TOTAL: &str = "longtake_provider_requests_total";

/// Histogram: seconds from the start of a call to its end, by `provider` and `call`.
pub const REQUEST_SECONDS: &str = "longtake_provider_request_seconds";

/// One call in hand.
pub(super) struct Record<'a> {
    provider: &'a Provider,
    account: &'a Account,
    way: Way,
    started: Instant,
}

impl<'a> Record<'a> {
    pub(super) fn begin(provider: &'a Provider, account: &'a Account, way: Way) -> Self {
        Self { provider, account, way, started: Instant::now() }
    }

    /// The span of the call. Of the URL it shows the host only.
    pub(super) fn span(&self, call: &HttpCall) -> Span {
        tracing::debug_span!(
            "provider.request",
            provider = %self.provider.name,
            account = %self.account.name,
            call = self.call(),
            method = %call.method,
            host = call.url.host_str(),
        )
    }

    /// Counts the end.
    pub(super) fn end(&self, result: &Result<Reply, Trouble>, now: Timestamp) {
        let outcome = outcome(result);
        self.tell_breaker(result, now);
        let (provider, spent) = (self.provider.name.to_string(), self.started.elapsed());
        counter!(REQUESTS_TOTAL, "provider" => provider.clone(), "call" => self.call(), "outcome" => outcome).increment(1);
        histogram!(REQUEST_SECONDS, "provider" => provider, "call" => self.call()).record(spent.as_secs_f64());
        let status = result.as_ref().ok().map(|reply| reply.status.as_u16());
        tracing::debug!(
            outcome,
            status,
            duration_ms = u64::try_from(spent.as_millis()).unwrap_or(u64::MAX),
            "provider call ended"
        );
    }

    /// A 5xx and a broken way count against the provider; a refusal is an answer; what we held back says nothing of it.
    fn tell_breaker(&self, result: &Result<Reply, Trouble>, now: Timestamp) {
        let breaker = &self.account.breaker;
        match result {
            Ok(reply) if reply.status.is_server_error() => breaker.failure(self.way, now),
            Ok(_) => breaker.success(self.way),
            Err(Trouble::NoWay(_) | Trouble::Timeout(_) | Trouble::Cut { .. } | Trouble::TooLarge(_)) => {
                breaker.failure(self.way, now);
            }
            Err(Trouble::Unauthorized(_) | Trouble::Forbidden(_) | Trouble::Unbuildable | Trouble::Held(_)) => match self.way {
                Way::Submit => breaker.abstain(),
                Way::Ask => {}
            },
        }
    }

    const fn call(&self) -> &'static str {
        match self.way {
            Way::Submit => "submit",
            Way::Ask => "ask",
        }
    }
}

fn outcome(result: &Result<Reply, Trouble>) -> &'static str {
    match result {
        Ok(reply) => match reply.status.as_u16() {
            429 => "throttled",
            500.. => "5xx",
            400.. => "4xx",
            300.. => "3xx",
            _ => "2xx",
        },
        Err(Trouble::Unauthorized(_) | Trouble::Forbidden(_) | Trouble::Unbuildable) => "invalid",
        Err(Trouble::Held(_)) => "held",
        Err(Trouble::NoWay(_)) => "unreachable",
        Err(Trouble::Timeout(_)) => "timeout",
        Err(Trouble::Cut { .. }) => "cut",
        Err(Trouble::TooLarge(_)) => "too_large",
    }
}
