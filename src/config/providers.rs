//! `[providers.<name>]`: one section a provider; several sections may use one adapter (a relay beside the original).

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::{
    config::storage::redacted,
    domain::{retry::RetryPolicy, unconfirmed::OnUnconfirmed},
};

/// `[providers.<name>]`. Environment: `LONGTAKE__PROVIDERS__<NAME>__<KEY>`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProviderConfig {
    /// `kling`, `pollo`, `replicate`, `flux` or `tuzi`. Default: the section's name.
    pub adapter: Option<String>,
    /// Switched off without removing it. Default on.
    pub enabled: bool,
    /// Base URL without a trailing slash.
    pub base_url: String,
    /// Allows `http` and private or loopback addresses for this provider: a test double on this machine. Default off.
    pub allow_loopback: bool,
    /// The base URL is a relay that shares one upstream account among many customers: its duplicate checks prove nothing.
    pub relay: bool,
    /// The default account's key. Environment: `LONGTAKE__PROVIDERS__<NAME>__API_KEY`.
    #[serde(serialize_with = "redacted")]
    pub api_key: Option<SecretString>,
    /// File that holds it.
    pub api_key_file: Option<PathBuf>,
    /// Kling, legacy: access key of a signing pair.
    pub access_key: Option<String>,
    /// Kling, legacy: secret key of a signing pair.
    #[serde(serialize_with = "redacted")]
    pub secret_key: Option<SecretString>,
    /// File that holds it.
    pub secret_key_file: Option<PathBuf>,
    /// Give this provider a URL to call us back, where it takes one and `server.public_url` is set. Default on.
    pub webhooks: bool,
    /// What signs this provider's webhooks, for accounts that name none of their own (Kling, Replicate and Pollo show it in their
    /// console; for BFL it is made up and sent along). Several, separated by white space, to rotate. Where it is set, a webhook
    /// without a right signature is refused; where it is not, Replicate is asked for it, and elsewhere the unguessable URL alone is the
    /// proof.
    #[serde(serialize_with = "redacted")]
    pub webhook_secret: Option<SecretString>,
    /// File that holds it.
    pub webhook_secret_file: Option<PathBuf>,
    /// Further accounts by name; each has its own budgets.
    pub accounts: BTreeMap<String, AccountConfig>,
    /// Connect timeout, milliseconds. Default 5,000.
    pub connect_timeout_ms: u64,
    /// Longest wait for a submit's answer, milliseconds. Default 30,000; a synchronous relay needs minutes.
    pub submit_timeout_ms: u64,
    /// Longest wait for a poll's, lookup's or cancel's answer, milliseconds. Default 15,000.
    pub poll_timeout_ms: u64,
    /// Retries.
    pub retry: RetryConfig,
    /// What follows when nobody could say whether it accepted a submit. Default: `[dispatch] on_unconfirmed`.
    pub on_unconfirmed: Option<OnUnconfirmed>,
    /// Submits a minute and account; 0 means no limit. Default 60.
    pub requests_per_minute: u32,
    /// Polls and lookups a minute and account; 0 means no limit. Default 3,000.
    pub polls_per_minute: u32,
    /// Attempts in flight (submitting, unconfirmed, running) an account; 0 means no limit. Default 20.
    pub concurrency: u32,
    /// Consecutive failures that open the circuit. Default 5.
    pub breaker_failures: u32,
    /// How long the circuit stays open before a probe, milliseconds. Default 30,000.
    pub breaker_open_ms: u64,
    /// Move results to the configured storage. Default on; off hands out the provider's URL with its expiry.
    pub upload_to_s3: bool,
    /// Key prefix of this provider's results. Default: the section's name.
    pub s3_path_prefix: Option<String>,
    /// Adapter options, such as relay path templates (see the provider's page in CONTRIBUTING).
    pub options: BTreeMap<String, String>,
}

impl Default for ProviderConfig {
    fn default() -> Self {
        Self {
            adapter: None,
            enabled: true,
            base_url: String::new(),
            allow_loopback: false,
            relay: false,
            api_key: None,
            api_key_file: None,
            access_key: None,
            secret_key: None,
            secret_key_file: None,
            webhooks: true,
            webhook_secret: None,
            webhook_secret_file: None,
            accounts: BTreeMap::new(),
            connect_timeout_ms: 5_000,
            submit_timeout_ms: 30_000,
            poll_timeout_ms: 15_000,
            retry: RetryConfig::default(),
            on_unconfirmed: None,
            requests_per_minute: 60,
            polls_per_minute: 3_000,
            concurrency: 20,
            breaker_failures: 5,
            breaker_open_ms: 30_000,
            upload_to_s3: true,
            s3_path_prefix: None,
            options: BTreeMap::new(),
        }
    }
}

impl ProviderConfig {
    /// Whether any credential is given, usable or not.
    #[must_use]
    pub fn has_credential(&self) -> bool {
        let own = self.api_key.is_some() || self.api_key_file.is_some() || self.access_key.is_some();
        own || !self.accounts.is_empty()
    }
}

/// `[providers.<name>.accounts.<account>]`: a further credential.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccountConfig {
    /// Key.
    #[serde(serialize_with = "redacted")]
    pub api_key: Option<SecretString>,
    /// File that holds it.
    pub api_key_file: Option<PathBuf>,
    /// Access key of a signing pair.
    pub access_key: Option<String>,
    /// Secret key of a signing pair.
    #[serde(serialize_with = "redacted")]
    pub secret_key: Option<SecretString>,
    /// File that holds it.
    pub secret_key_file: Option<PathBuf>,
    /// What signs the webhooks of this account; overrides the provider's.
    #[serde(serialize_with = "redacted")]
    pub webhook_secret: Option<SecretString>,
    /// File that holds it.
    pub webhook_secret_file: Option<PathBuf>,
    /// Overrides the provider's.
    pub requests_per_minute: Option<u32>,
    /// Overrides the provider's.
    pub concurrency: Option<u32>,
}

/// `[providers.<name>.retry]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryConfig {
    /// Tries in all. Default 3.
    pub max_attempts: u16,
    /// Wait before the second, milliseconds. Default 1,000.
    pub initial_delay_ms: u64,
    /// Factor from one wait to the next. Default 2.
    pub multiplier: f64,
    /// Longest wait, milliseconds. Default 30,000.
    pub max_delay_ms: u64,
    /// Vary waits by up to a quarter either way. Default on.
    pub jitter: bool,
    /// HTTP statuses of refusals that may be retried. For submits it can only narrow what the provider's table calls unbilled
    /// and retryable; none (default) leaves the table as it is.
    pub statuses: Option<Vec<u16>>,
    /// Error codes (such as `PROVIDER_UNAVAILABLE`) that may be retried; narrows like `statuses`.
    pub kinds: Option<Vec<crate::domain::error::ErrorCode>>,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            initial_delay_ms: 1_000,
            multiplier: 2.0,
            max_delay_ms: 30_000,
            jitter: true,
            statuses: None,
            kinds: None,
        }
    }
}

impl RetryConfig {
    /// The rules as the decisions take them.
    #[must_use]
    pub fn policy(&self) -> RetryPolicy {
        RetryPolicy {
            max_attempts: self.max_attempts,
            initial_delay: Duration::from_millis(self.initial_delay_ms),
            multiplier: self.multiplier,
            max_delay: Duration::from_millis(self.max_delay_ms),
            jitter: self.jitter,
        }
    }
}
