//! The schedule of one run: what clients ask for and when, what befalls processes and servers and when, and what befalls the n-th
//! message of each link. All of it is a function of the seed; only which message comes n-th depends on the machine.

pub mod batches;

use std::{collections::BTreeMap, fmt, time::Duration};

use batches::BatchAsk;

use crate::{
    dice::Dice,
    fault::{Chosen, Fault, Link},
};

/// Which database a run uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Database {
    Sqlite,
    Postgres,
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        })
    }
}

/// One generation that a client asks for.
#[derive(Debug, Clone)]
pub struct Ask {
    /// What tells its prompt from others; a twin has its sibling's.
    pub number: u64,
    pub at_ms: u64,
    pub model: &'static str,
    pub outputs: u16,
    /// Directives for the simulator, with the fault they stand for.
    pub directive: Option<(Fault, String)>,
    /// How long the provider takes.
    pub slow_ms: u64,
    /// What the client wants when nobody can say whether the provider accepted; as configured, mostly.
    pub on_unconfirmed: Option<&'static str>,
    /// The client changes its mind so long after the answer.
    pub cancel_after_ms: Option<u64>,
    /// The client has a second connection, and sends the same on both at once.
    pub twice: bool,
    /// It asks once more after it was answered.
    pub again: bool,
    /// It takes its key for another request, by mistake.
    pub other: bool,
    /// It wants to be told of the end.
    pub told: bool,
}

/// One blow at a process, a server or a whole link.
#[derive(Debug, Clone, Copy)]
pub struct Strike {
    pub at_ms: u64,
    pub link: Link,
    pub fault: Fault,
    /// How long it lasts, where it lasts.
    pub for_ms: u64,
}

/// What befalls one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blow {
    pub fault: Fault,
    pub for_ms: u64,
}

/// What a schedule is made from.
#[derive(Debug, Clone)]
pub struct Recipe {
    pub seed: u64,
    pub database: Database,
    pub chosen: Chosen,
    /// How long faults are made.
    pub faults_ms: u64,
    /// Generations asked for in that time.
    pub asks: u64,
    /// Batches asked for in that time.
    pub batches: u64,
    /// How many times as often as usual faults are made.
    pub intensity: u64,
    /// Whether a quiet wait at the end is watched, for what polls write.
    pub quiet: bool,
    /// How long everything may take to come to rest.
    pub rest: Duration,
}

#[derive(Debug, Clone)]
pub struct Schedule {
    pub recipe: Recipe,
    pub asks: Vec<Ask>,
    pub batches: Vec<BatchAsk>,
    pub strikes: Vec<Strike>,
}

/// Models and their weights.
const MODELS: &[(&str, u64)] = &[
    ("kling-2.6", 18),
    ("pollo-2.5", 14),
    ("flux-schnell", 18),
    ("flux-2-pro", 20),
    ("tuzi-flux-kontext-pro", 10),
    ("tuzi-flux-kontext-max", 10),
    ("tuzi-kling-2.6", 10),
];

/// Blows at processes and servers: how many in ten seconds (in thousandths), shortest and longest duration.
const STRIKES: &[(Link, Fault, u64, (u64, u64))] = &[
    (Link::Node, Fault::Kill, 3_000, (0, 400)),
    (Link::Node, Fault::Freeze, 1_500, (200, 2_500)),
    (Link::Node, Fault::Terminate, 600, (0, 200)),
    (Link::Client, Fault::Refuse, 500, (100, 600)),
    (Link::Provider, Fault::Refuse, 1_200, (150, 900)),
    (Link::Provider, Fault::Kill, 500, (0, 500)),
    (Link::Database, Fault::CutAll, 1_000, (0, 0)),
    (Link::Database, Fault::CutAfter, 2_500, (0, 0)),
    (Link::Database, Fault::Stall, 1_000, (200, 2_500)),
    (Link::Database, Fault::Refuse, 1_000, (200, 1_500)),
    (Link::Database, Fault::Restart, 600, (0, 0)),
    (Link::Database, Fault::Crash, 600, (0, 0)),
    (Link::Database, Fault::Freeze, 800, (200, 2_500)),
    (Link::Notify, Fault::Refuse, 1_000, (200, 1_200)),
    (Link::Storage, Fault::Refuse, 1_200, (200, 1_500)),
    (Link::Disk, Fault::Full, 700, (200, 2_000)),
];

