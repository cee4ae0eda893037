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
        id::{AttemptId, GenerationId},
        output::{Output, OutputSource},
        record::{Kind, ProviderName},
        schedule::Strategy,
        time::Timestamp,
    },
    observe::{Live, times::Times},
    polling::{
        learner::Learner,
        outcome::{Around, Finding, decide},
        plan::{Plan, Span, Task},
        route::Route,
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
    /// How long models take.
    pub times: Times,
    /// Time.
    pub clock: Clock,
    /// The next stages.
    pub wakes: Wakes,
    /// `[polling]` and the rest.
    pub config: Arc<Config>,
}

/// The plan, shared by the poller and its polls.
#[derive(Debug)]
pub struct Shared {
    plan: Mutex<Plan>,
    /// How long models take.
    pub learner: Learner,
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
    /// An empty plan; `times` is told how long models take.
    #[must_use]
    pub fn new(config: &PollingConfig, times: Times) -> Self {
        let learner = Learner::new(config.growth(), config.adaptive_budget, times);
        Self { plan: Mutex::default(), learner, changed: Notify::new(), again: Mutex::default(), heard: Mutex::default() }
    }

    /// The plan; held for a moment, never over an await.
    pub fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a polled attempt back.
    pub fn put_back(&self, task: &Task, hint: Option<Duration>, now: Timestamp) {
        let course = self.learner.course(&task.route.model);
        self.plan().put_back(task.id, hint, course.as_deref(), now);
    }

    /// The task still ran at `now`.
    fn ran(&self, task: &Task, now: Timestamp) {
        let mut plan = self.plan();
        plan.seen(task.id);
        let span = plan.ran(task.id, now);
        drop(plan);
        self.learn(task, span, Learner::passed);
    }

    /// The task was found ended at `now`.
    fn ended(&self, task: &Task, now: Timestamp) {
        let span = self.plan().ended(task.id, now);
        self.learn(task, span, Learner::finished);
    }

