//! Inbound webhooks: a provider calls back about an attempt. It completes nothing: what it names is recorded as evidence, and the
//! next poll comes at once. Once, twice, early, late or never: each is harmless.

use std::sync::Arc;

use http::HeaderMap;

use crate::{
    clock::Clock,
    domain::{
        attempt::AttemptState,
        id::AttemptId,
        record::{Attempt, Handle},
    },
    intake::signing::{Checked, Signing},
    net::hooks::Hooks,
    providers::{
        adapter::Webhook,
        registry::{Provider, Registry},
    },
    store::{Evidence, EvidenceVerdict, Journal, Kept, Reads, Spool, StoreError, spool::Receipt},
    wake::Wake,
};

/// A longer id than any provider gives is none: it would only fill the database.
const LONGEST_ID: usize = 512;

/// Receives webhooks.
#[derive(Debug, Clone)]
pub struct Desk {
    /// Proves the URLs.
    pub hooks: Hooks,
    /// Providers.
    pub registry: Arc<Registry>,
    /// Checks signatures.
    pub signing: Signing,
    /// Rows.
    pub reads: Reads,
    /// Evidence.
    pub journal: Journal,
    /// Evidence while the database is away.
    pub spool: Spool,
    /// Polls an attempt now.
    pub poll_now: Wake<AttemptId>,
    /// Has an attempt's outcome found out.
    pub reconcile: Wake<AttemptId>,
    /// Time.
    pub clock: Clock,
}

/// What became of a webhook, as metrics count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It named a task that was not known to be the attempt's: recorded.
    Recorded,
    /// It named what is known.
    Known,
    /// It named no task: the attempt is only looked at.
    Hint,
    /// It named another task than the attempt has, or a task of another attempt: recorded, and somebody must look.
    Contradicts,
    /// From a relay: it named the task as the original provider calls it, which means nothing to us.
    Foreign,
    /// There is no such attempt (any more).
    UnknownAttempt,
    /// The database is away: spooled.
    Spooled,
    /// Neither the database nor the spool takes it: to be sent again.
    Lost,
    /// Its signature is missing, wrong or too old.
    Forged,
    /// The provider could not be asked what signs it: to be sent again.
    Unchecked,
    /// Its provider is not configured any more.
    UnknownProvider,
}

impl Outcome {
    /// The word in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Known => "known",
            Self::Hint => "hint",
            Self::Contradicts => "contradicts",
            Self::Foreign => "foreign",
            Self::UnknownAttempt => "unknown_attempt",
            Self::Spooled => "spooled",
            Self::Lost => "lost",
            Self::Forged => "forged",
            Self::Unchecked => "unchecked",
            Self::UnknownProvider => "unknown_provider",
        }
    }
}

/// A webhook whose sender is believed.
#[derive(Debug, Clone)]
struct Hook {
    provider: Arc<Provider>,
    attempt: AttemptId,
    handle: Option<Handle>,
}

impl Desk {
    /// Reads the attempt of a URL that we made; none for any other. Asks no database.
    #[must_use]
    pub fn admit(&self, provider: &str, attempt: &str, token: &str) -> Option<AttemptId> {
        attempt.parse().ok().filter(|attempt| self.hooks.proves(provider, *attempt, token))
    }

    /// Checks the signature, records what it says and wakes who is concerned. Run it on the socket runtime. Once it says anything but
    /// `Lost` or `Unchecked`, the sender need not send it again.
    pub async fn receive(&self, (provider, attempt): (&str, AttemptId), headers: &HeaderMap, body: &[u8]) -> Outcome {
        let Some(provider) = self.registry.provider(provider) else { return Outcome::UnknownProvider };
        let row = self.reads.attempt(attempt).await;
        let account = match &row {
            Ok(Some(row)) => Some(&*row.account),
            Ok(None) => return Outcome::UnknownAttempt,
            Err(_) => None,
        };
        let webhook = Webhook { headers, body, at: self.clock.now() };
        match self.signing.check(provider, account, &webhook).await {
            Checked::Believed => {}
            Checked::Forged => return Outcome::Forged,
            Checked::Unknown => return Outcome::Unchecked,
        }
        let sane = |handle: &Handle| handle.task_id.len() <= LONGEST_ID && !handle.task_id.contains(char::is_control);
        let handle = provider.adapter.read_webhook(body).filter(sane);
        let hook = Hook { provider: Arc::clone(provider), attempt, handle };
        match row {
            Ok(Some(row)) => self.take(hook, row).await,
            Ok(None) => Outcome::UnknownAttempt,
            Err(error) => self.unread(hook, &error).await,
        }
    }

