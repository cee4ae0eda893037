//! The poller's plan: which attempt is polled next. A heap for each account, in memory and outside any actor context (a context
//! polls every timer it holds at every message). Some 200 bytes an attempt in all, so that a million can wait. Pure: time is an
//! argument.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use crate::{
    domain::{
        id::{AttemptId, GenerationId},
        record::{Handle, ProviderName},
        schedule::{course::Course, next_poll},
        time::Timestamp,
    },
    polling::route::{Packed, Prefixes, Route, Routes},
};

/// Every so many polls the attempt's row is looked at again before it is asked for: what somebody else ended leaves the plan.
const LOOKED_AT: u8 = 16;

/// The shortest wait that a provider's hint may ask for.
const SHORTEST_HINT: Duration = Duration::from_millis(10);

/// A poll that somebody's word pulled to now finds an end at most this old.
const TOLD: Duration = Duration::from_secs(1);

/// A running attempt that comes into the plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// The attempt.
    pub id: AttemptId,
    /// Its generation.
    pub generation: GenerationId,
    /// What the provider gave us.
    pub handle: Handle,
    /// Polls count from here.
    pub submitted_at: Timestamp,
}

/// A due poll: all that it needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// The attempt.
    pub id: AttemptId,
    /// Its generation.
    pub generation: GenerationId,
    /// Where it was sent.
    pub route: Arc<Route>,
    /// What the provider gave us.
    pub handle: Handle,
    /// Polls count from here.
    pub submitted_at: Timestamp,
    /// When the poll was due.
    pub due: Timestamp,
    /// The row is to be looked at first.
    pub look: bool,
}

/// The ages between which something happened to a task: it ran at the first, and was found so or ended at the second.
pub type Span = (Duration, Duration);

#[derive(Debug)]
struct Entry {
    id: AttemptId,
    generation: GenerationId,
    handle: Packed,
    submitted_at: Timestamp,
    due: Timestamp,
    /// When it was last known to run.
    ran_at: Timestamp,
    route: u32,
    queue: u16,
    missing: u8,
    polls: u8,
    in_hand: bool,
    told: bool,
}

impl Entry {
    fn span(&self, now: Timestamp) -> Span {
        let from = if self.told { self.ran_at.max(now.minus(TOLD)) } else { self.ran_at };
        (from.since(self.submitted_at), now.since(self.submitted_at))
    }
}

/// The polls of one account: its budget may hold them, and no other's.
#[derive(Debug)]
struct Queue {
    /// May hold outdated pairs; an entry's own `due` decides.
    heap: BinaryHeap<Reverse<(Timestamp, u32)>>,
    held_until: Timestamp,
    in_hand: usize,
}

/// How many polls may leave now.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// In all.
    pub free: usize,
    /// In hand for one account: one that hangs leaves room for the others.
    pub each: usize,
}

/// The plan.
#[derive(Debug, Default)]
pub struct Plan {
    entries: Vec<Option<Entry>>,
    vacant: Vec<u32>,
    by_id: HashMap<AttemptId, u32>,
    queues: Vec<Queue>,
    queue_of: HashMap<(ProviderName, Arc<str>), u16>,
    /// Where attempts were sent.
    pub routes: Routes,
    prefixes: Prefixes,
}

/// Spreads attempts over time by their id.
#[must_use]
pub fn seed(id: AttemptId) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.0.as_bytes().hash(&mut hasher);
    hasher.finish()
}

fn index(slot: u32) -> usize {
    usize::try_from(slot).unwrap_or(usize::MAX)
}

