//! One stream: first what the outbox holds behind the client's last id, up to where the feed was when it began to follow; then what
//! arrives. One that falls behind begins so once more. It holds its place in the count, and nothing else of the database.

use std::{collections::VecDeque, time::Duration};

use actix_web::web::{Bytes, Data};
use tokio::time::Instant;

use super::{Subject, frame, room::Room};
use crate::{
    domain::event::{EventId, Told},
    http::{Api, problem::Problem},
    store::{Following, Topic},
};

/// Where a stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Behind this event.
    At(EventId),
    /// The same, and what came before is lost to the client.
    Gap(EventId),
    /// The end itself is no longer kept: that is all there is to say.
    Over(EventId),
}

/// How a stream begins, and which end is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// Where.
    pub place: Place,
    /// An end before this event was none: the batch was tried again.
    pub ends_from: EventId,
}

impl Place {
    /// Of a project's stream that goes on. An id that no event has yet is one of another database, or of one that was restored.
    pub fn resumed(after: EventId, following: &Following) -> Self {
        if after < following.gone.last {
            Self::Gap(following.gone.last)
        } else if after > following.head {
            Self::Gap(following.head)
        } else {
            Self::At(after)
        }
    }
}

impl Begin {
    /// Of a stream that ends with its subject, whose last end so far is `end`; none when the client has seen it. Of a subject that goes
    /// on, an end so far is one of an earlier try.
    pub fn of(following: &Following, after: Option<EventId>, subject: Subject, end: Option<EventId>) -> Option<Self> {
        let gone = following.gone;
        let from = after.unwrap_or(EventId::START);
        let lost = from < gone.last && subject.since <= gone.at;
        let place = if lost { Place::Gap(gone.last) } else { Place::At(from) };
        let Some(ended_at) = subject.ended_at else {
            let behind = |end: EventId| EventId { seq: end.seq.saturating_add(1), ..end };
            return Some(Self { place, ends_from: end.map(behind).unwrap_or_default() });
        };
        if end.is_some_and(|end| from >= end) {
            return None;
        }
        if end.is_none() && ended_at <= gone.at {
            let over = Self { place: Place::Over(gone.last), ends_from: EventId::START };
            return (from < gone.last).then_some(over);
        }
        Some(Self { place, ends_from: end.unwrap_or_default() })
    }
}

/// The event that ended the topic, as far as the outbox holds it, whether it was told already or not. A batch may have ended more than
/// once: the last one counts.
pub async fn last_end(api: &Data<Api>, topic: Topic) -> Result<Option<EventId>, Problem> {
    let (mut from, mut end) = (EventId::START, None);
    loop {
        let (events, more) = read(api, topic, (from, LAST)).await?;
        end = events.iter().rev().find(|event| topic.ends_with(event)).map(|event| event.id).or(end);
        match events.last() {
            Some(last) if more => from = last.id,
            Some(_) | None => return Ok(end),
        }
    }
}

/// No event is behind it.
const LAST: EventId = EventId { txid: i64::MAX, seq: i64::MAX };

/// What the outbox holds of a topic in that range, and whether there is more.
async fn read(api: &Data<Api>, topic: Topic, range: (EventId, EventId)) -> Result<(Vec<Told>, bool), Problem> {
    let reads = api.reads.clone();
    let page = api.hop(async move { reads.outbox_of(topic, range).await }).await?;
    Ok((page.events, page.more))
}

/// The stream.
pub struct Stream {
    api: Data<Api>,
    following: Following,
    /// Everything up to here was sent, or is none of its topic.
    position: EventId,
    /// See [`Begin`].
    ends_from: EventId,
    ready: VecDeque<Bytes>,
    over: bool,
    heartbeat: Duration,
    until: Instant,
    _room: Room,
}

impl Stream {
    /// Opens it.
    pub fn open(api: Data<Api>, following: Following, begin: Begin, room: Room) -> Self {
        let config = &api.config.notify;
        let (heartbeat, until) =
            (Duration::from_millis(config.heartbeat_ms), Instant::now() + Duration::from_secs(config.stream_s));
        let Begin { place, ends_from } = begin;
        let (position, frames, over) = match place {
            Place::At(position) => (position, vec![frame::OPENING], false),
            Place::Gap(position) => (position, vec![frame::OPENING, frame::gap(position)], false),
            Place::Over(position) => (position, vec![frame::OPENING, frame::gap(position), frame::end()], true),
        };
        Self { api, following, position, ends_from, ready: frames.into(), over, heartbeat, until, _room: room }
    }

    /// What is sent next; none at its end. Cancel safe.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(frame);
            }
            if self.over {
                return None;
            }
            if self.position < self.following.head {
                self.catch_up().await;
            } else {
                self.hear().await;
            }
        }
    }

    async fn catch_up(&mut self) {
        let head = self.following.head;
        match read(&self.api, self.following.topic(), (self.position, head)).await {
            Ok((events, more)) => {
                events.iter().for_each(|event| self.take(event));
                if !more {
                    self.position = self.position.max(head);
                }
            }
            Err(_) => self.close("the database does not answer"),
        }
    }

    async fn hear(&mut self) {
        let api = self.api.clone();
        tokio::select! {
            biased;
            () = api.draining.cancelled() => self.close("the service is shutting down"),
            event = self.following.next() => match event {
                Some(event) => self.take(&event),
                // Fell behind: what it missed stands in the outbox.
                None => self.following = api.feed.follow(self.following.topic()).await,
            },
            // The key is asked anew when the client comes back.
            () = tokio::time::sleep_until(self.until) => self.close("come back"),
            () = tokio::time::sleep(self.heartbeat) => self.ready.push_back(frame::HEARTBEAT),
        }
    }

    fn take(&mut self, event: &Told) {
        if event.id <= self.position || self.over {
            return;
        }
        self.position = event.id;
        self.ready.push_back(frame::event(event));
        if event.id >= self.ends_from && self.following.topic().ends_with(event) {
            self.ready.push_back(frame::end());
            self.over = true;
        }
    }

    fn close(&mut self, why: &str) {
        self.ready.push_back(frame::closing(why));
        self.over = true;
    }
}
