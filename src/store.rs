//! The store: rows are the truth. All writes of the path go through the journal (group commit with lanes); reads have their own
//! connections. SQLite and PostgreSQL pass one conformance suite.

pub mod balances;
pub mod change;
pub mod decisions;
pub mod entry;
pub mod feed;
pub mod finish;
pub mod error;
pub mod journal;
pub mod keys;
pub mod lines;
pub mod loads;
pub mod map;
pub mod notices;
pub mod reads;
pub mod retention;
pub mod retries;
pub mod shards;
pub mod spool;
pub mod videos;
pub mod watch;
pub mod webhooks;
mod checkpoint;
mod connect;
mod lock;
mod recent;

use std::{path::Path, sync::Arc};

use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{clock::Clock, config::store::StoreConfig, domain::id::NodeId, lifeline::Lifeline};
use connect::Target;
use lock::Lock;

pub use balances::KeptBalances;
pub use decisions::{Decision, DecisionRow, Decisions, NewDecision, Outcome as DecisionOutcome};
pub use entry::*;
pub use error::StoreError;
pub use feed::{Feed, Following, Gone, Topic};
pub use journal::{Journal, JournalCounts};
pub use keys::{KeyRecord, Keys, Project, Scope};
pub use loads::Load;
pub use notices::{Made, Tried};
pub use reads::{
    EvidenceRow, HistoryRow, ListFilter, Loaded, PlaceRow, Reads, SlotRow, Spend, SpendBy, SpendFilter, SpendRow, StateCounts,
    Took, VideoPage, WaitingRow,
};
pub use recent::Remembered;
pub use retention::Retention;
pub use spool::{Kept, Spool};
pub use videos::Videos;
pub use watch::{Ring, Watch};
pub use webhooks::{DeliveryFilter, Webhooks};

/// The database, opened. Clones share it; with the last one the journals made from it end too.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    journal: Journal,
    reads: Reads,
    keys: Keys,
    spool: Spool,
    decisions: Decisions,
    watch: Watch,
    feed: Feed,
    webhooks: Webhooks,
    retention: Retention,
    balances: KeptBalances,
    videos: Videos,
    lock: Option<Arc<Lock>>,
    closing: CancellationToken,
    tasks: TaskTracker,
}

impl Drop for Inner {
    /// Without `close` the writers still answer what they hold, then end.
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

impl Store {
    /// Opens for a server: takes the lock (an OS lock beside the SQLite file, a session advisory lock on PostgreSQL), migrates,
    /// merges the evidence that processes before it have spooled, marks every other node dead and claims all shards.
    ///
    /// # Errors
    /// [`StoreError::Locked`] while another server runs on this database; [`StoreError::Unavailable`] when it cannot be reached.
    pub async fn open(
        config: &StoreConfig,
        data_dir: &Path,
        node: NodeId,
        clock: Clock,
        runtime: &Handle,
    ) -> Result<Self, StoreError> {
        let (target, config, data_dir) = (Target::of(config, data_dir)?, config.clone(), data_dir.to_owned());
        let opening = async move {
            let lock = Arc::new(Lock::take(&target, node).await?);
            connect::migrate(&target).await?;
            let spool = Spool::at(&data_dir, node);
            merge_left(&data_dir, &target, &config).await?;
            let held = journal::nodes::take_over(&target, node, clock.now()).await?;
            let store = Self::start(&target, &config, (journal::Scope::new(node, held), Some(lock)), spool, clock)?;
            store.keys().ensure_default_project().await?;
            Ok(store)
        };
        on(runtime, opening).await
    }

    /// Opens beside a running server for short admin commands. Takes no lock for longer than a migration needs, claims
    /// nothing; its journal loses every transition.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the database cannot be reached.
    pub async fn open_beside(config: &StoreConfig, data_dir: &Path, clock: Clock, runtime: &Handle) -> Result<Self, StoreError> {
        let (target, config) = (Target::of(config, data_dir)?, config.clone());
        let spool = Spool::at(data_dir, NodeId::fresh());
        let opening = async move {
            match Lock::take(&target, NodeId::fresh()).await {
                Ok(lock) => {
                    connect::migrate(&target).await?;
                    lock.release().await;
                }
                // Whoever holds it has migrated, or is about to.
                Err(StoreError::Locked { .. }) => connect::await_migrated(&target).await?,
                Err(error) => return Err(error),
            }
            let store = Self::start(&target, &config, (journal::Scope::nobody(), None), spool, clock)?;
            store.keys().ensure_default_project().await?;
            Ok(store)
        };
        on(runtime, opening).await
    }

