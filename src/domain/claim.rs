//! Claims: one repeatable request makes one thing. A claim is written in the commit that makes it, so that no crash leaves the one
//! without the other; whoever comes second finds it and is answered with what was made then. Pure.

use std::{fmt, time::Duration};

use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::domain::{id::ProjectId, time::Timestamp};

/// How long a claim is kept at least: longer than a client's night and a long weekend's first day of retries.
pub const KEPT: Duration = Duration::from_secs(48 * 3600);

/// Which request: a digest of the project, the route and the client's key. 128 bits of SHA-256: a project that finds two keys with one
/// digest has harmed nobody but itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimId(pub Uuid);

impl ClaimId {
    /// The claim of a client's key on a route.
    #[must_use]
    pub fn of(project: ProjectId, route: &str, key: &str) -> Self {
        // Lengths go along, so that no two triples are one text.
        let text = format!("{}:{route}:{}:{key}", route.len(), key.len());
        let digest = Sha256::new().chain_update(project.0.as_bytes()).chain_update(text).finalize();
        let first: [u8; 16] = std::array::from_fn(|at| digest.get(at).copied().unwrap_or_default());
        Self(Uuid::from_bytes(first))
    }
}

/// SHA-256 of a request in one canonical form, hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Of a JSON body: members in the order of their names, no white space. How a client orders and indents them does not matter.
    #[must_use]
    pub fn of_json(body: &Value) -> Self {
        let mut text = String::new();
        canonical(body, &mut text);
        Self(hex(&Sha256::digest(text)))
    }

    /// Of a request whose parts were digested as they came.
    #[must_use]
    pub fn of_digest(digest: &[u8]) -> Self {
        Self(hex(digest))
    }

    /// As the store keeps it.
    #[must_use]
    pub fn stored(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// By recursion: bodies nest at most as deep as `server.max_json_depth` allows.
fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| name.as_str());
            text.push('{');
            for (at, (name, member)) in members.into_iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                canonical(member, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                canonical(item, text);
            }
            text.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => text.push_str(&value.to_string()),
    }
}

/// A claim, to be written with what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Which request.
    pub id: ClaimId,
    /// Whose.
    pub project: ProjectId,
    /// What was asked.
    pub fingerprint: Fingerprint,
    /// The id of what is made.
    pub subject: String,
    /// When.
    pub at: Timestamp,
    /// What becomes of an earlier one.
    pub rule: Rule,
}

/// What becomes of an earlier claim of the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// It stays: what was made then is the answer.
    First,
    /// It is replaced: the request is not repeated, only remembered, for a retry that names no key.
    Newest,
}

/// A claim as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// What was asked then.
    pub fingerprint: Fingerprint,
    /// The id of what was made.
    pub subject: String,
    /// When.
    pub at: Timestamp,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_order_of_members_does_not_matter_and_everything_else_does() {
        let of = |text: &str| Fingerprint::of_json(&serde_json::from_str(text).unwrap());
        let same = of(r#"{"b": [1, {"y": "ü\n", "x": null}], "a": true}"#);
        assert_eq!(same, of(r#"{"a":true,"b":[1,{"x":null,"y":"\u00fc\n"}]}"#));
        for other in [
            r#"{"a":true,"b":[1,{"x":null,"y":"ü"}]}"#,
            r#"{"a":true,"b":[{"x":null,"y":"ü\n"},1]}"#,
            r#"{"a":"true","b":[1,{"x":null,"y":"ü\n"}]}"#,
            r#"{"a":true,"b":[1,{"y":"ü\n"}]}"#,
        ] {
            assert_ne!(same, of(other), "{other}");
        }
        assert_eq!(Fingerprint::of_json(&json!({})).to_string(), format!("{}", of("{}")));
    }

    #[test]
    fn a_claim_is_of_one_project_one_route_and_one_key() {
        let (one, other) = (ProjectId::fresh(), ProjectId::fresh());
        let claim = ClaimId::of(one, "generation", "k");
        assert_eq!(claim, ClaimId::of(one, "generation", "k"));
        for different in
            [ClaimId::of(other, "generation", "k"), ClaimId::of(one, "batch", "k"), ClaimId::of(one, "generation", "K")]
        {
            assert_ne!(claim, different);
        }
        assert_ne!(ClaimId::of(one, "a:1:b", "c"), ClaimId::of(one, "a", "b:1:c"), "no two triples are one text");
    }
}
