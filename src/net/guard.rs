//! Which URLs and addresses may be spoken to. Two doors, both needed: a resolver never sees an IP literal (all nine spellings
//! of 127.0.0.1 that were tried passed a resolver that denied everything), and a URL never shows what its name resolves to.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::net::ranges::{Class, classify};

/// What is allowed beyond https to public addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allow {
    /// Plain `http`.
    pub http: bool,
    /// Loopback and private addresses. Metadata services, link local and reserved ranges stay denied.
    pub private: Reach,
}

/// Where private addresses are allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Nowhere.
    Nowhere,
    /// For these hosts: exact, or `*.suffix` for everything below a name.
    Hosts(Vec<String>),
    /// Everywhere.
    Anywhere,
}

impl Allow {
    /// Https to public addresses.
    #[must_use]
    pub const fn public() -> Self {
        Self { http: false, private: Reach::Nowhere }
    }

    /// Http too, and private addresses everywhere: a test double on this machine.
    #[must_use]
    pub const fn loopback() -> Self {
        Self { http: true, private: Reach::Anywhere }
    }

    /// Https to public addresses, and to these hosts wherever they are.
    #[must_use]
    pub const fn private_hosts(hosts: Vec<String>) -> Self {
        Self { http: false, private: Reach::Hosts(hosts) }
    }

    fn private_at(&self, host: &str) -> bool {
        match &self.private {
            Reach::Nowhere => false,
            Reach::Anywhere => true,
            Reach::Hosts(hosts) => hosts.iter().any(|pattern| matches_host(pattern, host)),
        }
    }

    fn address(&self, host: &str, address: IpAddr) -> Result<(), Refused> {
        match classify(address) {
            Class::Global => Ok(()),
            Class::Private(_) if self.private_at(host) => Ok(()),
            Class::Private(what) | Class::Never(what) => Err(Refused::Address { host: host.to_owned(), what }),
        }
    }
}

/// Why the guard refused. Texts name at most the host: a URL's path or query may hold a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Neither https nor, where allowed, http.
    #[error("the scheme {0} is not allowed here")]
    Scheme(String),
    /// A user name or password in the URL.
    #[error("a URL with a user name or password is not allowed")]
    UserInfo,
    /// No host.
    #[error("the URL has no host")]
    NoHost,
    /// A name of a metadata service.
    #[error("{0} is a metadata service")]
    Metadata(String),
    /// An address, written out or resolved to, that is not allowed.
    #[error("{host} is or resolves to an address that is not allowed: {what}")]
    Address {
        /// The host as the URL names it.
        host: String,
        /// Which range.
        what: &'static str,
    },
    /// A name without any address.
    #[error("{0} resolves to no address")]
    Nothing(String),
}

/// Names of metadata services; their addresses are denied too, this only says it earlier and for every resolver.
const METADATA_NAMES: [&str; 3] = ["metadata.google.internal", "metadata.goog", "instance-data.ec2.internal"];

