//! What signs webhooks to clients (Standard Webhooks 1.0.0, `v1`). Secrets are derived from the server secret, not stored: who reads the
//! database cannot forge, and nothing has to be encrypted there; only how often each was rotated is kept. With several server secrets
//! (to rotate those) everything is signed by each, so that a client that still has the older one goes on.

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use crate::domain::{
    id::{EndpointId, ProjectId},
    time::Timestamp,
};

/// Whose secret it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// An endpoint's.
    Endpoint(EndpointId),
    /// A project's, for URLs that are named with a generation or a batch.
    Project(ProjectId),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(id) => id.fmt(f),
            Self::Project(id) => id.fmt(f),
        }
    }
}

/// What derives and signs. Clones share it.
#[derive(Clone)]
pub struct Signer {
    secrets: Arc<[SecretString]>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("secrets", &self.secrets.len()).finish()
    }
}

impl Signer {
    /// Derives from these, the first of which is told to clients.
    #[must_use]
    pub fn new(secrets: Vec<SecretString>) -> Self {
        Self { secrets: secrets.into() }
    }

    /// The secret as clients are given it: `whsec_` and 32 bytes in base64.
    #[must_use]
    pub fn secret(&self, owner: Owner, number: i32) -> SecretString {
        let key = self.secrets.first().map(|secret| derived(secret, owner, number)).unwrap_or_default();
        format!("whsec_{}", STANDARD.encode(key)).into()
    }

    /// The header `webhook-signature`: one signature for each secret that counts.
    #[must_use]
    pub fn sign(&self, (owner, numbers): (Owner, &[i32]), (message, at): (&str, Timestamp), body: &str) -> String {
        let content = format!("{message}.{}.{body}", at.0.div_euclid(1_000));
        let keys = numbers.iter().flat_map(|number| self.secrets.iter().map(|secret| derived(secret, owner, *number)));
        let signatures = keys.map(|key| format!("v1,{}", STANDARD.encode(hmac(&key, content.as_bytes()))));
        signatures.collect::<Vec<_>>().join(" ")
    }
}

fn derived(secret: &SecretString, owner: Owner, number: i32) -> Vec<u8> {
    // Another text than a token's of inbound webhooks, so that neither can stand for the other.
    hmac(secret.expose_secret().as_bytes(), format!("webhook secret\n{owner}\n{number}").as_bytes())
}

/// A key of any length is valid, so there is always a tag.
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(secrets: &[&str]) -> Signer {
        Signer::new(secrets.iter().map(|secret| SecretString::from((*secret).to_owned())).collect())
    }

    #[test]
    fn secrets_differ_by_owner_number_and_server_and_have_the_prescribed_form() {
        let (ours, endpoint) = (signer(&["one"]), Owner::Endpoint(EndpointId::fresh()));
        let text = |signer: &Signer, owner, number| signer.secret(owner, number).expose_secret().to_owned();
        let secret = text(&ours, endpoint, 0);
        assert_eq!(STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap().len(), 32);
        assert_eq!(secret, text(&ours, endpoint, 0));
        let others = [
            text(&ours, endpoint, 1),
            text(&ours, Owner::Endpoint(EndpointId::fresh()), 0),
            text(&ours, Owner::Project(ProjectId::fresh()), 0),
            text(&signer(&["two"]), endpoint, 0),
        ];
        assert!(!others.contains(&secret));
        assert!(!format!("{ours:?}").contains("one"));
    }

    #[test]
    fn every_secret_that_counts_signs() {
        let owner = Owner::Project(ProjectId::fresh());
        let header = signer(&["new", "old"]).sign((owner, &[1, 0]), ("evt_1", Timestamp(1_780_000_000_999)), "{}");
        let parts: Vec<_> = header.split(' ').collect();
        assert_eq!(parts.len(), 4);
        let alone = signer(&["old"]).sign((owner, &[0]), ("evt_1", Timestamp(1_780_000_000_000)), "{}");
        assert!(parts.contains(&alone.as_str()), "signed by whole seconds");
    }
}