/// Blows at messages, in thousandths of the link's messages, with their shortest and longest duration.
const BLOWS: &[(Link, Fault, u64, (u64, u64))] = &[
    (Link::Client, Fault::CutBefore, 20, (0, 0)),
    (Link::Client, Fault::CutAfter, 40, (0, 0)),
    (Link::Client, Fault::Half, 10, (0, 0)),
    (Link::Client, Fault::Delay, 20, (50, 800)),
    (Link::Client, Fault::Partial, 15, (0, 0)),
    (Link::Submit, Fault::CutBefore, 40, (0, 0)),
    (Link::Submit, Fault::CutAfter, 60, (0, 0)),
    (Link::Submit, Fault::Half, 30, (0, 0)),
    (Link::Submit, Fault::Delay, 40, (100, 2_500)),
    (Link::Submit, Fault::Hold, 40, (1_600, 5_000)),
    (Link::Submit, Fault::GatewayBefore, 20, (0, 0)),
    (Link::Submit, Fault::GatewayAfter, 40, (0, 0)),
    (Link::Ask, Fault::CutBefore, 20, (0, 0)),
    (Link::Ask, Fault::CutAfter, 20, (0, 0)),
    (Link::Ask, Fault::Half, 15, (0, 0)),
    (Link::Ask, Fault::Delay, 15, (100, 2_000)),
    (Link::Ask, Fault::GatewayBefore, 15, (0, 0)),
    (Link::Download, Fault::CutBefore, 40, (0, 0)),
    (Link::Download, Fault::Half, 60, (0, 0)),
    (Link::Download, Fault::Delay, 30, (100, 2_000)),
    (Link::Download, Fault::GatewayBefore, 30, (0, 0)),
    (Link::Webhook, Fault::CutBefore, 60, (0, 0)),
    (Link::Webhook, Fault::CutAfter, 60, (0, 0)),
    (Link::Webhook, Fault::Lose, 90, (0, 0)),
    (Link::Webhook, Fault::Double, 120, (0, 0)),
    (Link::Webhook, Fault::Hold, 90, (300, 4_000)),
    (Link::Webhook, Fault::Forge, 120, (0, 0)),
    (Link::Notify, Fault::CutBefore, 60, (0, 0)),
    (Link::Notify, Fault::CutAfter, 60, (0, 0)),
    (Link::Notify, Fault::GatewayBefore, 60, (0, 0)),
    (Link::Notify, Fault::GatewayAfter, 40, (0, 0)),
    (Link::Notify, Fault::Busy, 40, (0, 0)),
    (Link::Notify, Fault::Delay, 60, (100, 2_500)),
    (Link::Stream, Fault::Half, 60, (0, 0)),
    (Link::Storage, Fault::CutBefore, 40, (0, 0)),
    (Link::Storage, Fault::CutAfter, 50, (0, 0)),
    (Link::Storage, Fault::Half, 20, (0, 0)),
    (Link::Storage, Fault::Delay, 30, (100, 1_500)),
    (Link::Storage, Fault::GatewayBefore, 50, (0, 0)),
];

impl Schedule {
    pub fn of(recipe: Recipe) -> Self {
        let asks = asks(&recipe);
        let batches = batches::asks(&recipe);
        let strikes = strikes(&recipe);
        Self { recipe, asks, batches, strikes }
    }

    /// What befalls the `number`-th message of a link; nothing, mostly.
    pub fn blow(&self, link: Link, number: u64) -> Option<Blow> {
        let mut dice = Dice::of(self.recipe.seed, link.word(), number);
        let drawn = dice.below(1_000);
        // What is not wanted keeps its place, so that a narrower run meets the same blows; at a higher intensity there is no room.
        let kept = |fault: Fault| self.recipe.intensity == 1 || self.recipe.chosen.allows(link, fault);
        let mut from = 0;
        let hit = BLOWS.iter().filter(|(on, fault, ..)| *on == link && kept(*fault)).find(|(_, _, share, _)| {
            from += share * self.recipe.intensity;
            drawn < from
        });
        let (_, fault, _, (low, high)) = hit?;
        self.recipe.chosen.allows(link, *fault).then(|| Blow { fault: *fault, for_ms: dice.between(*low, *high) })
    }

    /// Results go to a bucket behind a proxy with odd seeds, to the disk with even ones.
    pub const fn bucket(&self) -> bool {
        !self.recipe.seed.is_multiple_of(2)
    }

    /// Whether the disk is ever full: only then it is one that can be.
    pub fn fills_the_disk(&self) -> bool {
        self.strikes.iter().any(|strike| strike.link == Link::Disk)
    }
}

