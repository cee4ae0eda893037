//! Rows this process wrote lately, kept in memory: a young generation is asked for a dozen times within its first and last
//! seconds, mostly by the stage after the one that has just written it.
//!
//! It answers like the database, because it is fed by the writer alone, with what a commit made durable, in the order of the
//! commits: first the birth, then each transition that won. Rows that were *read* never enter, since they may be old by the time
//! they arrive. Whatever does not follow on from what is kept, and every fact that is no transition, takes the generation out for
//! good; then, after a restart, and past the limit the database answers, as for everything another process wrote. A decision made
//! on rows that are stale all the same loses at its compare-and-set, which takes them out, too.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    domain::{
        id::{AttemptId, GenerationId},
        record::{AssetState, Attempt, Generation, GenerationRequest},
    },
    store::{Transition, change::after, reads::Loaded},
};

/// Requests are kept up to this size as JSON, until the first submit: one with images in it may take megabytes.
const LARGEST_REQUEST: usize = 4_096;

/// What is remembered of a generation.
#[derive(Debug)]
pub enum Remembered {
    /// Its row.
    Row(Box<Generation>),
    /// It has ended, and nothing moves it any more.
    Over {
        /// Whether it was a line of a batch: then others may have waited for its end.
        batch: bool,
    },
    /// Nothing: ask the database.
    Nothing,
}

/// The memory. Clones share it.
#[derive(Debug, Clone)]
pub struct Recent {
    inner: Arc<Mutex<Inner>>,
    most: usize,
}

#[derive(Debug, Default)]
struct Inner {
    generations: HashMap<GenerationId, Known>,
    attempts: HashMap<AttemptId, GenerationId>,
    /// In the order of their births; may name some that are gone.
    order: VecDeque<GenerationId>,
    /// Those that ended last, and whether they were lines of a batch.
    over: HashMap<GenerationId, bool>,
    over_order: VecDeque<GenerationId>,
}

#[derive(Debug)]
struct Known {
    loaded: Loaded,
    request: Option<Arc<GenerationRequest>>,
}

impl Recent {
    /// A memory of at most so many generations; the eldest goes first.
    pub fn of(most: usize) -> Self {
        Self { inner: Arc::default(), most }
    }

    /// Takes in a birth that was committed; `size` is the length of the request as JSON.
    pub fn born(&self, generation: &Generation, request: &Arc<GenerationRequest>, size: usize) {
        let request = (size <= LARGEST_REQUEST).then(|| Arc::clone(request));
        let loaded = Loaded { generation: generation.clone(), attempts: Vec::new(), assets: Vec::new() };
        if self.most == 0 {
            return;
        }
        let mut inner = self.lock();
        inner.order.push_back(generation.id);
        inner.put(Known { loaded, request });
        inner.shrink(self.most);
    }

    /// Takes in a transition that won.
    pub fn won(&self, entry: &Transition) {
        let mut inner = self.lock();
        let Some(Known { loaded, request }) = inner.take(entry.generation_id) else { return };
        if !follows(&loaded, entry) {
            return;
        }
        let loaded = after(loaded, entry);
        if over(&loaded) {
            inner.end(&loaded.generation, self.most);
        } else {
            // Once it is sent, only a further submit reads it again.
            let request = request.filter(|_| entry.new_attempts.is_empty());
            inner.put(Known { loaded, request });
        }
    }

    /// Takes a generation out.
    pub fn forget(&self, id: GenerationId) {
        let _gone = self.lock().take(id);
    }

    /// The generation with its attempts and assets.
    pub fn loaded(&self, id: GenerationId) -> Option<Loaded> {
        self.lock().generations.get(&id).map(|known| known.loaded.clone())
    }

    /// Whether anything is known of it, for those who can do without.
    pub fn remembered(&self, id: GenerationId) -> Remembered {
        let inner = self.lock();
        match inner.generations.get(&id) {
            Some(known) => Remembered::Row(Box::new(known.loaded.generation.clone())),
            None => inner.over.get(&id).map_or(Remembered::Nothing, |batch| Remembered::Over { batch: *batch }),
        }
    }

    /// The generation alone.
    pub fn generation(&self, id: GenerationId) -> Option<Generation> {
        self.lock().generations.get(&id).map(|known| known.loaded.generation.clone())
    }

    /// What its client asked for.
    pub fn request(&self, id: GenerationId) -> Option<Arc<GenerationRequest>> {
        self.lock().generations.get(&id)?.request.clone()
    }

