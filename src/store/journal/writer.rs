//! The writer: takes what waits, commits it as a group, answers each. One task on SQLite, one a lane on PostgreSQL.
//!
//! A batch that fails because of some row is halved until that row fails alone. A lost connection is rebuilt with backoff. When
//! COMMIT's own answer is lost, what became of the transaction is read back on a new connection before anybody is answered.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use sqlx::Error;
use tokio_util::sync::CancellationToken;

use super::{
    Scope, Tally,
    births::Births,
    cancels::Cancels,
    connection::Connection,
    evidence::EvidenceLane,
    lane::{Inbox, Lane, Work, Written},
    link::Link,
    loads::Loads,
    notices::Notices,
    resolve::{self, Fate, Mark},
    transitions::Transitions,
    wishes::Wishes,
};
use crate::store::{StoreError, error::Trouble, lock::Lock};

/// A batch is tried again once on a new connection: the old one may have died while nobody used it.
const TRIES: u32 = 2;
/// How long an answer may be waited for beyond the statements' own timeouts: a network that swallows packets gives no error.
const ANSWER: Duration = Duration::from_secs(15);

/// The lanes of one writer; those it does not have are written by another.
#[derive(Default)]
pub struct Lanes {
    /// Ahead of everything.
    pub evidence: Option<Inbox<EvidenceLane>>,
    /// The path.
    pub transitions: Option<Inbox<Transitions>>,
    /// Cancel wishes.
    pub cancels: Option<Inbox<Cancels>>,
    /// Wishes about batches.
    pub wishes: Option<Inbox<Wishes>>,
    /// New generations.
    pub births: Option<Inbox<Births>>,
    /// Lines of batches on their way in.
    pub loads: Option<Inbox<Loads>>,
    /// What is told to clients.
    pub notices: Option<Inbox<Notices>>,
}

/// The task.
pub struct Writer {
    /// Its connection.
    pub link: Link,
    /// Its node and shards.
    pub scope: Scope,
    /// What it counts.
    pub tally: Arc<Tally>,
    /// Entries a commit takes at most.
    pub batch: usize,
    /// Held as long as anything may be written.
    pub lock: Option<Arc<Lock>>,
}

impl Writer {
    /// Serves until `closing`, or until every sender is gone; then what waits is still served.
    pub async fn run(mut self, mut lanes: Lanes, closing: CancellationToken) {
        let mut closed = false;
        // Evidence always goes first; the others take turns so that none starves. So between two chunks of a load everybody else who
        // waits is served once.
        while !lanes.done() {
            tokio::select! {
                biased;
                () = closing.cancelled(), if !closed => {
                    closed = true;
                    lanes.close();
                }
                () = lanes.ready() => self.round(&mut lanes).await,
            }
        }
        let Self { link, lock, .. } = self;
        link.close().await;
        drop(lock);
    }

    async fn round(&mut self, lanes: &mut Lanes) {
        self.serve(&mut lanes.evidence).await;
        self.serve(&mut lanes.transitions).await;
        self.serve(&mut lanes.evidence).await;
        self.serve(&mut lanes.cancels).await;
        self.serve(&mut lanes.wishes).await;
        self.serve(&mut lanes.births).await;
        self.serve(&mut lanes.notices).await;
        self.serve(&mut lanes.loads).await;
    }

    async fn serve<L: Lane>(&mut self, inbox: &mut Option<Inbox<L>>) {
        let limit = if L::SINGLE { 1 } else { self.batch };
        let Some(batch) = inbox.as_mut().map(|inbox| inbox.take(limit)) else { return };
        let (batch, revoked): (Vec<_>, Vec<_>) = batch.into_iter().partition(|work| work.lifeline.check().is_ok());
        refuse(revoked, &StoreError::Revoked);
        let mut parts = vec![batch];
        while let Some(mut part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            match self.commit(&part).await {
                Ok(answers) => answer(part, answers),
                Err(Failed::Entry(error)) if part.len() == 1 => refuse(part, &error),
                Err(Failed::Entry(_)) => {
                    let second = part.split_off(part.len() / 2);
                    parts.push(second);
                    parts.push(part);
                }
                Err(Failed::Database(error)) => {
                    tracing::warn!(lane = L::NAME, entries = part.len(), error = ?error, "a batch was not written");
                    refuse(part, &error);
                }
            }
        }
    }

    async fn commit<L: Lane>(&mut self, part: &[Work<L>]) -> Result<Vec<L::Answer>, Failed> {
        let entries: Vec<_> = part.iter().map(|work| &work.entry).collect();
        let done = self.write::<L>(&entries).await;
        match &done {
            Ok(answers) => L::committed(&self.scope, &entries, answers),
            Err(failed) => {
                L::unsure(&self.scope, &entries);
                if matches!(failed, Failed::Database(_)) {
                    self.scope.in_doubt.store(true, Ordering::Relaxed);
                }
            }
        }
        done
    }

