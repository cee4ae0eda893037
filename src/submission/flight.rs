//! One submit, from the intent to the transition that its answer makes. Runs as a flight on the socket runtime: its actor may die, it
//! does not. Whatever ends it in between leaves `submitting`, which without a flight becomes `unconfirmed`, never a second submit.

use std::{sync::Arc, time::Duration};

use tracing::Instrument as _;
use url::Url;

use crate::{
    clock::Clock,
    config::{Config, providers::RetryConfig, storage::StorageKind},
    domain::{
        error::{ErrorCode, Failure},
        generation::GenerationEvent,
        output::{Output, OutputSource},
        record::{Attempt, Endpoint, GenerationRequest, Handle, Kind},
        retry::RetryPolicy,
        slots::outputs_of,
        time::Timestamp,
    },
    lifeline::Lifeline,
    net::hooks::Hooks,
    observe::Live,
    providers::{
        adapter::{Bills, Call, Fault, FoundBy, HttpCall, Reply, Submitted, Then},
        catalogue::Catalogue,
        executor::{Executor, Sent, SubmitLimits, Trust},
        fault,
        registry::{Account, Provider, Registry},
    },
    sabotage::Mistake,
    storage::{Storage, StorageError, key},
    store::{
        Evidence, EvidenceVerdict, Journal, Kept, Loaded, Reads, Store, StoreError,
        change::{Change, Start, after, commit},
    },
    submission::{
        answer::{self, Around, Learned, decide},
        intent::{self, Plan},
        results::{Results, Unresolved},
    },
    wake::{Offer, Wakes},
};

/// What submits need.
#[derive(Clone)]
pub struct Submission {
    /// The trust window.
    pub store: Store,
    /// Rows.
    pub reads: Reads,
    /// Writes.
    pub journal: Journal,
    /// Providers.
    pub registry: Arc<Registry>,
    /// Models.
    pub catalogue: Arc<Catalogue>,
    /// IO.
    pub executor: Executor,
    /// Inline outputs are staged here.
    pub storage: Storage,
    /// Where providers may call us.
    pub hooks: Hooks,
    /// Live views.
    pub live: Live,
    /// Time.
    pub clock: Clock,
    /// The neighbouring stages.
    pub wakes: Wakes,
    /// `[dispatch]`.
    pub config: Arc<Config>,
    /// Permission to act.
    pub lifeline: Lifeline,
}

/// How long a commit of what a provider answered is tried again where it is not the database that is away: that is waited for, as
/// long as this process lives. Past it the attempt stays `submitting` without a flight: the reconciler takes it, and finds the
/// evidence, which was recorded or spooled before.
const COMMIT_PATIENCE: Duration = Duration::from_secs(60);

/// Wait between such tries.
const COMMIT_PAUSE: Duration = Duration::from_millis(250);

/// Whether the database only cannot be reached at the moment.
const fn away(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable { .. } | StoreError::Timeout | StoreError::Busy)
}

/// Whether this process will never write again.
const fn over(error: &StoreError) -> bool {
    matches!(error, StoreError::Revoked | StoreError::Closed | StoreError::Fenced)
}

/// What goes onto the wire.
struct Prepared {
    endpoint: Endpoint,
    request: GenerationRequest,
    tag: String,
    outputs: u16,
}

impl Prepared {
    fn call<'a>(&'a self, kind: Kind, webhook_url: Option<&'a Url>) -> Call<'a> {
        Call {
            prompt: &self.request.prompt,
            images: &self.request.input_images,
            outputs: self.outputs,
            parameters: &self.request.parameters,
            kind,
            endpoint: &self.endpoint,
            tag: &self.tag,
            webhook_url,
        }
    }
}

