//! The half of intake that writes: one journal entry, then a wake. The answer to the client comes only after the commit.

use std::time::Duration;

use tokio::runtime::Handle;

use crate::{
    domain::{
        claim::Claim,
        id::{GenerationId, ProjectId},
        time::Timestamp,
    },
    sabotage::Mistake,
    store::{Birth, Journal, Reads, StoreError},
    wake::Wake,
};

/// Commits a birth and hints at it. Run it on the socket runtime: a client that leaves must not stop it halfway.
///
/// # Errors
/// The store's; then nothing was promised. The journal resolves a lost commit answer itself before it says so.
pub async fn accept(journal: &Journal, dispatch: &Wake<GenerationId>, birth: Birth) -> Result<(), StoreError> {
    let id = birth.generation.id;
    if Mistake::AnswerBeforeCommit.made() {
        commit_later(journal.clone(), birth);
        return Ok(());
    }
    let mut birth = birth;
    let claim = if Mistake::ClaimAfterBirth.made() { birth.claim.take() } else { None };
    journal.birth(birth).await?;
    dispatch.one(id);
    match claim {
        Some(claim) => claim_later(journal, claim).await,
        None => Ok(()),
    }
}

/// The mistake of claiming the key behind the birth; late, as there.
async fn claim_later(journal: &Journal, claim: Claim) -> Result<(), StoreError> {
    tokio::time::sleep(LATE).await;
    journal.claim(claim).await
}

/// How late a mistake commits: what a slow disk takes, so that a kill finds it.
const LATE: Duration = Duration::from_millis(150);

/// The mistake of answering first.
fn commit_later(journal: Journal, birth: Birth) {
    Handle::current().spawn(async move {
        tokio::time::sleep(LATE).await;
        if let Err(error) = journal.birth(birth).await {
            tracing::error!(error = %error, "a birth that was acknowledged is not committed");
        }
    });
}

/// What became of the wish to cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelWish {
    /// Nothing of that id belongs to the project.
    Unknown,
    /// It has ended; nothing changes.
    Ended,
    /// Noted (now or earlier); its owner draws the conclusions.
    Noted,
}

/// Notes the client's wish: a fact, written once, repeatable. The wakes are those of who ends what waits and of who asks providers.
///
/// # Errors
/// The store's.
pub async fn cancel(
    (journal, reads): (&Journal, &Reads),
    wakes: [&Wake<GenerationId>; 2],
    id: GenerationId,
    project: ProjectId,
    now: Timestamp,
) -> Result<CancelWish, StoreError> {
    let Some(generation) = reads.generation(id).await?.filter(|generation| generation.project == project) else {
        return Ok(CancelWish::Unknown);
    };
    if generation.state().terminal() {
        return Ok(CancelWish::Ended);
    }
    let noted = journal.request_cancel(id, project, now).await?;
    wakes.into_iter().for_each(|wake| wake.one(id));
    // It may have ended between the read and the write.
    Ok(if noted.is_some() { CancelWish::Noted } else { CancelWish::Ended })
}
