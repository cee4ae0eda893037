//! From the files into the database. Equal evidence again changes nothing, so a merge that is broken off is simply made again.

use std::{io, path::Path, sync::Arc};

use futures_util::future::join_all;

use super::{
    file::{Found, Sealed, find},
    folder,
    format::{Content, Owner, Receipt},
};
use crate::{
    domain::id::AttemptId,
    store::{EvidenceVerdict, Journal, Reads, StoreError},
};

/// Receipts handed in at a time: a group commit.
const AT_A_TIME: usize = 128;

/// What a merge did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Merged {
    /// Files that were merged.
    pub files: usize,
    /// Files left alone, for their process lives.
    pub in_use: usize,
    /// Receipts that were new to the database.
    pub recorded: usize,
    /// Receipts that it had.
    pub known: usize,
    /// Receipts of a task that another attempt holds: somebody must look.
    pub conflicts: usize,
    /// Receipts that the database cannot take: their attempt is unknown or unreadable. Their files are set aside.
    pub refused: usize,
    /// Lines that are broken. Their files are set aside.
    pub damaged: usize,
    /// Last lines that were not finished; never acknowledged, so nothing is lost.
    pub torn: usize,
    /// Of which attempts something is known now.
    pub attempts: Vec<AttemptId>,
}

impl Merged {
    /// Receipts that are in the database now.
    #[must_use]
    pub const fn receipts(&self) -> usize {
        self.recorded.saturating_add(self.known).saturating_add(self.conflicts)
    }

    pub(super) fn add(&mut self, other: Self) {
        self.files += other.files;
        self.in_use += other.in_use;
        self.recorded += other.recorded;
        self.known += other.known;
        self.conflicts += other.conflicts;
        self.refused += other.refused;
        self.damaged += other.damaged;
        self.torn += other.torn;
        self.attempts.extend(other.attempts);
    }
}

/// Merges what processes that are gone left in a data folder, or in its folder `spool` when that is given.
///
/// # Errors
/// The store's, or of the file system; what was not merged stays.
pub async fn merge_folder(data_dir: &Path, to: (&Journal, &Reads)) -> Result<Merged, StoreError> {
    let below = folder(data_dir);
    let place = if below.is_dir() { below } else { data_dir.to_owned() };
    let Found { left, in_use } = blocking(move || find(&place)).await?;
    let mut all = Merged { in_use, ..Merged::default() };
    for sealed in left {
        all.add(file(&Arc::new(sealed), to).await?);
    }
    Ok(all)
}

/// Merges one file, then removes it or, when not all of it could be merged, sets it aside.
pub(super) async fn file(sealed: &Arc<Sealed>, to: (&Journal, &Reads)) -> Result<Merged, StoreError> {
    let reading = Arc::clone(sealed);
    let Content { receipts, damaged, torn } = blocking(move || reading.read()).await?;
    for some in receipts.get(sealed.done().0..).unwrap_or_default().chunks(AT_A_TIME) {
        let mut part = Merged::default();
        for (receipt, result) in some.iter().zip(join_all(some.iter().map(|receipt| write(receipt, to))).await) {
            part.count(receipt, result?);
        }
        sealed.went_on(some.len(), part);
    }
    let merged = Merged { files: 1, damaged: damaged.len(), torn: usize::from(torn), ..sealed.done().1 };
    let path = sealed.path().display().to_string();
    if torn {
        tracing::warn!(path, "the last line of a spool was not finished; it was never acknowledged");
    }
    let (done, whole) = (Arc::clone(sealed), damaged.is_empty() && merged.refused == 0);
    if whole {
        blocking(move || done.remove()).await?;
    } else {
        let aside = blocking(move || done.set_aside()).await?;
        tracing::error!(path = %aside.display(), lines = ?damaged, refused = merged.refused, "not all of a spool could be merged");
    }
    Ok(merged)
}

impl Merged {
    fn count(&mut self, receipt: &Receipt, verdict: Option<EvidenceVerdict>) {
        let which = match verdict {
            Some(EvidenceVerdict::Recorded) => &mut self.recorded,
            Some(EvidenceVerdict::Known) => &mut self.known,
            Some(EvidenceVerdict::Conflict) => {
                let task = &receipt.handle.task_id;
                tracing::error!(attempt.id = %receipt.attempt, task, "another attempt holds this provider task: somebody must look");
                &mut self.conflicts
            }
            None => &mut self.refused,
        };
        *which = which.saturating_add(1);
        if verdict.is_some() {
            self.attempts.push(receipt.attempt);
        }
    }
}

/// None when the database is there and will never take it.
async fn write(receipt: &Receipt, (journal, reads): (&Journal, &Reads)) -> Result<Option<EvidenceVerdict>, StoreError> {
    let written = async {
        let Some(owner) = owner(receipt, reads).await? else { return Ok(None) };
        journal.evidence(receipt.clone().evidence(owner)).await.map(Some)
    };
    match written.await {
        Ok(None) => {
            tracing::error!(attempt.id = %receipt.attempt, task = receipt.handle.task_id, "a spooled receipt is of an unknown attempt");
            Ok(None)
        }
        Err(error @ (StoreError::Corrupt { .. } | StoreError::Conflict { .. } | StoreError::Unstorable { .. })) => {
            tracing::error!(attempt.id = %receipt.attempt, task = receipt.handle.task_id, error = %error, "a spooled receipt is refused");
            Ok(None)
        }
        other => other,
    }
}

async fn owner(receipt: &Receipt, reads: &Reads) -> Result<Option<Owner>, StoreError> {
    if let Some(owner) = &receipt.owner {
        return Ok(Some(owner.clone()));
    }
    let attempt = reads.attempt(receipt.attempt).await?;
    Ok(attempt
        .map(|attempt| Owner { generation: attempt.generation, account: format!("{}/{}", attempt.provider, attempt.account) }))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(StoreError::unavailable),
        Err(lost) => Err(StoreError::unavailable(lost)),
    }
}
