//! Where providers call us back: one unguessable URL an attempt, whose token proves without a database that we made it.

mod secret;

use std::{fmt, sync::Arc};

use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use url::Url;

use crate::domain::id::AttemptId;

pub use secret::load;

/// What makes and proves the URLs. Clones share it.
#[derive(Clone)]
pub struct Hooks {
    public_url: Option<Arc<str>>,
    secrets: Arc<[SecretString]>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").field("public_url", &self.public_url).field("secrets", &self.secrets.len()).finish()
    }
}

impl Hooks {
    /// URLs below `public_url`, none without one; the first of `secrets` signs, all are accepted.
    #[must_use]
    pub fn new(public_url: Option<&str>, secrets: Vec<SecretString>) -> Self {
        Self { public_url: public_url.map(|url| url.trim_end_matches('/').into()), secrets: secrets.into() }
    }

    /// The URL that a provider is given for an attempt. None without a public URL, and none over plain `http`, which providers
    /// refuse together with the submit, unless `plain` allows it (a test double on this machine).
    #[must_use]
    pub fn url(&self, provider: &str, attempt: AttemptId, plain: bool) -> Option<Url> {
        let token = token(self.secrets.first()?, provider, attempt);
        let mut url = Url::parse(self.public_url.as_deref()?).ok()?;
        url.path_segments_mut().ok()?.pop_if_empty().extend(["hooks", provider, &attempt.to_string(), &token]);
        (plain || url.scheme() == "https").then_some(url)
    }

    /// Whether we made this token for this provider and attempt, in the same time whatever it is.
    #[must_use]
    pub fn proves(&self, provider: &str, attempt: AttemptId, given: &str) -> bool {
        let mut proven = subtle::Choice::from(0);
        for secret in self.secrets.iter() {
            proven |= token(secret, provider, attempt).as_bytes().ct_eq(given.as_bytes());
        }
        proven.into()
    }
}

/// HMAC-SHA256 in hexadecimal digits. It covers the provider too: else a URL of one provider, put under the name of another that
/// signs nothing, would pass without the signature.
fn token(secret: &SecretString, provider: &str, attempt: AttemptId) -> String {
    // A key of any length is valid, so an error cannot occur.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()) else { return String::new() };
    mac.update(format!("{provider}/{attempt}").as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hooks(secrets: &[&str]) -> Hooks {
        let secrets = secrets.iter().map(|secret| SecretString::from((*secret).to_owned())).collect();
        Hooks::new(Some("https://us.test/below/"), secrets)
    }

    fn parts(url: &Url) -> (String, AttemptId, String) {
        let parts: Vec<_> = url.path_segments().unwrap().map(str::to_owned).collect();
        assert_eq!(parts[..2], ["below", "hooks"]);
        (parts[2].clone(), parts[3].parse().unwrap(), parts[4].clone())
    }

    #[test]
    fn a_url_proves_its_own_attempt_and_provider_and_no_other() {
        let (ours, attempt) = (hooks(&["one"]), AttemptId::fresh());
        let (provider, named, token) = parts(&ours.url("kling", attempt, false).unwrap());
        assert_eq!((provider.as_str(), named, token.len()), ("kling", attempt, 64));
        assert!(ours.proves("kling", attempt, &token));
        assert!(!ours.proves("tuzi", attempt, &token) && !ours.proves("kling", AttemptId::fresh(), &token));
        for wrong in ["", "0", &token[..63], &format!("{token}0")] {
            assert!(!ours.proves("kling", attempt, wrong), "{wrong}");
        }
        assert!(!hooks(&["two"]).proves("kling", attempt, &token));
        assert!(!hooks(&[]).proves("kling", attempt, ""), "without a secret nothing is proven");
    }

    #[test]
    fn a_rotated_secret_signs_no_more_and_is_still_accepted() {
        let (before, during, after) = (hooks(&["old"]), hooks(&["new", "old"]), hooks(&["new"]));
        let attempt = AttemptId::fresh();
        let old = parts(&before.url("flux", attempt, false).unwrap()).2;
        let new = parts(&during.url("flux", attempt, false).unwrap()).2;
        assert!(during.proves("flux", attempt, &old) && during.proves("flux", attempt, &new));
        assert!(after.proves("flux", attempt, &new) && !after.proves("flux", attempt, &old));
    }

    #[test]
    fn no_url_is_given_without_a_public_one_nor_over_plain_http() {
        let attempt = AttemptId::fresh();
        assert!(Hooks::new(None, vec!["s".to_owned().into()]).url("kling", attempt, true).is_none());
        let plain = Hooks::new(Some("http://127.0.0.1:1"), vec!["s".to_owned().into()]);
        assert!(plain.url("kling", attempt, false).is_none() && plain.url("kling", attempt, true).is_some());
    }

    #[test]
    fn the_token_is_hmac_sha256_of_provider_and_attempt() {
        // Composed with Python: hmac.new(b"secret", b"kling/att_0190163d8694739ba0f0a2d0f5a3e111", "sha256").hexdigest()
        let attempt: AttemptId = "att_0190163d8694739ba0f0a2d0f5a3e111".parse().unwrap();
        assert_eq!(
            token(&"secret".to_owned().into(), "kling", attempt),
            "6156fd27bbdacd277905f8c0ace375fbba7cd819fbe2ea989ceaa472d3734f29"
        );
    }
}
