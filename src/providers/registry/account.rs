//! The accounts of a section: credentials from the configuration or from files, each with its own budgets and breaker.

use std::{fs, path::Path, sync::Arc, time::Duration};

use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

use crate::{
    config::providers::{AccountConfig, ProviderConfig},
    providers::{
        adapter::Credential,
        breaker::{Breaker, Rules},
        budget::{Budget, Limits},
        registry::{Account, DEFAULT_ACCOUNT},
    },
};

/// What a probe may take beyond the timeouts of its submit: the commit of its intent and the way through the actors.
const PROBE_SLACK: Duration = Duration::from_secs(30);

/// The usable accounts, and a sentence for each that has a credential which cannot be used.
pub(super) fn accounts(provider: &str, section: &ProviderConfig) -> (Vec<Arc<Account>>, Vec<String>) {
    let (mut accounts, mut problems) = (Vec::new(), Vec::new());
    let own = AccountConfig {
        api_key: section.api_key.clone(),
        api_key_file: section.api_key_file.clone(),
        access_key: section.access_key.clone(),
        secret_key: section.secret_key.clone(),
        secret_key_file: section.secret_key_file.clone(),
        webhook_secret: None,
        webhook_secret_file: None,
        requests_per_minute: None,
        concurrency: None,
    };
    let named = section.accounts.iter().map(|(name, entry)| (name.as_str(), entry));
    for (name, entry) in std::iter::once((DEFAULT_ACCOUNT, &own)).chain(named) {
        match credential(entry) {
            // The section itself need not hold one; an account that is written down must.
            Ok(None) if name == DEFAULT_ACCOUNT => {}
            Ok(None) => problems.push(format!("account {name} has no credential")),
            Ok(Some(_)) if accounts.iter().any(|known: &Arc<Account>| &*known.name == name) => {
                problems.push(format!("two accounts are called {name}"));
            }
            Ok(Some(credential)) => match account(provider, name, credential, (section, entry)) {
                Ok(account) => accounts.push(Arc::new(account)),
                Err(problem) => problems.push(format!("account {name}: {problem}")),
            },
            Err(problem) => problems.push(format!("account {name}: {problem}")),
        }
    }
    (accounts, problems)
}

fn account(
    provider: &str,
    name: &str,
    credential: Credential,
    (section, entry): (&ProviderConfig, &AccountConfig),
) -> Result<Account, String> {
    let label = if name == DEFAULT_ACCOUNT { provider.to_owned() } else { format!("{provider} ({name})") };
    let limits = Limits {
        requests_per_minute: entry.requests_per_minute.unwrap_or(section.requests_per_minute),
        polls_per_minute: section.polls_per_minute,
        concurrency: entry.concurrency.unwrap_or(section.concurrency),
    };
    let rules = Rules {
        failures: section.breaker_failures,
        open_for: Duration::from_millis(section.breaker_open_ms),
        probe_patience: Duration::from_millis(section.connect_timeout_ms.saturating_add(section.submit_timeout_ms))
            .saturating_add(PROBE_SLACK),
    };
    let (budget, breaker) = (Budget::new(&*label, limits), Breaker::new(rules));
    let webhook_secrets = own_webhook_secrets(section, entry)?;
    Ok(Account { name: name.into(), credential, webhook_secrets, budget, breaker, label })
}

/// What may sign the webhooks of any account of a section.
pub(super) fn webhook_secrets(section: &ProviderConfig) -> Result<Vec<SecretString>, String> {
    let mut all = words("webhook_secret", section.webhook_secret.as_ref(), section.webhook_secret_file.as_deref())?;
    for entry in section.accounts.values() {
        all.extend(words("webhook_secret", entry.webhook_secret.as_ref(), entry.webhook_secret_file.as_deref())?);
    }
    Ok(all)
}

/// An account's own, else its section's.
fn own_webhook_secrets(section: &ProviderConfig, entry: &AccountConfig) -> Result<Vec<SecretString>, String> {
    let own = words("webhook_secret", entry.webhook_secret.as_ref(), entry.webhook_secret_file.as_deref())?;
    if !own.is_empty() {
        return Ok(own);
    }
    words("webhook_secret", section.webhook_secret.as_ref(), section.webhook_secret_file.as_deref())
}

/// Several secrets in one text, to rotate.
fn words(field: &str, given: Option<&SecretString>, file: Option<&Path>) -> Result<Vec<SecretString>, String> {
    let text = text(field, given, file)?.unwrap_or_default();
    Ok(text.split_whitespace().map(|word| SecretString::from(word.to_owned())).collect())
}

/// The credential of an account: a key, or a pair; none when nothing is given.
fn credential(entry: &AccountConfig) -> Result<Option<Credential>, String> {
    let key = secret("api_key", entry.api_key.as_ref(), entry.api_key_file.as_deref())?;
    let signing = secret("secret_key", entry.secret_key.as_ref(), entry.secret_key_file.as_deref())?;
    let access = entry.access_key.as_deref().map(str::trim).filter(|text| !text.is_empty());
    match (key, access, signing) {
        (None, None, None) => Ok(None),
        (Some(key), None, None) => Ok(Some(Credential::Key(key))),
        (None, Some(access), Some(secret)) => Ok(Some(Credential::Pair { access: access.to_owned(), secret })),
        (None, Some(_), None) => Err("access_key without secret_key".to_owned()),
        (None, None, Some(_)) => Err("secret_key without access_key".to_owned()),
        (Some(_), _, _) => Err("both api_key and a pair are given; one must go".to_owned()),
    }
}

/// A secret from its field or its file. An empty one is none: `LONGTAKE__PROVIDERS__KLING__API_KEY=` switches it off.
fn secret(field: &str, given: Option<&SecretString>, file: Option<&Path>) -> Result<Option<SecretString>, String> {
    let Some(text) = text(field, given, file)? else { return Ok(None) };
    if HeaderValue::from_str(&text).is_err() {
        return Err(format!("{field} holds characters that no HTTP header can carry"));
    }
    Ok((!text.is_empty()).then(|| SecretString::from(text)))
}

fn text(field: &str, given: Option<&SecretString>, file: Option<&Path>) -> Result<Option<String>, String> {
    match (given, file) {
        (Some(_), Some(_)) => Err(format!("both {field} and {field}_file are given; one must go")),
        (Some(given), None) => Ok(Some(given.expose_secret().trim().to_owned())),
        (None, Some(file)) => {
            let read = fs::read_to_string(file).map_err(|error| format!("{field}_file {}: {error}", file.display()))?;
            match read.trim() {
                "" => Err(format!("{field}_file {} is empty", file.display())),
                text => Ok(Some(text.to_owned())),
            }
        }
        (None, None) => Ok(None),
    }
}
