//! Generations with the same prompt, judged together: the provider's ledger knows prompts, and twins ask for the same on purpose.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    drive,
    judge::{Attempt, Facts, attempts, outputs, text},
};

/// The generations of one prompt, and what the provider has for it.
#[derive(Debug, Default)]
pub struct Group<'a> {
    pub ids: Vec<&'a str>,
    pub attempts: Vec<Attempt>,
    /// Digests of all that was delivered, late results too.
    pub delivered: BTreeSet<String>,
    pub entries: Vec<&'a Value>,
    /// Submits that may be billed: one an output here, and what its client allowed beyond it.
    pub payable: usize,
    /// In millionths.
    pub held: u64,
    pub charged: u64,
    pub at_risk: u64,
    /// Attempts that are listed as at risk.
    pub doubts: usize,
    /// Some generation of it has not ended.
    pub open: bool,
}

impl Group<'_> {
    pub fn name(&self) -> String {
        self.ids.join(" + ")
    }

    /// The attempt that holds a task.
    pub fn holder(&self, entry: &Value) -> Option<&Attempt> {
        self.attempts.iter().find(|attempt| attempt.task.as_deref() == entry["taskId"].as_str())
    }

    /// Whether all that was made is with the client. A synchronous result is known by this alone: it has no task.
    pub fn has(&self, entry: &Value) -> bool {
        let mut made = outputs(entry).filter_map(|output| output["sha256"].as_str()).peekable();
        made.peek().is_some() && made.all(|digest| self.delivered.contains(digest))
    }
}

/// All groups; ledger entries without a generation are in none.
pub fn groups(facts: &Facts) -> Vec<Group<'_>> {
    let mut groups: BTreeMap<&str, Group<'_>> = BTreeMap::new();
    for (id, shown) in &facts.shown {
        let group = groups.entry(text(&shown["prompt"])).or_default();
        let money = |place: &str| micros(text(&shown["cost"][place])).unwrap_or(u64::MAX);
        let outputs = usize::try_from(shown["numberOfOutputs"].as_u64().unwrap_or(1)).unwrap_or(1);
        group.ids.push(id);
        group.attempts.extend(attempts(shown));
        group.delivered.extend(delivered(shown));
        group.payable += match (attempts(shown).is_empty(), shown["onUnconfirmed"] == "resubmit") {
            // A retry that takes over a late result pays nothing.
            (true, _) => 0,
            // One further submit an output, where the client said that paying twice is better than nothing.
            (false, true) => outputs * 2,
            (false, false) => outputs,
        };
        group.held += money("held");
        group.charged += money("charged");
        group.at_risk += money("atRisk");
        group.doubts += facts.doubts.iter().filter(|doubt| text(&doubt["id"]) == id).count();
        group.open |= !drive::terminal(shown);
    }
    for entry in &facts.ledger {
        if let Some(group) = groups.get_mut(text(&entry["prompt"])) {
            group.entries.push(entry);
        }
    }
    groups.into_values().collect()
}

fn delivered(shown: &Value) -> BTreeSet<String> {
    let files = ["results", "lateResults"].into_iter().flat_map(|list| shown[list].as_array().into_iter().flatten());
    files.filter_map(|file| file["sha256"].as_str().map(str::to_owned)).collect()
}

/// Decimal text in millionths.
pub fn micros(decimal: &str) -> Option<u64> {
    let (whole, part) = decimal.split_once('.').unwrap_or((decimal, "0"));
    let part: String = part.chars().chain(std::iter::repeat('0')).take(6).collect();
    Some(whole.parse::<u64>().ok()? * 1_000_000 + part.parse::<u64>().ok()?)
}
