//! The providers of the configuration, ready to be spoken to: adapter, credentials, budgets, breakers, clients. Built once at
//! start. A section that cannot be used (no credential, switched off, a base URL that is none) is there with its reason and
//! never stops the service; only what nobody could have meant (an adapter that does not exist) does.

mod account;
mod adapters;
mod base;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use secrecy::SecretString;

use crate::{
    config::{Config, providers::ProviderConfig},
    domain::{
        id::AttemptId,
        record::{Endpoint, Kind, ProviderName},
        retry::RetryPolicy,
        time::Timestamp,
    },
    net::{client::Clients, guard::Allow},
    providers::{
        adapter::{Adapter, Credential, HttpCall},
        breaker::Breaker,
        budget::{Budget, TimeOfDay, Wait},
        catalogue::Model,
    },
};

pub use adapters::Adapters;

/// The account that a section's own `api_key`, or access and secret key, make.
pub const DEFAULT_ACCOUNT: &str = "default";

/// Every provider section, usable or not.
#[derive(Debug)]
pub struct Registry {
    providers: BTreeMap<ProviderName, Arc<Provider>>,
}

/// One provider section.
#[derive(Debug)]
pub struct Provider {
    /// The section's name.
    pub name: ProviderName,
    /// Its mapping.
    pub adapter: Arc<dyn Adapter>,
    /// Its section; `base_url` is filled in where the section leaves it to the adapter.
    pub config: ProviderConfig,
    /// Retries.
    pub policy: RetryPolicy,
    /// What may sign its webhooks, of all its accounts: whose a webhook is, is not known while the database is away.
    pub webhook_secrets: Vec<SecretString>,
    /// Accounts that can be used; `default` first, then by name.
    pub accounts: Vec<Arc<Account>>,
    /// Why it cannot be used, in one sentence.
    pub disabled: Option<String>,
    /// Its HTTP clients, bound to what it may reach.
    pub clients: Clients,
}

/// One credential at a provider, with everything that is counted for it.
#[derive(Debug)]
pub struct Account {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// How it proves itself.
    pub credential: Credential,
    /// What may sign its webhooks; the first is what the provider is told to sign with, where it is told by each submit.
    pub webhook_secrets: Vec<SecretString>,
    /// Submits, slots and polls.
    pub budget: Budget,
    /// Whether submits may go at all.
    pub breaker: Breaker,
    label: String,
}

impl Registry {
    /// Builds every section with the adapters of this program, and logs one line for each.
    ///
    /// # Errors
    /// All problems that make the configuration unusable, each a sentence.
    pub fn new(config: &Config) -> Result<Self, Vec<String>> {
        Self::with_adapters(config, &Adapters::known())
    }

    /// The same with given adapters; for tests.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_adapters(config: &Config, adapters: &Adapters) -> Result<Self, Vec<String>> {
        let (mut providers, mut problems) = (BTreeMap::new(), Vec::new());
        let mut sets = ClientSets::default();
        for (name, section) in &config.providers {
            let clients = sets.of(section, config)?;
            match Provider::build(name, section, clients, adapters) {
                Ok(provider) => {
                    provider.announce();
                    providers.insert(Arc::clone(&provider.name), Arc::new(provider));
                }
                Err(problem) => problems.push(format!("providers.{name}: {problem}")),
            }
        }
        if problems.is_empty() { Ok(Self { providers }) } else { Err(problems) }
    }

    /// The section of that name.
    #[must_use]
    pub fn provider(&self, name: &str) -> Option<&Arc<Provider>> {
        self.providers.get(name)
    }

    /// Every section, by name.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Provider>> {
        self.providers.values()
    }
}

impl Provider {
    fn build(name: &str, section: &ProviderConfig, clients: Clients, adapters: &Adapters) -> Result<Self, String> {
        let word = section.adapter.as_deref().unwrap_or(name);
        let adapter = adapters.by_name(word).ok_or_else(|| adapters.unknown(word))?;
        let base = base::base_url(section, word, clients.submit.allow());
        let (accounts, problems) = account::accounts(name, section);
        let webhook_secrets = account::webhook_secrets(section)?;
        let disabled = disabled(section, base.as_ref().err(), &accounts, &problems);
        if disabled.is_none() && !problems.is_empty() {
            tracing::warn!(provider = name, problems = problems.join("; "), "accounts left out");
        }
        let section = ProviderConfig { base_url: base.unwrap_or_default(), ..section.clone() };
        let policy = section.retry.policy();
        Ok(Self { name: name.into(), adapter, policy, webhook_secrets, accounts, disabled, clients, config: section })
    }

    /// The account of that name.
    #[must_use]
    pub fn account(&self, name: &str) -> Option<&Arc<Account>> {
        self.accounts.iter().find(|account| &*account.name == name)
    }

    /// Whether a submit could go now through some account; takes nothing.
    ///
    /// # Errors
    /// What the last account waits for, in one sentence.
    pub fn room(&self, now: Timestamp) -> Result<(), String> {
        let mut why = format!("{}: no account is configured", self.name);
        for account in &self.accounts {
            match account.room(now) {
                Ok(()) => return Ok(()),
                Err(wait) => why = wait.why,
            }
        }
        Err(why)
    }

