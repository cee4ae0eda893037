//! What may go wrong between a command and the service, told apart as far as exit codes tell it apart.

use std::{fmt, io, time::Duration};

use serde_json::Value;

/// Why a command did not get what it asked for.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nobody answers, or the answer breaks off.
    #[error("{url} cannot be reached")]
    Unreachable {
        /// The service's base.
        url: String,
        /// What the network says.
        #[source]
        source: reqwest::Error,
    },
    /// The service answered that it will not.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// What answers is not the service, or a proxy before it.
    #[error("{url} answered {status} and nothing of ours; is it the service's address?")]
    Foreign {
        /// The service's base.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// There is no key.
    #[error("no key is given: set LONGTAKE_KEY, or --key; `longtake keys create` makes one")]
    NoKey,
    /// What was given cannot be used; nothing was sent.
    #[error("{0}")]
    Unusable(String),
    /// A file cannot be read or written.
    #[error("{path}")]
    File {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A result cannot be downloaded.
    #[error("{url}: {why}")]
    Download {
        /// Where, without what proves the right to read it.
        url: String,
        /// Why not.
        why: String,
    },
}

/// A problem document (RFC 9457), as far as people want to know.
#[derive(Debug, Clone, Default)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// The stable word.
    pub code: String,
    detail: String,
    errors: Vec<String>,
    instance: Option<String>,
    /// When to ask again, if at all.
    pub retry_after: Option<Duration>,
}

/// Most values that are named of those that are wrong: people fix some and ask again.
const NAMED: usize = 20;

impl Refusal {
    /// Reads a problem document; none when it is none.
    #[must_use]
    pub fn read(status: u16, retry_after: Option<Duration>, body: &Value) -> Option<Self> {
        let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
        let errors = body.get("errors").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        Some(Self {
            status,
            code: text("code")?,
            detail: text("detail").unwrap_or_default(),
            errors: errors.iter().map(named).collect(),
            instance: text("instance"),
            retry_after,
        })
    }
}

/// One wrong value: its line where it came from a file, its place, what is wrong.
fn named(error: &Value) -> String {
    let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
    let line = error.get("line").and_then(Value::as_u64).map(|line| format!("line {line}: ")).unwrap_or_default();
    format!("{line}{}: {}", text("pointer"), text("detail"))
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.detail, self.code)?;
        for error in self.errors.iter().take(NAMED) {
            write!(f, "\n  {error}")?;
        }
        if let Some(more @ 1..) = self.errors.len().checked_sub(NAMED) {
            write!(f, "\n  … and {more} more")?;
        }
        // Who operates the service finds the request by it.
        let server = self.status >= 500;
        self.instance.iter().filter(|_| server).try_for_each(|id| write!(f, "\n  request {id}"))
    }
}

impl Failure {
    /// Whether the same request may pass a moment later: nobody answered, or the answer said so.
    #[must_use]
    pub fn passes(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Foreign { status, .. } => matches!(status, 502..=504),
            // 409 with an instant: the same request is under way.
            Self::Refused(refusal) => {
                matches!(refusal.status, 429 | 502..=504) || refusal.status == 409 && refusal.retry_after.is_some()
            }
            Self::NoKey | Self::Unusable(_) | Self::File { .. } | Self::Download { .. } => false,
        }
    }

    /// How long the service wants to be left alone first.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after,
            Self::Unreachable { .. }
            | Self::Foreign { .. }
            | Self::NoKey
            | Self::Unusable(_)
            | Self::File { .. }
            | Self::Download { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_problem_is_told_with_its_lines_and_a_flood_of_them_is_cut() {
        let errors: Vec<_> =
            (1..=23).map(|line| json!({ "line": line, "pointer": "#/prompt", "detail": "must not be empty" })).collect();
        let body =
            json!({ "code": "INVALID_PARAMETERS", "detail": "23 values are wrong", "instance": "req_1", "errors": errors });
        let told = Refusal::read(422, None, &body).unwrap().to_string();
        assert!(told.starts_with("23 values are wrong (INVALID_PARAMETERS)\n  line 1: #/prompt: must not be empty"), "{told}");
        assert!(told.ends_with("… and 3 more") && !told.contains("req_1"), "{told}");
        let unavailable = json!({ "code": "SERVICE_UNAVAILABLE", "detail": "not now", "instance": "req_2" });
        assert!(Refusal::read(503, None, &unavailable).unwrap().to_string().contains("req_2"));
        assert!(Refusal::read(502, None, &json!({ "message": "gateway" })).is_none());
    }

    #[test]
    fn what_may_pass_is_tried_again_and_nothing_else() {
        let refused = |status, retry_after| Failure::Refused(Box::new(Refusal { status, retry_after, ..Refusal::default() }));
        assert!(refused(503, None).passes() && refused(429, None).passes());
        assert!(refused(409, Some(Duration::from_secs(1))).passes() && !refused(409, None).passes());
        assert!(!refused(422, None).passes() && !refused(401, None).passes());
        assert!(Failure::Foreign { url: String::new(), status: 502 }.passes());
        assert!(!Failure::Foreign { url: String::new(), status: 404 }.passes());
    }
}
