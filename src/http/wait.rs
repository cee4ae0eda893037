//! `Prefer: wait=N` (RFC 7240 §4.3): an answer that waits for news instead of saying once more what the client knows. With
//! `If-None-Match` it comes as soon as something differs, without it once there is an end to show; after N seconds it comes as it is.
//!
//! Who waits holds a connection and some kilobytes and asks the database nothing: the journal's writer rings ([`Watch`]).
//!
//! [`Watch`]: crate::store::Watch

use std::{sync::Arc, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::header::{ETAG, HeaderMap, HeaderName},
};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::{
    http::{Api, etag, problem::Problem},
    store::Ring,
};

/// The longest wait: what proxies and load balancers commonly allow a silent connection.
const LONGEST: Duration = Duration::from_secs(60);

const PREFER: HeaderName = HeaderName::from_static("prefer");
const APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Room for those who wait. Clones share it.
#[derive(Debug, Clone)]
pub struct Seats {
    free: Arc<Semaphore>,
    most: usize,
}

impl Seats {
    /// Room for so many.
    #[must_use]
    pub fn of(most: usize) -> Self {
        let most = most.min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(most)), most }
    }

    /// How many wait.
    #[must_use]
    pub fn taken(&self) -> u64 {
        u64::try_from(self.most.saturating_sub(self.free.available_permits())).unwrap_or(u64::MAX)
    }
}

/// What a look at the rows says.
#[derive(Debug)]
pub struct Look<T> {
    /// What it saw.
    pub seen: T,
    /// Its entity tag.
    pub tag: String,
    /// Whether nothing is expected to change any more.
    pub ended: bool,
}

impl<T> Look<T> {
    /// Begins the answer, with the tag and the wait that was granted: 304 without anything further (true) to one who holds what the tag
    /// names, else 200.
    #[must_use]
    pub fn begin(&self, request: &HttpRequest, granted: Granted) -> (HttpResponseBuilder, bool) {
        let unchanged = etag::held(request.headers(), &self.tag);
        let mut response = if unchanged { HttpResponse::NotModified() } else { HttpResponse::Ok() };
        granted.tell(&mut response);
        response.insert_header((ETAG, self.tag.as_str()));
        (response, unchanged)
    }
}

/// A wait that was granted; none when none was asked for, or there is no room (a preference may be ignored, RFC 7240 §2).
#[derive(Debug, Clone, Copy)]
pub struct Granted(Option<Duration>);

impl Granted {
    /// Says so in the answer.
    pub fn tell(self, response: &mut HttpResponseBuilder) {
        if let Self(Some(span)) = self {
            response.insert_header((APPLIED, format!("wait={}", span.as_secs())));
        }
    }
}

/// Whether the client prefers to wait.
#[must_use]
pub fn wanted(request: &HttpRequest) -> bool {
    wish(request.headers()).is_some()
}

/// Looks, and where the client prefers to wait, looks again at every news until there is something to tell: what it does not hold
/// yet (`If-None-Match`), else the end. `id` is that of the row which is looked at.
///
/// # Errors
/// Those of `look`.
pub async fn until<T>(
    api: &Api,
    request: &HttpRequest,
    id: Uuid,
    look: impl AsyncFn() -> Result<Look<T>, Problem>,
) -> Result<(Look<T>, Granted), Problem> {
    let headers = request.headers();
    let seat = wish(headers).map(|span| (span, api.waiting.free.try_acquire()));
    let Some((span, Ok(_seat))) = seat else { return Ok((look().await?, Granted(None))) };
    // Before the first look: what is committed while it looks rings, too.
    let mut news = api.watch.on(id);
    let end = tokio::time::sleep(span);
    tokio::pin!(end);
    let worth = if etag::asked(headers) { Ring::Changed } else { Ring::Ended };
    let mut over = false;
    loop {
        let seen = look().await?;
        let differs = etag::asked(headers) && !etag::held(headers, &seen.tag);
        if seen.ended || differs || over {
            return Ok((seen, Granted(Some(span))));
        }
        tokio::select! {
            // The look after the last moment finds what no ring told of: another process's doing, or what time alone changes.
            () = &mut end => over = true,
            () = api.draining.cancelled() => over = true,
            () = news.heard(worth) => {}
        }
    }
}

/// How long the client prefers to wait; none where it says nothing that can be read. Of a preference given twice the first counts
/// (RFC 7240 §2).
fn wish(headers: &HeaderMap) -> Option<Duration> {
    let texts = headers.get_all(PREFER).filter_map(|value| value.to_str().ok());
    let value = texts.flat_map(preferences).find_map(|(name, value)| name.eq_ignore_ascii_case("wait").then_some(value))?;
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    // What no number holds is longer than the longest.
    let seconds = digits.then(|| value.parse().unwrap_or(u64::MAX)).filter(|seconds| *seconds > 0)?;
    Some(Duration::from_secs(seconds).min(LONGEST))
}

/// Names and values, without parameters and quotes.
fn preferences(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut quoted = false;
    let comma = move |letter: char| {
        quoted ^= letter == '"';
        letter == ',' && !quoted
    };
    text.split(comma).map(|preference| {
        let bare = preference.split(';').next().unwrap_or_default();
        let (name, value) = bare.split_once('=').unwrap_or((bare, ""));
        (name.trim(), value.trim().trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn wished(lines: &[&'static str]) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(PREFER, HeaderValue::from_static(line));
        }
        wish(&headers).map(|span| span.as_secs())
    }

    #[test]
    fn a_wait_is_read_as_rfc_7240_writes_it() {
        for lines in [
            &["wait=10"][..],
            &["respond-async, wait=10"],
            &["Wait = \"10\" ; x=y"],
            &["foo=\"a, wait=9\", wait=10, wait=3"],
            &["return=minimal", "wait=10"],
        ] {
            assert_eq!(wished(lines), Some(10), "{lines:?}");
        }
        assert_eq!(wished(&["wait=61"]), Some(60));
        assert_eq!(wished(&["wait=99999999999999999999999"]), Some(60));
    }

    #[test]
    fn what_is_no_wait_is_ignored() {
        for lines in [&[][..], &["wait"], &["wait=0"], &["wait=-1"], &["wait=1.5"], &["wait=+3"], &["await=10"], &["x=wait=10"]] {
            assert_eq!(wished(lines), None, "{lines:?}");
        }
    }
}
