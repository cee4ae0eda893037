//! The simulator's shared state: tasks, ledger, limits and faults behind one lock.
//!
//! One mutex guards them together: that makes "accepted" and "entered in the ledger" one step. It is never held over an
//! await. With `ledger_path` the line reaches the disk under the lock too, so order is kept. Submits are in `submit`.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, MutexGuard};

use super::faults::Rules;
use super::http::Reply;
use super::journal::{Journal, Line};
use super::ledger::{Entry, Ledger};
use super::limits::Limits;
use super::media::Studio;
use super::tasks::{End, Phase, Task, Tasks};
use super::{Provider, clock};
use crate::config::simulator::SimulatorConfig;

/// What a poll finds.
#[derive(Debug)]
pub(super) enum Found {
    /// No such task of this account.
    Nothing,
    /// A directive breaks this poll.
    Broken(Reply),
    /// The task as it is.
    Task(Box<Task>),
}

/// Holds everything that is under the lock.
#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) tasks: Tasks,
    pub(super) ledger: Ledger,
    pub(super) limits: Limits,
    pub(super) rules: Rules,
    /// Submits that a counted directive has met so far, by its name and the prompt.
    pub(super) met: HashMap<(&'static str, Provider, String), u32>,
    /// Submits seen, refused ones included: what the rates draw their lots by.
    pub(super) turns: u64,
    journal: Option<Journal>,
}

/// The running simulator's state, shared by all its workers.
#[derive(Debug)]
pub(super) struct Sim {
    pub(super) config: SimulatorConfig,
    /// Base of the URLs in answers, without a slash at the end.
    pub(super) url: String,
    pub(super) studio: Studio,
    pub(super) client: reqwest::Client,
    inner: Mutex<Inner>,
}

impl Sim {
    /// Builds the state and reads back what an earlier run kept.
    ///
    /// # Errors
    /// A rule that is not understood, or what the file system says of the ledger's file.
    pub(super) fn new(config: SimulatorConfig, url: String, client: reqwest::Client) -> io::Result<Self> {
        let mut inner = Inner::default();
        for rule in &config.faults {
            inner.rules.add(rule).map_err(|reason| io::Error::new(io::ErrorKind::InvalidInput, reason))?;
        }
        if let Some(path) = &config.ledger_path {
            let (journal, lines) = Journal::open(path)?;
            lines.into_iter().for_each(|line| inner.replay(line, &config));
            inner.journal = Some(journal);
        }
        let studio = Studio::new(config.tiny_outputs, config.max_pixels);
        Ok(Self { config, url, studio, client, inner: Mutex::new(inner) })
    }

    /// Takes the lock. A panic elsewhere must not stop the sandbox, so poison is ignored: each change is small and whole.
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Tells whether a key is accepted.
    pub(super) fn key_is_good(keys: &[String], key: &str) -> bool {
        if keys.is_empty() { !key.is_empty() && !key.starts_with("bad") } else { keys.iter().any(|k| k == key) }
    }

    /// Looks a task up for a poll, counts the poll and lets `pollfail` break it.
    pub(super) fn poll(&self, provider: Provider, account: &str, id: &str) -> Found {
        let mut inner = self.lock();
        let Inner { tasks, ledger, .. } = &mut *inner;
        let Some(task) = tasks.by_id(provider, id).filter(|task| task.account == account) else {
            return Found::Nothing;
        };
        if let Some(entry) = ledger.entry(task.seq) {
            entry.polls += 1;
        }
        if matches!(task.phase(clock::now_ms()), Phase::Ended(_)) {
            task.signed = task.signed.saturating_add(1);
        }
        if task.faults.pollfail > 0 {
            task.faults.pollfail -= 1;
            // In turn an honest 500 and a 200 with garbage: both happen, and only one looks like an error.
            let garbage = Reply::html(200, "<html><body>502 Bad Gateway</body></html>");
            return Found::Broken(if task.faults.pollfail % 2 == 0 { Reply::odd(500) } else { garbage });
        }
        Found::Task(Box::new(task.clone()))
    }

    /// Finds the task that belongs to a client's id, and counts the search.
    pub(super) fn find_external(&self, provider: Provider, account: &str, external: &str) -> Option<String> {
        let mut inner = self.lock();
        let Inner { tasks, ledger, .. } = &mut *inner;
        let id = tasks.by_external(provider, account, external)?.clone();
        let seq = tasks.by_id(provider, &id).filter(|task| !task.hidden(clock::now_ms()))?.seq;
        if let Some(entry) = ledger.entry(seq) {
            entry.finds += 1;
        }
        Some(id)
    }

    /// Ends a task now (cancel): true when it was still going.
    pub(super) fn end_now(&self, task: &Task, end: End, now: u64) -> bool {
        let mut inner = self.lock();
        let Inner { tasks, ledger, journal, .. } = &mut *inner;
        let Some(entry) = ledger.entry(task.seq) else { return false };
        entry.cancels += 1;
        let Some(task) = tasks.by_id(task.provider, &task.id) else { return false };
        if matches!(task.phase(now), Phase::Ended(_)) {
            return false;
        }
        end_early(task, entry, &end, now);
        if let Some(journal) = journal {
            let line = Line::Ended { seq: task.seq, provider: task.provider, id: task.id.clone(), at: now, end };
            if let Err(error) = journal.append(&line) {
                tracing::error!(%error, "ledger line not written");
            }
        }
        true
    }

    /// Forgets ledger, tasks and limits; faults by rule stay.
    ///
    /// # Errors
    /// What the file system says of the ledger's file.
    pub(super) fn reset(&self) -> io::Result<()> {
        let mut inner = self.lock();
        inner.ledger.reset();
        inner.tasks = Tasks::default();
        inner.limits = Limits::default();
        inner.met.clear();
        inner.journal.as_mut().map_or(Ok(()), Journal::clear)
    }
}

/// Moves a task's end to `now`; money already due at the end is then due for the share of the time that was used.
fn end_early(task: &mut Task, entry: &mut Entry, end: &End, now: u64) {
    let whole = task.ended_ms.saturating_sub(task.created_ms).max(1);
    let used = now.saturating_sub(task.created_ms);
    entry.micro_usd = (entry.micro_usd.saturating_mul(used.min(whole)) / whole).max(1);
    entry.ended_ms = now;
    entry.end = end.clone();
    entry.bill_at = (*end == End::Canceled).then_some(now);
    task.micro_usd = entry.micro_usd;
    task.started_ms = task.started_ms.min(now);
    task.ended_ms = now;
    task.end = end.clone();
}

impl Inner {
    /// Writes an acceptance to the ledger's file, if there is one.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn record(&mut self, entry: &Entry, task: &Task) -> io::Result<()> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        journal.append(&Line::Accepted { entry: Box::new(entry.clone()), task: Box::new(task.clone()) })
    }

    fn replay(&mut self, line: Line, config: &SimulatorConfig) {
        match line {
            Line::Accepted { entry, task } => {
                self.tasks.insert(*task, config.max_tasks, entry.at_ms);
                self.ledger.push(*entry, config.max_ledger_entries);
            }
            Line::Ended { seq, provider, id, at, end } => {
                if let (Some(entry), Some(task)) = (self.ledger.entry(seq), self.tasks.by_id(provider, &id)) {
                    end_early(task, entry, &end, at);
                }
            }
        }
    }
}
