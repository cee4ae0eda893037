//! The reconciler. Woken by unknown outcomes and by a slow sweep; finds out what became of each submit, without ever submitting. If it
//! dies, a new one reads the rows: `submitting` without a flight and `unconfirmed`.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use actix::{Actor, AsyncContext, Context, WrapFuture};

use crate::{
    domain::{
        attempt::AttemptState,
        error::ErrorCode,
        id::AttemptId,
        record::{Attempt, Handle},
    },
    flights::Flights,
    observe::ChildContext,
    providers::{
        adapter::{Fault, Found, Then},
        registry::Provider,
    },
    store::{
        Evidence, Loaded, StoreError,
        change::{Start, commit},
    },
    submission::{
        answer::{Around, Learned, decide},
        flight::Submission,
        reconcile::{Agenda, deadline},
    },
};

/// Rows a page.
const PAGE: u64 = 500;

/// How often the rows are looked through.
const SWEEP: Duration = Duration::from_secs(1);

/// The actor.
pub struct Reconciler {
    submission: Submission,
    submits: Arc<Flights<AttemptId>>,
    lookups: Arc<Flights<AttemptId>>,
    child: ChildContext,
}

impl Reconciler {
    /// A reconciler. `submits` says which attempts have a flight; `lookups` holds its own work in hand.
    #[must_use]
    pub const fn new(
        submission: Submission,
        submits: Arc<Flights<AttemptId>>,
        lookups: Arc<Flights<AttemptId>>,
        child: ChildContext,
    ) -> Self {
        Self { submission, submits, lookups, child }
    }
}

impl Actor for Reconciler {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.child.started();
        let rounds = Rounds {
            submission: self.submission.clone(),
            submits: Arc::clone(&self.submits),
            lookups: Arc::clone(&self.lookups),
            child: self.child.clone(),
            agenda: Mutex::default(),
        };
        ctx.spawn(rounds.run().into_actor(self));
    }
}

struct Rounds {
    submission: Submission,
    submits: Arc<Flights<AttemptId>>,
    lookups: Arc<Flights<AttemptId>>,
    child: ChildContext,
    agenda: Mutex<Agenda>,
}

impl Rounds {
    async fn run(self) {
        let mut sweep_at = self.submission.clock.now();
        loop {
            self.child.beat().await;
            self.child.pulse.works_since(self.lookups.oldest_since());
            tokio::select! {
                () = self.submission.clock.sleep_until(sweep_at) => {}
                () = self.child.beat_due() => continue,
                _ = self.submission.wakes.reconcile.next() => {}
            }
            if self.child.lifeline.check().is_err() {
                return;
            }
            if let Err(error) = self.round().await {
                tracing::warn!(error = %error, "a round of reconciliation failed; the sweep makes it again");
            }
            sweep_at = self.submission.clock.now().plus(SWEEP);
        }
    }

    async fn round(&self) -> Result<(), StoreError> {
        for attempt in self.all_in(AttemptState::Submitting).await? {
            // The flight is in its table before its intent is committed, so a row without one was left behind.
            if !self.submits.contains(&attempt.id) {
                self.orphaned(&attempt).await?;
            }
        }
        let open = self.all_in(AttemptState::Unconfirmed).await?;
        let ids: HashSet<_> = open.iter().map(|attempt| attempt.id).collect();
        self.agenda().keep(|id| ids.contains(&id));
        let first_gap = Duration::from_millis(self.submission.config.dispatch.reconcile_ms);
        for attempt in open {
            let due = self.agenda().due(attempt.id, first_gap, self.submission.clock.now());
            if due || self.submission.clock.now() >= deadline(&attempt, &self.submission.config.dispatch) {
                let lookup = look_up(self.submission.clone(), attempt.clone());
                let _ = self.lookups.start(attempt.id, &self.child.sockets, lookup);
            }
        }
        Ok(())
    }

    async fn all_in(&self, state: AttemptState) -> Result<Vec<Attempt>, StoreError> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = self.submission.reads.attempts_in(state, after, PAGE).await?;
            after = page.last().map(|attempt| attempt.id);
            let last = u64::try_from(page.len()).unwrap_or(PAGE) < PAGE;
            all.extend(page);
            if last {
                return Ok(all);
            }
        }
    }

    async fn orphaned(&self, attempt: &Attempt) -> Result<(), StoreError> {
        let fault = Fault {
            code: ErrorCode::ProviderUnavailable,
            message: "the process ended between the intent and the provider's answer".to_owned(),
            http_status: None,
            provider_code: None,
            provider_message: None,
            retry_after: None,
            then: Then::Unclear,
        };
        learn(&self.submission, attempt, Learned::Unknown(fault)).await.map(|_| ())
    }

    fn agenda(&self) -> std::sync::MutexGuard<'_, Agenda> {
        self.agenda.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Finds out about one attempt: recorded evidence first, then the provider where it can be asked, then the deadline.
