//! Error tables as data: what each documented answer of a provider means for us, and where that is written. The rules for what
//! no table knows are here too, once: an odd answer to a submit is never taken for a refusal.

use std::time::Duration;

use http::HeaderMap;

use super::{Fault, Reply, Then};
use crate::domain::{
    error::{ErrorCode, LONGEST_RETRY_AFTER, provider_text},
    time::Timestamp,
};

/// One documented error.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// HTTP status as documented. Decides only where `code` and `text` are none: relays change it, the code stays.
    pub status: u16,
    /// The provider's own code, as text.
    pub code: Option<&'static str>,
    /// Part of the provider's message, in lower case.
    pub text: Option<&'static str>,
    /// Our code.
    pub error: ErrorCode,
    /// What may follow a submit that was answered so.
    pub then: Then,
    /// What it means, for people.
    pub means: &'static str,
    /// Where that is written.
    pub source: &'static str,
}

/// A provider's rows; the first that fits decides.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    /// The provider, as people call it.
    pub provider: &'static str,
    /// Its rows.
    pub rows: &'static [Row],
}

/// What a provider said, as far as it could be read.
#[derive(Debug, Clone, Default)]
pub struct Said {
    /// HTTP status.
    pub status: u16,
    /// Its own code.
    pub code: Option<String>,
    /// Its own words.
    pub message: Option<String>,
    /// How long it asked us to wait.
    pub retry_after: Option<Duration>,
}

impl Said {
    /// Status and waiting hint of an answer.
    #[must_use]
    pub fn of(reply: &Reply) -> Self {
        Self {
            status: reply.status.as_u16(),
            code: None,
            message: None,
            retry_after: retry_after(reply.status.as_u16(), &reply.headers, reply.at),
        }
    }

    /// With the provider's own code and words.
    #[must_use]
    pub fn saying(self, code: Option<String>, message: Option<&str>) -> Self {
        Self { code, message: message.map(provider_text), ..self }
    }

    /// With a waiting hint from the body, where the headers have none.
    #[must_use]
    pub fn waiting(self, seconds: Option<f64>) -> Self {
        let hint = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Self { retry_after: self.retry_after.or(bounded(hint)), ..self }
    }
}

impl Row {
    fn fits(&self, said: &Said, lower: &str) -> bool {
        let code = self.code.is_none_or(|code| said.code.as_deref() == Some(code));
        let text = self.text.is_none_or(|text| lower.contains(text));
        let status = self.code.is_some() || self.text.is_some() || self.status == said.status;
        code && text && status
    }
}

impl Table {
    /// The row that fits.
    #[must_use]
    pub fn find(&self, said: &Said) -> Option<&'static Row> {
        let lower = said.message.as_deref().unwrap_or_default().to_lowercase();
        self.rows.iter().find(|row| row.fits(said, &lower))
    }

    /// What an answer that accepts nothing means for a submit. The provider's own codes decide at any status; texts and
    /// statuses only on a 4xx, for nothing else refuses. Without a row: final for a 4xx, unclear for all else.
    #[must_use]
    pub fn refusal(&self, said: Said) -> Fault {
        let refuses = (400..500).contains(&said.status);
        match self.find(&said) {
            Some(row) if row.code.is_some() || refuses => self.fault(said, row.error, row.then, row.means),
            Some(row) => self.fault(said, row.error, Then::Unclear, row.means),
            None => {
                let (error, then) = by_status(said.status);
                self.fault(said, error, then, "the request was refused")
            }
        }
    }

    /// What an error means where nothing is lost by asking again (polls, lookups, cancels), and on submits whose outcome is
    /// unknown: same code, but nothing was learned.
    #[must_use]
    pub fn unclear(&self, said: Said, means: &str) -> Fault {
        let error = self.find(&said).map_or_else(|| by_status(said.status).0, |row| row.error);
        self.fault(said, error, Then::Unclear, means)
    }

    /// What the reason of a failed task means: a row by its text or code, otherwise that it failed.
    #[must_use]
    pub fn failure(&self, said: Said) -> Fault {
        match self.find(&said) {
            Some(row) => self.fault(said, row.error, row.then, row.means),
            None => self.fault(said, ErrorCode::TaskFailed, Then::Final, "the generation failed there"),
        }
    }

    fn fault(&self, said: Said, code: ErrorCode, then: Then, means: &str) -> Fault {
        Fault {
            code,
            message: format!("{}: {means}", self.provider),
            http_status: Some(said.status),
            provider_code: said.code.as_deref().map(provider_text),
            provider_message: said.message,
            retry_after: said.retry_after,
            then,
        }
    }
}

