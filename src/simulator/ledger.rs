//! The billing ledger: one entry for every accepted submit, so that a test can prove that nothing was paid twice.
//!
//! When money is taken differs by provider, hence `bill_at`: an entry counts as billed once that time has come. Refusals
//! are kept apart and cost nothing. Totals stay exact when old entries make room.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Provider;
use super::clock::rfc3339;
use super::tasks::End;

/// Refusals kept; older ones are forgotten, since only tests that just caused them look.
const MAX_REFUSED: usize = 10_000;

/// Holds one accepted submit.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) seq: u64,
    pub(super) provider: Provider,
    pub(super) account: String,
    pub(super) path: String,
    pub(super) task_id: String,
    pub(super) tag: Option<String>,
    pub(super) prompt: String,
    pub(super) prompt_sha256: String,
    pub(super) body_sha256: String,
    pub(super) at_ms: u64,
    pub(super) ended_ms: u64,
    pub(super) end: End,
    /// Time from which it counts as billed; None: never.
    pub(super) bill_at: Option<u64>,
    pub(super) micro_usd: u64,
    #[serde(default)]
    pub(super) polls: u64,
    #[serde(default)]
    pub(super) finds: u64,
    #[serde(default)]
    pub(super) cancels: u64,
}

impl Entry {
    fn billed(&self, now: u64) -> bool {
        self.bill_at.is_some_and(|at| now >= at)
    }

    fn outcome(&self, now: u64) -> &'static str {
        if now < self.ended_ms {
            return "pending";
        }
        match self.end {
            End::Succeeded => "succeeded",
            End::Failed(_) => "failed",
            End::Canceled => "canceled",
            End::Aborted => "aborted",
        }
    }

    /// Writes the entry as `GET /ledger` shows it, without the outputs.
    pub(super) fn to_json(&self, now: u64) -> Value {
        let billed = self.billed(now);
        json!({
            "seq": self.seq, "provider": self.provider.name(), "account": last_four(&self.account), "path": self.path,
            "taskId": self.task_id, "tag": self.tag, "promptSha256": self.prompt_sha256, "bodySha256": self.body_sha256,
            "prompt": self.prompt, "billed": billed, "microUsd": if billed { self.micro_usd } else { 0 },
            "at": rfc3339(self.at_ms), "endsAt": rfc3339(self.ended_ms), "outcome": self.outcome(now), "polls": self.polls, "finds": self.finds,
            "cancels": self.cancels,
        })
    }
}

/// Shows only the end of a key.
pub(super) fn last_four(account: &str) -> String {
    let mut tail: Vec<char> = account.chars().rev().take(4).collect();
    tail.reverse();
    tail.into_iter().collect()
}

/// Holds one refused submit.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Refused {
    pub(super) provider: &'static str,
    pub(super) path: String,
    pub(super) status: u16,
    pub(super) code: String,
    pub(super) prompt: Option<String>,
    pub(super) tag: Option<String>,
    pub(super) at: String,
    pub(super) body_sha256: String,
}

#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Total {
    submits: u64,
    billed: u64,
    micro_usd: u64,
}

impl Total {
    fn add(&mut self, entry: &Entry, now: u64) {
        self.submits += 1;
        if entry.billed(now) {
            self.billed += 1;
            self.micro_usd += entry.micro_usd;
        }
    }
}

/// Narrows a ledger reading; None and empty mean all.
#[derive(Debug, Default)]
pub(super) struct Filter {
    pub(super) provider: Option<String>,
    pub(super) tag: Option<String>,
    pub(super) task: Option<String>,
}

impl Filter {
    fn fits(&self, entry: &Entry) -> bool {
        self.provider.as_ref().is_none_or(|name| entry.provider.name() == name)
            && self.tag.as_ref().is_none_or(|tag| entry.tag.as_ref() == Some(tag))
            && self.task.as_ref().is_none_or(|task| entry.task_id == *task)
    }
}

/// Holds the entries, their totals and the refusals.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: VecDeque<Entry>,
    /// Totals of entries that made room.
    folded: BTreeMap<Provider, Total>,
    next_seq: u64,
    refused: VecDeque<Refused>,
}

impl Ledger {
    /// The number the next entry gets.
    pub(super) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Adds an entry; beyond `max` the oldest one stays in the totals only.
    pub(super) fn push(&mut self, entry: Entry, max: usize) {
        while self.entries.len() >= max.max(1) {
            let Some(old) = self.entries.pop_front() else { break };
            // An old entry is billed if it ever will be: its time is long past by then.
            self.folded.entry(old.provider).or_default().add(&old, u64::MAX);
        }
        self.next_seq = entry.seq + 1;
        self.entries.push_back(entry);
    }

    /// Finds an entry by its number. Numbers follow each other, so the place is a subtraction.
    pub(super) fn entry(&mut self, seq: u64) -> Option<&mut Entry> {
        let first = self.entries.front()?.seq;
        let at = usize::try_from(seq.checked_sub(first)?).ok()?;
        self.entries.get_mut(at)
    }

    /// Keeps a refusal.
    pub(super) fn refuse(&mut self, refused: Refused) {
        if self.refused.len() >= MAX_REFUSED {
            self.refused.pop_front();
        }
        self.refused.push_back(refused);
    }

    /// Forgets everything but the numbering.
    pub(super) fn reset(&mut self) {
        *self = Self { next_seq: self.next_seq, ..Self::default() };
    }

    /// Sums what an account was billed, to show a provider's balance.
    pub(super) fn micro_usd(&self, provider: Provider, account: &str, now: u64) -> u64 {
        let mine = |entry: &&Entry| entry.provider == provider && entry.account == account && entry.billed(now);
        self.entries.iter().filter(mine).map(|entry| entry.micro_usd).sum()
    }

    /// Copies the fitting entries, so that they can be written without the lock.
    pub(super) fn matching(&self, filter: &Filter) -> Vec<Entry> {
        self.entries.iter().filter(|entry| filter.fits(entry)).cloned().collect()
    }

    /// Writes the refusals and totals.
    pub(super) fn summary(&self, filter: &Filter, now: u64) -> (Value, Value) {
        let mut totals = self.folded.clone();
        for entry in &self.entries {
            totals.entry(entry.provider).or_default().add(entry, now);
        }
        let named: BTreeMap<&str, Total> = totals.iter().map(|(provider, total)| (provider.name(), *total)).collect();
        let fits = |refused: &&Refused| {
            filter.provider.as_ref().is_none_or(|name| refused.provider == name)
                && filter.tag.as_ref().is_none_or(|tag| refused.tag.as_ref() == Some(tag))
        };
        let refused: Vec<&Refused> = self.refused.iter().filter(fits).collect();
        (json!(refused), json!(named))
    }
}
