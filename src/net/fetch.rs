//! Fetching what a URL from outside names (a provider's result, a client's image): redirects by hand with every check at each
//! hop, a cap, a longest silence, a deadline for all of it.

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, header};
use tokio::time::Instant;
use url::Url;

use crate::net::{
    body::{BodyError, CappedBody},
    client::Guarded,
    guard::Refused,
};

/// Redirects followed at most; results of the known providers need none or one.
const MAX_REDIRECTS: usize = 3;

/// What to fetch and within which bounds.
#[derive(Debug, Clone)]
pub struct Fetch {
    /// Where it is.
    pub url: Url,
    /// Further headers, such as Range. Credentials among them are dropped when a redirect leaves the origin.
    pub headers: HeaderMap,
    /// Most bytes of the body.
    pub max_bytes: u64,
    /// Longest wait for the answer to begin, at each hop, and for each next byte.
    pub stall: Duration,
    /// Longest for everything, the body included.
    pub total: Duration,
}

/// An answer whose body is still to be read.
#[derive(Debug)]
pub struct Fetched {
    /// Status of the last hop; also 4xx and 5xx.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    body: CappedBody,
    deadline: Instant,
    total: Duration,
}

/// Why something was not fetched. Texts name no path and no query.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The guard refused the URL or a redirect's.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// More than three redirects.
    #[error("too many redirects")]
    TooManyRedirects,
    /// A redirect without a usable Location, or from https to http.
    #[error("a redirect that is not followed: {0}")]
    BadRedirect(&'static str),
    /// No answer: DNS (with the guard's refusal as cause), refused, TLS, broken.
    #[error("no answer")]
    NoAnswer(#[source] reqwest::Error),
    /// The body could not be read to its end.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The deadline for everything passed.
    #[error("not fetched within {} ms", .0.as_millis())]
    Deadline(Duration),
}

impl FetchError {
    /// Whether the guard said no, also deep inside the client: trying again changes nothing.
    #[must_use]
    pub fn refused(&self) -> Option<&Refused> {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = cause {
            if let Some(refused) = error.downcast_ref::<Refused>() {
                return Some(refused);
            }
            cause = error.source();
        }
        match self {
            Self::Refused(refused) => Some(refused),
            Self::TooManyRedirects | Self::BadRedirect(_) | Self::NoAnswer(_) | Self::Body(_) | Self::Deadline(_) => None,
        }
    }
}

impl Fetched {
    /// The next chunk of the body; none at its end. Cancel safe.
    ///
    /// # Errors
    /// [`FetchError::Body`] or [`FetchError::Deadline`].
    pub async fn next(&mut self) -> Result<Option<bytes::Bytes>, FetchError> {
        let chunk = tokio::time::timeout_at(self.deadline, self.body.next()).await;
        Ok(chunk.map_err(|_| FetchError::Deadline(self.total))??)
    }

    /// Bytes of the body read so far.
    #[must_use]
    pub const fn bytes_read(&self) -> u64 {
        self.body.bytes_read()
    }
}

/// Fetches with `client`, following at most three redirects. Any status is an answer.
///
/// # Errors
/// [`FetchError`].
pub async fn fetch(client: &Guarded, plan: Fetch) -> Result<Fetched, FetchError> {
    let deadline = Instant::now() + plan.total;
    let response = tokio::time::timeout_at(deadline, hops(client, &plan)).await;
    let response = response.map_err(|_| FetchError::Deadline(plan.total))??;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = CappedBody::new(response, plan.max_bytes, plan.stall)?;
    Ok(Fetched { status, headers, body, deadline, total: plan.total })
}

async fn hops(client: &Guarded, plan: &Fetch) -> Result<reqwest::Response, FetchError> {
    let (mut url, mut headers) = (plan.url.clone(), plan.headers.clone());
    for _ in 0..=MAX_REDIRECTS {
        let sent = client.request(Method::GET, &url)?.headers(headers.clone()).send();
        let response = tokio::time::timeout(plan.stall, sent).await;
        let response =
            response.map_err(|_| BodyError::Stalled(plan.stall))?.map_err(|error| FetchError::NoAnswer(error.without_url()))?;
        if !is_redirect(response.status()) {
            return Ok(response);
        }
        let next = target(&url, response.headers())?;
        if next.origin() != url.origin() {
            for credential in [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION] {
                headers.remove(credential);
            }
        }
        url = next;
    }
    Err(FetchError::TooManyRedirects)
}

/// 300 and 304 and their like are answers, not ways to somewhere.
fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn target(from: &Url, headers: &HeaderMap) -> Result<Url, FetchError> {
    let location = headers.get(header::LOCATION).ok_or(FetchError::BadRedirect("it names no location"))?;
    let text = location.to_str().map_err(|_| FetchError::BadRedirect("its location is not text"))?;
    let next = from.join(text).map_err(|_| FetchError::BadRedirect("its location is not a URL"))?;
    if from.scheme() == "https" && next.scheme() != "https" {
        return Err(FetchError::BadRedirect("it leads from https to something weaker"));
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header};

    use super::target;

    fn follow(from: &str, location: &'static str) -> Option<String> {
        let headers = HeaderMap::from_iter([(header::LOCATION, HeaderValue::from_static(location))]);
        target(&from.parse().expect("a URL"), &headers).ok().map(|url| url.to_string())
    }

    #[test]
    fn a_redirect_may_be_relative_and_never_leads_from_https_to_less() {
        assert_eq!(follow("https://a.example/x/y", "../z?q"), Some("https://a.example/z?q".to_owned()));
        assert_eq!(follow("https://a.example/", "//b.example/z"), Some("https://b.example/z".to_owned()));
        assert_eq!(follow("https://a.example/", "http://a.example/z"), None);
        assert_eq!(follow("https://a.example/", "file:///etc/passwd"), None);
        assert_eq!(follow("http://a.example/", "https://a.example/z"), Some("https://a.example/z".to_owned()));
        assert!(target(&"https://a.example/".parse().expect("a URL"), &HeaderMap::new()).is_err());
    }
}
