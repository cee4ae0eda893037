//! The verdict: what was promised, billed and stored, seen from outside, against what must hold. Pure: everything was collected before.

mod groups;
mod money;
mod paths;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde_json::Value;

use crate::{
    drive::{Memory, terminal},
    world::{Acknowledged, Answered, Forged},
};

/// The invariants of the proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    PaidOnce,
    NothingDropped,
    PromisesEnd,
    TerminalStays,
    SpendAgrees,
    BytesAgree,
    HistoryIsAPath,
    PollsWriteNothing,
    ForgedAreRefused,
}

impl Invariant {
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::PaidOnce => "billed submits per intent ≤ 1",
            Self::NothingDropped => "every billed result delivered, shown late, or accounted for as unconfirmed",
            Self::PromisesEnd => "every 202 is still there and reaches an end",
            Self::TerminalStays => "terminal states never change",
            Self::SpendAgrees => "our spend equals the provider's; the rest is at risk",
            Self::BytesAgree => "stored bytes equal the provider's bytes",
            Self::HistoryIsAPath => "history is a path of the machines",
            Self::PollsWriteNothing => "polls wrote nothing",
            Self::ForgedAreRefused => "forged webhooks are refused",
        }
    }
}

/// One thing that must not have happened.
#[derive(Debug, Clone)]
pub struct Violation {
    pub invariant: Invariant,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant.sentence(), self.what)
    }
}

/// What happened while generations were waited for and nothing else went on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wait {
    pub commits: u64,
    pub polls: u64,
}

/// Everything that was collected.
#[derive(Debug, Default)]
pub struct Facts {
    pub memory: Memory,
    /// Full views by id, at the end.
    pub shown: BTreeMap<String, Value>,
    /// Histories by id.
    pub histories: BTreeMap<String, Value>,
    /// What our own ledger sums up to, by generation, and what the spend report says in all.
    pub books: BTreeMap<String, Value>,
    pub report: Value,
    /// The provider's ledger.
    pub ledger: Vec<Value>,
    /// Digests of the bytes that the results' URLs answered.
    pub fetched: BTreeMap<String, Result<String, String>>,
    pub wait: Wait,
    pub acknowledged: Vec<Acknowledged>,
    pub forged: Vec<Forged>,
    pub answered: Vec<Answered>,
}

/// One attempt, as shown.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub state: String,
    pub task: Option<String>,
}

impl Attempt {
    /// Something will still happen to it.
    pub fn under_way(&self) -> bool {
        matches!(self.state.as_str(), "submitting" | "unconfirmed" | "running" | "storing")
    }

    /// Bytes may have left, and nobody could say what became of them: it counts as money at risk.
    pub fn at_risk(&self) -> bool {
        self.task.is_none() && matches!(self.state.as_str(), "given_up" | "unconfirmed" | "submitting")
    }
}

pub fn attempts(shown: &Value) -> Vec<Attempt> {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let attempts = shown["attempts"].as_array().into_iter().flatten();
    attempts.map(|one| Attempt { state: word(&one["state"]), task: one["providerTaskId"].as_str().map(str::to_owned) }).collect()
}

/// Judges.
pub fn judge(facts: &Facts) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut say = |invariant, what: String| found.push(Violation { invariant, what });
    promises(facts, &mut say);
    money::known(facts, &mut say);
    money::books(facts, &mut say);
    for group in groups::groups(facts) {
        money::paid_once(&group, &mut say);
        money::nothing_dropped(&group, facts, &mut say);
        money::spend(&group, &mut say);
        bytes(&group, &mut say);
    }
    fetched(facts, &mut say);
    paths::histories(facts, &mut say);
    if facts.wait.commits > 0 {
        say(
            Invariant::PollsWriteNothing,
            format!("{} commits while {} polls found nothing new", facts.wait.commits, facts.wait.polls),
        );
    }
    for forged in &facts.forged {
        if (200..300).contains(&forged.status) {
            say(Invariant::ForgedAreRefused, format!("a forged webhook ({}) was answered {}", forged.how, forged.status));
        }
    }
    found
}

fn promises(facts: &Facts, say: &mut impl FnMut(Invariant, String)) {
    for outrage in &facts.memory.outrages {
        let vanished = outrage.ends_with("is not there");
        say(if vanished { Invariant::PromisesEnd } else { Invariant::TerminalStays }, outrage.clone());
    }
    for id in &facts.memory.promised {
        if !facts.shown.contains_key(id) {
            say(Invariant::PromisesEnd, format!("{id} was acknowledged and is in no list"));
        }
    }
    for (id, shown) in &facts.shown {
        if !terminal(shown) {
            say(Invariant::PromisesEnd, format!("{id} never ends: {} {} {}", shown["status"], shown["stage"], shown["why"]));
        }
    }
}

/// What is delivered is what the provider made for this prompt.
fn bytes(group: &groups::Group<'_>, say: &mut impl FnMut(Invariant, String)) {
    let made: BTreeSet<&str> =
        group.entries.iter().flat_map(|entry| outputs(entry)).filter_map(|output| output["sha256"].as_str()).collect();
    for digest in group.delivered.iter().filter(|digest| !made.contains(digest.as_str())) {
        say(Invariant::BytesAgree, format!("{} delivers {digest}, which no provider made for it", group.name()));
    }
}

/// What the URLs of the results give is what the views say.
fn fetched(facts: &Facts, say: &mut impl FnMut(Invariant, String)) {
    for (id, shown) in &facts.shown {
        for file in ["results", "lateResults"].into_iter().flat_map(|list| shown[list].as_array().into_iter().flatten()) {
            let said = text(&file["sha256"]);
            match facts.fetched.get(text(&file["url"])) {
                Some(Ok(digest)) if digest == said => {}
                Some(Ok(digest)) => say(Invariant::BytesAgree, format!("{id}: the URL gives {digest}, the view says {said}")),
                Some(Err(problem)) => say(Invariant::BytesAgree, format!("{id}: a result cannot be fetched: {problem}")),
                None => say(Invariant::BytesAgree, format!("{id}: a result was not fetched")),
            }
        }
    }
}

fn outputs(entry: &Value) -> impl Iterator<Item = &Value> {
    entry["outputs"].as_array().into_iter().flatten()
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
