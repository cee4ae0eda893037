//! One poll: ask, read, and only when something ended, write. Runs as a flight on the socket runtime, so that it outlives the
//! poller.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use crate::{
    clock::Clock,
    config::{Config, polling::PollingConfig},
    domain::{
        attempt::AttemptState,
        error::{ErrorCode, Failure},
        id::AttemptId,
        output::{Output, OutputSource},
        record::{Attempt, Kind, ProviderName},
        time::Timestamp,
    },
    observe::Live,
    polling::{
        outcome::{Around, Finding, decide},
        plan::Plan,
    },
    providers::{
        adapter::{Context, HttpCall, Polled},
        catalogue::Catalogue,
        executor::Executor,
        registry::{Provider, Registry},
    },
    storage::{Storage, StorageError, key},
    store::{
        Journal, Reads, StoreError,
        change::{Start, commit},
    },
    wake::Wakes,
};

/// What polls need.
#[derive(Clone)]
pub struct Polling {
    /// Rows.
    pub reads: Reads,
    /// Writes.
    pub journal: Journal,
    /// Providers.
    pub registry: Arc<Registry>,
    /// Models, for their strategies and deadlines.
    pub catalogue: Arc<Catalogue>,
    /// IO.
    pub executor: Executor,
    /// Inline outputs are staged here.
    pub storage: Storage,
    /// Live views.
    pub live: Live,
    /// Time.
    pub clock: Clock,
    /// The next stages.
    pub wakes: Wakes,
    /// `[polling]` and the rest.
    pub config: Arc<Config>,
}

/// The plan, shared by the poller and its polls.
#[derive(Debug, Default)]
pub struct Shared {
    plan: Mutex<Plan>,
    /// A poll came back: the next due instant may be another.
    pub changed: Notify,
    /// Polled once more when the poll in flight is back, or as soon as they are planned.
    again: Mutex<HashSet<AttemptId>>,
    /// Status words that no table knows, by provider: each is logged once.
    heard: Mutex<HashSet<(ProviderName, String)>>,
}

/// Unknown words remembered; past it a provider makes them up, and no further one is logged.
const WORDS: usize = 256;

/// Such attempts remembered: those of which a provider calls back before its own answer has been committed. Past it the hints are
/// forgotten, which costs a wait.
const AGAIN: usize = 4_096;

impl Shared {
    /// The plan; held for a moment, never over an await.
    pub fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Polls an attempt once more as soon as the poll in flight is back, or as soon as it is planned.
    pub fn again(&self, id: AttemptId) {
        let mut again = self.again.lock().unwrap_or_else(PoisonError::into_inner);
        if again.len() >= AGAIN {
            again.clear();
        }
        again.insert(id);
    }

    /// Whether it was asked for; asked for once, it is done once.
    pub fn is_wanted_again(&self, id: AttemptId) -> bool {
        self.again.lock().unwrap_or_else(PoisonError::into_inner).remove(&id)
    }

    fn first_heard(&self, provider: &ProviderName, word: &str) -> bool {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.len() < WORDS && heard.insert((Arc::clone(provider), word.to_owned()))
    }
}

/// What is left to do with the attempt's place in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// It ended, or is not this stage's any more.
    Remove,
    /// It is polled again.
    Again(Option<Duration>),
}

/// Answers in a row that do not know the task before its outputs are taken for lost: the answer must be a steady one.
const STEADY_MISSING: u32 = 5;

/// Further calls an adapter may ask for within one poll.
const FURTHER_CALLS: u32 = 3;

