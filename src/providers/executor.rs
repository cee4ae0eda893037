//! The one place that speaks to providers. It decides what no adapter can know: whether a byte of a paid call may have left,
//! how long an answer may take, how large it may be, and what is counted.
//!
//! It reads no answer's meaning (adapters do), takes no slot and no breaker (dispatch does), and repeats no submit.

mod exchange;
mod record;

use std::{fmt, sync::Arc, time::Duration};

use http::Method;
use tracing::Instrument;
use url::Url;

use crate::{
    clock::Clock,
    domain::{error::ErrorCode, record::Endpoint, time::Timestamp},
    lifeline::Lifeline,
    net::{client::Guarded, gate::Gate},
    providers::{
        adapter::{Fault, HttpCall, Reply, Then},
        breaker::Way,
        executor::{
            exchange::{Bounds, Trouble, exchange, prepare},
            record::Record,
        },
        registry::{Account, Provider},
    },
};

/// Largest answer to a submit. Synchronous providers answer with the images themselves: four PNGs of 2048 by 2048 are at most
/// 4 × 16 MiB, in base64 86 MiB; the rest is room for the JSON around them. Above it the outcome is unknown, not refused: the
/// provider has most likely billed.
pub const SUBMIT_ANSWER_BYTES: u64 = 96 * 1024 * 1024;

/// Largest answer to a poll, lookup or cancel: JSON with URLs; the largest documented ones, with logs, stay below one MiB.
pub const ASK_ANSWER_BYTES: u64 = 8 * 1024 * 1024;

/// Asks whether this node may trust that it still owns its shards. Called on the socket runtime; must not block.
pub type Trust = Arc<dyn Fn() -> bool + Send + Sync>;

/// What must hold at the moment a paid call leaves.
#[derive(Clone)]
pub struct SubmitLimits<'a> {
    /// It must not leave after this instant.
    pub not_after: Timestamp,
    /// The caller's permission.
    pub lifeline: &'a Lifeline,
    /// The node's permission.
    pub trust: Trust,
}

impl fmt::Debug for SubmitLimits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubmitLimits")
            .field("not_after", &self.not_after)
            .field("lifeline", &self.lifeline)
            .finish_non_exhaustive()
    }
}

impl SubmitLimits<'_> {
    /// The check of the gate, in the order of what it would cost to be wrong.
    fn gate(&self, clock: &Clock) -> Gate {
        let (not_after, lifeline) = (self.not_after, self.lifeline.clone());
        let (trust, clock) = (Arc::clone(&self.trust), clock.clone());
        Gate::new(Box::new(move || {
            lifeline.check().map_err(|_| "the sender was given up")?;
            if !trust() {
                return Err("this node cannot be sure that the work is still its own");
            }
            if clock.now() > not_after { Err("its time to leave was over") } else { Ok(()) }
        }))
    }
}

/// What became of a paid call.
#[derive(Debug, Clone)]
pub enum Sent {
    /// A complete answer was read.
    Reply(Reply),
    /// Certain: no byte of the request left.
    NeverSent(Fault),
    /// It may have arrived, and nothing clear came back.
    Unknown(Fault),
}

/// Speaks to providers. Cheap to clone. Its futures must run on the runtime that owns the sockets.
#[derive(Debug, Clone)]
pub struct Executor {
    clock: Clock,
}

impl Executor {
    /// An executor that reads instants from `clock`; timeouts are real time.
    #[must_use]
    pub const fn new(clock: Clock) -> Self {
        Self { clock }
    }

    /// Sends a paid call, once. Takes at most the provider's submit timeout, connecting included.
    ///
    /// [`Sent::NeverSent`] exactly when the [gate](crate::net::gate) was not passed; a connection that breaks right behind it is
    /// [`Sent::Unknown`], even when the break came before the first byte. Dropping this future after the gate leaves the
    /// outcome unknown.
    #[expect(clippy::too_many_arguments, reason = "four nouns of the path and the conditions; a struct would have one caller")]
    pub async fn submit(
        &self,
        provider: &Provider,
        account: &Account,
        endpoint: &Endpoint,
        call: HttpCall,
        limits: SubmitLimits<'_>,
    ) -> Sent {
        let record = Record::begin(provider, account, Way::Submit);
        let span = record.span(&call);
        let gate = limits.gate(&self.clock);
        let timeout = Duration::from_millis(provider.config.submit_timeout_ms);
        let bounds = Bounds { timeout, cap: SUBMIT_ANSWER_BYTES };
        let result = async {
            let request = self.request(&provider.clients.submit, (provider, account, endpoint), call)?;
            let answer = Box::pin(gate.scope(exchange(request, bounds, &self.clock))).await;
            match gate.refusal() {
                Some(why) => Err(Trouble::Held(why)),
                None if gate.passed() => answer,
                None => answer.map_err(Trouble::before_the_gate),
            }
        };
        let result = result.instrument(span.clone()).await;
        span.in_scope(|| record.end(&result, self.clock.now()));
        match result {
            Ok(reply) => Sent::Reply(reply),
            Err(trouble) if gate.passed() => Sent::Unknown(trouble.fault(&provider.name, Then::Unclear)),
            Err(trouble) => Sent::NeverSent(trouble.fault(&provider.name, Then::RetryUnbilled)),
        }
    }

