//! What all parts of a run share: its clock, its log, how many faults were made, and what the proxies saw.

use std::{
    collections::BTreeMap,
    fmt,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    fault::{Fault, Link},
    schedule::{Blow, Counts, Schedule},
};

/// A webhook that the node answered with success: it has taken responsibility for it.
#[derive(Debug, Clone)]
pub struct Acknowledged {
    pub path: String,
    pub body: Vec<u8>,
}

impl Acknowledged {
    /// Whether it speaks of that task.
    pub fn names(&self, task: &str) -> bool {
        !task.is_empty() && String::from_utf8_lossy(&self.body).contains(task)
    }
}

/// An answer to a submit that reached the node whole and in time.
#[derive(Debug, Clone)]
pub struct Answered {
    pub body: Vec<u8>,
    /// Nothing befell the node or its database for a while after it: there was no reason to forget it.
    pub undisturbed: bool,
    at_ms: u64,
}

impl Answered {
    /// Whether it speaks of that task.
    pub fn names(&self, task: &str) -> bool {
        !task.is_empty() && String::from_utf8_lossy(&self.body).contains(task)
    }
}

/// How long after an answer the node needs to write it down on a busy machine; a kill before that may take it along.
const TO_WRITE_MS: u64 = 3_000;

/// A forged webhook and what the node said to it.
#[derive(Debug, Clone)]
pub struct Forged {
    pub how: &'static str,
    pub status: u16,
}

pub struct World {
    pub schedule: Schedule,
    pub folder: PathBuf,
    started: Instant,
    storm: AtomicBool,
    calm_since: AtomicU64,
    promises: AtomicU64,
    log: Mutex<std::fs::File>,
    counts: Mutex<Counts>,
    numbers: Mutex<BTreeMap<Link, u64>>,
    acknowledged: Mutex<Vec<Acknowledged>>,
    forged: Mutex<Vec<Forged>>,
    answered: Mutex<Vec<Answered>>,
    /// When something befell the node or its database, from and to.
    disturbances: Mutex<Vec<(u64, u64)>>,
}

impl World {
    pub fn new(schedule: Schedule, folder: &Path) -> std::io::Result<Arc<Self>> {
        let log = std::fs::File::create(folder.join("events.log"))?;
        Ok(Arc::new(Self {
            schedule,
            folder: folder.to_owned(),
            started: Instant::now(),
            storm: AtomicBool::new(true),
            calm_since: AtomicU64::new(0),
            promises: AtomicU64::new(0),
            log: Mutex::new(log),
            counts: Mutex::default(),
            numbers: Mutex::default(),
            acknowledged: Mutex::default(),
            forged: Mutex::default(),
            answered: Mutex::default(),
            disturbances: Mutex::default(),
        }))
    }

    /// Milliseconds since the run began.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether faults are still made.
    pub fn storm(&self) -> bool {
        self.storm.load(Ordering::SeqCst)
    }

    /// From here on every message passes.
    pub fn calm(&self) {
        self.calm_since.store(self.now_ms(), Ordering::SeqCst);
        self.storm.store(false, Ordering::SeqCst);
    }

    /// How long nothing was struck any more; only in the calm.
    pub fn calm_for(&self) -> Duration {
        Duration::from_millis(self.now_ms().saturating_sub(self.calm_since.load(Ordering::SeqCst)))
    }

    pub fn log(&self, what: impl fmt::Display) {
        let line = format!("{:7} {what}\n", self.now_ms());
        // A log that cannot be written must not change the run.
        drop(self.log.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes()));
    }

    /// Draws for the next message of a link, and counts it. What is drawn counts as made when the caller says so.
    pub fn draw(&self, link: Link) -> Option<Blow> {
        if !self.storm() {
            return None;
        }
        let number = {
            let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
            let number = numbers.entry(link).or_default();
            *number += 1;
            *number - 1
        };
        self.schedule.blow(link, number)
    }

    /// A client got a 202.
    pub fn promised(&self) {
        self.promises.fetch_add(1, Ordering::SeqCst);
    }

    pub fn acknowledged_so_far(&self) -> u64 {
        self.promises.load(Ordering::SeqCst)
    }

    /// A fault was made.
    pub fn made(&self, link: Link, fault: Fault, on: impl fmt::Display) {
        self.log(format_args!("{link}: {fault}: {on}"));
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry((link, fault)).or_default() += 1;
    }

    pub fn counts(&self) -> Counts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn acknowledge(&self, path: &str, body: &[u8]) {
        let seen = Acknowledged { path: path.to_owned(), body: body.to_vec() };
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    }

    pub fn acknowledged(&self) -> Vec<Acknowledged> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn forge(&self, forged: Forged) {
        self.log(format_args!("forged ({}) answered {}", forged.how, forged.status));
        self.forged.lock().unwrap_or_else(PoisonError::into_inner).push(forged);
    }

    pub fn forged(&self) -> Vec<Forged> {
        self.forged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// An answer to a submit was handed over whole.
    pub fn answer(&self, body: &[u8]) {
        let answered = Answered { body: body.to_vec(), undisturbed: true, at_ms: self.now_ms() };
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).push(answered);
    }

    /// Something befell the node or its database from that moment until now.
    pub fn disturbed(&self, since_ms: u64) {
        let span = (since_ms, self.now_ms());
        self.disturbances.lock().unwrap_or_else(PoisonError::into_inner).push(span);
    }

    /// All answers, each with whether anything disturbed what should have followed.
    pub fn answered(&self) -> Vec<Answered> {
        let disturbances = self.disturbances.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut all = self.answered.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for one in &mut all {
            let until = one.at_ms + TO_WRITE_MS;
            one.undisturbed = !disturbances.iter().any(|(from, to)| *from <= until && one.at_ms <= *to + TO_WRITE_MS);
        }
        all
    }
}
