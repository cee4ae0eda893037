//! What a lane is, and its inbox: work waits there, bounded, until the writer takes a batch in which every key occurs once.

use std::collections::{HashSet, VecDeque};

use sqlx::Error;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::{Scope, connection::Connection};
use crate::{lifeline::Lifeline, store::StoreError};

/// One kind of write, committed in groups of its own.
pub trait Lane: 'static {
    /// What is handed in.
    type Entry: Send + Sync + 'static;
    /// What is answered.
    type Answer: Send + 'static;

    /// Its name in logs.
    const NAME: &'static str;
    /// Its row in `commit_marks`.
    const MARK: i16;
    /// One entry a commit, each a single statement without BEGIN.
    const SINGLE: bool = false;

    /// Two entries with the same key never share a batch.
    fn key(entry: &Self::Entry) -> Option<Uuid>;

    /// Writes a batch within the open transaction and answers each entry, in order.
    fn write(
        connection: &mut Connection,
        scope: &Scope,
        entries: &[&Self::Entry],
    ) -> impl Future<Output = Result<Written<Self::Answer>, Error>> + Send;

    /// Tells the memory of recent rows what was committed, before anybody is answered.
    fn committed(_scope: &Scope, _entries: &[&Self::Entry], _answers: &[Self::Answer]) {}

    /// The batch was not committed, or nobody knows whether it was.
    fn unsure(_scope: &Scope, _entries: &[&Self::Entry]) {}
}

/// What a lane made of a batch.
#[derive(Debug)]
pub struct Written<A> {
    /// An answer an entry, in order.
    pub answers: Vec<A>,
    /// How many rows of the path were written; none means that the commit is only a read.
    pub rows: usize,
}

/// One entry with its caller.
pub struct Work<L: Lane> {
    /// The entry.
    pub entry: L::Entry,
    /// Asked again when the writer takes the entry: the caller may have been given up while it waited.
    pub lifeline: Lifeline,
    /// Where the caller waits.
    pub reply: oneshot::Sender<Result<L::Answer, StoreError>>,
}

/// The waiting work of a lane.
pub struct Inbox<L: Lane> {
    incoming: mpsc::Receiver<Work<L>>,
    held: VecDeque<Work<L>>,
    ended: bool,
}

impl<L: Lane> Inbox<L> {
    /// An inbox for what comes out of this queue.
    pub const fn new(incoming: mpsc::Receiver<Work<L>>) -> Self {
        Self { incoming, held: VecDeque::new(), ended: false }
    }

    /// Refuses further work; what waits is still served.
    pub fn close(&mut self) {
        self.incoming.close();
    }

    /// Whether nothing waits and nothing will come.
    pub fn done(&self) -> bool {
        self.ended && self.held.is_empty()
    }

    /// Returns once something waits, or once nothing will come. Cancel safe.
    pub async fn ready(&mut self) {
        if self.held.is_empty() {
            match self.incoming.recv().await {
                Some(work) => self.held.push_back(work),
                None => self.ended = true,
            }
        }
    }

    /// Takes up to `limit` entries in order, every key once; the second of a key stays for the next batch.
    pub fn take(&mut self, limit: usize) -> Vec<Work<L>> {
        // Pulled in bounded, so that the queue's own bound keeps its meaning.
        while self.held.len() < limit {
            match self.incoming.try_recv() {
                Ok(work) => self.held.push_back(work),
                Err(_) => break,
            }
        }
        let mut keys = HashSet::new();
        let (mut batch, mut later) = (Vec::new(), VecDeque::new());
        for work in self.held.drain(..) {
            let fresh = L::key(&work.entry).is_none_or(|key| keys.insert(key));
            if fresh && batch.len() < limit {
                batch.push(work);
            } else {
                later.push_back(work);
            }
        }
        self.held = later;
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::journal::cancels::{Cancels, Wish};

    fn work(generation: u128, at: i64) -> Work<Cancels> {
        let entry = Wish { generation: Uuid::from_u128(generation), project: Uuid::nil(), at };
        Work { entry, lifeline: Lifeline::default(), reply: oneshot::channel().0 }
    }

    fn taken(inbox: &mut Inbox<Cancels>, limit: usize) -> Vec<(u128, i64)> {
        inbox.take(limit).iter().map(|work| (work.entry.generation.as_u128(), work.entry.at)).collect()
    }

    #[tokio::test]
    async fn the_second_of_a_key_waits_for_the_next_batch_and_order_is_kept() {
        let (send, receive) = mpsc::channel(16);
        let mut inbox = Inbox::new(receive);
        for (generation, at) in [(1, 0), (2, 0), (1, 1), (3, 0), (1, 2), (2, 1)] {
            send.try_send(work(generation, at)).unwrap();
        }
        inbox.ready().await;
        assert_eq!(taken(&mut inbox, 10), [(1, 0), (2, 0), (3, 0)]);
        inbox.ready().await;
        assert_eq!(taken(&mut inbox, 10), [(1, 1), (2, 1)]);
        assert_eq!(taken(&mut inbox, 10), [(1, 2)]);
        assert_eq!(taken(&mut inbox, 10), []);
    }

    #[tokio::test]
    async fn a_batch_takes_no_more_than_its_limit_and_the_inbox_no_more_than_that() {
        let (send, receive) = mpsc::channel(16);
        let mut inbox = Inbox::new(receive);
        for generation in 0..5 {
            send.try_send(work(generation, 0)).unwrap();
        }
        assert_eq!(taken(&mut inbox, 2), [(0, 0), (1, 0)]);
        // What it did not take still counts against the queue's bound.
        assert_eq!(send.capacity(), 16 - 3);
        drop(send);
        assert_eq!(taken(&mut inbox, 3), [(2, 0), (3, 0), (4, 0)]);
        assert!(!inbox.done());
        inbox.ready().await;
        assert!(inbox.done());
    }
}
