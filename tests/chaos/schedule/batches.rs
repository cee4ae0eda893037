//! The batches that clients ask for: what each line is, under which conditions, and what the client does to it afterwards.

use std::fmt;

use serde_json::{Value, json};

use crate::{
    dice::Dice,
    fault::{Fault, Link},
    schedule::{Recipe, directive},
};

/// What a batch is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Plain,
    /// Images, and videos from them.
    Chain,
    /// The first failure stops it.
    Stop,
    /// It may spend less than all its lines cost.
    Budget,
    /// One line after the other.
    Serial,
    /// Some lines are wrong, and left out.
    Skip,
    /// Some lines are wrong, so nothing may come of it.
    Reject,
}

/// In this order, so that a few batches are already of several kinds.
const KINDS: [Kind; 8] =
    [Kind::Plain, Kind::Chain, Kind::Stop, Kind::Budget, Kind::Skip, Kind::Chain, Kind::Serial, Kind::Reject];

/// What a client does to its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steer {
    CancelQueued,
    CancelAll,
    Pause,
    Resume,
    Retry { forced: bool },
}

/// One line.
#[derive(Debug, Clone)]
pub struct LineAsk {
    pub model: &'static str,
    pub directive: Option<(Fault, String)>,
    pub slow_ms: u64,
    /// The line whose image it is made from.
    pub on: Option<usize>,
    /// Its client wants to be told of it.
    pub told: bool,
    /// It is no request that could be taken.
    pub wrong: bool,
}

/// One batch.
#[derive(Debug, Clone)]
pub struct BatchAsk {
    pub number: u64,
    pub at_ms: u64,
    pub kind: Kind,
    pub lines: Vec<LineAsk>,
    /// As lines, not as one JSON body.
    pub streamed: bool,
    pub concurrency: u64,
    /// In millionths.
    pub budget: Option<u64>,
    pub told: bool,
    pub twice: bool,
    pub again: bool,
    /// Each so long after what came before it.
    pub steers: Vec<(u64, Steer)>,
}

/// Prices of what a budgeted batch asks for, as the settings have them: both sides know them to the unit.
const PRICED: [(&str, u64); 2] = [("kling-2.6", 350_000), ("pollo-2.5", 700_000)];
const IMAGES: [&str; 3] = ["flux-2-pro", "flux-schnell", "tuzi-flux-kontext-pro"];
const VIDEOS: [&str; 3] = ["kling-2.6", "pollo-2.5", "tuzi-kling-2.6"];

/// All batches of a run.
pub fn asks(recipe: &Recipe) -> Vec<BatchAsk> {
    (0..recipe.batches).map(|number| ask(recipe, number)).collect()
}

fn ask(recipe: &Recipe, number: u64) -> BatchAsk {
    let mut dice = Dice::of(recipe.seed, "batch", number);
    let turn = usize::try_from((number + recipe.seed) % 8).unwrap_or(0);
    let kind = KINDS[turn];
    let count = match kind {
        Kind::Serial => dice.between(3, 5),
        Kind::Budget => dice.between(5, 9),
        _ => dice.between(5, 18),
    };
    let mut lines: Vec<LineAsk> = Vec::new();
    for index in 0..count {
        let next = line(recipe, (kind, index), &lines, &mut dice);
        lines.push(next);
    }
    let price = |line: &LineAsk| PRICED.iter().find(|(model, _)| *model == line.model).map_or(0, |(_, price)| *price);
    let whole: u64 = lines.iter().map(price).sum();
    BatchAsk {
        number,
        // Early, so that much of it is under way while faults are made.
        at_ms: dice.below(recipe.faults_ms * 2 / 3 + 1),
        kind,
        streamed: dice.per_mille(500),
        concurrency: if kind == Kind::Serial { 1 } else { dice.between(2, 6) },
        budget: (kind == Kind::Budget).then_some(whole * 6 / 10),
        told: dice.per_mille(600),
        twice: dice.per_mille(250),
        again: dice.per_mille(250),
        steers: steers(&mut dice),
        lines,
    }
}