impl Submission {
    /// Carries out an offer. The account's budget holds it already; whoever ends the attempt gives the place back.
    pub async fn fly(self, provider: Arc<Provider>, offer: Offer) {
        let Some(account) = provider.account(&offer.account).cloned() else { return };
        account.budget.occupy(offer.attempt);
        let span = tracing::info_span!(
            "submit", generation.id = %offer.generation, provider = %provider.name, request.id = tracing::field::Empty
        );
        let flight = Flight { submission: self, provider, account, offer, again: false };
        let submitted = match flight.submit().instrument(span).await {
            Ok(submitted) => submitted,
            Err(error) => {
                let id = flight.offer.generation;
                tracing::warn!(generation.id = %id, error = %error, "an intent was not committed; it is offered again");
                false
            }
        };
        if !submitted {
            flight.account.withdraw(flight.offer.attempt);
        }
        flight.submission.wakes.dispatch.one(flight.offer.generation);
    }
}

impl Submission {
    /// Sends an unconfirmed attempt once more, the same request with the same tag. For providers that refuse duplicates, and only
    /// after they said that they do not know it. Runs within a flight of that attempt.
    ///
    /// # Errors
    /// The store's; then nothing was sent.
    pub async fn resend(&self, provider: Arc<Provider>, attempt: &Attempt) -> Result<(), StoreError> {
        let Some(account) = provider.account(&attempt.account).cloned() else { return Ok(()) };
        if account.breaker.open_until(self.clock.now()).is_some() {
            return Ok(());
        }
        let offer = Offer { generation: attempt.generation, attempt: attempt.id, account: Arc::clone(&attempt.account) };
        let span = tracing::info_span!("resend", generation.id = %attempt.generation, provider = %provider.name);
        let flight = Flight { submission: self.clone(), provider, account, offer, again: true };
        flight.submit_again(attempt).instrument(span).await
    }

    /// The surroundings of a decision, by a provider's rules for retries.
    #[must_use]
    pub fn around<'a>(&self, retry: &'a RetryConfig, policy: &'a RetryPolicy, bills: Bills) -> Around<'a> {
        Around {
            retry,
            policy,
            bills,
            max_resubmits: self.config.dispatch.max_resubmits,
            unit: rand::random(),
            now: self.clock.now(),
        }
    }
}

/// One submit on its way.
struct Flight {
    submission: Submission,
    provider: Arc<Provider>,
    account: Arc<Account>,
    offer: Offer,
    /// The same attempt is sent once more.
    again: bool,
}

impl Flight {
    /// Returns whether the attempt is open now (its place in the budget stays taken).
    async fn submit(&self) -> Result<bool, StoreError> {
        let (path, provider, offer) = (&self.submission, &*self.provider, &self.offer);
        let Some(loaded) = path.reads.load(offer.generation).await? else { return Ok(false) };
        tracing::Span::current().record("request.id", &*loaded.generation.request_id);
        let Some(slot) = intent::owed_slot(&loaded.generation) else { return Ok(false) };
        let Some(mut request) = path.reads.request(offer.generation).await? else { return Ok(false) };
        let Some(model) = path.catalogue.model(&loaded.generation.model).cloned() else {
            return self.drop_owed(&loaded, fault::unusable("its model is not in the catalogue any more").message).await;
        };
        let (endpoint, tag) = (provider.endpoint(&model, !request.input_images.is_empty()), intent::tag(offer));
        match self.results(&endpoint).resolve(&mut request.input_images).await {
            Ok(()) => {}
            Err(Unresolved::Never(failure)) => return self.refuse(&loaded, failure).await,
            Err(Unresolved::Store(error)) => return Err(error),
            Err(Unresolved::Storage(error)) => {
                tracing::warn!(error = %error, "an input image cannot be had at the moment; it is offered again");
                path.clock.sleep(COMMIT_PAUSE).await;
                return Ok(false);
            }
        }
        if provider.adapter.capabilities(&endpoint).found_by == FoundBy::Input
            && let Some(seed) = intent::own_seed(&model, &request.parameters, &tag)
        {
            request.parameters.insert(intent::SEED.to_owned(), seed.into());
        }
        let prepared = Prepared {
            endpoint,
            request,
            tag,
            outputs: outputs_of(slot, loaded.generation.outputs, loaded.generation.per_call).1,
        };
        let webhook = self.webhook();
        let (call, digest) = match self.calls(&prepared, model.kind, webhook.as_ref()) {
            Ok(calls) => calls,
            Err(fault) => return self.refuse(&loaded, fault::failure(&fault, path.clock.now())).await,
        };
        let plan = Plan {
            offer,
            endpoint: &prepared.endpoint,
            call: &call,
            digest,
            tag: &prepared.tag,
            not_after: Duration::from_millis(path.config.dispatch.not_after_ms),
            now: path.clock.now(),
        };
        let early = self.too_early((&loaded, slot), (&plan, &prepared.endpoint)).await;
        let decided = |loaded: &Loaded| intent::intent(loaded, slot, &plan);
        let Some(committed) = commit(&path.reads, &path.journal, Start::Known(Box::new(loaded)), decided).await? else {
            return Ok(false);
        };
        path.wakes.dispatch.one(offer.generation);
        path.live.update(offer.generation, |view| view.why = Some(format!("being submitted to {}", provider.name)));
        let sent = match early {
            Some(sent) => sent,
            None => self.send(&prepared.endpoint, call, &committed).await,
        };
        let learned = self.learn(&prepared.call(model.kind, webhook.as_ref()), sent).await;
        self.record(committed, learned).await;
        Ok(true)
    }

