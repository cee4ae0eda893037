//! What turns up late: evidence for an attempt that was given up or timed out, and a second task that a provider made of one submit.
//! All of it is paid, so all of it is fetched; no generation changes its status for it.

use sha2::{Digest, Sha256};

use crate::{
    domain::{
        attempt::{AttemptState, Outcome},
        id::AttemptId,
        record::{Attempt, Handle},
        time::Timestamp,
    },
    providers::{
        adapter::{Bills, Context, Polled},
        registry::Provider,
    },
    store::{
        Loaded, NewAttempt, StoreError, Transition,
        change::{Change, Start, commit},
    },
    submission::{
        flight::Submission,
        lookup::{adopt, ask, bills, found},
        reconcile::Heard,
    },
};

/// Looks whether an attempt that is out of the reconciler's hands has more to it than its row says.
pub async fn look(submission: Submission, attempt: Attempt) {
    let looked = match attempt.state {
        AttemptState::Ended(Outcome::GivenUp) => given_up(&submission, &attempt).await,
        AttemptState::Ended(Outcome::TimedOut) => timed_out(&submission, &attempt).await,
        AttemptState::Running | AttemptState::Storing | AttemptState::Ended(_) => seconds(&submission, &attempt).await,
        AttemptState::Submitting | AttemptState::Unconfirmed => Ok(()),
    };
    if let Err(error) = looked {
        tracing::warn!(attempt.id = %attempt.id, error = %error, "late evidence could not be recorded; it is looked for again");
    }
}

async fn given_up(submission: &Submission, attempt: &Attempt) -> Result<(), StoreError> {
    if let Some(handle) = submission.reads.owned_evidence(attempt.id).await?.into_iter().next() {
        return adopt(submission, attempt, handle, "its evidence came late").await;
    }
    let provider = submission.registry.provider(&attempt.provider).filter(|_| attempt.lost_at.is_none());
    let Some(provider) = provider.cloned() else { return Ok(()) };
    match ask(submission, &provider, attempt).await? {
        Heard::Task(handle) => found(submission, attempt, handle).await,
        Heard::Nothing | Heard::Unclear => Ok(()),
    }
}

/// A task that took longer than the late window is brought back only once it is done: until then nothing is to be fetched.
async fn timed_out(submission: &Submission, attempt: &Attempt) -> Result<(), StoreError> {
    seconds(submission, attempt).await?;
    let Some(provider) = submission.registry.provider(&attempt.provider).cloned() else { return Ok(()) };
    let Some(handle) = attempt.handle.clone() else { return Ok(()) };
    match poll(submission, &provider, attempt, &handle).await {
        Some(Polled::Done { outputs, .. }) if !outputs.is_empty() => {
            adopt(submission, attempt, handle, "it was finished after the late window").await
        }
        Some(_) | None => Ok(()),
    }
}

/// What the provider says of a task by its id; none when it could not be asked or gave no clear answer.
pub async fn poll(submission: &Submission, provider: &Provider, attempt: &Attempt, handle: &Handle) -> Option<Polled> {
    let account = provider.account(&attempt.account)?;
    let context = Context::of(attempt, handle);
    let call = provider.adapter.poll(&context).ok()?;
    let reply = submission.executor.ask(provider, account, &attempt.endpoint, call).await.ok()?;
    match provider.adapter.read_poll(&context, &reply) {
        Polled::Unclear(_) | Polled::Next(_) => None,
        said @ (Polled::Pending { .. } | Polled::Done { .. } | Polled::Failed(_) | Polled::Missing(_)) => Some(said),
    }
}

/// Makes an attempt of each further task that the provider made of this submit.
async fn seconds(submission: &Submission, attempt: &Attempt) -> Result<(), StoreError> {
    for handle in submission.reads.owned_evidence(attempt.id).await? {
        let request = submission.reads.attempt_request(attempt.id).await?.unwrap_or_default();
        let now = submission.clock.now();
        let charged = bills(submission.registry.provider(&attempt.provider).map(|known| &**known), attempt) == Bills::AtAccept;
        let decided = |loaded: &Loaded| second(loaded, attempt.id, &Second { handle: &handle, request: &request, charged, now });
        if commit(&submission.reads, &submission.journal, Start::Load(attempt.generation), decided).await?.is_some() {
            let task = &handle.task_id;
            tracing::error!(
                generation.id = %attempt.generation, attempt.id = %attempt.id, provider = %attempt.provider, task,
                "the provider made a second task of one submit: both are paid and delivered, somebody must look"
            );
            submission.wakes.polling.one(second_id(attempt.id, &handle));
        }
    }
    Ok(())
}

/// The id of a second task's attempt follows from both, so that it is made once.
fn second_id(of: AttemptId, handle: &Handle) -> AttemptId {
    let digest = Sha256::new().chain_update(of.0.as_bytes()).chain_update(handle.task_id.as_bytes()).finalize();
    let mut bytes = [0_u8; 16];
    bytes.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    AttemptId(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

/// A second task.
struct Second<'a> {
    handle: &'a Handle,
    /// What was sent.
    request: &'a serde_json::Value,
    /// Whether the provider bills when it accepts.
    charged: bool,
    now: Timestamp,
}

/// The transition that brings a second task's attempt into being; none when some attempt has the task already, or may still take it.
fn second(loaded: &Loaded, of: AttemptId, found: &Second<'_>) -> Option<Transition> {
    let Second { handle, request, charged, now } = *found;
    let original = loaded.attempts.iter().find(|attempt| attempt.id == of)?;
    let id = second_id(of, handle);
    let has = |attempt: &Attempt| attempt.handle.as_ref().is_some_and(|known| known.task_id == handle.task_id);
    let waits = match original.state {
        AttemptState::Submitting | AttemptState::Unconfirmed | AttemptState::Ended(Outcome::GivenUp) => true,
        AttemptState::Running | AttemptState::Storing | AttemptState::Ended(_) => false,
    };
    if waits || loaded.attempts.iter().any(|attempt| attempt.id == id || has(attempt)) {
        return None;
    }
    let n = loaded.attempts.iter().map(|attempt| attempt.n).max().unwrap_or(0).saturating_add(1);
    let attempt = Attempt {
        id,
        n,
        version: 0,
        state: AttemptState::Running,
        handle: Some(handle.clone()),
        created_at: now,
        submitted_at: Some(now),
        unconfirmed_since: None,
        updated_at: now,
        ended_at: None,
        cost: None,
        charged,
        failure: None,
        lost_at: None,
        released_at: None,
        ..original.clone()
    };
    let mut change = Change::of(&loaded.generation, now);
    let reason = format!("a second task that the provider made of attempt {}", original.n);
    change.second(NewAttempt { attempt, request: request.clone() }, &reason);
    Some(change.entry())
}

#[cfg(test)]
pub(in crate::submission) mod tests;