    async fn write<L: Lane>(&mut self, entries: &[&L::Entry]) -> Result<Vec<L::Answer>, Failed> {
        let mut last = Error::PoolClosed;
        for _ in 0..TRIES {
            let connection = match self.link.connection().await {
                Ok(connection) => connection,
                // No entry is to blame for that, whatever the server says.
                Err(error) => return Err(Failed::Database(StoreError::unavailable(error))),
            };
            match transact::<L>(connection, &self.scope, entries).await {
                Attempt::Committed(written) => return Ok(self.count::<L>(written)),
                Attempt::Failed(error) => match Trouble::of(&error) {
                    Trouble::Rows | Trouble::Slow => {
                        if Trouble::unsettles(&error) {
                            tracing::error!(error = %error, "a statement does not fit the tables; the connection is made anew");
                            self.link.lose();
                        }
                        return Err(Failed::Entry(error.into()));
                    }
                    Trouble::Down => return Err(Failed::Database(error.into())),
                    Trouble::Connection => last = self.lose(error),
                },
                Attempt::Unanswered(written, mark, error) => {
                    last = self.lose(error);
                    match resolve::fate(&mut self.link, &mark).await {
                        Fate::Committed => return Ok(self.count::<L>(written)),
                        Fate::Aborted => {}
                        Fate::Unknown => break,
                    }
                }
            }
        }
        Err(Failed::Database(StoreError::unavailable(last)))
    }

    fn lose(&mut self, error: Error) -> Error {
        tracing::warn!(error = %error, "the journal lost its connection");
        self.link.lose();
        error
    }

    fn count<L: Lane>(&self, written: Written<L::Answer>) -> Vec<L::Answer> {
        if written.rows > 0 {
            self.tally.committed();
            self.scope.in_doubt.store(false, Ordering::Relaxed);
        }
        written.answers
    }
}

impl Lanes {
    /// Each lane for a writer of its own; cancels, wishes and births share one. Loads apart: while the server takes a chunk in, it takes
    /// everything else, too.
    pub fn apart(self) -> Vec<Self> {
        vec![
            Self { evidence: self.evidence, ..Self::default() },
            Self { transitions: self.transitions, ..Self::default() },
            Self { cancels: self.cancels, wishes: self.wishes, births: self.births, ..Self::default() },
            Self { loads: self.loads, ..Self::default() },
            Self { notices: self.notices, ..Self::default() },
        ]
    }

    fn close(&mut self) {
        self.evidence.as_mut().map(Inbox::close);
        self.transitions.as_mut().map(Inbox::close);
        self.cancels.as_mut().map(Inbox::close);
        self.wishes.as_mut().map(Inbox::close);
        self.births.as_mut().map(Inbox::close);
        self.loads.as_mut().map(Inbox::close);
        self.notices.as_mut().map(Inbox::close);
    }

    fn done(&self) -> bool {
        self.evidence.as_ref().is_none_or(Inbox::done)
            && self.transitions.as_ref().is_none_or(Inbox::done)
            && self.cancels.as_ref().is_none_or(Inbox::done)
            && self.wishes.as_ref().is_none_or(Inbox::done)
            && self.births.as_ref().is_none_or(Inbox::done)
            && self.loads.as_ref().is_none_or(Inbox::done)
            && self.notices.as_ref().is_none_or(Inbox::done)
    }

    /// Returns once some lane has work or has ended.
    async fn ready(&mut self) {
        tokio::select! {
            biased;
            () = ready(&mut self.evidence) => {}
            () = ready(&mut self.transitions) => {}
            () = ready(&mut self.cancels) => {}
            () = ready(&mut self.wishes) => {}
            () = ready(&mut self.births) => {}
            () = ready(&mut self.notices) => {}
            () = ready(&mut self.loads) => {}
        }
    }
}

async fn ready<L: Lane>(inbox: &mut Option<Inbox<L>>) {
    match inbox {
        Some(inbox) if !inbox.done() => inbox.ready().await,
        Some(_) | None => std::future::pending().await,
    }
}

/// Why a batch was not written.
enum Failed {
    /// Because of some entry in it.
    Entry(StoreError),
    /// Because of the database.
    Database(StoreError),
}

/// How far a transaction came.
enum Attempt<A> {
    Committed(Written<A>),
    /// Certainly not committed.
    Failed(Error),
    /// COMMIT was sent and not answered.
    Unanswered(Written<A>, Mark, Error),
}

