//! The base URL of a section: its own, or the documented host of its adapter.

use url::Url;

use crate::{
    config::providers::ProviderConfig,
    net::guard::{Allow, check_url},
};

/// The documented hosts (providers' references, read August to November 2026): Kling outside mainland China, Pollo's platform
/// path, Replicate's version 1, BFL's global host (it answers with a regional `polling_url`), Tuzi.
const DOCUMENTED: [(&str, &str); 5] = [
    ("kling", "https://api-singapore.klingai.com"),
    ("pollo", "https://pollo.ai/api/platform"),
    ("replicate", "https://api.replicate.com/v1"),
    ("flux", "https://api.bfl.ai"),
    ("tuzi", "https://api.tu-zi.com"),
];

/// The base URL without a trailing slash.
///
/// # Errors
/// One sentence: why it cannot be used. A URL is not repeated, it may hold a password.
pub(super) fn base_url(section: &ProviderConfig, adapter: &str, allow: &Allow) -> Result<String, String> {
    let documented = DOCUMENTED.iter().find(|(name, _)| *name == adapter).map_or("", |(_, url)| url);
    let text = if section.base_url.trim().is_empty() { documented } else { section.base_url.trim() };
    if text.is_empty() {
        return Err("base_url is missing".to_owned());
    }
    let url: Url = text.parse().map_err(|error| format!("base_url is not a URL: {error}"))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err("base_url must end with its path, without ? or #".to_owned());
    }
    check_url(&url, allow)
        .map_err(|refused| format!("base_url cannot be used: {refused} (allow_loopback lifts this for a test double)"))?;
    Ok(text.trim_end_matches('/').to_owned())
}