    fn learn(&self, task: &Task, span: Option<Span>, how: impl FnOnce(&Learner, &Arc<str>, Duration, Duration)) {
        match (task.route.strategy, span) {
            (Strategy::Adaptive(_), Some((from, to))) => how(&self.learner, &task.route.model, from, to),
            (Strategy::Adaptive(_) | Strategy::Exponential(_) | Strategy::Fixed { .. }, _) => {}
        }
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
    /// Makes one poll, for which a place in its account's budget is taken, and puts the attempt back into the plan, or takes it out.
    pub async fn poll(self, task: Task, plan: Arc<Shared>) {
        metrics::counter!("longtake_polls_total").increment(1);
        metrics::histogram!("longtake_poll_late_seconds").record(self.clock.now().since(task.due).as_secs_f64());
        let next = match self.once(&task, &plan).await {
            Ok(next) => next,
            Err(error) => {
                let request = self.request_id(task.generation).await;
                tracing::warn!(
                    attempt.id = %task.id, request.id = %request, error = %error, "a poll could not be recorded; it is made again"
                );
                Next::Again(Some(Duration::from_secs(1)))
            }
        };
        let again = plan.is_wanted_again(task.id);
        match next {
            Next::Remove => plan.plan().remove(task.id),
            Next::Again(hint) => {
                let now = self.clock.now();
                plan.put_back(&task, hint, now);
                if again {
                    plan.plan().pull(task.id, now);
                }
            }
        }
        plan.changed.notify_one();
    }

    async fn once(&self, task: &Task, plan: &Shared) -> Result<Next, StoreError> {
        if task.look {
            let row = self.reads.attempt(task.id).await?;
            if row.is_none_or(|attempt| attempt.state != AttemptState::Running) {
                return Ok(Next::Remove);
            }
        }
        let Some(provider) = self.registry.provider(&task.route.provider).cloned() else {
            return self.or_time_out(task, Some("its provider is not configured any more"), None).await;
        };
        let polled = self.ask(&provider, task).await;
        let now = self.clock.now();
        match polled {
            Polled::Pending { progress, again_after, unknown_word } => {
                plan.ran(task, now);
                if let Some(word) = unknown_word
                    && plan.first_heard(&provider.name, &word)
                {
                    let request = self.request_id(task.generation).await;
                    tracing::warn!(
                        provider = %provider.name, request.id = %request, word, "unknown status word; it is taken for pending"
                    );
                }
                self.live.ordinary(task.generation, progress);
                self.or_time_out(task, None, again_after).await
            }
            Polled::Done { outputs, cost } if outputs.is_empty() => {
                let request = self.request_id(task.generation).await;
                tracing::error!(
                    attempt.id = %task.id, request.id = %request, cost = ?cost, "a paid result is gone at the provider"
                );
                self.settle(&provider, task, Finding::Gone(gone())).await
            }
            Polled::Done { outputs, cost } => {
                plan.ended(task, now);
                self.done(&provider, task, outputs, cost).await
            }
            Polled::Failed(fault) => {
                // How soon a wish to cancel is met says nothing of how long the model takes.
                if fault.code != ErrorCode::TaskCancelled {
                    plan.ended(task, now);
                }
                self.settle(&provider, task, Finding::Failed(fault)).await
            }
            Polled::Missing(fault) => self.missing(&provider, task, fault.message, plan).await,
            Polled::Unclear(fault) => {
                plan.plan().seen(task.id);
                tracing::debug!(attempt.id = %task.id, code = fault.code.as_str(), "a poll told nothing");
                let why = format!("{} did not answer the last poll: {}", provider.name, fault.message);
                self.or_time_out(task, Some(&why), fault.retry_after).await
            }
            // A further call that leads to yet another one is a loop of the provider's; the next poll begins anew.
            Polled::Next(_) => Ok(Next::Again(None)),
        }
    }

    /// The request that asked for it; read only where something is told of a poll.
    pub async fn request_id(&self, generation: GenerationId) -> Arc<str> {
        let row = self.reads.generation(generation).await;
        row.ok().flatten().map_or_else(|| Arc::from("unknown"), |generation| generation.request_id)
    }

    async fn ask(&self, provider: &Provider, task: &Task) -> Polled {
        let route = &task.route;
        // No adapter polls by the tag; what finds by it reads the attempt.
        let (endpoint, handle, kind, submitted_at) = (&route.endpoint, &task.handle, route.kind, task.submitted_at);
        let context = Context { endpoint, tag: "", handle, kind, submitted_at };
        let Some(account) = provider.account(&route.account) else {
            return Polled::Unclear(crate::providers::fault::unusable("its account is not configured any more"));
        };
        let mut call: HttpCall = match provider.adapter.poll(&context) {
            Ok(call) => call,
            Err(fault) => return Polled::Unclear(fault),
        };
        for further in 0..FURTHER_CALLS {
            let reply = match further {
                0 => self.executor.ask_admitted(provider, account, endpoint, call).await,
                _ => self.executor.ask(provider, account, endpoint, call).await,
            };
            let reply = match reply {
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
        task: &Task,
        outputs: Vec<Output>,
        cost: Option<crate::domain::money::Micros>,
    ) -> Result<Next, StoreError> {
        let mut staged = Vec::with_capacity(outputs.len());
        for (index, output) in (0u16..).zip(outputs) {
            let key = match self.stage(task, index, &output).await {
                Ok(key) => key,
                Err(error) => {
                    // Not committed: the provider still has it, and the next poll brings the bytes again.
                    let request = self.request_id(task.generation).await;
                    tracing::warn!(
                        attempt.id = %task.id, request.id = %request, error = %error, "an inline output could not be staged"
                    );
                    return Ok(Next::Again(Some(Duration::from_secs(1))));
                }
            };
            staged.push((output, key));
        }
        let finding = Finding::Finished { outputs: staged, cost, link: !provider.config.upload_to_s3 };
        self.settle(provider, task, finding).await
    }

    async fn stage(&self, task: &Task, index: u16, output: &Output) -> Result<Option<String>, StorageError> {
        let OutputSource::Inline(bytes) = &output.source else { return Ok(None) };
        let key = key::staged(task.id, index);
        self.storage.put(&key, "application/octet-stream", bytes.clone()).await?;
        Ok(Some(key))
    }

    async fn missing(&self, provider: &Provider, task: &Task, words: String, plan: &Shared) -> Result<Next, StoreError> {
        let grace = provider.adapter.capabilities(&task.route.endpoint).missing_grace;
        if self.clock.now() < task.submitted_at.plus(grace) {
            return Ok(Next::Again(Some(Duration::from_secs(1))));
        }
        let times = plan.plan().missed(task.id);
        if times < STEADY_MISSING {
            let why = format!("{} does not know its task at the moment: {words}", task.route.provider);
            return self.or_time_out(task, Some(&why), None).await;
        }
        self.settle(provider, task, Finding::Gone(Failure::new(ErrorCode::OutputExpired, words))).await
    }

    /// Polls on, unless the late window has closed. `why` is what its rows do not say.
    async fn or_time_out(&self, task: &Task, why: Option<&str>, hint: Option<Duration>) -> Result<Next, StoreError> {
        let limits = Deadlines::of(&self.config.polling, &task.route, task.submitted_at);
        let now = self.clock.now();
        if now >= limits.late {
            let Some(provider) = self.registry.provider(&task.route.provider).cloned() else {
                return Ok(Next::Again(Some(Duration::from_secs(60))));
            };
            return self.settle(&provider, task, Finding::TimedOut).await;
        }
        if let Some(why) = why {
            let why = if now >= limits.overdue { format!("overdue: {why}") } else { why.to_owned() };
            self.live.update(task.generation, |view| view.why = Some(why));
        }
        let slow = Duration::from_millis(self.config.polling.overdue_ms);
        let hint = if now >= limits.overdue { Some(hint.unwrap_or_default().max(slow)) } else { hint };
        Ok(Next::Again(hint))
    }

    async fn settle(&self, provider: &Provider, task: &Task, finding: Finding) -> Result<Next, StoreError> {
        let around = Around {
            policy: &provider.policy,
            bills: provider.adapter.capabilities(&task.route.endpoint).bills,
            unit: rand::random(),
            now: self.clock.now(),
        };
        let decided = |loaded: &crate::store::Loaded| decide(loaded, task.id, &finding, &around);
        let after = commit(&self.reads, &self.journal, Start::Load(task.generation), decided).await?;
        if let Some(account) = provider.account(&task.route.account) {
            account.budget.release(task.id);
        }
        self.wakes.assets.one(task.id);
        self.wakes.dispatch.one(task.generation);
        if after.is_some_and(|loaded| loaded.generation.state().terminal()) {
            self.live.forget(task.generation);
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
    pub fn of(config: &PollingConfig, route: &Route, submitted_at: Timestamp) -> Self {
        let (max, late) = match route.kind {
            Kind::Image => (config.max_image_s, config.late_image_s),
            Kind::Video => (config.max_video_s, config.late_video_s),
        };
        let overdue = submitted_at.plus(route.max_duration.unwrap_or(Duration::from_secs(max)));
        Self { overdue, late: overdue.plus(Duration::from_secs(late)) }
    }
}