    fn start(
        target: &Target,
        config: &StoreConfig,
        (scope, lock): (journal::Scope, Option<Arc<Lock>>),
        spool: Spool,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let (closing, tasks) = (CancellationToken::new(), TaskTracker::new());
        let recent = recent::Recent::of(config.recent);
        let watch = Watch::default();
        let scope = scope.remembering(recent.clone()).ringing(watch.clone());
        let journal = journal::start(target, config, scope, lock.clone(), (&closing, &tasks))?;
        if lock.is_some() {
            checkpoint::start(target, &journal, &closing, &tasks);
        }
        let reads = Reads::new(target.readers(config.readers), recent, target.read_timeout());
        let admin = target.admin();
        let decisions = Decisions::new(admin.clone(), target.write_timeout());
        let retention = Retention::new(admin.clone(), target.write_timeout());
        let balances = KeptBalances::new(admin.clone(), target.write_timeout());
        let videos = Videos::new(admin.clone(), target.write_timeout());
        let webhooks = Webhooks::new(admin.clone(), target.write_timeout());
        let keys = Keys::new(admin, target.write_timeout(), clock);
        let feed = Feed::default();
        let inner = Inner {
            journal,
            reads,
            keys,
            spool,
            decisions,
            balances,
            retention,
            videos,
            watch,
            feed,
            webhooks,
            lock,
            closing,
            tasks,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The way to write, as long as the lifeline holds.
    #[must_use]
    pub fn journal(&self, lifeline: &Lifeline) -> Journal {
        self.inner.journal.under(lifeline)
    }

    /// The way to read.
    #[must_use]
    pub fn reads(&self) -> Reads {
        self.inner.reads.clone()
    }

    /// The way to hear of what this process commits.
    #[must_use]
    pub fn watch(&self) -> Watch {
        self.inner.watch.clone()
    }

    /// Endpoints of projects.
    #[must_use]
    pub fn webhooks(&self) -> Webhooks {
        self.inner.webhooks.clone()
    }

    /// Where streams hear of events.
    #[must_use]
    pub fn feed(&self) -> Feed {
        self.inner.feed.clone()
    }

    /// What operators decide about unknown submits.
    #[must_use]
    pub fn decisions(&self) -> Decisions {
        self.inner.decisions.clone()
    }

    /// Deletes videos below `/v1`.
    #[must_use]
    pub fn videos(&self) -> Videos {
        self.inner.videos.clone()
    }

    /// Removes what is kept for a time only.
    #[must_use]
    pub fn retention(&self) -> Retention {
        self.inner.retention.clone()
    }

    /// What is left on accounts at providers, as last read.
    #[must_use]
    pub fn balances(&self) -> KeptBalances {
        self.inner.balances.clone()
    }

    /// Projects and keys.
    #[must_use]
    pub fn keys(&self) -> Keys {
        self.inner.keys.clone()
    }

    /// The way to keep evidence, whether or not the database takes it.
    #[must_use]
    pub fn spool(&self) -> Spool {
        self.inner.spool.clone()
    }

    /// Whether this node may still trust what it holds: the lock that `open` takes excludes every other. Not while it is to be taken
    /// again, after its session on PostgreSQL ended.
    #[must_use]
    pub fn trust_window(&self) -> bool {
        self.inner.lock.as_ref().is_none_or(|lock| lock.trusted())
    }

    /// Returns once the lock is lost for good (another server has taken over the database on PostgreSQL): this one must end. Never on
    /// SQLite, where the lock lives as long as the process. The lock is watched only while somebody waits here. Cancel safe.
    pub async fn lock_lost(&self) {
        match &self.inner.lock {
            Some(lock) => lock.lost().await,
            None => std::future::pending().await,
        }
    }

    /// Answers what is queued, refuses what comes later, checkpoints and releases the lock.
    pub async fn close(&self) {
        self.inner.closing.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        self.inner.reads.close().await;
        self.inner.keys.close().await;
        if let Some(lock) = &self.inner.lock {
            lock.release().await;
        }
    }
}

/// Merges what the processes before this one have spooled, through a journal of its own that ends with it: it needs no shard.
async fn merge_left(data_dir: &Path, target: &Target, config: &StoreConfig) -> Result<(), StoreError> {
    let (closing, tasks) = (CancellationToken::new(), TaskTracker::new());
    let journal = journal::start(target, config, journal::Scope::nobody(), None, (&closing, &tasks))?;
    let reads = Reads::new(target.readers(1), recent::Recent::of(0), target.read_timeout());
    let merged = spool::merge_folder(data_dir, (&journal, &reads)).await;
    closing.cancel();
    tasks.close();
    tasks.wait().await;
    reads.close().await;
    let merged = merged?;
    if merged.files > 0 {
        tracing::info!(files = merged.files, receipts = merged.receipts(), "merged what was spooled before");
    }
    Ok(())
}

/// Runs on the runtime that owns the sockets: a connection belongs to the runtime it was opened on.
async fn on<T: Send + 'static>(
    runtime: &Handle,
    work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    match runtime.spawn(work).await {
        Ok(result) => result,
        Err(error) => Err(StoreError::unavailable(error)),
    }
}