    /// Where images are found that other generations made. What S3 hands out is reached by anybody, our own server by its public URL.
    fn results(&self, endpoint: &Endpoint) -> Results<'_> {
        let path = &self.submission;
        let everywhere = (path.config.storage.kind == StorageKind::S3).then_some("");
        Results {
            reads: &path.reads,
            storage: &path.storage,
            public_base: path.config.server.public_url.as_deref().map(|url| url.trim_end_matches('/')).or(everywhere),
            forms: self.provider.adapter.image_forms(endpoint),
        }
    }

    /// Where the provider may call us about this attempt.
    fn webhook(&self) -> Option<Url> {
        let config = &self.provider.config;
        let url = || self.submission.hooks.url(&self.provider.name, self.offer.attempt, config.allow_loopback);
        config.webhooks.then(url).flatten()
    }

    /// The call, and its digest without the webhook: that URL is another one for each attempt, and equal requests must stay equal.
    fn calls(&self, prepared: &Prepared, kind: Kind, webhook: Option<&Url>) -> Result<(HttpCall, String), Fault> {
        let call = self.provider.adapter.submit(&prepared.call(kind, webhook))?;
        let digest = match webhook {
            Some(_) => intent::digest(&self.provider.adapter.submit(&prepared.call(kind, None))?),
            None => intent::digest(&call),
        };
        Ok((call, digest))
    }

    /// The mistake of submitting before the intent is committed; none in a service that is not sabotaged.
    async fn too_early(&self, (loaded, slot): (&Loaded, u16), (plan, endpoint): (&Plan<'_>, &Endpoint)) -> Option<Sent> {
        if !Mistake::IntentAfterSubmit.made() {
            return None;
        }
        let pretended = after(loaded.clone(), &intent::intent(loaded, slot, plan)?);
        Some(self.send(endpoint, plan.call.clone(), &pretended).await)
    }

    async fn submit_again(&self, attempt: &Attempt) -> Result<(), StoreError> {
        let path = &self.submission;
        let kept = path.reads.attempt_request(attempt.id).await?.and_then(|kept| intent::call(&kept));
        let (Some(call), Some(request)) = (kept, path.reads.request(attempt.generation).await?) else {
            tracing::error!(attempt.id = %attempt.id, "its request is not readable: it cannot be sent again");
            return Ok(());
        };
        let prepared =
            Prepared { endpoint: attempt.endpoint.clone(), request, tag: attempt.tag.clone(), outputs: attempt.output_count };
        let now = path.clock.now();
        let not_after = now.plus(Duration::from_millis(path.config.dispatch.not_after_ms));
        let decided = |loaded: &Loaded| answer::resend(loaded, attempt.id, not_after, now);
        let Some(committed) = commit(&path.reads, &path.journal, Start::Load(attempt.generation), decided).await? else {
            return Ok(());
        };
        tracing::info!(attempt.id = %attempt.id, "the provider does not know it: the same submit is sent again");
        let sent = self.send(&attempt.endpoint, call, &committed).await;
        let learned = self.learn(&prepared.call(attempt.kind, None), sent).await;
        self.record(committed, learned).await;
        Ok(())
    }

    async fn send(&self, endpoint: &Endpoint, call: HttpCall, committed: &Loaded) -> Sent {
        let path = &self.submission;
        let call = self.provider.adapter.seal(call, self.account.webhook_secrets.first());
        let written = committed.attempts.iter().find(|attempt| attempt.id == self.offer.attempt);
        let not_after = written.map_or_else(|| path.clock.now(), |attempt| attempt.not_after);
        let store = path.store.clone();
        let trust: Trust = Arc::new(move || store.trust_window());
        let limits = SubmitLimits { not_after, lifeline: &path.lifeline, trust };
        metrics::counter!("longtake_submits_total").increment(1);
        path.executor.submit(&self.provider, &self.account, endpoint, call, limits).await
    }

    async fn learn(&self, call: &Call<'_>, sent: Sent) -> Learned {
        let reply: Reply = match sent {
            Sent::NeverSent(fault) => return Learned::NeverSent(fault),
            Sent::Unknown(fault) if Mistake::BlindResubmit.made() => return Learned::NeverSent(fault),
            Sent::Unknown(fault) => return Learned::Unknown(fault),
            Sent::Reply(reply) => reply,
        };
        match self.provider.adapter.read_submit(call, &reply) {
            Submitted::Accepted { handle, cost } => Learned::Accepted { handle, cost, reason: "the provider accepted it" },
            Submitted::Done { outputs, cost } => match self.stage(outputs).await {
                Ok(outputs) => Learned::Done { outputs, cost, link: !self.provider.config.upload_to_s3 },
                Err(error) => {
                    tracing::error!(attempt.id = %self.offer.attempt, error = %error, "a paid synchronous result could not be staged");
                    Learned::Unknown(fault::unusable("its result arrived, but could not be kept"))
                }
            },
            Submitted::Fault(fault) => match fault.then {
                Then::Unclear => Learned::Unknown(fault),
                Then::Throttled | Then::RetryUnbilled | Then::Final => Learned::Refused(fault),
            },
        }
    }

    /// Keeps inline bytes before the answer is committed; tried for as long as a commit would be.
    async fn stage(&self, outputs: Vec<Output>) -> Result<Vec<(Output, Option<String>)>, StorageError> {
        let path = &self.submission;
        let give_up = path.clock.now().plus(COMMIT_PATIENCE);
        let mut staged = Vec::with_capacity(outputs.len());
        for (index, output) in (0u16..).zip(outputs) {
            let OutputSource::Inline(bytes) = &output.source else {
                staged.push((output, None));
                continue;
            };
            let key = key::staged(self.offer.attempt, index);
            while let Err(error) = path.storage.put(&key, "application/octet-stream", bytes.clone()).await {
                if path.clock.now() >= give_up {
                    return Err(error);
                }
                path.clock.sleep(COMMIT_PAUSE).await;
            }
            staged.push((output, Some(key)));
        }
        Ok(staged)
    }

    /// Commits what was learned, evidence first, for as long as it takes within the patience.
    async fn record(&self, committed: Loaded, learned: Learned) {
        let (path, provider, offer) = (&self.submission, &*self.provider, &self.offer);
        let give_up = path.clock.now().plus(COMMIT_PATIENCE);
        if let Learned::Accepted { handle, .. } = &learned {
            self.evidence(handle, give_up).await;
        }
        if let Learned::Refused(refusal) = &learned
            && refusal.then == Then::Throttled
        {
            let pause = refusal.retry_after.unwrap_or(provider.policy.initial_delay);
            self.account.budget.hold_until(path.clock.now().plus(pause));
        }
        let sent = committed.attempts.iter().find(|attempt| attempt.id == offer.attempt);
        let bills = sent.map_or(Bills::AtAccept, |attempt| provider.adapter.capabilities(&attempt.endpoint).bills);
        let learned = if self.again { answer::of_resend(learned) } else { learned };
        let mut start = Start::Known(Box::new(committed));
        loop {
            let around = path.around(&provider.config.retry, &provider.policy, bills);
            let decided = |loaded: &Loaded| decide(loaded, offer.attempt, &learned, &around);
            match commit(&path.reads, &path.journal, start, decided).await {
                Ok(after) => return self.tell(&learned, after),
                Err(error) if away(&error) || (path.clock.now() < give_up && !over(&error)) => {
                    tracing::warn!(attempt.id = %offer.attempt, error = %error, "what the provider answered is not committed yet");
                    path.clock.sleep(COMMIT_PAUSE).await;
                    start = Start::Load(offer.generation);
                }
                Err(error) => {
                    tracing::error!(attempt.id = %offer.attempt, error = %error, "what the provider answered could not be committed");
                    return;
                }
            }
        }
    }

    async fn evidence(&self, handle: &Handle, give_up: Timestamp) {
        let (path, offer) = (&self.submission, &self.offer);
        let evidence = Evidence {
            attempt: offer.attempt,
            generation: offer.generation,
            account: format!("{}/{}", self.provider.name, offer.account),
            handle: handle.clone(),
            source: if self.again { "resend" } else { "answer" },
            at: path.clock.now(),
        };
        loop {
            match path.store.spool().keep(&path.journal, &evidence).await {
                Ok(Kept::Written(EvidenceVerdict::Recorded | EvidenceVerdict::Known) | Kept::Spooled) => return,
                Ok(Kept::Written(EvidenceVerdict::Conflict)) => {
                    let task = &handle.task_id;
                    tracing::error!(attempt.id = %offer.attempt, task, "another attempt holds this provider task: somebody must look");
                    return;
                }
                Err(error) => {
                    tracing::warn!(attempt.id = %offer.attempt, error = %error, "a provider's id is not recorded yet");
                    if path.clock.now() >= give_up {
                        return;
                    }
                    path.clock.sleep(COMMIT_PAUSE).await;
                }
            }
        }
    }

    fn tell(&self, learned: &Learned, after: Option<Loaded>) {
        let (path, offer) = (&self.submission, &self.offer);
        let open = after.as_ref().and_then(|loaded| loaded.attempts.iter().find(|attempt| attempt.id == offer.attempt));
        match learned {
            Learned::Accepted { .. } => {
                path.wakes.polling.one(offer.attempt);
                if after.is_none() {
                    // It was found in the meantime, perhaps under another id.
                    path.wakes.reconcile.one(offer.attempt);
                }
            }
            Learned::Unknown(_) => path.wakes.reconcile.one(offer.attempt),
            Learned::Done { .. } => path.wakes.assets.one(offer.attempt),
            Learned::NeverSent(_) | Learned::Refused(_) | Learned::GivenUp | Learned::Lost => {}
        }
        let in_flight = matches!(learned, Learned::Accepted { .. } | Learned::Unknown(_));
        if !in_flight || open.is_none_or(|attempt| attempt.state.ended()) {
            self.account.budget.release(offer.attempt);
        }
        if let Some(loaded) = after {
            if loaded.generation.cancel_requested_at.is_some() {
                path.wakes.cancel.one(offer.generation);
            }
            if loaded.generation.state().terminal() {
                path.live.forget(offer.generation);
            }
        }
    }

    async fn drop_owed(&self, loaded: &Loaded, message: String) -> Result<bool, StoreError> {
        self.refuse(loaded, Failure::new(ErrorCode::InvalidRequest, message)).await
    }

    /// Ends what is owed: this request can never be sent.
    async fn refuse(&self, loaded: &Loaded, failure: Failure) -> Result<bool, StoreError> {
        let path = &self.submission;
        let now = path.clock.now();
        let decided = |loaded: &Loaded| {
            intent::owed_slot(&loaded.generation)?;
            let mut change = Change::of(&loaded.generation, now);
            change.advance(&GenerationEvent::Drop, Some(failure.clone()), "it cannot be expressed for this provider").ok()?;
            Some(change.entry())
        };
        commit(&path.reads, &path.journal, Start::Known(Box::new(loaded.clone())), decided).await?;
        path.live.forget(loaded.generation.id);
        Ok(false)
    }
}
