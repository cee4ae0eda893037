//! Where the streams of this process hear of events: one reader of the outbox tells all of them, so that a stream costs no query while
//! nothing happens. What is told here stands in the outbox; who falls behind reads it there and follows anew.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, mpsc};

use crate::domain::{
    event::{EventId, Told},
    id::{BatchId, GenerationId, ProjectId},
    time::Timestamp,
};

/// Events that may wait for a stream to send them on; past it the stream reads them from the outbox.
const QUEUE: usize = 64;

/// What a stream is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Everything of a project.
    Project(ProjectId),
    /// One generation.
    Generation(GenerationId),
    /// A batch and its generations.
    Batch(BatchId),
}

impl Topic {
    /// Whether the event is the last one that is expected of it.
    #[must_use]
    pub fn ends_with(self, event: &Told) -> bool {
        event.ends()
            && match self {
                Self::Project(_) => false,
                Self::Generation(_) => true,
                Self::Batch(_) => event.generation.is_none(),
            }
    }
}

/// How far the outbox is gone by retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gone {
    /// The last event that is gone.
    pub last: EventId,
    /// When that happened of which it told.
    pub at: Timestamp,
}

/// The feed. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Feed {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    begun: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// None until the outbox was read to its end once.
    begun: bool,
    head: EventId,
    gone: Gone,
    number: u64,
    followers: HashMap<Topic, Vec<Follower>>,
}

#[derive(Debug)]
struct Follower {
    number: u64,
    queue: mpsc::Sender<Arc<Told>>,
}

impl Feed {
    /// Tells events, in their order; those that were told before are left out.
    pub fn tell(&self, events: &[Arc<Told>]) {
        let mut state = self.lock();
        for event in events {
            if event.id > state.head {
                state.head = event.id;
                state.send(Topic::Project(event.project), event);
                let generation = event.generation.map(Topic::Generation);
                let batch = event.batch.map(Topic::Batch);
                generation.into_iter().chain(batch).for_each(|topic| state.send(topic, event));
            }
        }
    }

    /// The outbox was read to its end, after `head`: from here on it can be followed.
    pub fn begin(&self, head: EventId) {
        let mut state = self.lock();
        state.head = state.head.max(head);
        state.begun = true;
        drop(state);
        self.inner.begun.notify_waiters();
    }

    /// The outbox is gone as far as that.
    pub fn gone(&self, gone: Gone) {
        self.lock().gone = gone;
    }

    /// Whether anybody follows.
    #[must_use]
    pub fn followed(&self) -> bool {
        !self.lock().followers.is_empty()
    }

    /// Follows a topic: every event behind [`Following::head`] arrives. Waits until the feed has begun. Cancel safe.
    pub async fn follow(&self, topic: Topic) -> Following {
        loop {
            let begun = self.inner.begun.notified();
            tokio::pin!(begun);
            // Registered before the look, so that a beginning in between is not missed.
            begun.as_mut().enable();
            if let Some(following) = self.try_follow(topic) {
                return following;
            }
            begun.await;
        }
    }

    fn try_follow(&self, topic: Topic) -> Option<Following> {
        let mut state = self.lock();
        if !state.begun {
            return None;
        }
        let (queue, events) = mpsc::channel(QUEUE);
        state.number += 1;
        let number = state.number;
        state.followers.entry(topic).or_default().push(Follower { number, queue });
        Some(Following { feed: self.clone(), topic, number, events, head: state.head, gone: state.gone })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn send(&mut self, topic: Topic, event: &Arc<Told>) {
        let Some(followers) = self.followers.get_mut(&topic) else { return };
        // Who is full is let go: it hears the end of its queue, and reads on by itself.
        followers.retain(|follower| follower.queue.try_send(Arc::clone(event)).is_ok());
        if followers.is_empty() {
            self.followers.remove(&topic);
        }
    }
}

/// One who follows a topic.
#[derive(Debug)]
pub struct Following {
    feed: Feed,
    topic: Topic,
    number: u64,
    events: mpsc::Receiver<Arc<Told>>,
    /// Everything up to here stands in the outbox and does not arrive.
    pub head: EventId,
    /// So far the outbox is gone.
    pub gone: Gone,
}

impl Following {
    /// What is followed.
    #[must_use]
    pub const fn topic(&self) -> Topic {
        self.topic
    }

    /// The next event; none for one who fell behind. Cancel safe.
    pub async fn next(&mut self) -> Option<Arc<Told>> {
        self.events.recv().await
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut state = self.feed.lock();
        let Some(followers) = state.followers.get_mut(&self.topic) else { return };
        followers.retain(|follower| follower.number != self.number);
        if followers.is_empty() {
            state.followers.remove(&self.topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn event(seq: i64, project: ProjectId, generation: GenerationId) -> Arc<Told> {
        let id = EventId { txid: 0, seq };
        Arc::new(Told {
            id,
            project,
            generation: Some(generation),
            batch: None,
            kind: "generation.queued".into(),
            at: Timestamp(seq),
        })
    }

    fn heard(following: &mut Following) -> Vec<i64> {
        let mut heard = Vec::new();
        while let Some(Some(event)) = following.next().now_or_never() {
            heard.push(event.id.seq);
        }
        heard
    }

    #[tokio::test]
    async fn everybody_hears_of_his_own_topic_once_and_in_order() {
        let (feed, project, mine, other) = (Feed::default(), ProjectId::fresh(), GenerationId::fresh(), GenerationId::fresh());
        assert!(feed.follow(Topic::Project(project)).now_or_never().is_none(), "it has not begun");
        feed.tell(&[event(1, project, mine)]);
        feed.begin(EventId { txid: 0, seq: 1 });
        let mut all = feed.follow(Topic::Project(project)).await;
        let mut one = feed.follow(Topic::Generation(mine)).await;
        let mut foreign = feed.follow(Topic::Project(ProjectId::fresh())).await;
        assert_eq!(all.head.seq, 1);
        feed.tell(&[event(1, project, mine), event(2, project, other), event(3, project, mine)]);
        feed.tell(&[event(3, project, mine)]);
        assert_eq!((heard(&mut all), heard(&mut one)), (vec![2, 3], vec![3]));
        assert_eq!(heard(&mut foreign), [0; 0]);
    }

    #[tokio::test]
    async fn who_falls_behind_is_let_go_and_others_are_not() {
        let (feed, project, mine) = (Feed::default(), ProjectId::fresh(), GenerationId::fresh());
        feed.begin(EventId::START);
        let (mut slow, mut quick) = (feed.follow(Topic::Project(project)).await, feed.follow(Topic::Generation(mine)).await);
        let queue = i64::try_from(QUEUE).unwrap();
        for seq in 1..=queue + 1 {
            feed.tell(&[event(seq, project, mine)]);
            assert_eq!(heard(&mut quick), [seq]);
        }
        let mut last = 0;
        while let Some(event) = slow.next().await {
            last = event.id.seq;
        }
        assert_eq!(last, queue, "it has what found room, and knows that there is more");
        assert_eq!(feed.follow(Topic::Project(project)).await.head.seq, queue + 1);
    }

    #[tokio::test]
    async fn who_leaves_leaves_nothing_behind() {
        let feed = Feed::default();
        feed.begin(EventId::START);
        let following = feed.follow(Topic::Generation(GenerationId::fresh())).await;
        assert!(feed.followed());
        drop(following);
        assert!(!feed.followed());
    }
}