/// Checks everything of a URL that can be checked without resolving its name.
///
/// # Errors
/// [`Refused`] with the first reason.
pub fn check_url(url: &Url, allow: &Allow) -> Result<(), Refused> {
    if url.scheme() != "https" && !(url.scheme() == "http" && allow.http) {
        return Err(Refused::Scheme(url.scheme().to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Refused::UserInfo);
    }
    // The parsed host, never the text: the parser has already turned 2130706433, 0x7f.1 and their like into an address.
    match url.host() {
        None => Err(Refused::NoHost),
        Some(Host::Ipv4(address)) => allow.address(&address.to_string(), IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => allow.address(&address.to_string(), IpAddr::V6(address)),
        Some(Host::Domain(name)) => check_name(name),
    }
}

fn check_name(name: &str) -> Result<(), Refused> {
    let bare = name.trim_end_matches('.').to_ascii_lowercase();
    if bare.is_empty() {
        return Err(Refused::NoHost);
    }
    if METADATA_NAMES.contains(&bare.as_str()) { Err(Refused::Metadata(bare)) } else { Ok(()) }
}

fn matches_host(pattern: &str, host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let pattern = pattern.to_ascii_lowercase();
    pattern
        .strip_prefix("*.")
        .map_or(host == pattern, |suffix| host.strip_suffix(suffix).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')))
}

/// Judges all answers for a name: **one** denied answer refuses the name, since an attacker who mixes answers counts on luck.
///
/// # Errors
/// [`Refused`] for the first denied answer, or when there is none at all.
pub fn check_answers(host: &str, answers: &[SocketAddr], allow: &Allow) -> Result<(), Refused> {
    if answers.is_empty() {
        return Err(Refused::Nothing(host.to_owned()));
    }
    answers.iter().try_for_each(|answer| allow.address(host, answer.ip()))
}

/// The resolver of every client: the machine's own, each answer judged. What it returns is what is connected to, so a name
/// that changes between check and connect (DNS rebinding) gains nothing.
#[derive(Debug, Clone)]
pub struct GuardedResolver {
    allow: Arc<Allow>,
}

impl GuardedResolver {
    /// A resolver for a client that may reach what `allow` says.
    #[must_use]
    pub const fn new(allow: Arc<Allow>) -> Self {
        Self { allow }
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow = Arc::clone(&self.allow);
        Box::pin(async move {
            // Port 0 means "the URL's port" to reqwest.
            let answers: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            check_answers(name.as_str(), &answers, &allow)?;
            Ok(Box::new(answers.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Allow, Refused, check_answers, check_url, matches_host};

    fn check(url: &str, allow: &Allow) -> Result<(), Refused> {
        check_url(&url.parse().expect("a URL"), allow)
    }

    #[test]
    fn every_spelling_of_loopback_is_refused_before_any_resolver() {
        let spellings = [
            "127.0.0.1",
            "2130706433",
            "0x7f.1",
            "0177.0.0.1",
            "[::ffff:127.0.0.1]",
            "127.1",
            "①②⑦.0.0.1",
            "0",
            "0x7f000001",
            "[::1]",
            "[::]",
            "[::127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "127.0.0.1.",
            "[fd00:ec2::254]",
            "169.254.169.254",
        ];
        for host in spellings {
            assert!(matches!(check(&format!("https://{host}/x"), &Allow::public()), Err(Refused::Address { .. })), "{host}");
        }
    }

    #[test]
    fn only_https_passes_unless_http_is_allowed_and_nothing_else_ever() {
        assert_eq!(check("https://api.example.com/v1", &Allow::public()), Ok(()));
        assert_eq!(check("http://api.example.com/v1", &Allow::public()), Err(Refused::Scheme("http".to_owned())));
        assert_eq!(check("http://127.0.0.1:9/v1", &Allow::loopback()), Ok(()));
        for url in ["file:///etc/passwd", "gopher://example.com/", "ftp://example.com/", "data:text/plain,x"] {
            assert!(matches!(check(url, &Allow::loopback()), Err(Refused::Scheme(_))), "{url}");
        }
    }

    #[test]
    fn user_info_and_metadata_names_are_refused() {
        assert_eq!(check("https://user@example.com/", &Allow::public()), Err(Refused::UserInfo));
        assert_eq!(check("https://:pw@example.com/", &Allow::loopback()), Err(Refused::UserInfo));
        assert!(matches!(check("https://metadata.google.internal./", &Allow::loopback()), Err(Refused::Metadata(_))));
    }

    #[test]
    fn even_a_full_allowance_never_reaches_metadata_or_link_local() {
        for host in ["169.254.169.254", "[fd00:ec2::254]", "[fe80::1]", "100.100.100.200", "0.0.0.0"] {
            assert!(check(&format!("http://{host}/"), &Allow::loopback()).is_err(), "{host}");
        }
    }

    #[test]
    fn one_denied_answer_refuses_the_whole_name() {
        let public = "8.8.8.8:0".parse().expect("an address");
        let private = "10.0.0.1:0".parse().expect("an address");
        assert_eq!(check_answers("a.example", &[public], &Allow::public()), Ok(()));
        assert!(check_answers("a.example", &[public, private], &Allow::public()).is_err());
        assert_eq!(check_answers("a.example", &[], &Allow::public()), Err(Refused::Nothing("a.example".to_owned())));
        let listed = Allow::private_hosts(vec!["*.example".to_owned()]);
        assert_eq!(check_answers("a.example", &[public, private], &listed), Ok(()));
        assert!(check_answers("a.example.com", &[private], &listed).is_err());
    }

    #[test]
    fn host_patterns_match_whole_labels_only() {
        assert!(matches_host("media.corp", "MEDIA.corp."));
        assert!(matches_host("*.corp", "a.b.corp"));
        assert!(!matches_host("*.corp", "corp"));
        assert!(!matches_host("*.corp", ".corp"));
        assert!(!matches_host("*.corp", "evilcorp"));
        assert!(!matches_host("media.corp", "media.corp.evil"));
    }
}
