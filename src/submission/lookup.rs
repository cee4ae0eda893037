//! Finding out about one attempt: recorded evidence first, then the provider where it can be asked, then the deadline. Runs as a flight
//! on the socket runtime.

use std::sync::Arc;

use serde_json::Value;

use crate::{
    domain::{
        error::ErrorCode,
        record::{Attempt, Handle},
    },
    providers::{
        adapter::{Bills, Fault, Found, FoundBy, Search, Then},
        fault,
        registry::{Account, Provider},
    },
    sabotage::Mistake,
    store::{
        Evidence, EvidenceVerdict, Loaded, StoreError,
        change::{Start, commit},
    },
    submission::{
        answer::{Learned, decide},
        flight::Submission,
        reconcile::{Heard, Known, Rules, Verdict, judge},
        rivals,
    },
};

/// Pages of a list that one lookup reads. Behind them nothing is known: a list that long is never matched.
const PAGES: usize = 10;

/// The outcome of an attempt that a process left behind.
#[must_use]
pub fn orphaned() -> Learned {
    Learned::Unknown(Fault {
        code: ErrorCode::ProviderUnavailable,
        message: "the process ended between the intent and the provider's answer".to_owned(),
        http_status: None,
        provider_code: None,
        provider_message: None,
        retry_after: None,
        then: Then::Unclear,
    })
}

/// Finds out about an unconfirmed attempt.
pub async fn look_up(submission: Submission, attempt: Attempt) {
    if let Err(error) = find(&submission, &attempt).await {
        tracing::warn!(attempt.id = %attempt.id, error = %error, "a lookup could not be recorded; it is made again");
    }
}

async fn find(submission: &Submission, attempt: &Attempt) -> Result<(), StoreError> {
    let Some(generation) = submission.reads.generation(attempt.generation).await? else { return Ok(()) };
    let provider = submission.registry.provider(&attempt.provider).cloned();
    let rules = rules(submission, provider.as_deref());
    let asked_at = submission.clock.now();
    let recorded = submission.reads.owned_evidence(attempt.id).await?;
    let (mut heard, mut may_resend) = (Heard::Unclear, false);
    if let (Some(provider), true) = (&provider, recorded.is_empty()) {
        heard = ask(submission, provider, attempt).await?;
        let idempotent = provider.adapter.capabilities(&attempt.endpoint).idempotent_submit;
        may_resend = idempotent && generation.cancel_requested_at.is_none();
    }
    if heard == Heard::Nothing && Mistake::EarlyVerdict.made() {
        let fault = fault::unusable("the provider does not know it");
        return learn(submission, attempt, Learned::NeverSent(fault)).await.map(|_| ());
    }
    let known = Known { recorded, heard, asked_at, may_resend };
    match (judge(attempt, generation.on_unconfirmed, &rules, &known, submission.clock.now()), provider) {
        (Verdict::Recorded(handle), _) => adopt(submission, attempt, handle, "its recorded evidence was found").await,
        (Verdict::Found(handle), _) => found(submission, attempt, handle).await,
        (Verdict::Resend, Some(provider)) => submission.resend(provider, attempt).await,
        (Verdict::GiveUp, _) => give_up(submission, attempt).await,
        (Verdict::Resend | Verdict::Wait, _) => {
            let held = submission.clock.now() >= rules.give_up_at(attempt, crate::domain::unconfirmed::OnUnconfirmed::Fail);
            let words = if held { "it is held for an operator" } else { "whether it was accepted is being found out" };
            let why = format!("unconfirmed at {}: {words}", attempt.provider);
            submission.live.update(attempt.generation, |view| view.why = Some(why));
            Ok(())
        }
    }
}

/// The deadlines of the provider; of one that is not configured any more, the usual ones.
pub fn rules(submission: &Submission, provider: Option<&Provider>) -> Rules {
    let usual = crate::config::providers::ProviderConfig::default().submit_timeout_ms;
    Rules::of(&submission.config.dispatch, provider.map_or(usual, |provider| provider.config.submit_timeout_ms))
}

async fn give_up(submission: &Submission, attempt: &Attempt) -> Result<(), StoreError> {
    tracing::error!(
        generation.id = %attempt.generation, attempt.id = %attempt.id, provider = %attempt.provider,
        at_risk = %attempt.price.decimal(), "a submit stays unconfirmed and is given up"
    );
    learn(submission, attempt, Learned::GivenUp).await.map(|_| ())
}

/// Records what a lookup found, then adopts it; what another attempt has claimed is nobody's to adopt.
pub async fn found(submission: &Submission, attempt: &Attempt, handle: Handle) -> Result<(), StoreError> {
    match record(submission, attempt, &handle, "lookup").await? {
        EvidenceVerdict::Recorded | EvidenceVerdict::Known => {
            adopt(submission, attempt, handle, "the provider was asked and has it").await
        }
        EvidenceVerdict::Conflict => {
            let task = &handle.task_id;
            tracing::error!(attempt.id = %attempt.id, task, "another attempt holds this provider task: somebody must look");
            Ok(())
        }
    }
}

/// The provider has it: from here on it is polled.
pub async fn adopt(submission: &Submission, attempt: &Attempt, handle: Handle, reason: &'static str) -> Result<(), StoreError> {
    let late = attempt.state.ended();
    let after = learn(submission, attempt, Learned::Accepted { handle, cost: None, reason }).await?;
    if late && after.is_some() {
        tracing::warn!(attempt.id = %attempt.id, provider = %attempt.provider, "an attempt that had ended is alive: {reason}");
    }
    Ok(())
}