impl Plan {
    /// Takes an attempt in; one that is known keeps its place. None of an unknown route is taken.
    pub fn insert(&mut self, waiting: Waiting, route: u32, course: Option<&Course>, now: Timestamp) {
        if self.by_id.contains_key(&waiting.id) {
            return;
        }
        let Some(known) = self.routes.route(route).cloned() else { return };
        let Waiting { id, generation, handle, submitted_at } = waiting;
        let due = next_poll(known.strategy, course, submitted_at, seed(id), now);
        let Some(queue) = self.queue(&known) else { return };
        let handle = self.prefixes.pack(handle);
        let (ran_at, missing, polls, in_hand, told) = (submitted_at, 0, 0, false, false);
        let entry = Entry { id, generation, handle, submitted_at, due, ran_at, route, queue, missing, polls, in_hand, told };
        let Some(slot) = self.vacant.pop().or_else(|| u32::try_from(self.entries.len()).ok()) else { return };
        match self.entries.get_mut(index(slot)) {
            Some(place) => *place = Some(entry),
            None => self.entries.push(Some(entry)),
        }
        self.by_id.insert(id, slot);
        self.push(queue, due, slot);
    }

    fn queue(&mut self, route: &Route) -> Option<u16> {
        let key = (Arc::clone(&route.provider), Arc::clone(&route.account));
        if let Some(known) = self.queue_of.get(&key) {
            return Some(*known);
        }
        let number = u16::try_from(self.queues.len()).ok()?;
        self.queues.push(Queue { heap: BinaryHeap::new(), held_until: Timestamp(i64::MIN), in_hand: 0 });
        self.queue_of.insert(key, number);
        Some(number)
    }

    fn push(&mut self, queue: u16, due: Timestamp, slot: u32) {
        if let Some(queue) = self.queues.get_mut(usize::from(queue)) {
            queue.heap.push(Reverse((due, slot)));
        }
    }

    fn entry(&mut self, id: AttemptId) -> Option<(&mut Entry, u32)> {
        let slot = *self.by_id.get(&id)?;
        let entry = self.entries.get_mut(index(slot))?.as_mut()?;
        Some((entry, slot))
    }

    /// Whether it is planned.
    #[must_use]
    pub fn contains(&self, id: AttemptId) -> bool {
        self.by_id.contains_key(&id)
    }

    /// Takes out what is due and admitted, one of each account in turn; each stays known, in hand, until it is put back or removed.
    /// `admit` may hold an account back until an instant.
    pub fn take_due(&mut self, now: Timestamp, room: Room, mut admit: impl FnMut(&Route) -> Result<(), Timestamp>) -> Vec<Task> {
        let mut due = Vec::new();
        loop {
            let before = due.len();
            for queue in 0..self.queues.len() {
                if due.len() >= room.free {
                    return due;
                }
                due.extend(self.take_one(queue, now, room.each, &mut admit));
            }
            if due.len() == before {
                return due;
            }
        }
    }

    fn take_one(
        &mut self,
        at: usize,
        now: Timestamp,
        each: usize,
        admit: &mut impl FnMut(&Route) -> Result<(), Timestamp>,
    ) -> Option<Task> {
        let Self { entries, queues, routes, prefixes, .. } = self;
        let queue = queues.get_mut(at)?;
        let slot = queue.head(entries).filter(|(due, _)| *due <= now && queue.held_until <= now && queue.in_hand < each)?.1;
        let entry = entries.get_mut(index(slot))?.as_mut()?;
        let route = routes.route(entry.route)?;
        if let Err(until) = admit(route) {
            queue.held_until = until;
            return None;
        }
        queue.heap.pop();
        queue.in_hand += 1;
        entry.in_hand = true;
        entry.polls = entry.polls.wrapping_add(1);
        let (id, generation, handle) = (entry.id, entry.generation, prefixes.unpack(&entry.handle));
        let (submitted_at, due, look) = (entry.submitted_at, entry.due, entry.polls.is_multiple_of(LOOKED_AT));
        Some(Task { id, generation, route: Arc::clone(route), handle, submitted_at, due, look })
    }

