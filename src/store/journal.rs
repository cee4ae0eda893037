//! The journal: all writes of the path. Callers hand in entries and wait; a writer commits what is there as a group and answers
//! each. Nothing is answered before its commit is durable.

pub mod bundle;
pub mod connection;
pub mod nodes;
pub mod pipeline;
mod births;
mod books;
mod cancels;
mod decide;
mod evidence;
mod lane;
mod limits;
mod link;
mod resolve;
mod rows;
mod sql;
mod tables;
mod thread;
mod transitions;
mod writer;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    births::Births,
    cancels::{Cancels, Wish},
    evidence::EvidenceLane,
    lane::{Inbox, Lane, Work},
    link::Link,
    rows::{Born, Learned, Move},
    transitions::{Step, Transitions},
    writer::{Lanes, Writer},
};
use crate::{
    config::store::StoreConfig,
    domain::{
        id::{GenerationId, NodeId, ProjectId},
        time::Timestamp,
    },
    lifeline::Lifeline,
    sabotage::Mistake,
    store::{
        StoreError,
        connect::Target,
        entry::{Birth, Evidence, EvidenceVerdict, Transition, Verdict},
        lock::Lock,
        recent::Recent,
        shards::Held,
    },
};

/// How long a caller waits for room in a full queue: longer than the writer needs for a full one, shorter than a client waits.
const ROOM: Duration = Duration::from_secs(10);

/// For whom a writer writes.
#[derive(Debug, Clone)]
pub struct Scope {
    node: Arc<str>,
    held: Held,
    recent: Recent,
}

impl Scope {
    /// A server and its shards.
    #[must_use]
    pub fn new(node: NodeId, held: Held) -> Self {
        Self { node: node.0.simple().to_string().into(), held, recent: Recent::of(0) }
    }

    /// A command beside a server: no row in `nodes`, no shard; it loses every transition.
    #[must_use]
    pub fn nobody() -> Self {
        Self { node: uuid::Uuid::nil().simple().to_string().into(), held: Held::none(), recent: Recent::of(0) }
    }

    /// The same, telling what it committed to this memory.
    #[must_use]
    pub fn remembering(self, recent: Recent) -> Self {
        Self { recent, ..self }
    }
}

/// What the journal has done since the start; every number only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JournalCounts {
    /// Durable commits that wrote rows of the path.
    pub commits: u64,
    /// Births.
    pub births: u64,
    /// Transitions that won.
    pub transitions: u64,
    /// Evidence that was new.
    pub evidence: u64,
    /// Transitions that lost.
    pub lost: u64,
}

/// The counters.
#[derive(Debug, Default)]
pub struct Tally {
    commits: AtomicU64,
    births: AtomicU64,
    transitions: AtomicU64,
    evidence: AtomicU64,
    lost: AtomicU64,
}

impl Tally {
    fn committed(&self) {
        self.commits.fetch_add(1, Ordering::Relaxed);
    }

    /// The numbers now.
    pub fn counts(&self) -> JournalCounts {
        JournalCounts {
            commits: self.commits.load(Ordering::Relaxed),
            births: self.births.load(Ordering::Relaxed),
            transitions: self.transitions.load(Ordering::Relaxed),
            evidence: self.evidence.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
        }
    }
}

/// The way to write. Clones share the queues; each carries its caller's lifeline.
#[derive(Debug, Clone)]
pub struct Journal {
    lifeline: Lifeline,
    queues: Queues,
    tally: Arc<Tally>,
}

#[derive(Debug, Clone)]
struct Queues {
    evidence: mpsc::Sender<Work<EvidenceLane>>,
    transitions: mpsc::Sender<Work<Transitions>>,
    cancels: mpsc::Sender<Work<Cancels>>,
    births: mpsc::Sender<Work<Births>>,
}

/// Starts the writers on a thread of their own.
///
/// # Errors
/// [`StoreError::Unavailable`] when the system gives no thread.
pub fn start(
    target: &Target,
    config: &StoreConfig,
    scope: Scope,
    lock: Option<Arc<Lock>>,
    (closing, tasks): (&CancellationToken, &TaskTracker),
) -> Result<Journal, StoreError> {
    let (evidence, evidence_in) = mpsc::channel(config.queue.max(1));
    let (transitions, transitions_in) = mpsc::channel(config.queue.max(1));
    let (cancels, cancels_in) = mpsc::channel(config.queue.max(1));
    let (births, births_in) = mpsc::channel(config.queue.max(1));
    let tally = Arc::new(Tally::default());
    let lanes = Lanes {
        evidence: Some(Inbox::new(evidence_in)),
        transitions: Some(Inbox::new(transitions_in)),
        cancels: Some(Inbox::new(cancels_in)),
        births: Some(Inbox::new(births_in)),
    };
    // SQLite has one writer; PostgreSQL has a session a lane, so that none waits for another's commit.
    let groups = if target.file().is_some() { vec![lanes] } else { lanes.apart() };
    let writers = groups.into_iter().map(|lanes| {
        let writer = Writer {
            link: Link::new(target.clone()),
            scope: scope.clone(),
            tally: Arc::clone(&tally),
            batch: config.batch.max(1),
            lock: lock.clone(),
        };
        writer.run(lanes, closing.clone())
    });
    thread::run(writers.collect(), tasks).map_err(StoreError::unavailable)?;
    Ok(Journal { lifeline: Lifeline::default(), queues: Queues { evidence, transitions, cancels, births }, tally })
}