fn line(recipe: &Recipe, (kind, index): (Kind, u64), before: &[LineAsk], dice: &mut Dice) -> LineAsk {
    let images: Vec<usize> = before.iter().enumerate().filter(|(_, line)| line.on.is_none()).map(|(at, _)| at).collect();
    let on = (kind == Kind::Chain && index > 0 && dice.per_mille(500)).then(|| *dice.pick(&images));
    let model = match (kind, on) {
        (Kind::Budget, _) => dice.pick(&PRICED).0,
        (_, Some(_)) => dice.pick(&VIDEOS),
        (Kind::Chain, None) => dice.pick(&IMAGES),
        _ if dice.per_mille(500) => dice.pick(&IMAGES),
        _ => dice.pick(&VIDEOS),
    };
    let fails = kind == Kind::Stop && dice.per_mille(150);
    let failure = || Some((Fault::Failure, "fail=1".to_owned()));
    let directive = if fails { failure() } else { directive(model, dice) };
    LineAsk {
        model,
        directive: directive.filter(|(fault, _)| recipe.chosen.allows(Link::Provider, *fault)),
        // Replicate bills by the second: one second each makes its price known.
        slow_ms: if model == "flux-schnell" { 1_000 } else { dice.between(100, 900) },
        on,
        told: dice.per_mille(250),
        wrong: matches!(kind, Kind::Skip | Kind::Reject) && (index == 1 || dice.per_mille(200)),
    }
}

fn steers(dice: &mut Dice) -> Vec<(u64, Steer)> {
    match dice.below(100) {
        0..12 => vec![(dice.below(3_000), Steer::CancelQueued)],
        12..24 => vec![(dice.below(3_000), Steer::CancelAll)],
        24..30 => vec![(dice.below(2_000), Steer::CancelQueued), (dice.below(1_000), Steer::CancelAll)],
        30..50 => vec![(dice.below(2_000), Steer::Pause), (dice.between(300, 2_500), Steer::Resume)],
        50..75 => {
            let forced = dice.per_mille(500);
            vec![(dice.between(1_000, 4_000), Steer::Retry { forced }), (dice.between(1_000, 4_000), Steer::Retry { forced })]
        }
        _ => Vec::new(),
    }
}

impl BatchAsk {
    /// The client's name of it, by which it is found again.
    pub fn name(&self, seed: u64) -> String {
        format!("s{seed} b{}", self.number)
    }

    /// The prompt of a line, which is its own: the provider's ledger knows prompts.
    pub fn prompt(&self, seed: u64, index: usize) -> String {
        let line = &self.lines[index];
        let directive = line.directive.as_ref().map_or_else(String::new, |(_, words)| format!(" {words}"));
        format!("s{seed} b{} l{index} [[sim slow={}{directive}]]", self.number, line.slow_ms)
    }

    /// Lines that are taken.
    pub fn good(&self) -> impl Iterator<Item = usize> {
        (0..self.lines.len()).filter(|index| !self.lines[*index].wrong)
    }

    /// Where it is told, and where of a line.
    pub fn hook(&self, receiver: &str) -> Option<String> {
        self.told.then(|| format!("{receiver}/b/{}", self.number))
    }

    fn request(&self, (seed, index): (u64, usize), receiver: &str) -> Value {
        let line = &self.lines[index];
        let mut request = json!({
            "customId": format!("l{index}"),
            "modelIdentifier": line.model,
            "prompt": if line.wrong { String::new() } else { self.prompt(seed, index) },
        });
        if let Some(on) = line.on {
            request["inputImages"] = json!([{ "$result": format!("l{on}") }]);
        }
        if line.told {
            request["webhookUrl"] = format!("{receiver}/l/{}-{index}", self.number).into();
        }
        request
    }

    /// Content type and bytes, the same at every try.
    pub fn body(&self, seed: u64, receiver: &str) -> (&'static str, Vec<u8>) {
        let mut options = json!({
            "name": self.name(seed),
            "maxConcurrency": self.concurrency,
            "parallel": self.kind != Kind::Serial,
            "stopOnError": self.kind == Kind::Stop,
            "onInvalid": if self.kind == Kind::Skip { "skip" } else { "reject" },
        });
        if let Some(budget) = self.budget {
            options["budget"] = budget.into();
        }
        if let Some(url) = self.hook(receiver) {
            options["webhookUrl"] = url.into();
        }
        let requests: Vec<Value> = (0..self.lines.len()).map(|index| self.request((seed, index), receiver)).collect();
        if !self.streamed {
            return ("application/json", json!({ "requests": requests, "options": options }).to_string().into_bytes());
        }
        let head = std::iter::once(json!({ "options": options }));
        let lines: Vec<String> = head.chain(requests).map(|line| format!("{line}\n")).collect();
        ("application/x-ndjson", lines.concat().into_bytes())
    }
}

impl fmt::Display for BatchAsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, kind, lines, streamed, concurrency, budget, steers, .. } = self;
        let form = if *streamed { "NDJSON" } else { "JSON" };
        write!(
            f,
            "batch {number}: {kind:?}, {} lines as {form}, {concurrency} at a time, budget {budget:?}: {steers:?}",
            lines.len()
        )
    }
}