    /// When the next one may leave, as far as it is not others that must land first.
    #[must_use]
    pub fn next_due(&mut self, each: usize) -> Option<Timestamp> {
        let entries = &self.entries;
        let open = self.queues.iter_mut().filter(|queue| queue.in_hand < each);
        open.filter_map(|queue| Some(queue.head(entries)?.0.max(queue.held_until))).min()
    }

    /// Puts a polled attempt back: at its strategy's next instant, or after `hint`, which wins.
    pub fn put_back(&mut self, id: AttemptId, hint: Option<Duration>, course: Option<&Course>, now: Timestamp) {
        let Some(strategy) = self.strategy(id) else { return };
        let Some((entry, slot)) = self.entry(id) else { return };
        let planned = next_poll(strategy, course, entry.submitted_at, seed(id), now);
        entry.due = hint.map_or(planned, |hint| now.plus(hint.max(SHORTEST_HINT)));
        entry.told = false;
        let (queue, due, was_in_hand) = (entry.queue, entry.due, std::mem::take(&mut entry.in_hand));
        self.landed(queue, was_in_hand);
        self.push(queue, due, slot);
    }

    fn strategy(&self, id: AttemptId) -> Option<crate::domain::schedule::Strategy> {
        let entry = self.entries.get(index(*self.by_id.get(&id)?))?.as_ref()?;
        self.routes.route(entry.route).map(|route| route.strategy)
    }

    fn landed(&mut self, queue: u16, was_in_hand: bool) {
        if let Some(queue) = self.queues.get_mut(usize::from(queue)) {
            queue.in_hand = queue.in_hand.saturating_sub(usize::from(was_in_hand));
        }
    }

    /// Pulls the next poll to now, unless it is in hand: somebody says that it ended.
    pub fn pull(&mut self, id: AttemptId, now: Timestamp) {
        if let Some((entry, slot)) = self.entry(id)
            && !entry.in_hand
        {
            entry.due = now;
            entry.told = true;
            let queue = entry.queue;
            self.push(queue, now, slot);
        }
    }

    /// The provider says that the task still runs; tells between which ages that was not known.
    pub fn ran(&mut self, id: AttemptId, now: Timestamp) -> Option<Span> {
        let entry = self.entry(id)?.0;
        let span = (entry.ran_at.since(entry.submitted_at), now.since(entry.submitted_at));
        entry.ran_at = now;
        Some(span)
    }

    /// Between which ages a task ended that was found so now.
    pub fn ended(&mut self, id: AttemptId, now: Timestamp) -> Option<Span> {
        self.entry(id).map(|(entry, _)| entry.span(now))
    }

    /// Counts one more answer in a row that did not know the task; returns how many.
    pub fn missed(&mut self, id: AttemptId) -> u32 {
        self.entry(id).map_or(0, |(entry, _)| {
            entry.missing = entry.missing.saturating_add(1);
            u32::from(entry.missing)
        })
    }

    /// The task is known to the provider again.
    pub fn seen(&mut self, id: AttemptId) {
        if let Some((entry, _)) = self.entry(id) {
            entry.missing = 0;
        }
    }

    /// Forgets an attempt.
    pub fn remove(&mut self, id: AttemptId) {
        let Some(slot) = self.by_id.remove(&id) else { return };
        if let Some(entry) = self.entries.get_mut(index(slot)).and_then(Option::take) {
            self.vacant.push(slot);
            self.landed(entry.queue, entry.in_hand);
        }
    }

    /// How many are planned.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether none is planned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

impl Queue {
    /// The next valid pair; drops outdated ones before it.
    fn head(&mut self, entries: &[Option<Entry>]) -> Option<(Timestamp, u32)> {
        while let Some(Reverse((at, slot))) = self.heap.peek().copied() {
            let entry = entries.get(index(slot)).and_then(Option::as_ref);
            if entry.is_some_and(|entry| entry.due == at && !entry.in_hand) {
                return Some((at, slot));
            }
            self.heap.pop();
        }
        None
    }
}

#[cfg(test)]
mod tests;