impl Journal {
    /// The same journal under another lifeline.
    #[must_use]
    pub fn under(&self, lifeline: &Lifeline) -> Self {
        Self { lifeline: lifeline.clone(), ..self.clone() }
    }

    /// Writes a new generation.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the id exists; [`StoreError::OverLimit`] when a daily limit would be passed; otherwise as every call here: `Revoked`, `Busy`, `Timeout`, `Unavailable`,
    /// `Closed`.
    pub async fn birth(&self, birth: Birth) -> Result<(), StoreError> {
        let born = Box::new(Born::of(birth)?);
        self.hand_in(&self.queues.births, born).await??;
        self.tally.births.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Writes a transition, all of it or nothing.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when a new row contradicts the schema; otherwise as [`Journal::birth`].
    pub async fn transition(&self, entry: impl Into<Arc<Transition>>) -> Result<Verdict, StoreError> {
        let entry = entry.into();
        let step = Step::Move(Box::new(Move::of(&entry)?), entry);
        let verdict = self.hand_in(&self.queues.transitions, step).await?;
        match verdict {
            Verdict::Won => self.tally.transitions.fetch_add(1, Ordering::Relaxed),
            Verdict::Lost => self.tally.lost.fetch_add(1, Ordering::Relaxed),
        };
        Ok(verdict)
    }

    /// Writes what a provider told us.
    ///
    /// # Errors
    /// As [`Journal::birth`]; never because of the fence.
    pub async fn evidence(&self, evidence: Evidence) -> Result<EvidenceVerdict, StoreError> {
        if Mistake::EvidenceDropped.made() {
            return Ok(EvidenceVerdict::Recorded);
        }
        let verdict = self.hand_in(&self.queues.evidence, Learned::of(&evidence)?).await?;
        match verdict {
            EvidenceVerdict::Recorded => {
                self.tally.evidence.fetch_add(1, Ordering::Relaxed);
            }
            EvidenceVerdict::Known | EvidenceVerdict::Conflict => {}
        }
        Ok(verdict)
    }

    /// Records once that a client wants a generation of its project cancelled; a terminal one stays as it is. None: the
    /// project has no such generation.
    ///
    /// # Errors
    /// As [`Journal::birth`].
    pub async fn request_cancel(&self, id: GenerationId, project: ProjectId, at: Timestamp) -> Result<Option<()>, StoreError> {
        let wish = Wish { generation: id.0, project: project.0, at: at.0 };
        Ok(self.hand_in(&self.queues.cancels, wish).await?.then_some(()))
    }

    /// Goes through the writer and the fence and back, writing nothing.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when this node was declared dead; otherwise as [`Journal::birth`].
    pub async fn ping(&self) -> Result<(), StoreError> {
        match self.hand_in(&self.queues.transitions, Step::Ping).await? {
            Verdict::Won => Ok(()),
            Verdict::Lost => Err(StoreError::Fenced),
        }
    }

    /// What has been done so far.
    #[must_use]
    pub fn counts(&self) -> JournalCounts {
        self.tally.counts()
    }

    /// The counters alone, for those who must not keep the queues open.
    pub(crate) fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }

    /// Not cancel safe in one sense: an entry that was handed in is written even if its caller stops waiting.
    async fn hand_in<L: Lane>(&self, queue: &mpsc::Sender<Work<L>>, entry: L::Entry) -> Result<L::Answer, StoreError> {
        self.lifeline.check().map_err(|_| StoreError::Revoked)?;
        let (reply, answer) = oneshot::channel();
        let room = tokio::time::timeout(ROOM, queue.reserve()).await.map_err(|_| StoreError::Busy)?;
        room.map_err(|_| StoreError::Closed)?.send(Work { entry, lifeline: self.lifeline.clone(), reply });
        answer.await.unwrap_or(Err(StoreError::Closed))
    }
}