impl Polling {
    /// Polls one attempt and puts it back into the plan, or takes it out.
    pub async fn poll(self, id: AttemptId, plan: Arc<Shared>) {
        metrics::counter!("longtake_polls_total").increment(1);
        let next = match self.once(id, &plan).await {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(attempt.id = %id, error = %error, "a poll could not be recorded; it is made again");
                Next::Again(Some(Duration::from_secs(1)))
            }
        };
        let (now, again) = (self.clock.now(), plan.is_wanted_again(id));
        match next {
            Next::Remove => plan.plan().remove(id),
            Next::Again(hint) => {
                plan.plan().put_back(id, hint, now);
                if again {
                    plan.plan().pull(id, now);
                }
            }
        }
        plan.changed.notify_one();
    }

    async fn once(&self, id: AttemptId, plan: &Shared) -> Result<Next, StoreError> {
        let Some(attempt) = self.reads.attempt(id).await? else { return Ok(Next::Remove) };
        if attempt.state != AttemptState::Running {
            return Ok(Next::Remove);
        }
        let Some(provider) = self.registry.provider(&attempt.provider).cloned() else {
            return self.or_time_out(&attempt, "its provider is not configured any more", None).await;
        };
        let polled = self.ask(&provider, &attempt).await;
        if !matches!(polled, Polled::Missing(_)) {
            plan.plan().seen(id);
        }
        match polled {
            Polled::Pending { progress, again_after, unknown_word } => {
                if let Some(word) = unknown_word
                    && plan.first_heard(&attempt.provider, &word)
                {
                    tracing::warn!(provider = %attempt.provider, word, "unknown status word; it is taken for pending");
                }
                self.live.update(attempt.generation, |view| view.progress = progress.or(view.progress));
                self.or_time_out(&attempt, &format!("{} is working on it", attempt.provider), again_after).await
            }
            Polled::Done { outputs, cost } if outputs.is_empty() => {
                tracing::error!(attempt.id = %id, cost = ?cost, "a paid result is gone at the provider");
                self.settle(&provider, &attempt, Finding::Gone(gone())).await
            }
            Polled::Done { outputs, cost } => self.done(&provider, &attempt, outputs, cost).await,
            Polled::Failed(fault) => self.settle(&provider, &attempt, Finding::Failed(fault)).await,
            Polled::Missing(fault) => self.missing(&provider, &attempt, fault.message, plan).await,
            Polled::Unclear(fault) => {
                tracing::debug!(attempt.id = %id, code = fault.code.as_str(), "a poll told nothing");
                let why = format!("{} did not answer the last poll: {}", attempt.provider, fault.message);
                self.or_time_out(&attempt, &why, fault.retry_after).await
            }
            // A further call that leads to yet another one is a loop of the provider's; the next poll begins anew.
            Polled::Next(_) => Ok(Next::Again(None)),
        }
    }

    async fn ask(&self, provider: &Provider, attempt: &Attempt) -> Polled {
        let handle = attempt.handle.clone().unwrap_or_default();
        let context = Context::of(attempt, &handle);
        let Some(account) = provider.account(&attempt.account) else {
            return Polled::Unclear(crate::providers::fault::unusable("its account is not configured any more"));
        };
        let mut call: HttpCall = match provider.adapter.poll(&context) {
            Ok(call) => call,
            Err(fault) => return Polled::Unclear(fault),
        };
        for _ in 0..FURTHER_CALLS {
            let reply = match self.executor.ask(provider, account, &attempt.endpoint, call).await {
                Ok(reply) => reply,
                Err(fault) => return Polled::Unclear(fault),
            };
            match provider.adapter.read_poll(&context, &reply) {
                Polled::Next(further) => call = further,
                polled @ (Polled::Pending { .. }
                | Polled::Done { .. }
                | Polled::Failed(_)
                | Polled::Missing(_)
                | Polled::Unclear(_)) => return polled,
            }
        }
        Polled::Unclear(crate::providers::fault::unusable("its answers lead from call to call"))
    }

    async fn done(
        &self,
        provider: &Provider,
        attempt: &Attempt,
        outputs: Vec<Output>,
        cost: Option<crate::domain::money::Micros>,
    ) -> Result<Next, StoreError> {
        let mut staged = Vec::with_capacity(outputs.len());
        for (index, output) in (0u16..).zip(outputs) {
            let key = match self.stage(attempt, index, &output).await {
                Ok(key) => key,
                Err(error) => {
                    // Not committed: the provider still has it, and the next poll brings the bytes again.
                    tracing::warn!(attempt.id = %attempt.id, error = %error, "an inline output could not be staged");
                    return Ok(Next::Again(Some(Duration::from_secs(1))));
                }
            };
            staged.push((output, key));
        }
        let finding = Finding::Finished { outputs: staged, cost, link: !provider.config.upload_to_s3 };
        self.settle(provider, attempt, finding).await
    }

    async fn stage(&self, attempt: &Attempt, index: u16, output: &Output) -> Result<Option<String>, StorageError> {
        let OutputSource::Inline(bytes) = &output.source else { return Ok(None) };
        let key = key::staged(attempt.id, index);
        self.storage.put(&key, "application/octet-stream", bytes.clone()).await?;
        Ok(Some(key))
    }

    async fn missing(&self, provider: &Provider, attempt: &Attempt, words: String, plan: &Shared) -> Result<Next, StoreError> {
        let grace = provider.adapter.capabilities(&attempt.endpoint).missing_grace;
        let since = attempt.submitted_at.unwrap_or(attempt.created_at);
        if self.clock.now() < since.plus(grace) {
            return Ok(Next::Again(Some(Duration::from_secs(1))));
        }
        let times = plan.plan().missed(attempt.id);
        if times < STEADY_MISSING {
            let why = format!("{} does not know its task at the moment: {words}", attempt.provider);
            return self.or_time_out(attempt, &why, None).await;
        }
        self.settle(provider, attempt, Finding::Gone(Failure::new(ErrorCode::OutputExpired, words))).await
    }

    /// Polls on, unless the late window has closed.
    async fn or_time_out(&self, attempt: &Attempt, why: &str, hint: Option<Duration>) -> Result<Next, StoreError> {
        let limits = Deadlines::of(&self.config.polling, self.max_duration(attempt), attempt);
        let now = self.clock.now();
        if now >= limits.late {
            let Some(provider) = self.registry.provider(&attempt.provider).cloned() else {
                return Ok(Next::Again(Some(Duration::from_secs(60))));
            };
            return self.settle(&provider, attempt, Finding::TimedOut).await;
        }
        let why = if now >= limits.overdue { format!("overdue: {why}") } else { why.to_owned() };
        self.live.update(attempt.generation, |view| view.why = Some(why));
        Ok(Next::Again(hint))
    }

    fn max_duration(&self, attempt: &Attempt) -> Option<Duration> {
        self.catalogue.model(&attempt.model).and_then(|model| model.max_duration_s).map(Duration::from_secs)
    }

    async fn settle(&self, provider: &Provider, attempt: &Attempt, finding: Finding) -> Result<Next, StoreError> {
        let around = Around {
            policy: &provider.policy,
            bills: provider.adapter.capabilities(&attempt.endpoint).bills,
            unit: rand::random(),
            now: self.clock.now(),
        };
        let decided = |loaded: &crate::store::Loaded| decide(loaded, attempt.id, &finding, &around);
        let after = commit(&self.reads, &self.journal, Start::Load(attempt.generation), decided).await?;
        if let Some(account) = provider.account(&attempt.account) {
            account.budget.release(attempt.id);
        }
        self.wakes.assets.one(attempt.id);
        self.wakes.dispatch.one(attempt.generation);
        if after.is_some_and(|loaded| loaded.generation.state().terminal()) {
            self.live.forget(attempt.generation);
        }
        Ok(Next::Remove)
    }
}

fn gone() -> Failure {
    Failure::new(ErrorCode::OutputExpired, "the provider finished it, but its outputs are not there any more")
}

/// When an attempt is overdue, and when it is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// From here on it is overdue.
    pub overdue: Timestamp,
    /// From here on it fails with TASK_TIMEOUT.
    pub late: Timestamp,
}

impl Deadlines {
    /// By kind, unless the model says otherwise.
    #[must_use]
    pub fn of(config: &PollingConfig, model: Option<Duration>, attempt: &Attempt) -> Self {
        let (max, late) = match attempt.kind {
            Kind::Image => (config.max_image_s, config.late_image_s),
            Kind::Video => (config.max_video_s, config.late_video_s),
        };
        let overdue = attempt.submitted_at.unwrap_or(attempt.created_at).plus(model.unwrap_or(Duration::from_secs(max)));
        Self { overdue, late: overdue.plus(Duration::from_secs(late)) }
    }
}