    async fn take(&self, hook: Hook, attempt: Attempt) -> Outcome {
        let outcome = match &hook.handle {
            Some(handle) => self.record(&hook, &attempt, handle).await,
            None => Outcome::Hint,
        };
        self.wake(&attempt, outcome);
        outcome
    }

    async fn record(&self, hook: &Hook, attempt: &Attempt, handle: &Handle) -> Outcome {
        let held = attempt.handle.as_ref().map(|held| held.task_id.as_str()).filter(|held| !held.is_empty());
        match held {
            Some(held) if held == handle.task_id => return Outcome::Known,
            // A relay passes the original provider's webhook on. What it calls the task cannot be asked for at the relay.
            Some(_) if hook.provider.config.relay => return Outcome::Foreign,
            Some(_) | None => {}
        }
        let evidence = Evidence {
            attempt: attempt.id,
            generation: attempt.generation,
            account: format!("{}/{}", attempt.provider, attempt.account),
            handle: handle.clone(),
            source: "webhook",
            at: self.clock.now(),
        };
        let kept = self.spool.keep(&self.journal, &evidence).await;
        let contradicts = match kept {
            Ok(Kept::Written(EvidenceVerdict::Conflict)) => true,
            Ok(Kept::Written(EvidenceVerdict::Recorded)) => held.is_some() || self.is_second(attempt.id).await,
            Ok(Kept::Written(EvidenceVerdict::Known) | Kept::Spooled) => held.is_some(),
            Err(_) => return Outcome::Lost,
        };
        if contradicts {
            tracing::error!(
                generation.id = %attempt.generation, attempt.id = %attempt.id, provider = %attempt.provider, held,
                task = handle.task_id, "a webhook names another task than is known of its attempt: somebody must look"
            );
            return Outcome::Contradicts;
        }
        match kept {
            Ok(Kept::Spooled) => Outcome::Spooled,
            Ok(Kept::Written(EvidenceVerdict::Known)) => Outcome::Known,
            Ok(Kept::Written(EvidenceVerdict::Recorded | EvidenceVerdict::Conflict)) | Err(_) => Outcome::Recorded,
        }
    }

    /// Whether something else was recorded of the attempt before.
    async fn is_second(&self, attempt: AttemptId) -> bool {
        self.reads.evidence(attempt).await.is_ok_and(|rows| rows.len() > 1)
    }

    /// The database does not answer: whose attempt it is will be looked up when the receipt is merged.
    async fn unread(&self, hook: Hook, error: &StoreError) -> Outcome {
        // In memory its owner may know it.
        self.poll_now.one(hook.attempt);
        let Some(handle) = hook.handle else { return Outcome::Hint };
        let receipt = Receipt { attempt: hook.attempt, owner: None, handle, source: "webhook".to_owned(), at: self.clock.now() };
        match self.spool.put(receipt).await {
            Ok(()) => Outcome::Spooled,
            Err(full) => {
                tracing::error!(attempt.id = %hook.attempt, error = %error, spool = %full, "a webhook can be kept nowhere");
                Outcome::Lost
            }
        }
    }

    fn wake(&self, attempt: &Attempt, outcome: Outcome) {
        if outcome == Outcome::Contradicts {
            self.reconcile.one(attempt.id);
        }
        match attempt.state {
            AttemptState::Running => self.poll_now.one(attempt.id),
            // It may run by the time the poller looks.
            AttemptState::Submitting | AttemptState::Unconfirmed => {
                self.reconcile.one(attempt.id);
                self.poll_now.one(attempt.id);
            }
            // Late evidence; a repeated one tells nothing new.
            AttemptState::Ended(_) if outcome != Outcome::Known => self.reconcile.one(attempt.id),
            AttemptState::Storing | AttemptState::Ended(_) => {}
        }
    }
}