/// The rules by HTTP status. 408 and 499 say that somebody stopped waiting, not that the request was refused.
fn by_status(status: u16) -> (ErrorCode, Then) {
    match status {
        401 | 403 => (ErrorCode::AuthenticationFailed, Then::Final),
        402 => (ErrorCode::QuotaExceeded, Then::Final),
        408 | 499 => (ErrorCode::ProviderTimeout, Then::Unclear),
        // Not throttled: a 429 may be permanent (Kling), so only a table's row may say "later".
        429 => (ErrorCode::RateLimited, Then::Final),
        400..=498 => (ErrorCode::InvalidRequest, Then::Final),
        _ => (ErrorCode::ProviderError, Then::Unclear),
    }
}

/// A fault of ours, found before anything was sent.
#[must_use]
pub fn unsendable(code: ErrorCode, message: impl Into<String>) -> Fault {
    Fault {
        code,
        message: message.into(),
        http_status: None,
        provider_code: None,
        provider_message: None,
        retry_after: None,
        then: Then::Final,
    }
}

/// A task that the provider does not know: still open within the grace after the submit (reads lag behind writes).
#[must_use]
pub fn missing(fault: Fault, submitted_at: Timestamp, now: Timestamp, grace: Duration) -> Fault {
    let then = if now.since(submitted_at) < grace { Then::Unclear } else { Then::Final };
    Fault { then, ..fault }
}

/// `Retry-After` (seconds or a date, RFC 9110 §10.2.3); on a 429 else `ratelimit-reset` (seconds), which other answers carry
/// without meaning us to wait.
fn retry_after(status: u16, headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let asked = text("retry-after").and_then(|value| wait(value, now));
    let reset = || text("ratelimit-reset").filter(|_| status == 429).and_then(|value| wait(value, now));
    bounded(asked.or_else(reset))
}

/// None for no time at all, so that our own back-off decides instead of a loop without a pause.
fn bounded(asked: Option<Duration>) -> Option<Duration> {
    asked.filter(|span| !span.is_zero()).map(|span| span.min(LONGEST_RETRY_AFTER))
}

fn wait(value: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = value.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = chrono::DateTime::parse_from_rfc2822(value).ok()?;
    Some(Timestamp(date.timestamp_millis()).since(now))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static(name), HeaderValue::from_static(value))])
    }

    const NOON: Timestamp = Timestamp(1_784_116_800_000);

    #[test]
    fn a_waiting_hint_is_read_as_seconds_or_as_a_date_and_is_capped() {
        let read = |status, name, value| retry_after(status, &headers(name, value), NOON);
        assert_eq!(read(503, "retry-after", "7"), Some(Duration::from_secs(7)));
        assert_eq!(read(429, "retry-after", "Wed, 15 Jul 2026 12:00:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(read(429, "ratelimit-reset", "5"), Some(Duration::from_secs(5)));
        assert_eq!(read(200, "ratelimit-reset", "5"), None);
        assert_eq!(read(429, "retry-after", "31536000"), Some(LONGEST_RETRY_AFTER));
        assert_eq!(["-4", "NaN", "soon", "", "0"].map(|value| read(429, "retry-after", value)), [None; 5]);
    }

    #[test]
    fn words_in_a_server_error_refuse_nothing() {
        const ROW: Row = Row {
            status: 400,
            code: None,
            text: Some("too many"),
            error: ErrorCode::RateLimited,
            then: Then::Throttled,
            means: "busy",
            source: "this test",
        };
        let table = Table { provider: "nobody", rows: &[ROW] };
        let read = |status| table.refusal(Said { status, ..Said::default() }.saying(None, Some("Too many tasks"))).then;
        assert_eq!((read(400), read(500), read(200)), (Then::Throttled, Then::Unclear, Then::Unclear));
    }

    #[test]
    fn without_a_row_only_a_refusal_is_final() {
        let table = Table { provider: "nobody", rows: &[] };
        let then = |status| table.refusal(Said { status, ..Said::default() }).then;
        assert_eq!([400, 401, 402, 403, 404, 422, 429].map(then), [Then::Final; 7]);
        assert_eq!([200, 201, 302, 408, 499, 500, 502, 503, 504, 599].map(then), [Then::Unclear; 10]);
    }

    #[test]
    fn an_unknown_task_is_open_within_the_grace_only() {
        let fault = unsendable(ErrorCode::ProviderError, "x");
        let grace = Duration::from_secs(10);
        let then = |after| missing(fault.clone(), NOON, NOON.plus(Duration::from_secs(after)), grace).then;
        assert_eq!((then(0), then(9), then(10)), (Then::Unclear, Then::Unclear, Then::Final));
    }
}