    /// An attempt.
    pub fn attempt(&self, id: AttemptId) -> Option<Attempt> {
        let inner = self.lock();
        let known = inner.generations.get(inner.attempts.get(&id)?)?;
        known.loaded.attempts.iter().find(|attempt| attempt.id == id).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn put(&mut self, known: Known) {
        let id = known.loaded.generation.id;
        self.attempts.extend(known.loaded.attempts.iter().map(|attempt| (attempt.id, id)));
        self.generations.insert(id, known);
    }

    fn take(&mut self, id: GenerationId) -> Option<Known> {
        let known = self.generations.remove(&id)?;
        for attempt in &known.loaded.attempts {
            self.attempts.remove(&attempt.id);
        }
        Some(known)
    }

    fn end(&mut self, row: &Generation, most: usize) {
        self.over.insert(row.id, row.batch.is_some());
        self.over_order.push_back(row.id);
        while self.over_order.len() > most {
            if let Some(eldest) = self.over_order.pop_front() {
                self.over.remove(&eldest);
            }
        }
    }

    fn shrink(&mut self, most: usize) {
        while self.generations.len() > most {
            let Some(eldest) = self.order.pop_front() else { return };
            let _gone = self.take(eldest);
        }
        if self.order.len() > 2 * most {
            self.order.retain(|id| self.generations.contains_key(id));
        }
    }
}

/// Whether the entry's rows are the next versions of these.
fn follows(loaded: &Loaded, entry: &Transition) -> bool {
    let attempt = |row: &Attempt| loaded.attempts.iter().any(|known| known.id == row.id && known.version == row.version);
    entry.generation.as_ref().is_none_or(|row| row.version == loaded.generation.version)
        && entry.attempts.iter().all(attempt)
        && entry.assets.iter().all(|row| loaded.assets.iter().any(|known| known.id == row.id && known.version == row.version))
}

/// Whether nothing moves it any more.
fn over(loaded: &Loaded) -> bool {
    loaded.generation.state().terminal()
        && loaded.attempts.iter().all(|attempt| attempt.state.ended())
        && loaded.assets.iter().all(|asset| asset.state != AssetState::Pending)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{
            generation::GenerationState,
            record::tests::{attempt, generation},
        },
        store::NewAttempt,
    };

    fn request() -> GenerationRequest {
        GenerationRequest {
            prompt: "a dam".to_owned(),
            input_images: Vec::new(),
            number_of_outputs: 1,
            parameters: serde_json::Map::new(),
            user_id: None,
            metadata: None,
            webhook_url: None,
        }
    }

    fn born(recent: &Recent) -> Generation {
        let (generation, request) = (generation(), Arc::new(request()));
        recent.born(&generation, &request, 10);
        generation
    }

    fn moved(row: &Generation, state: GenerationState) -> Transition {
        let mut changed = row.clone();
        changed.progress.state = state;
        Transition { generation: Some(changed), ..Transition::of(row) }
    }

    #[test]
    fn it_follows_what_wins_and_knows_an_attempt_by_its_id() {
        let recent = Recent::of(8);
        let row = born(&recent);
        assert!(recent.request(row.id).is_some());
        let attempt = attempt(row.id);
        let mut entry = moved(&row, GenerationState::Active);
        entry.new_attempts = vec![NewAttempt { attempt: attempt.clone(), request: serde_json::Value::Null }];
        recent.won(&entry);
        let known = recent.generation(row.id).unwrap();
        assert_eq!((known.version, known.state()), (1, GenerationState::Active));
        assert_eq!(recent.attempt(attempt.id), Some(attempt));
        assert!(recent.request(row.id).is_none(), "it was sent");
    }

    #[test]
    fn what_does_not_follow_is_forgotten_for_good() {
        let recent = Recent::of(8);
        let row = born(&recent);
        let late = Generation { version: 3, ..row.clone() };
        recent.won(&moved(&late, GenerationState::Active));
        assert!(recent.loaded(row.id).is_none());
        recent.won(&moved(&row, GenerationState::Active));
        assert!(recent.loaded(row.id).is_none(), "a transition alone brings nothing back");
    }

    #[test]
    fn an_ended_one_gives_its_place_back_and_is_known_to_be_over() {
        let recent = Recent::of(8);
        let row = born(&recent);
        recent.won(&moved(&row, GenerationState::Failed));
        assert!(recent.loaded(row.id).is_none());
        assert!(matches!(recent.remembered(row.id), Remembered::Over { batch: false }));
        assert!(matches!(recent.remembered(GenerationId::fresh()), Remembered::Nothing));
    }

    #[test]
    fn the_eldest_goes_first_and_a_memory_of_none_keeps_none() {
        let recent = Recent::of(2);
        let rows: Vec<_> = (0..3).map(|_| born(&recent)).collect();
        let known: Vec<_> = rows.iter().map(|row| recent.loaded(row.id).is_some()).collect();
        assert_eq!(known, [false, true, true]);
        for _ in 0..20 {
            recent.won(&moved(&born(&recent), GenerationState::Failed));
        }
        assert!(recent.lock().order.len() <= 5, "the order does not grow with what has ended");
        assert!(recent.lock().over.len() <= 2);
        let none = Recent::of(0);
        assert!(none.loaded(born(&none).id).is_none());
    }
}
