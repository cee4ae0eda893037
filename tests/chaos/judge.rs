//! The verdict: what was promised, billed and stored, seen from outside, against what must hold. Pure: everything was collected before.

pub mod batches;
mod groups;
mod keys;
mod money;
mod operators;
mod paths;
pub mod told;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde_json::Value;

use crate::{
    drive::{Memory, terminal},
    operators::Decided,
    receiver::Received,
    schedule::batches::BatchAsk,
    stream::Streamed,
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
    FilesAreNamed,
    HistoryIsAPath,
    PollsWriteNothing,
    ForgedAreRefused,
    RiskIsListed,
    DecisionsAreChecked,
    OneForAKey,
    BatchesAreWhole,
    CountsAgree,
    PlacesHold,
    BudgetsHold,
    StopsHold,
    DependentsWait,
    EventsAreComplete,
    EventsAreTrue,
    WebhooksAreTrue,
    WebhooksArrive,
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
            Self::FilesAreNamed => "the storage holds no file that is nobody's result",
            Self::HistoryIsAPath => "history is a path of the machines",
            Self::PollsWriteNothing => "polls wrote nothing",
            Self::ForgedAreRefused => "forged webhooks are refused",
            Self::RiskIsListed => "what is at risk is listed with its age and its money",
            Self::DecisionsAreChecked => "what operators decide is carried out, and checked before it is believed",
            Self::OneForAKey => "one idempotency key makes one thing and answers it again",
            Self::BatchesAreWhole => "all of a batch is there, or nothing",
            Self::CountsAgree => "a batch's counts, progress and status agree with each other and with its tasks",
            Self::PlacesHold => "no more of a batch than its maxConcurrency is at the providers at a time",
            Self::BudgetsHold => "no batch spends more than its budget",
            Self::StopsHold => "behind the failure that stops a batch nothing of it is submitted",
            Self::DependentsWait => "nothing is submitted before what it depends on, or instead of it",
            Self::EventsAreComplete => "the stream has every event once and in order, as the histories do",
            Self::EventsAreTrue => "no event tells of a status that is not so",
            Self::WebhooksAreTrue => "every webhook is signed, says what the stream says, and goes where it is wanted",
            Self::WebhooksArrive => "every end is delivered to all who want it",
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
    /// Keys of all files that lie in the storage.
    pub stored: Vec<String>,
    pub wait: Wait,
    pub acknowledged: Vec<Acknowledged>,
    pub forged: Vec<Forged>,
    pub answered: Vec<Answered>,
    /// Submits whose outcome is or stayed unknown, as operators see them at the end, and what they had decided.
    pub doubts: Vec<Value>,
    pub decided: Vec<Decided>,
    /// How long the run took.
    pub took_s: u64,
    /// The seed, and the batches that were asked for.
    pub seed: u64,
    pub asks: Vec<BatchAsk>,
    /// Full views of batches by id, and their tasks.
    pub batches: BTreeMap<String, Value>,
    pub tasks: BTreeMap<String, Vec<Value>>,
    /// What the project's stream said.
    pub streamed: Streamed,
    /// What came to the receiver, where that is, what signs for it, and how our own list has it.
    pub received: Vec<Received>,
    pub receiver: String,
    pub secrets: Secrets,
    pub deliveries: Vec<Value>,
}

/// What signs webhooks: one for the endpoint, one for URLs that are named with a generation or a batch.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    pub endpoint: String,
    pub project: String,
}

/// One attempt, as shown.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub n: u64,
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
    let read = |one: &Value| Attempt {
        n: one["n"].as_u64().unwrap_or(0),
        state: word(&one["state"]),
        task: one["providerTaskId"].as_str().map(str::to_owned),
    };
    attempts.map(read).collect()
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
    files(facts, &mut say);
    operators::risk(facts, &mut say);
    operators::decisions(facts, &mut say);
    paths::histories(facts, &mut say);
    keys::judge(facts, &mut say);
    batches::at_the_end(facts, &mut say);
    told::judge(facts, &mut say);
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
    for (invariant, outrage) in &facts.memory.outrages {
        say(*invariant, outrage.clone());
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

/// Every file is shown to somebody: one that a crash left before its row was written would be kept for ever.
fn files(facts: &Facts, say: &mut impl FnMut(Invariant, String)) {
    for key in facts.stored.iter().filter(|key| !facts.fetched.keys().any(|url| url.contains(key.as_str()))) {
        say(Invariant::FilesAreNamed, format!("{key} is no result"));
    }
}

fn outputs(entry: &Value) -> impl Iterator<Item = &Value> {
    entry["outputs"].as_array().into_iter().flatten()
}

pub use groups::micros;

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
