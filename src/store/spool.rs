//! The evidence spool: what a provider told us while the database does not take it goes to an fsynced file in `data_dir`, and from
//! there into the database before anything further is submitted. One file a process, locked while it lives and found by its path;
//! what is left by a process that was killed is merged by the next start, or by `longtake spool merge`.

mod file;
mod format;
mod merge;
#[cfg(test)]
mod tests;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    domain::id::NodeId,
    store::{Evidence, EvidenceVerdict, Journal, Reads, StoreError},
};
use file::{Sealed, Writer};

pub use format::Receipt;
pub use merge::{Merged, merge_folder};

/// How long the journal may take before evidence goes to the file too: far beyond a commit on a busy disk, and short enough that a
/// process which is killed meanwhile has seldom more than that in memory alone. Written twice it is merged as known.
const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes that all files of a process may have: some 200,000 receipts. Past it receipts are refused, as on a full disk.
const LARGEST: u64 = 64 * 1024 * 1024;

/// The spool of this process. Clones share it.
#[derive(Debug, Clone)]
pub struct Spool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    node: NodeId,
    /// Held for one append.
    files: Mutex<Files>,
    /// Receipts in the files.
    waiting: AtomicU64,
    /// One merge at a time.
    merging: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Files {
    /// Written to; made with the first receipt.
    current: Option<Writer>,
    /// To be merged; oldest first.
    sealed: Vec<Arc<Sealed>>,
    made: u32,
}

/// Where evidence is now; both survive a kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// In the database.
    Written(EvidenceVerdict),
    /// In the file.
    Spooled,
}

impl Spool {
    /// The spool of a process whose folder is `data_dir`. Touches nothing until there is a receipt.
    #[must_use]
    pub fn at(data_dir: &Path, node: NodeId) -> Self {
        let inner = Inner {
            folder: folder(data_dir),
            node,
            files: Mutex::default(),
            waiting: AtomicU64::new(0),
            merging: tokio::sync::Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// How many receipts wait for the database.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.inner.waiting.load(Ordering::Acquire)
    }

    /// Keeps evidence: in the database, or in the file where the database does not take it in time, whatever the reason. Once this
    /// returns Ok a kill does not lose it.
    ///
    /// # Errors
    /// The journal's, when the file does not take it either.
    pub async fn keep(&self, journal: &Journal, evidence: &Evidence) -> Result<Kept, StoreError> {
        let error = match tokio::time::timeout(PATIENCE, journal.evidence(evidence.clone())).await {
            Ok(Ok(verdict)) => return Ok(Kept::Written(verdict)),
            Ok(Err(error)) => error,
            Err(_) => StoreError::Timeout,
        };
        match self.put(Receipt::of(evidence)).await {
            Ok(()) => {
                tracing::warn!(attempt.id = %evidence.attempt, error = %error, "the database does not take evidence: it is spooled");
                Ok(Kept::Spooled)
            }
            Err(full) => {
                tracing::error!(attempt.id = %evidence.attempt, error = %full, "evidence cannot be spooled either");
                Err(error)
            }
        }
    }

    /// Writes a receipt into the file; durable once this returns Ok.
    ///
    /// # Errors
    /// The file system's; then nothing of it will be read.
    pub async fn put(&self, receipt: Receipt) -> io::Result<()> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || inner.append(&receipt)).await.map_err(io::Error::other)?
    }

    /// Writes what waits into the database and removes the files. Nothing to do costs one look at a number. Takes two seconds at most,
    /// so that no actor hangs in it while the database does; what is done is not done again. Cancel safe.
    ///
    /// # Errors
    /// The store's, or of the file system; then the files stay. [`StoreError::Timeout`] when something is left to do.
    pub async fn merge(&self, journal: &Journal, reads: &Reads) -> Result<Merged, StoreError> {
        if self.waiting() == 0 {
            return Ok(Merged::default());
        }
        tokio::time::timeout(PATIENCE, self.merge_all(journal, reads)).await.unwrap_or(Err(StoreError::Timeout))
    }

    async fn merge_all(&self, journal: &Journal, reads: &Reads) -> Result<Merged, StoreError> {
        let mut all = Merged::default();
        let _alone = self.inner.merging.lock().await;
        self.inner.seal();
        while let Some(sealed) = self.inner.oldest() {
            let merged = merge::file(&sealed, (journal, reads)).await?;
            all.add(merged);
            self.inner.files().sealed.retain(|other| !Arc::ptr_eq(other, &sealed));
            self.inner.waiting.fetch_sub(sealed.receipts(), Ordering::AcqRel);
        }
        tracing::info!(receipts = all.receipts(), "what was spooled is in the database");
        Ok(all)
    }

    #[cfg(test)]
    fn paths(&self) -> Vec<PathBuf> {
        std::fs::read_dir(&self.inner.folder).map(|all| all.map(|entry| entry.unwrap().path()).collect()).unwrap_or_default()
    }
}

impl Inner {
    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, receipt: &Receipt) -> io::Result<()> {
        let line = format::line(receipt)?;
        let mut files = self.files();
        if files.bytes().saturating_add(u64::try_from(line.len()).unwrap_or(u64::MAX)) > LARGEST {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the spool is full"));
        }
        let mut writer = match files.current.take() {
            Some(writer) => writer,
            None => {
                files.made = files.made.saturating_add(1);
                Writer::make(&self.folder, &format!("{}-{}", self.node, files.made))?
            }
        };
        let written = writer.append(&line);
        match written {
            Ok(()) => {
                files.current = Some(writer);
                self.waiting.fetch_add(1, Ordering::AcqRel);
            }
            // What is behind its last whole line is not known any more: the next receipt begins a new file.
            Err(_) => files.sealed.extend(writer.seal().map(Arc::new)),
        }
        written
    }

    fn oldest(&self) -> Option<Arc<Sealed>> {
        self.files().sealed.first().cloned()
    }

    fn seal(&self) {
        let mut files = self.files();
        let current = files.current.take().and_then(Writer::seal);
        files.sealed.extend(current.map(Arc::new));
    }
}

impl Files {
    fn bytes(&self) -> u64 {
        self.current.as_ref().map_or(0, Writer::bytes).saturating_add(self.sealed.iter().map(|sealed| sealed.bytes()).sum())
    }
}

/// Below a data folder.
fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("spool")
}