fn asks(recipe: &Recipe) -> Vec<Ask> {
    let weights: u64 = MODELS.iter().map(|(_, weight)| weight).sum();
    let mut asks: Vec<Ask> = (0..recipe.asks)
        .map(|number| {
            let mut dice = Dice::of(recipe.seed, "ask", number);
            let at_ms = dice.below(recipe.faults_ms);
            let mut drawn = dice.below(weights);
            let model = MODELS.iter().find(|(_, weight)| {
                let here = drawn < *weight;
                drawn = drawn.saturating_sub(*weight);
                here
            });
            let model = model.map_or("flux-2-pro", |(model, _)| *model);
            let outputs = if model == "flux-2-pro" && dice.per_mille(250) { 2 } else { 1 };
            let directive = directive(model, &mut dice).filter(|(fault, _)| recipe.chosen.allows(Link::Provider, *fault));
            // Replicate bills by the second: one second each makes its price known.
            let slow_ms = if model == "flux-schnell" { 1_000 } else { dice.between(150, 3_000) };
            let cancel_after_ms = dice.per_mille(70).then(|| dice.below(1_500));
            let on_unconfirmed = match dice.below(100) {
                0..15 => Some("resubmit"),
                15..25 => Some("hold"),
                _ => None,
            };
            let mut dice = Dice::of(recipe.seed, "manner", number);
            let [twice, again, other, told] = [150, 150, 60, 300].map(|share| dice.per_mille(share));
            Ask { number, at_ms, model, outputs, directive, slow_ms, on_unconfirmed, cancel_after_ms, twice, again, other, told }
        })
        .collect();
    // Twins: the same request at the same time, so that a list that is searched by input holds two that fit.
    let twins: Vec<Ask> = asks.iter().filter(|ask| Dice::of(recipe.seed, "twin", ask.number).per_mille(80)).cloned().collect();
    asks.extend(twins);
    asks.sort_by_key(|ask| ask.at_ms);
    asks
}

/// What the provider itself does wrong, in the simulator's words.
pub fn directive(model: &str, dice: &mut Dice) -> Option<(Fault, String)> {
    // Refusals that each provider's table calls unbilled.
    let refusal = match model {
        "kling-2.6" | "tuzi-kling-2.6" => "5001",
        "flux-2-pro" => "422",
        _ => "",
    };
    match dice.below(1_000) {
        0..50 => Some((Fault::Throttle, format!("throttle={}", dice.between(1, 2)))),
        50..90 if !refusal.is_empty() => Some((Fault::Refusal, format!("refuse={refusal} times=1"))),
        90..130 => Some((Fault::Failure, "fail=1".to_owned())),
        130..200 => Some((Fault::Hang, format!("hang={}", dice.between(200, 2_500)))),
        200..270 => Some((Fault::BrokenPoll, format!("pollfail={}", dice.between(1, 3)))),
        270..320 => Some((Fault::Truncate, "truncate=1".to_owned())),
        _ => None,
    }
}

fn strikes(recipe: &Recipe) -> Vec<Strike> {
    let mut strikes = Vec::new();
    for (link, fault, rate, (low, high)) in STRIKES {
        let absent = *link == Link::Database && recipe.database == Database::Sqlite;
        if absent || !recipe.chosen.allows(*link, *fault) {
            continue;
        }
        let mut dice = Dice::of(recipe.seed, &format!("{link}:{fault}"), 0);
        let wanted = rate * recipe.intensity * recipe.faults_ms / 10_000;
        // What is left over of a whole one is drawn for.
        let count = wanted / 1_000 + u64::from(dice.per_mille(wanted % 1_000));
        for _ in 0..count {
            let at_ms = dice.between(300, recipe.faults_ms.max(301));
            strikes.push(Strike { at_ms, link: *link, fault: *fault, for_ms: dice.between(*low, *high) });
        }
    }
    strikes.sort_by_key(|strike| strike.at_ms);
    strikes
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let recipe = &self.recipe;
        writeln!(f, "seed {} on {}, {} ms of faults, {} asks", recipe.seed, recipe.database, recipe.faults_ms, self.asks.len())?;
        for strike in &self.strikes {
            writeln!(f, "{:6} ms  {}: {} for {} ms", strike.at_ms, strike.link, strike.fault, strike.for_ms)?;
        }
        for ask in &self.asks {
            let directive = ask.directive.as_ref().map_or("", |(_, words)| words.as_str());
            writeln!(f, "{:6} ms  ask {} x{} slow={} {directive}", ask.at_ms, ask.model, ask.outputs, ask.slow_ms)?;
        }
        for batch in &self.batches {
            writeln!(f, "{:6} ms  {batch}", batch.at_ms)?;
        }
        for link in Link::ALL {
            let blows: Vec<String> =
                (0..100).filter_map(|number| self.blow(link, number).map(|blow| format!("{number}:{}", blow.fault))).collect();
            if !blows.is_empty() {
                writeln!(f, "first 100 messages of {link}: {}", blows.join(" "))?;
            }
        }
        Ok(())
    }
}

/// How often each fault was made, by link.
pub type Counts = BTreeMap<(Link, Fault), u64>;
