//! Tasks of all sandboxes: what is known of one generation, and the table of them.
//!
//! A task's phase is a function of the time, so nothing has to tick: a poll reads the clock. The table is bounded and
//! every look-up is by key; only the list calls walk, and only over one account's own list.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Provider;
use super::faults::Directives;
use super::media::Media;

/// Says how a task ends, once its time has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum End {
    /// Outputs are ready.
    Succeeded,
    /// Failed with this code or text.
    Failed(String),
    /// Stopped by a call or by its own deadline while running (Replicate).
    Canceled,
    /// Stopped by its deadline before it ran (Replicate).
    Aborted,
}

/// Says where a task is at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// Accepted, not yet running.
    Queued,
    /// Running.
    Running,
    /// Over.
    Ended(End),
}

/// Holds where and how a task's webhooks go.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Hook {
    /// Receiver as the client gave it.
    pub(super) url: String,
    /// Secret given with the request (BFL).
    pub(super) secret: Option<String>,
    /// Events asked for; empty means all (Replicate).
    pub(super) events: Vec<String>,
}

/// Holds one accepted generation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) id: String,
    pub(super) provider: Provider,
    /// Path family or answer style it was created with; polls must match it where the provider insists.
    pub(super) family: String,
    pub(super) account: String,
    pub(super) model: String,
    pub(super) prompt: String,
    /// Request input, kept only where the provider echoes it.
    pub(super) input: Value,
    pub(super) external_id: Option<String>,
    pub(super) hook: Option<Hook>,
    pub(super) created_ms: u64,
    pub(super) started_ms: u64,
    pub(super) ended_ms: u64,
    pub(super) end: End,
    pub(super) media: Media,
    pub(super) outputs: u32,
    pub(super) micro_usd: u64,
    pub(super) ttl_ms: u64,
    pub(super) faults: Directives,
    /// Ledger entry that counts its polls.
    pub(super) seq: u64,
    /// Downloads begun, for `truncate=1`.
    #[serde(default)]
    pub(super) downloads: u32,
    /// Polls answered after its end: each signs the outputs' addresses anew (`resign`).
    #[serde(default)]
    pub(super) signed: u32,
}

impl Task {
    /// Tells the phase at `now`.
    pub(super) fn phase(&self, now: u64) -> Phase {
        if now >= self.ended_ms {
            Phase::Ended(self.end.clone())
        } else if now >= self.started_ms {
            Phase::Running
        } else {
            Phase::Queued
        }
    }

    /// Tells whether the outputs' lifetime is over.
    pub(super) fn expired(&self, now: u64) -> bool {
        now >= self.ended_ms.saturating_add(self.ttl_ms)
    }

    /// Tells whether an address with this query was signed too early to be good (`resign`).
    pub(super) fn stale(&self, query: &str) -> bool {
        let signed = query.strip_prefix("signed=").and_then(|count| count.parse::<u32>().ok()).unwrap_or(0);
        self.faults.resign > 0 && signed <= self.faults.resign
    }

    /// Tells whether lists and look-ups do not show it yet.
    pub(super) fn hidden(&self, now: u64) -> bool {
        self.faults.hide.is_some_and(|span| now < self.created_ms.saturating_add(span))
    }

    /// Progress from 0 to 1.
    pub(super) fn progress(&self, now: u64) -> f64 {
        let whole = self.ended_ms.saturating_sub(self.created_ms).max(1);
        let done = now.saturating_sub(self.created_ms).min(whole);
        // Per mille first: two such small integers convert to f64 exactly.
        f64::from(u32::try_from(done.saturating_mul(1_000) / whole).unwrap_or(1_000)) / 1_000.0
    }

    /// The word to tell while pending: the directive's, or the provider's own.
    pub(super) fn pending_word<'a>(&'a self, own: &'a str) -> &'a str {
        self.faults.status.as_deref().unwrap_or(own)
    }

    /// Names the files of its outputs, relative to the simulator's root.
    pub(super) fn file_paths(&self) -> Vec<String> {
        let (provider, id, ext) = (self.provider.name(), &self.id, self.media.extension());
        let signature = if self.faults.resign > 0 { format!("?signed={}", self.signed) } else { String::new() };
        (0..self.outputs).map(|index| format!("files/{provider}/{id}-{index}.{ext}{signature}")).collect()
    }

    fn list(&self) -> ListKey {
        (self.provider, self.account.clone(), self.family.clone())
    }
}

type TaskKey = (Provider, String);
type ListKey = (Provider, String, String);

/// Holds all tasks, the oldest first to go.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    by_id: HashMap<TaskKey, Task>,
    /// Ids by account-wide external id.
    by_external: HashMap<(Provider, String, String), String>,
    /// Ids by account and family, oldest first.
    lists: HashMap<ListKey, VecDeque<String>>,
    order: VecDeque<TaskKey>,
}

impl Tasks {
    /// Adds a task; beyond `max` forgets the oldest finished one.
    pub(super) fn insert(&mut self, task: Task, max: usize, now: u64) {
        while self.by_id.len() >= max.max(1) && self.forget_one(now) {}
        if let Some(external) = &task.external_id {
            self.by_external.insert((task.provider, task.account.clone(), external.clone()), task.id.clone());
        }
        self.lists.entry(task.list()).or_default().push_back(task.id.clone());
        self.order.push_back((task.provider, task.id.clone()));
        self.by_id.insert((task.provider, task.id.clone()), task);
    }

    /// Finds a task by the provider's id, whoever owns it.
    pub(super) fn by_id(&mut self, provider: Provider, id: &str) -> Option<&mut Task> {
        self.by_id.get_mut(&(provider, id.to_owned()))
    }

    /// Walks over all tasks; only for the start.
    pub(super) fn all(&self) -> impl Iterator<Item = &Task> {
        self.by_id.values()
    }

    /// Finds the id that belongs to a client's id.
    pub(super) fn by_external(&self, provider: Provider, account: &str, external: &str) -> Option<&String> {
        self.by_external.get(&(provider, account.to_owned(), external.to_owned()))
    }

    /// Lists an account's tasks of a family, newest first.
    pub(super) fn newest(&self, provider: Provider, account: &str, family: &str) -> impl Iterator<Item = &Task> {
        let ids = self.lists.get(&(provider, account.to_owned(), family.to_owned()));
        ids.into_iter().flatten().rev().filter_map(move |id| self.by_id.get(&(provider, id.clone())))
    }

    /// Forgets the oldest finished task; false when the eldest few all still run, which lets the table grow past its bound
    /// rather than lose a task somebody waits for.
    fn forget_one(&mut self, now: u64) -> bool {
        for _ in 0..8 {
            let Some(key) = self.order.pop_front() else { return false };
            let Some(task) = self.by_id.get(&key) else { continue };
            if !matches!(task.phase(now), Phase::Ended(_)) {
                self.order.push_back(key);
                continue;
            }
            let Some(task) = self.by_id.remove(&key) else { continue };
            self.unlink(&task);
            return true;
        }
        false
    }

    fn unlink(&mut self, task: &Task) {
        if let Some(external) = &task.external_id {
            self.by_external.remove(&(task.provider, task.account.clone(), external.clone()));
        }
        if let Some(list) = self.lists.get_mut(&task.list())
            && let Some(at) = list.iter().position(|id| *id == task.id)
        {
            list.remove(at);
        }
    }
}
