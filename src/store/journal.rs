//! The journal: all writes of the path. Callers hand in entries and wait; a writer commits what is there as a group and answers
//! each. Nothing is answered before its commit is durable.

pub mod bundle;
pub mod connection;
pub mod nodes;
pub mod pipeline;
mod batches;
mod births;
mod books;
mod cancels;
mod cells;
mod claims;
mod decide;
mod evidence;
mod lane;
mod limits;
mod link;
mod loads;
mod resolve;
mod retries;
mod rows;
mod sql;
mod tables;
mod thread;
mod transitions;
pub mod notices;
mod wishes;
mod writer;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    births::{BirthStep, Births, Delivered},
    cancels::{Cancels, Wish},
    claims::ClaimRow,
    evidence::EvidenceLane,
    lane::{Inbox, Lane, Work},
    link::Link,
    loads::{LoadStep, Loads},
    notices::{Notice, Notices},
    retries::Retried,
    rows::{Born, Learned, Move},
    transitions::{Step, Transitions},
    wishes::{BatchWish, What, Wishes},
    writer::{Lanes, Writer},
};
use crate::{
    config::store::StoreConfig,
    domain::{
        batch::{Batch, CancelWish, RetryWish},
        claim::Claim,
        id::{BatchId, GenerationId, NodeId, ProjectId},
        money::Micros,
        time::Timestamp,
    },
    lifeline::Lifeline,
    sabotage::Mistake,
    store::{
        StoreError,
        connect::Target,
        entry::{Birth, Evidence, EvidenceVerdict, Noted, Transition, Verdict},
        loads::Publication,
        lock::Lock,
        recent::Recent,
        retries::Retry,
        shards::Held,
        watch::Watch,
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
    watch: Watch,
    /// The last batch was not written, because of the database: until one is, nobody can tell whether it takes any.
    in_doubt: Arc<AtomicBool>,
}

impl Scope {
    /// A server and its shards.
    #[must_use]
    pub fn new(node: NodeId, held: Held) -> Self {
        Self {
            node: node.0.simple().to_string().into(),
            held,
            recent: Recent::of(0),
            watch: Watch::default(),
            in_doubt: Arc::default(),
        }
    }

    /// A command beside a server: no row in `nodes`, no shard; it loses every transition.
    #[must_use]
    pub fn nobody() -> Self {
        Self::new(NodeId(uuid::Uuid::nil()), Held::none())
    }

    /// The same, telling what it committed to this memory.
    #[must_use]
    pub fn remembering(self, recent: Recent) -> Self {
        Self { recent, ..self }
    }

    /// The same, ringing for what it committed.
    #[must_use]
    pub fn ringing(self, watch: Watch) -> Self {
        Self { watch, ..self }
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
    wishes: mpsc::Sender<Work<Wishes>>,
    births: mpsc::Sender<Work<Births>>,
    loads: mpsc::Sender<Work<Loads>>,
    notices: mpsc::Sender<Work<Notices>>,
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
    let (wishes, wishes_in) = mpsc::channel(config.queue.max(1));
    let (notices, notices_in) = mpsc::channel(config.queue.max(1));
    let (births, births_in) = mpsc::channel(config.queue.max(1));
    let (loads, loads_in) = mpsc::channel(config.queue.max(1));
    let tally = Arc::new(Tally::default());
    let lanes = Lanes {
        evidence: Some(Inbox::new(evidence_in)),
        transitions: Some(Inbox::new(transitions_in)),
        cancels: Some(Inbox::new(cancels_in)),
        wishes: Some(Inbox::new(wishes_in)),
        births: Some(Inbox::new(births_in)),
        loads: Some(Inbox::new(loads_in)),
        notices: Some(Inbox::new(notices_in)),
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
    let queues = Queues { evidence, transitions, cancels, wishes, births, loads, notices };
    Ok(Journal { lifeline: Lifeline::default(), queues, tally })
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
    /// [`StoreError::Conflict`] when the id exists; [`StoreError::OverLimit`] when a daily limit would be passed; [`StoreError::Claimed`]
    /// when its claim is taken; otherwise as every call here: `Revoked`, `Busy`, `Timeout`, `Unavailable`, `Closed`.
    pub async fn birth(&self, birth: Birth) -> Result<(), StoreError> {
        let born = Box::new(Born::of(birth)?);
        self.deliver(BirthStep::Born(born)).await?;
        self.tally.births.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Writes a claim without what it is for: only a sabotaged process does so.
    ///
    /// # Errors
    /// As [`Journal::birth`].
    pub async fn claim(&self, claim: Claim) -> Result<(), StoreError> {
        self.deliver(BirthStep::Claim(ClaimRow::of(&claim)?)).await.map(|_| ())
    }

    /// Writes the row of a load; [`crate::store::loads::Load`] calls this and what follows in their order.
    ///
    /// # Errors
    /// As [`Journal::birth`].
    pub(in crate::store) async fn begin_load(&self, batch: &Batch) -> Result<(), StoreError> {
        self.load(LoadStep::begin(batch)?).await.map(|_| ())
    }

    /// Adds lines to a load.
    ///
    /// # Errors
    /// [`StoreError::Gone`] when it is no load any more; otherwise as [`Journal::birth`].
    pub(in crate::store) async fn load_lines(&self, batch: &Batch, lines: Vec<Birth>, at: Timestamp) -> Result<(), StoreError> {
        let born: Vec<_> = lines.into_iter().map(Born::of).collect::<Result<_, _>>()?;
        let lines = u64::try_from(born.len()).unwrap_or(0);
        self.load(LoadStep::Lines { id: batch.id.0, at: at.0, born }).await?;
        self.tally.births.fetch_add(lines, Ordering::Relaxed);
        Ok(())
    }

    /// Makes a load visible.
    ///
    /// # Errors
    /// [`StoreError::OverLimit`]; [`StoreError::Claimed`]; [`StoreError::Gone`] when it is no load any more; otherwise as [`Journal::birth`].
    pub(in crate::store) async fn publish_load(&self, publication: Publication) -> Result<(), StoreError> {
        self.deliver(BirthStep::shown(publication)?).await.map(|_| ())
    }

    /// Deletes some lines of a load that is given up and answers how many; with the last ones gone, its row.
    ///
    /// # Errors
    /// As [`Journal::birth`].
    pub(in crate::store) async fn discard_load(&self, id: BatchId, at: Timestamp) -> Result<usize, StoreError> {
        self.load(LoadStep::Discard { id: id.0, at: at.0 }).await
    }

    async fn load(&self, step: LoadStep) -> Result<usize, StoreError> {
        self.hand_in(&self.queues.loads, step).await?.ok_or(StoreError::Gone)
    }

    /// Gives lines of a batch to new generations; [`crate::store::retries::carry_out`] calls this.
    ///
    /// # Errors
    /// [`StoreError::OverLimit`]; [`StoreError::Gone`] when something of it moved meanwhile; otherwise as [`Journal::birth`].
    pub(in crate::store) async fn retry_lines(&self, retry: Retry) -> Result<(), StoreError> {
        self.deliver(BirthStep::Retry(Box::new(Retried::of(&retry)?))).await.map(|_| ())
    }

    async fn deliver(&self, step: BirthStep) -> Result<usize, StoreError> {
        match self.hand_in(&self.queues.births, step).await? {
            Delivered::Done(rows) => Ok(rows),
            Delivered::OverLimit(over) => Err(over.into()),
            Delivered::Claimed(claimed) => Err(StoreError::Claimed(claimed)),
            Delivered::Gone => Err(StoreError::Gone),
        }
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
            Verdict::Lost | Verdict::Held(_) => self.tally.lost.fetch_add(1, Ordering::Relaxed),
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

    /// Records that a client of this project wants nothing new of a batch submitted. One that has ended, or is being cancelled, stays
    /// as it is.
    ///
    /// # Errors
    /// As [`Journal::birth`].
    pub async fn pause_batch(&self, id: BatchId, project: ProjectId, at: Timestamp) -> Result<Noted, StoreError> {
        self.wish(id, project, at, What::Pause {}).await
    }

    /// Takes a pause back, also one for want of budget; with a new budget where one is given.
    ///
    /// # Errors
    /// As [`Journal::birth`].
    pub async fn resume_batch(
        &self,
        id: BatchId,
        project: ProjectId,
        budget: Option<Micros>,
        at: Timestamp,
    ) -> Result<Noted, StoreError> {
        self.wish(id, project, at, What::Resume { budget: budget.map(|amount| amount.0) }).await
    }

    /// Records that a client wants a batch cancelled: for good, and never less far than before. It acts at once on what is not
    /// submitted; the owner lets the rows follow.
    ///
    /// # Errors
    /// As [`Journal::birth`].
    pub async fn cancel_batch(&self, id: BatchId, project: ProjectId, wish: CancelWish) -> Result<Noted, StoreError> {
        self.wish(id, project, wish.at, What::Cancel { mode: wish.mode.number() }).await
    }

    /// Records that a client wants the failed lines of a batch tried again; the owner carries it out. One that is being cancelled, or
    /// of which no line failed, stays as it is.
    ///
    /// # Errors
    /// As [`Journal::birth`].
    pub async fn retry_batch(&self, id: BatchId, project: ProjectId, wish: RetryWish) -> Result<Noted, StoreError> {
        self.wish(id, project, wish.at, What::Retry { forced: wish.forced, key: wish.key.0 }).await
    }

    /// Records that what is left of a batch's budget does not suffice for a line of this price, the cheapest that waits; unless it
    /// does by now. Its owner's to say; a submit that it cannot pay is refused in any case.
    ///
    /// # Errors
    /// As [`Journal::birth`].
    pub async fn batch_over_budget(&self, batch: &Batch, price: Micros, at: Timestamp) -> Result<Noted, StoreError> {
        self.wish(batch.id, batch.project, at, What::OverBudget { price: price.0 }).await
    }

    /// Takes back a wish to retry that was carried out, unless another was made or the last line ended since the batch was read; tells
    /// of the batch's end where no line is open.
    ///
    /// # Errors
    /// As [`Journal::birth`].
    pub async fn batch_retried(&self, batch: &Batch, wish: RetryWish, at: Timestamp) -> Result<Noted, StoreError> {
        let (open, over) = (batch.completed_at.is_none(), batch.end().event());
        let what = What::Retried { wished_at: wish.at.0, forced: wish.forced, open, over };
        self.wish(batch.id, batch.project, at, what).await
    }

    async fn wish(&self, id: BatchId, project: ProjectId, at: Timestamp, what: What) -> Result<Noted, StoreError> {
        self.hand_in(&self.queues.wishes, BatchWish { batch: id.0, project: project.0, at: at.0, what }).await
    }

    /// Writes what is told to clients by webhook.
    pub(super) async fn notice(&self, notice: Notice) -> Result<bool, StoreError> {
        self.hand_in(&self.queues.notices, notice).await
    }

    /// Goes through the writer and the fence and back, writing nothing.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when this node was declared dead; otherwise as [`Journal::birth`].
    pub async fn ping(&self) -> Result<(), StoreError> {
        match self.hand_in(&self.queues.transitions, Step::Ping).await? {
            Verdict::Won => Ok(()),
            Verdict::Lost | Verdict::Held(_) => Err(StoreError::Fenced),
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