async fn transact<L: Lane>(connection: &mut Connection, scope: &Scope, entries: &[&L::Entry]) -> Attempt<L::Answer> {
    if L::SINGLE {
        // One idempotent statement: whatever became of it, it may be sent again.
        return match within(L::write(connection, scope, entries)).await {
            Ok(written) => Attempt::Committed(written),
            Err(error) => Attempt::Failed(error),
        };
    }
    let (written, mark) = match within(prepare::<L>(connection, scope, entries)).await {
        Ok(done) => done,
        Err(error) => {
            // A connection that is gone takes its transaction along; so does one that is about to be dropped.
            let gone = Trouble::of(&error) == Trouble::Connection || Trouble::unsettles(&error);
            return match if gone { Ok(()) } else { within(connection.rollback()).await } {
                Ok(()) => Attempt::Failed(error),
                Err(lost) => Attempt::Failed(lost),
            };
        }
    };
    match within(connection.commit()).await {
        Ok(()) => Attempt::Committed(written),
        Err(error) => Attempt::Unanswered(written, mark, error),
    }
}

async fn prepare<L: Lane>(
    connection: &mut Connection,
    scope: &Scope,
    entries: &[&L::Entry],
) -> Result<(Written<L::Answer>, Mark), Error> {
    let transaction = connection.begin().await?;
    let written = L::write(connection, scope, entries).await?;
    let mark = resolve::mark(connection, transaction, L::MARK, written.rows);
    // What fails must fail before COMMIT is sent: then it is certain that nothing is written.
    connection.flush().await?;
    Ok((written, mark))
}

async fn within<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(ANSWER, work).await.unwrap_or_else(|_| Err(Error::PoolTimedOut))
}

fn answer<L: Lane>(part: Vec<Work<L>>, answers: Vec<L::Answer>) {
    for (work, answer) in part.into_iter().zip(answers) {
        // A caller that stopped waiting finds the row when it looks.
        let _gone = work.reply.send(Ok(answer));
    }
}

fn refuse<L: Lane>(part: Vec<Work<L>>, error: &StoreError) {
    for work in part {
        let _gone = work.reply.send(Err(error.clone()));
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::{mpsc, oneshot};
    use uuid::Uuid;

    use super::*;
    use crate::{
        config::store::StoreConfig,
        lifeline::Lifeline,
        store::{
            connect,
            journal::{cancels::Wish, loads::LoadStep},
        },
    };

    async fn writer(folder: &tempfile::TempDir) -> Writer {
        let target = connect::Target::of(&StoreConfig::default(), folder.path()).unwrap();
        connect::migrate(&target).await.unwrap();
        let (link, tally) = (Link::new(target), Arc::new(Tally::default()));
        Writer { link, scope: Scope::nobody(), tally, batch: 8, lock: None }
    }

    fn work<L: Lane>(entry: L::Entry) -> (Work<L>, oneshot::Receiver<Result<L::Answer, StoreError>>) {
        let (reply, answer) = oneshot::channel();
        (Work { entry, lifeline: Lifeline::default(), reply }, answer)
    }

    #[tokio::test]
    async fn who_waits_for_something_small_waits_for_one_step_of_a_load_at_most() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(&folder).await;
        let (load, loads_in) = mpsc::channel(4);
        let (cancel, cancels_in) = mpsc::channel(4);
        let mut lanes = Lanes { loads: Some(Inbox::new(loads_in)), cancels: Some(Inbox::new(cancels_in)), ..Lanes::default() };
        let mut steps = Vec::new();
        for _ in 0..2 {
            let (step, answer) = work(LoadStep::Discard { id: Uuid::nil(), at: 0 });
            assert!(load.try_send(step).is_ok());
            steps.push(answer);
        }
        for step in &mut steps {
            let (wish, mut answer) = work(Wish { generation: Uuid::nil(), project: Uuid::nil(), at: 0 });
            assert!(cancel.try_send(wish).is_ok());
            assert!(step.try_recv().is_err(), "one step a round");
            writer.round(&mut lanes).await;
            assert!(matches!(answer.try_recv(), Ok(Ok(false))), "who came later did not wait for the second step");
            assert!(matches!(step.try_recv(), Ok(Ok(Some(0)))));
        }
    }

    #[tokio::test]
    async fn the_writer_refuses_an_entry_whose_lifeline_was_revoked_while_it_waited() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(&folder).await;
        let (send, receive) = mpsc::channel(4);
        let mut inbox = Some(Inbox::<Cancels>::new(receive));
        let (revoked, sound) = (Lifeline::default(), Lifeline::default());
        let mut answers = Vec::new();
        for lifeline in [revoked.clone(), sound] {
            let entry = Wish { generation: Uuid::nil(), project: Uuid::nil(), at: 0 };
            let (reply, answer) = oneshot::channel();
            assert!(send.try_send(Work { entry, lifeline, reply }).is_ok());
            answers.push(answer);
        }
        revoked.revoke();
        writer.serve(&mut inbox).await;
        writer.serve(&mut inbox).await;
        assert!(matches!(answers.remove(0).await.unwrap(), Err(StoreError::Revoked)));
        assert!(matches!(answers.remove(0).await.unwrap(), Ok(false)));
    }
}
