//! The half of intake that writes: one journal entry, then a wake. The answer to the client comes only after the commit.

use std::time::Duration;

use tokio::runtime::Handle;

use crate::{
    domain::{
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
    journal.birth(birth).await?;
    dispatch.one(id);
    Ok(())
}

/// The mistake of answering first. The commit is late by what a slow disk takes, so that a kill finds it.
fn commit_later(journal: Journal, birth: Birth) {
    Handle::current().spawn(async move {
        tokio::time::sleep(Duration::from_millis(150)).await;
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

/// Notes the client's wish: a fact, written once, repeatable.
///
/// # Errors
/// The store's.
pub async fn cancel(
    (journal, reads): (&Journal, &Reads),
    wake: &Wake<GenerationId>,
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
    wake.one(id);
    // It may have ended between the read and the write.
    Ok(if noted.is_some() { CancelWish::Noted } else { CancelWish::Ended })
}