    /// Where its accounts are asked what is left, and how; none where it tells nothing, or is a relay, whose account is shared.
    #[must_use]
    pub fn balance(&self, now: Timestamp) -> Option<(Endpoint, HttpCall)> {
        if self.config.relay {
            return None;
        }
        let endpoint = self.adapter.endpoint(&self.config.base_url, "", None, &self.config.options, false, Kind::Video);
        let call = self.adapter.balance(&endpoint, now)?;
        Some((endpoint, call))
    }

    /// Where its accounts are asked what signs their webhooks, and how; none where it does not tell, or is a relay, which has no such
    /// path of its own.
    #[must_use]
    pub fn signing_secret(&self) -> Option<(Endpoint, HttpCall)> {
        if self.config.relay {
            return None;
        }
        let endpoint = self.adapter.endpoint(&self.config.base_url, "", None, &self.config.options, false, Kind::Video);
        let call = self.adapter.signing_secret(&endpoint)?;
        Some((endpoint, call))
    }

    /// Where a submit of this model goes: what the attempt will keep.
    #[must_use]
    pub fn endpoint(&self, model: &Model, has_images: bool) -> Endpoint {
        let mut options = self.config.options.clone();
        if self.config.relay {
            options.insert("relay".to_owned(), "true".to_owned());
        }
        let family = model.family.as_deref();
        self.adapter.endpoint(&self.config.base_url, &model.upstream, family, &options, has_images, model.kind)
    }

    fn announce(&self) {
        let accounts: Vec<&str> = self.accounts.iter().map(|account| &*account.name).collect();
        match &self.disabled {
            None => {
                tracing::info!(provider = %self.name, adapter = self.adapter.name(), base_url = %self.config.base_url, ?accounts, "provider ready");
            }
            Some(why) => tracing::warn!(provider = %self.name, adapter = self.adapter.name(), %why, "provider disabled"),
        }
    }
}

impl Account {
    /// Asks for everything a submit needs: a closed circuit, a free slot, a submit of the minute. Either all is taken or
    /// nothing. The slot is released by whoever ends the attempt; an attempt that never comes to its submit is
    /// [withdrawn](Self::withdraw).
    ///
    /// # Errors
    /// [`Wait`], with the sentence that the generation shows as its `why`.
    pub fn admit(&self, attempt: AttemptId, now: Timestamp) -> Result<(), Wait> {
        self.open(self.breaker.open_until(now))?;
        self.budget.try_take(attempt, now)?;
        // Asked last, as a yes may be the one probe; another may have taken it in between.
        self.open(self.breaker.allows(now).err()).inspect_err(|_| self.budget.release(attempt))
    }

    /// What [`admit`](Self::admit) would answer; takes nothing.
    ///
    /// # Errors
    /// As there.
    pub fn room(&self, now: Timestamp) -> Result<(), Wait> {
        self.open(self.breaker.open_until(now))?;
        self.budget.room(now)
    }

    /// Gives back what [`admit`](Self::admit) took, when no submit follows: the slot, and the place of the probe, which would
    /// otherwise stay taken until its patience ends. The submit of the minute stays used.
    pub fn withdraw(&self, attempt: AttemptId) {
        self.budget.release(attempt);
        self.breaker.abstain();
    }

    fn open(&self, until: Option<Timestamp>) -> Result<(), Wait> {
        until.map_or(Ok(()), |until| {
            Err(Wait { until: Some(until), why: format!("{}: circuit open until {}", self.label, TimeOfDay(until)) })
        })
    }
}

/// Clients by what makes them differ: sections that may reach the same, as fast, share theirs. Three clients cost 61 ms to build
/// (debug; each loads the machine's root certificates).
#[derive(Default)]
struct ClientSets {
    built: Vec<(Reach, Clients)>,
}

#[derive(Clone, PartialEq)]
struct Reach {
    calls: Allow,
    downloads: Allow,
    connect_timeout: Duration,
}

impl ClientSets {
    fn of(&mut self, section: &ProviderConfig, config: &Config) -> Result<Clients, Vec<String>> {
        let (calls, downloads) = allowances(section, config);
        let reach = Reach { calls, downloads, connect_timeout: Duration::from_millis(section.connect_timeout_ms) };
        if let Some((_, clients)) = self.built.iter().find(|(known, _)| *known == reach) {
            return Ok(clients.clone());
        }
        let Reach { calls, downloads, connect_timeout } = reach.clone();
        let clients = Clients::new(calls, downloads, connect_timeout).map_err(|error| vec![error.to_string()])?;
        self.built.push((reach, clients.clone()));
        Ok(clients)
    }
}

/// What the provider's interface and its results may be fetched from.
fn allowances(section: &ProviderConfig, config: &Config) -> (Allow, Allow) {
    if section.allow_loopback {
        return (Allow::loopback(), Allow::loopback());
    }
    (Allow::public(), Allow::private_hosts(config.assets.allow_private_hosts.clone()))
}

/// Why the section cannot be used. One account that can be used is enough; the others are warned of.
fn disabled(section: &ProviderConfig, base: Option<&String>, accounts: &[Arc<Account>], problems: &[String]) -> Option<String> {
    if !section.enabled {
        return Some("switched off by enabled = false".to_owned());
    }
    if let Some(problem) = base {
        return Some(problem.clone());
    }
    if !accounts.is_empty() {
        return None;
    }
    let none = "no credential: set api_key, api_key_file, or access_key and secret_key";
    Some(if problems.is_empty() { none.to_owned() } else { problems.join("; ") })
}
