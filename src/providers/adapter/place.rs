//! Where a call goes: URLs made of a base, a path template and values, each value encoded so that no id or model name can
//! leave its place; and the headers that carry a key.

use http::{HeaderName, header::AUTHORIZATION};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::{Credential, Fault, table::unsendable};
use crate::domain::{error::ErrorCode, record::Endpoint};

/// The URL of `template` under the endpoint's base. `{name}` stands for a value of `values`; `{upstream}` for the model, whose
/// slashes part segments.
///
/// # Errors
/// A final fault for a base URL that is none, or a value that is missing or empty.
pub fn url(endpoint: &Endpoint, template: &str, values: &[(&str, &str)]) -> Result<Url, Fault> {
    let wrong = |what: &str| unsendable(ErrorCode::InternalError, format!("{what} makes no URL of {template}"));
    let mut url = Url::parse(&endpoint.base_url).map_err(|_| wrong("the base URL"))?;
    let (path, query) = template.split_once('?').unwrap_or((template, ""));
    {
        let mut segments = url.path_segments_mut().map_err(|()| wrong("the base URL"))?;
        segments.pop_if_empty();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            if part == "{upstream}" {
                segments.extend(endpoint.upstream.split('/').filter(|part| !part.is_empty()));
            } else {
                segments.push(&filled(part, values).ok_or_else(|| wrong("a missing value"))?);
            }
        }
    }
    for (name, part) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        let value = filled(part, values).ok_or_else(|| wrong("a missing value"))?;
        url.query_pairs_mut().append_pair(name, &value);
    }
    Ok(url)
}

/// None when a placeholder has no value, an empty one, or one that means another folder.
fn filled(part: &str, values: &[(&str, &str)]) -> Option<String> {
    let filled = values.iter().fold(part.to_owned(), |text, (name, value)| {
        if value.is_empty() || *value == "." || *value == ".." { text } else { text.replace(&format!("{{{name}}}"), value) }
    });
    (!values.iter().any(|(name, _)| filled.contains(&format!("{{{name}}}")))).then_some(filled)
}

/// The host of a base URL, in lower case.
#[must_use]
pub fn host(base_url: &str) -> Option<String> {
    Url::parse(base_url).ok()?.host_str().map(str::to_owned)
}

/// Whether two URLs have scheme, host and port in common.
#[must_use]
pub fn same_origin(url: &Url, base_url: &str) -> bool {
    Url::parse(base_url).is_ok_and(|base| base.origin() == url.origin() && url.origin().is_tuple())
}

/// The static key of a credential.
///
/// # Errors
/// AUTHENTICATION_FAILED for a signing pair, and for a key that is empty or cannot stand in a header.
pub fn key<'a>(credential: &'a Credential, provider: &str) -> Result<&'a str, Fault> {
    let refused = |why: &str| Err(unsendable(ErrorCode::AuthenticationFailed, format!("{provider} {why}")));
    match credential {
        Credential::Key(key) if sendable(key.expose_secret()) => Ok(key.expose_secret()),
        Credential::Key(_) => refused("cannot be asked with this API key: it is empty or holds unprintable characters"),
        Credential::Pair { .. } => refused("takes an API key here, not an access and secret key: create an API key"),
    }
}

/// Whether a key can stand in a header: a file that ends in a line break is the usual mistake.
#[must_use]
pub fn sendable(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_ascii_graphic())
}

/// `Authorization: Bearer …`.
#[must_use]
pub fn bearer(token: &str) -> Vec<(HeaderName, SecretString)> {
    vec![(AUTHORIZATION, SecretString::from(format!("Bearer {token}")))]
}

/// A base URL without a trailing slash.
#[must_use]
pub fn base(base_url: &str) -> String {
    base_url.trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(base_url: &str) -> Endpoint {
        let upstream = "owner/name".to_owned();
        Endpoint { base_url: base_url.to_owned(), path_family: String::new(), upstream, options: Default::default() }
    }

    #[test]
    fn values_stay_in_their_place() {
        let at = |template, id: &str| url(&endpoint("https://a.test/base"), template, &[("id", id)]).map(|url| url.to_string());
        assert_eq!(at("/v1/{upstream}/x/{id}", "7").unwrap(), "https://a.test/base/v1/owner/name/x/7");
        assert_eq!(at("/v1/{id}", "a/../b?c#d").unwrap(), "https://a.test/base/v1/a%2F..%2Fb%3Fc%23d");
        assert_eq!(at("/get?id={id}", "a&b=c").unwrap(), "https://a.test/base/get?id=a%26b%3Dc");
        assert!(at("/v1/{id}", "").is_err() && at("/v1/{id}", "..").is_err());
        assert!(url(&endpoint("no url"), "/x", &[]).is_err());
    }
}
