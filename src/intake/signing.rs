//! Who is believed: a webhook is checked against what signs those of its account. That is configured, or the provider tells it
//! (Replicate): then it is asked for with the account's own key when the first webhook comes, and again when a check fails, as after a
//! rotation. Kept in memory only.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use secrecy::SecretString;

use crate::{
    domain::{
        record::{Endpoint, ProviderName},
        time::Timestamp,
    },
    providers::{
        adapter::{HttpCall, Signature, Webhook},
        executor::Executor,
        registry::{Account, Provider},
    },
};

/// A provider is asked at most so often for an account's secret, however many webhooks fail their check: forgeries must not become
/// calls. A rotation is noticed within this time; what is refused meanwhile is sent again, or found by polling.
const AGAIN: Duration = Duration::from_secs(60);

/// The same while nothing could be learned yet: a webhook that was turned away for that comes again within seconds.
const SOON: Duration = Duration::from_secs(5);

/// Checks signatures. Clones share what was fetched.
#[derive(Debug, Clone)]
pub struct Signing {
    executor: Executor,
    fetched: Arc<Mutex<BTreeMap<AccountKey, Cell>>>,
}

/// An account: provider section and name.
type AccountKey = (ProviderName, Arc<str>);

/// What is known of an account, one question at a time.
type Cell = Arc<tokio::sync::Mutex<Fetched>>;

/// What a provider told of an account.
#[derive(Debug, Default)]
struct Fetched {
    secret: Option<SecretString>,
    /// It said clearly that it will not tell.
    refused: bool,
    asked_at: Option<Timestamp>,
}

/// What comes of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// Signed as it must be, or nothing can be known that signs it: then the unguessable URL alone is the proof.
    Believed,
    /// The signature is missing, wrong or too old.
    Forged,
    /// The provider could not be asked what signs it.
    Unknown,
}

impl Signing {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(executor: Executor) -> Self {
        Self { executor, fetched: Arc::default() }
    }

    /// Checks a webhook against the secrets of its account; without its name (the database is away) against those of all.
    pub async fn check(&self, provider: &Provider, account: Option<&str>, webhook: &Webhook<'_>) -> Checked {
        let account = account.and_then(|name| provider.account(name));
        let configured = account.map_or(&provider.webhook_secrets, |account| &account.webhook_secrets);
        match provider.adapter.verify_webhook(webhook, configured) {
            Signature::Verified => return Checked::Believed,
            Signature::Forged => return Checked::Forged,
            Signature::Unsigned => {}
        }
        let Some((endpoint, call)) = provider.signing_secret() else { return Checked::Believed };
        let of = account.map_or(provider.accounts.as_slice(), std::slice::from_ref);
        let mut worst = Checked::Forged;
        for account in of {
            match self.by_what_it_tells((provider, account), (&endpoint, &call), webhook).await {
                Checked::Believed => return Checked::Believed,
                Checked::Unknown => worst = Checked::Unknown,
                Checked::Forged => {}
            }
        }
        worst
    }

    async fn by_what_it_tells(
        &self,
        (provider, account): (&Provider, &Account),
        (endpoint, call): (&Endpoint, &HttpCall),
        webhook: &Webhook<'_>,
    ) -> Checked {
        let cell = self.cell(provider, account);
        // Held while the provider is asked: others of the account wait for the same answer.
        let mut known = cell.lock().await;
        let verified = |known: &Fetched| provider.adapter.verify_webhook(webhook, known.secret.as_slice()) == Signature::Verified;
        if verified(&known) {
            return Checked::Believed;
        }
        let pause = if known.secret.is_none() && !known.refused { SOON } else { AGAIN };
        if known.asked_at.is_none_or(|at| webhook.at >= at.plus(pause)) {
            known.asked_at = Some(webhook.at);
            self.ask((provider, account), (endpoint, call), &mut known).await;
        }
        match &known.secret {
            Some(_) if verified(&known) => Checked::Believed,
            Some(_) => Checked::Forged,
            None if known.refused => Checked::Believed,
            None => Checked::Unknown,
        }
    }

    async fn ask(
        &self,
        (provider, account): (&Provider, &Account),
        (endpoint, call): (&Endpoint, &HttpCall),
        known: &mut Fetched,
    ) {
        let told = match self.executor.ask(provider, account, endpoint, call.clone()).await {
            Ok(reply) => {
                let clear = reply.status.is_client_error() && !matches!(reply.status.as_u16(), 408 | 429);
                known.refused = clear;
                provider.adapter.read_signing_secret(&reply)
            }
            Err(fault) => Err(fault),
        };
        let (provider, account) = (&provider.name, &account.name);
        match told {
            Ok(secret) => {
                tracing::info!(%provider, %account, "the provider told what signs its webhooks");
                known.secret = Some(secret);
            }
            Err(fault) => {
                let (error, refused) = (&fault.message, known.refused);
                tracing::warn!(%provider, %account, error, refused, "the provider did not tell what signs its webhooks");
            }
        }
    }

    fn cell(&self, provider: &Provider, account: &Account) -> Cell {
        let key = (Arc::clone(&provider.name), Arc::clone(&account.name));
        Arc::clone(self.fetched.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default())
    }
}
