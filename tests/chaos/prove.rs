//! That the proof can fail: the service with one deliberate mistake each, under the faults that mistake is about. Each must be caught
//! by the invariant it breaks, and the service without the mistake must pass the same schedule.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};

use crate::{
    fault::Chosen,
    judge::Invariant,
    run::{Outcome, REST, run},
    schedule::{Database, Recipe, Schedule},
};

/// One mistake (`src/sabotage.rs`), the faults in which it shows, and what must notice it.
struct Variant {
    word: &'static str,
    faults: &'static str,
    intensity: u64,
    batches: u64,
    /// A run with it never comes to rest, so that waiting for it would only take time.
    restless: bool,
    breaks: Invariant,
}

impl Variant {
    /// One about generations that are asked for one by one.
    const fn of(word: &'static str, faults: &'static str, intensity: u64, breaks: Invariant) -> Self {
        Self { word, faults, intensity, batches: 0, restless: false, breaks }
    }
}

/// How long a run is waited for that never comes to rest: as long as its sound twin mostly needs.
const RESTLESS: Duration = Duration::from_secs(6);

const VARIANTS: [Variant; 8] = [
    // These two first: theirs are the longest runs.
    Variant { batches: 1, restless: true, ..Variant::of("outbox-late", "node:kill", 2, Invariant::EventsAreComplete) },
    Variant { batches: 3, restless: true, ..Variant::of("counts-late", "node:kill", 1, Invariant::CountsAgree) },
    Variant::of("intent-after-submit", "node:kill,submit:delay,provider:hang", 3, Invariant::PaidOnce),
    Variant::of("blind-resubmit", "submit:cut-after,submit:half,submit:gateway-after", 3, Invariant::PaidOnce),
    Variant::of("evidence-dropped", "submit:cut-after,submit:half", 4, Invariant::NothingDropped),
    Variant::of("early-verdict", "submit:hold", 8, Invariant::PaidOnce),
    Variant::of("answer-before-commit", "node:kill", 4, Invariant::PromisesEnd),
    Variant::of("claim-after-birth", "node:kill", 4, Invariant::OneForAKey),
];

/// A variant that escapes with one seed has these others; which message meets a kill depends on the machine.
const SEEDS: [u64; 5] = [101, 102, 103, 104, 105];

/// Variants at a time, each as two runs. A run waits more than it works: mostly for the deadlines of what stayed unknown.
const AT_ONCE: usize = 4;

/// How long faults are made, and generations asked for meanwhile: as little shows each mistake three times or more.
const FAULTS_MS: u64 = 4_000;
const ASKS: u64 = 40;

fn schedule(variant: &Variant, seed: u64, rest: Duration) -> anyhow::Result<Schedule> {
    let (chosen, intensity) = (Chosen::parse(variant.faults)?, variant.intensity);
    // What polls write is no variant's mistake.
    let (database, quiet) = (Database::Sqlite, false);
    let (faults_ms, asks, batches) = (FAULTS_MS, ASKS, variant.batches);
    Ok(Schedule::of(Recipe { seed, database, chosen, faults_ms, asks, batches, intensity, quiet, rest }))
}

/// Runs every variant, or the one of that name; whether each was caught and its sound twin passed.
pub async fn all(root: &Path, only: &str) -> anyhow::Result<bool> {
    let started = Instant::now();
    println!("| deliberate mistake | seed | caught by | the same schedule without it |\n|---|---:|---|---|");
    let wanted = VARIANTS.iter().filter(|variant| only.is_empty() || only == variant.word);
    let mut verdicts = stream::iter(wanted.map(|variant| one(variant, root))).buffer_unordered(AT_ONCE);
    let (mut good, mut count) = (true, 0_u32);
    while let Some(verdict) = verdicts.next().await {
        good &= verdict?;
        count += 1;
    }
    anyhow::ensure!(count > 0, "there is no deliberate mistake `{only}`");
    println!("\n{count} deliberate mistakes, {:.0} s", started.elapsed().as_secs_f64());
    Ok(good)
}

async fn one(variant: &Variant, root: &Path) -> anyhow::Result<bool> {
    let word = variant.word;
    for seed in SEEDS {
        let (there, beside) = (root.join(format!("{word}-{seed}")), root.join(format!("{word}-{seed}-sound")));
        // Side by side: they share nothing but the schedule.
        let (broken, sound) = tokio::join!(
            run(schedule(variant, seed, if variant.restless { RESTLESS } else { REST })?, None, &there, Some(word)),
            run(schedule(variant, seed, REST)?, None, &beside, None)
        );
        let (broken, sound) = (broken?, sound?);
        for violation in &sound.violations {
            println!("    without {word}: {violation} ({})", sound.folder.display());
        }
        let passed = sound.violations.is_empty();
        let verdict = if passed { "no violation" } else { "VIOLATIONS" };
        let verdict = format!("{} faults, {} generations, {verdict}", sound.faults(), sound.promised);
        let caught: Vec<_> = broken.violations.iter().filter(|violation| violation.invariant == variant.breaks).collect();
        if let Some(first) = caught.first() {
            println!("| {word} | {seed} | {} × {} | {verdict} |", caught.len(), first.invariant.sentence());
            forget(&[Some(&broken), passed.then_some(&sound)])?;
            return Ok(passed);
        }
        println!("    {word} was not caught with seed {seed}; logs in {}", there.display());
        if !passed {
            return Ok(false);
        }
    }
    println!("| {word} | – | NOT CAUGHT | – |");
    Ok(false)
}

/// Removes the folders of runs that need no look.
fn forget(outcomes: &[Option<&Outcome>]) -> std::io::Result<()> {
    outcomes.iter().flatten().try_for_each(|outcome| std::fs::remove_dir_all(&outcome.folder))
}