/// Asks the provider, in whichever way it can be asked.
pub async fn ask(submission: &Submission, provider: &Provider, attempt: &Attempt) -> Result<Heard, StoreError> {
    let Some(account) = provider.account(&attempt.account) else { return Ok(Heard::Unclear) };
    let sent = match provider.adapter.capabilities(&attempt.endpoint).found_by {
        FoundBy::Nobody => return Ok(Heard::Unclear),
        FoundBy::Tag => Value::Null,
        FoundBy::Input => submission.reads.attempt_request(attempt.id).await?.unwrap_or_default(),
    };
    let rules = rules(submission, Some(provider));
    let (from, until) = rivals::window(attempt, &rules);
    let body = sent.get("body").unwrap_or(&Value::Null);
    let search = Search { endpoint: &attempt.endpoint, tag: &attempt.tag, sent: body, from, until };
    match walk(submission, (provider, account), &search).await {
        Walked::Heard(heard) => Ok(heard),
        Walked::Listed { fits, complete } => matched(submission, attempt, &rules, (fits, complete)).await,
    }
}

/// What following the answers led to.
enum Walked {
    Heard(Heard),
    Listed { fits: Vec<Handle>, complete: bool },
}

async fn walk(submission: &Submission, (provider, account): (&Provider, &Arc<Account>), search: &Search<'_>) -> Walked {
    let Some(mut call) = provider.adapter.find(search) else { return Walked::Heard(Heard::Unclear) };
    let mut all = Vec::new();
    for _ in 0..PAGES {
        let reply = match submission.executor.ask(provider, account, search.endpoint, call).await {
            Ok(reply) => reply,
            Err(fault) => return unclear(&fault),
        };
        match provider.adapter.read_find(search, &reply) {
            Found::Task(handle) => return Walked::Heard(Heard::Task(handle)),
            Found::Nothing => return Walked::Heard(Heard::Nothing),
            Found::Unclear(fault) => return unclear(&fault),
            Found::Page { fits, next } => {
                all.extend(fits);
                match next {
                    Some(next) => call = next,
                    None => return Walked::Listed { fits: all, complete: true },
                }
            }
        }
    }
    tracing::warn!(provider = %provider.name, pages = PAGES, "a provider's list is too long to be matched");
    Walked::Listed { fits: all, complete: false }
}

fn unclear(fault: &Fault) -> Walked {
    tracing::debug!(code = fault.code.as_str(), reason = %fault.message, "a lookup told nothing");
    Walked::Heard(Heard::Unclear)
}

/// The rivals are read after the list and the claims after the rivals: a rival that was settled in between has claimed its task.
async fn matched(
    submission: &Submission,
    attempt: &Attempt,
    rules: &Rules,
    (fits, complete): (Vec<Handle>, bool),
) -> Result<Heard, StoreError> {
    let equals = submission.reads.unsettled_equals(attempt).await?;
    let rivals = equals.iter().filter(|other| rivals::rival(attempt, other, rules)).count();
    let ids: Vec<String> = fits.iter().map(|handle| handle.task_id.clone()).collect();
    let claimed = submission.reads.claimed(&holder(attempt), &ids).await?;
    Ok(rivals::only(fits, &claimed, rivals, complete))
}

/// The account under which tasks are claimed.
#[must_use]
pub fn holder(attempt: &Attempt) -> String {
    format!("{}/{}", attempt.provider, attempt.account)
}

/// Writes down a provider's id, ahead of what follows from it.
pub async fn record(
    submission: &Submission,
    attempt: &Attempt,
    handle: &Handle,
    source: &'static str,
) -> Result<EvidenceVerdict, StoreError> {
    let evidence = Evidence {
        attempt: attempt.id,
        generation: attempt.generation,
        account: holder(attempt),
        handle: handle.clone(),
        source,
        at: submission.clock.now(),
    };
    submission.journal.evidence(evidence).await
}

/// When the provider bills; of one that is not configured any more the worse is believed.
#[must_use]
pub fn bills(provider: Option<&Provider>, attempt: &Attempt) -> Bills {
    provider.map_or(Bills::AtAccept, |provider| provider.adapter.capabilities(&attempt.endpoint).bills)
}

/// Commits what was learned and wakes the stage it belongs to. None when the attempt moved on meanwhile.
pub async fn learn(submission: &Submission, attempt: &Attempt, learned: Learned) -> Result<Option<Loaded>, StoreError> {
    let provider = submission.registry.provider(&attempt.provider).cloned();
    let retry = provider.as_ref().map(|provider| provider.config.retry.clone()).unwrap_or_default();
    let policy = retry.policy();
    let around = submission.around(&retry, &policy, bills(provider.as_deref(), attempt));
    let decided = |loaded: &Loaded| decide(loaded, attempt.id, &learned, &around);
    let after = commit(&submission.reads, &submission.journal, Start::Load(attempt.generation), decided).await?;
    match learned {
        Learned::Accepted { .. } => submission.wakes.polling.one(attempt.id),
        Learned::Unknown(_) => submission.wakes.reconcile.one(attempt.id),
        Learned::Done { .. } | Learned::NeverSent(_) | Learned::Refused(_) | Learned::GivenUp | Learned::Lost => {
            if let Some(account) = provider.as_ref().and_then(|provider| provider.account(&attempt.account)) {
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