async fn look_up(submission: Submission, attempt: Attempt) {
    if let Err(error) = find(&submission, &attempt).await {
        tracing::warn!(attempt.id = %attempt.id, error = %error, "a lookup could not be recorded; it is made again");
    }
}

async fn find(submission: &Submission, attempt: &Attempt) -> Result<(), StoreError> {
    let recorded = submission.reads.evidence(attempt.id).await?;
    if let Some(known) = recorded.into_iter().next() {
        let learned = Learned::Accepted { handle: known.handle, cost: None, reason: "its recorded evidence was found" };
        return learn(submission, attempt, learned).await.map(|_| ());
    }
    let provider = submission.registry.provider(&attempt.provider).cloned();
    if let Some(provider) = &provider
        && let Some(handle) = ask(submission, provider, attempt).await
    {
        record(submission, attempt, &handle).await?;
        let learned = Learned::Accepted { handle, cost: None, reason: "the provider knows it by our tag" };
        return learn(submission, attempt, learned).await.map(|_| ());
    }
    if submission.clock.now() >= deadline(attempt, &submission.config.dispatch) {
        tracing::error!(
            generation.id = %attempt.generation, attempt.id = %attempt.id, provider = %attempt.provider,
            at_risk = %attempt.price.decimal(), "a submit stays unconfirmed and is given up"
        );
        return learn(submission, attempt, Learned::GivenUp).await.map(|_| ());
    }
    let why = format!("unconfirmed: whether {} has it is being found out", attempt.provider);
    submission.live.update(attempt.generation, |view| view.why = Some(why));
    Ok(())
}

/// What the provider says it has under our tag. "Nothing" is no verdict before the deadline: the submit may still be on its way.
async fn ask(submission: &Submission, provider: &Provider, attempt: &Attempt) -> Option<Handle> {
    if !provider.adapter.capabilities(&attempt.endpoint).findable {
        return None;
    }
    let account = provider.account(&attempt.account)?;
    let call = provider.adapter.find(&attempt.endpoint, &attempt.tag)?;
    match submission.executor.ask(provider, account, &attempt.endpoint, call).await {
        Ok(reply) => match provider.adapter.read_find(&attempt.endpoint, &reply) {
            Found::Task(handle) => Some(handle),
            Found::Nothing => None,
            Found::Unclear(fault) => {
                tracing::debug!(attempt.id = %attempt.id, code = fault.code.as_str(), "a lookup told nothing");
                None
            }
        },
        Err(fault) => {
            tracing::debug!(attempt.id = %attempt.id, code = fault.code.as_str(), "a lookup failed");
            None
        }
    }
}

async fn record(submission: &Submission, attempt: &Attempt, handle: &Handle) -> Result<(), StoreError> {
    let evidence = Evidence {
        attempt: attempt.id,
        generation: attempt.generation,
        account: format!("{}/{}", attempt.provider, attempt.account),
        handle: handle.clone(),
        source: "lookup",
        at: submission.clock.now(),
    };
    submission.journal.evidence(evidence).await.map(|_| ())
}

/// Commits what was learned and wakes the stage it belongs to.
async fn learn(submission: &Submission, attempt: &Attempt, learned: Learned) -> Result<Option<Loaded>, StoreError> {
    let Some(provider) = submission.registry.provider(&attempt.provider).cloned() else { return Ok(None) };
    let around = Around {
        retry: &provider.config.retry,
        policy: &provider.policy,
        bills: provider.adapter.capabilities(&attempt.endpoint).bills,
        unit: rand::random(),
        now: submission.clock.now(),
    };
    let decided = |loaded: &Loaded| decide(loaded, attempt.id, &learned, &around);
    let after = commit(&submission.reads, &submission.journal, Start::Load(attempt.generation), decided).await?;
    match learned {
        Learned::Accepted { .. } => submission.wakes.polling.one(attempt.id),
        Learned::Unknown(_) => submission.wakes.reconcile.one(attempt.id),
        Learned::Done { .. } | Learned::NeverSent(_) | Learned::Refused(_) | Learned::GivenUp => {
            if let Some(account) = provider.account(&attempt.account) {
                account.budget.release(attempt.id);
            }
            submission.wakes.dispatch.one(attempt.generation);
        }
    }
    if let Some(loaded) = &after {
        if loaded.generation.cancel_requested_at.is_some() {
            submission.wakes.cancel.one(attempt.generation);
        }
        if loaded.generation.state().terminal() {
            submission.live.forget(attempt.generation);
        }
    }
    Ok(after)
}
