//! Weak entity tags of status answers, and what a client already holds.

use actix_web::http::header::{HeaderMap, IF_NONE_MATCH};
use sha2::{Digest, Sha256};

use crate::store::Loaded;

/// A weak tag (RFC 9110 §8.8.3) over all that a status answer shows of the rows: the versions, the one fact column, the stage
/// (it turns `overdue` by time alone) and, where result URLs lapse, their period. Progress and `why` are memory and left out.
#[must_use]
pub fn of(loaded: &Loaded, stage: &str, period: i64) -> String {
    let mut hash = Sha256::new();
    let generation = &loaded.generation;
    hash.update(format!("{}:{:?}:{stage}:{period}", generation.version, generation.cancel_requested_at));
    for attempt in &loaded.attempts {
        hash.update(format!(";{}:{}", attempt.n, attempt.version));
    }
    for asset in &loaded.assets {
        hash.update(format!(",{}:{}", asset.idx, asset.version));
    }
    let digest: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("W/\"{digest}\"")
}

/// Whether the client asks for what differs from what it holds.
#[must_use]
pub fn asked(headers: &HeaderMap) -> bool {
    headers.contains_key(IF_NONE_MATCH)
}

/// Whether the client holds what `tag` names, by weak comparison (RFC 9110 §13.1.2).
#[must_use]
pub fn held(headers: &HeaderMap, tag: &str) -> bool {
    let bare = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let tags = headers.get_all(IF_NONE_MATCH).filter_map(|value| value.to_str().ok());
    tags.flat_map(|value| value.split(',')).any(|held| held.trim() == "*" || bare(held) == bare(tag))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

    use super::held;

    #[test]
    fn weak_and_strong_spellings_and_lists_match() {
        let with = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::from_static("if-none-match"), HeaderValue::from_static(value));
            headers
        };
        assert!(held(&with("W/\"a\""), "W/\"a\""));
        assert!(held(&with("\"x\", \"a\""), "W/\"a\""));
        assert!(held(&with("*"), "W/\"a\""));
        assert!(!held(&with("\"b\""), "W/\"a\""));
        assert!(!held(&HeaderMap::new(), "W/\"a\""));
    }
}