    /// Sends a call that costs nothing and may be repeated: a poll, a lookup, a cancel. Takes one of the minute's polls, and at
    /// most the provider's poll timeout. A GET whose connection broke before the answer began is sent once more at once: a kept
    /// connection that the other side had closed looks just so. All else is the caller's schedule. Cancel safe.
    ///
    /// # Errors
    /// A fault with `RATE_LIMITED` and `retry_after` when the polls of the minute are used up; `PROVIDER_UNAVAILABLE`,
    /// `PROVIDER_TIMEOUT` or `PROVIDER_ERROR` when there was no complete answer; the adapter's own when the credential cannot be
    /// used.
    pub async fn ask(&self, provider: &Provider, account: &Account, endpoint: &Endpoint, call: HttpCall) -> Result<Reply, Fault> {
        let now = self.clock.now();
        if let Err(until) = account.budget.try_poll(now) {
            return Err(used_up(provider, until.since(now)));
        }
        self.ask_admitted(provider, account, endpoint, call).await
    }

    /// As [`ask`](Self::ask), for a caller that has taken one of the minute's polls already.
    ///
    /// # Errors
    /// As [`ask`](Self::ask), without `RATE_LIMITED`.
    pub async fn ask_admitted(
        &self,
        provider: &Provider,
        account: &Account,
        endpoint: &Endpoint,
        call: HttpCall,
    ) -> Result<Reply, Fault> {
        let record = Record::begin(provider, account, Way::Ask);
        let span = record.span(&call);
        let bounds = Bounds { timeout: Duration::from_millis(provider.config.poll_timeout_ms), cap: ASK_ANSWER_BYTES };
        let result = async {
            let request = self.request(&provider.clients.poll, (provider, account, endpoint), call)?;
            Box::pin(self.asked(request, bounds)).await
        };
        let result = result.instrument(span.clone()).await;
        span.in_scope(|| record.end(&result, self.clock.now()));
        result.map_err(|trouble| trouble.fault(&provider.name, Then::Unclear))
    }

    /// One try, or two within the same deadline.
    async fn asked(&self, request: Prepared, bounds: Bounds) -> Result<Reply, Trouble> {
        let again = (request.request.method() == Method::GET).then(|| request.again()).flatten();
        let both = async {
            match (exchange(request, bounds, &self.clock).await, again) {
                (Err(Trouble::Cut { answered: false, .. }), Some(again)) => exchange(again, bounds, &self.clock).await,
                (answer, _) => answer,
            }
        };
        tokio::time::timeout(bounds.timeout, both).await.unwrap_or(Err(Trouble::Timeout(bounds.timeout)))
    }

    fn request(
        &self,
        client: &Guarded,
        (provider, account, endpoint): (&Provider, &Account, &Endpoint),
        call: HttpCall,
    ) -> Result<Prepared, Trouble> {
        let headers = if may_see_credential(endpoint, &call.url) {
            provider.adapter.authorize(&account.credential, endpoint, self.clock.now()).map_err(Trouble::Unauthorized)?
        } else {
            // A provider's answer named this URL (a polling_url): the key goes to the provider's own hosts only.
            tracing::warn!(host = call.url.host_str(), "the credential is withheld from a foreign host");
            Vec::new()
        };
        prepare(client, call, headers)
    }
}

use exchange::Prepared;

fn used_up(provider: &Provider, wait: Duration) -> Fault {
    Fault {
        code: ErrorCode::RateLimited,
        message: format!("{}: {} polls a minute are used up", provider.name, provider.config.polls_per_minute),
        http_status: None,
        provider_code: None,
        provider_message: None,
        retry_after: Some(wait),
        then: Then::Throttled,
    }
}

/// Whether a URL belongs to the provider of this endpoint: the base URL's own host, or a name under the same two last labels
/// (BFL polls at `api.us1.bfl.ai` what was sent to `api.bfl.ai`), never by a weaker scheme.
fn may_see_credential(endpoint: &Endpoint, url: &Url) -> bool {
    let Ok(base) = Url::parse(&endpoint.base_url) else { return false };
    if base.scheme() == "https" && url.scheme() != "https" {
        return false;
    }
    match (base.host(), url.host()) {
        (Some(url::Host::Domain(base)), Some(url::Host::Domain(other))) => base == other || site(base) == site(other),
        (base, other) => base.is_some() && base == other,
    }
}

/// The two last labels of a name; the whole name when it has fewer.
fn site(name: &str) -> &str {
    let from = name.rmatch_indices('.').nth(1).map_or(0, |(at, _)| at + 1);
    name.get(from..).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::may_see_credential;
    use crate::domain::record::Endpoint;

    #[test]
    fn a_credential_goes_to_the_providers_own_hosts_only() {
        let endpoint = |base: &str| Endpoint {
            base_url: base.to_owned(),
            path_family: String::new(),
            upstream: String::new(),
            options: std::collections::BTreeMap::new(),
        };
        let sees = |base: &str, url: &str| may_see_credential(&endpoint(base), &url.parse().expect("a URL"));
        assert!(sees("https://api.bfl.ai", "https://api.us1.bfl.ai/v1/get_result?id=1"));
        assert!(sees("https://api.bfl.ai", "https://api.bfl.ai/v1/x"));
        assert!(sees("http://127.0.0.1:4000/flux", "http://127.0.0.1:4000/flux/get_result"));
        assert!(!sees("https://api.bfl.ai", "http://api.bfl.ai/v1/x"));
        assert!(!sees("https://api.bfl.ai", "https://bfl.ai.evil.example/v1/x"));
        assert!(!sees("https://api.bfl.ai", "https://evilbfl.ai/v1/x"));
        assert!(!sees("https://api.bfl.ai", "https://8.8.8.8/v1/x"));
        assert!(!sees("http://127.0.0.1:4000", "http://127.0.0.2:4000/x"));
    }
}
