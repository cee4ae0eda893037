//! Carrying out what operators decided. A decision is a claim, not a proof: the provider is asked before an id is believed, and what is
//! recorded counts against a word. Runs as a flight of the attempt.

use std::time::Duration;

use url::Url;

use crate::{
    domain::{
        attempt::{AttemptState, Outcome as Ended},
        record::{Attempt, Handle},
    },
    providers::adapter::{Context, Polled},
    store::{Decision, DecisionOutcome as Outcome, DecisionRow, EvidenceVerdict, StoreError},
    submission::{
        answer::Learned,
        flight::Submission,
        lookup::{adopt, holder, learn, record},
    },
};

/// How long a provider that cannot be asked keeps a decision open. Past it the operator decides anew, when it answers again.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// Carries out a decision, or leaves it open when nothing can be said yet.
pub async fn carry_out(submission: Submission, row: DecisionRow) {
    let outcome = match judged(&submission, &row).await {
        Ok(Some(outcome)) => outcome,
        Ok(None) => return,
        Err(error) => {
            tracing::warn!(attempt.id = %row.what.attempt, error = %error, "an operator's decision could not be carried out yet");
            return;
        }
    };
    let (attempt, by, reason) = (row.what.attempt, &row.what.by, outcome.reason());
    let (decision, came) = (row.what.decision.as_str(), outcome.as_str());
    tracing::warn!(attempt.id = %attempt, by, decision, outcome = came, reason, "an operator decided about an unknown submit");
    if let Err(error) = submission.store.decisions().settle(row.id, &outcome, submission.clock.now()).await {
        // Judged once more: it comes to the same.
        tracing::warn!(attempt.id = %attempt, error = %error, "what came of a decision is not written down yet");
    }
}

/// None: to be judged again later.
async fn judged(submission: &Submission, row: &DecisionRow) -> Result<Option<Outcome>, StoreError> {
    let Some(attempt) = submission.reads.attempt(row.what.attempt).await? else {
        return Ok(Some(Outcome::Refused("there is no such attempt any more".to_owned())));
    };
    let outcome = match &row.what.decision {
        Decision::Lost => lost(submission, &attempt).await?,
        Decision::Adopt { provider_task } => adopted(submission, &attempt, named(provider_task)).await?,
    };
    let late = submission.clock.now() >= row.what.at.plus(PATIENCE);
    Ok(outcome.or_else(|| late.then(|| Outcome::Refused("the provider could not be asked for an hour".to_owned()))))
}

/// The task that an operator named by its id, or by the URL at which it is polled: some providers know a task at that alone.
fn named(provider_task: &str) -> Handle {
    let url = Url::parse(provider_task).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let id = url.as_ref().and_then(|url| url.query_pairs().find(|(name, _)| name == "id").map(|(_, id)| id.into_owned()));
    match id {
        Some(task_id) => Handle { task_id, poll_url: Some(provider_task.to_owned()) },
        None => Handle { task_id: provider_task.to_owned(), poll_url: None },
    }
}

async fn lost(submission: &Submission, attempt: &Attempt) -> Result<Option<Outcome>, StoreError> {
    match attempt.state {
        AttemptState::Submitting => return Ok(None),
        AttemptState::Unconfirmed => {}
        AttemptState::Ended(Ended::GivenUp) if attempt.lost_at.is_none() => {}
        AttemptState::Ended(Ended::GivenUp) => return Ok(Some(Outcome::Done("it is declared lost".to_owned()))),
        AttemptState::Running | AttemptState::Storing | AttemptState::Ended(_) => return Ok(Some(settled(attempt))),
    }
    if let Some(handle) = submission.reads.owned_evidence(attempt.id).await?.first() {
        return Ok(Some(Outcome::Refused(format!("the provider has it: its id {} is recorded", handle.task_id))));
    }
    let after = learn(submission, attempt, Learned::Lost).await?;
    Ok(after.map(|_| Outcome::Done("it is declared lost; its money is at risk no longer".to_owned())))
}

async fn adopted(submission: &Submission, attempt: &Attempt, handle: Handle) -> Result<Option<Outcome>, StoreError> {
    let has = attempt.handle.as_ref().is_some_and(|known| known.task_id == handle.task_id);
    match attempt.state {
        AttemptState::Submitting => return Ok(None),
        AttemptState::Unconfirmed | AttemptState::Ended(Ended::GivenUp | Ended::TimedOut) => {}
        AttemptState::Running | AttemptState::Storing | AttemptState::Ended(_) if has => {
            return Ok(Some(Outcome::Done(format!("it is {} under this id", attempt.state.as_str()))));
        }
        AttemptState::Running | AttemptState::Storing | AttemptState::Ended(_) => return Ok(Some(settled(attempt))),
    }
    let owner = submission.reads.task_owner(&holder(attempt), &handle.task_id).await?;
    if owner.is_some_and(|owner| owner != attempt.id) {
        return Ok(Some(Outcome::Refused("another attempt has claimed this task".to_owned())));
    }
    match exists(submission, attempt, &handle).await {
        Exists::Yes => {}
        Exists::No(why) => return Ok(Some(Outcome::Refused(why))),
        Exists::Unclear => return Ok(None),
    }
    match record(submission, attempt, &handle, "operator").await? {
        EvidenceVerdict::Recorded | EvidenceVerdict::Known => {}
        EvidenceVerdict::Conflict => return Ok(Some(Outcome::Refused("another attempt has claimed this task".to_owned()))),
    }
    adopt(submission, attempt, handle, "an operator named its id and the provider knows it").await?;
    Ok(Some(Outcome::Done("the provider knows it: it is polled".to_owned())))
}

fn settled(attempt: &Attempt) -> Outcome {
    Outcome::Refused(format!("the attempt is {}: nothing is in doubt", attempt.state.as_str()))
}

/// Whether the provider has a task.
enum Exists {
    Yes,
    No(String),
    Unclear,
}

async fn exists(submission: &Submission, attempt: &Attempt, handle: &Handle) -> Exists {
    let provider = submission.registry.provider(&attempt.provider);
    let Some((provider, account)) = provider.and_then(|known| Some((known, known.account(&attempt.account)?))) else {
        return Exists::No(format!("account {} is not configured any more", holder(attempt)));
    };
    let context = Context::of(attempt, handle);
    let call = match provider.adapter.poll(&context) {
        Ok(call) => call,
        Err(fault) => return Exists::No(fault.message),
    };
    let Ok(reply) = submission.executor.ask(provider, account, &attempt.endpoint, call).await else { return Exists::Unclear };
    match provider.adapter.read_poll(&context, &reply) {
        Polled::Pending { .. } | Polled::Done { .. } | Polled::Failed(_) => Exists::Yes,
        Polled::Missing(_) => Exists::No(format!("{} does not know this task", attempt.provider)),
        Polled::Unclear(_) | Polled::Next(_) => Exists::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_named_by_its_id_or_by_where_it_is_polled() {
        let by = |text: &str| (named(text).task_id, named(text).poll_url);
        assert_eq!(by("8668-a"), ("8668-a".to_owned(), None));
        let url = "https://api.us1.bfl.ai/v1/get_result?id=t-1";
        assert_eq!(by(url), ("t-1".to_owned(), Some(url.to_owned())));
        assert_eq!(by("https://x.test/no-id").1, None);
    }
}
