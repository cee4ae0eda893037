//! That the proof can fail: the service with one deliberate mistake each, under the faults that mistake is about. Each must be caught
//! by the invariant it breaks, and the service without the mistake must pass the same schedule.

use std::path::Path;

use crate::{
    fault::Chosen,
    judge::Invariant,
    run::run,
    schedule::{Database, Recipe, Schedule},
};

/// One mistake (`src/sabotage.rs`), the faults in which it shows, and what must notice it.
struct Variant {
    word: &'static str,
    faults: &'static str,
    intensity: u64,
    breaks: Invariant,
}

const VARIANTS: &[Variant] = &[
    Variant {
        word: "intent-after-submit",
        faults: "node:kill,submit:delay,provider:hang",
        intensity: 3,
        breaks: Invariant::PaidOnce,
    },
    Variant {
        word: "blind-resubmit",
        faults: "submit:cut-after,submit:half,submit:gateway-after",
        intensity: 3,
        breaks: Invariant::PaidOnce,
    },
    Variant { word: "evidence-dropped", faults: "submit:cut-after,submit:half", intensity: 4, breaks: Invariant::NothingDropped },
    Variant { word: "early-verdict", faults: "submit:hold", intensity: 8, breaks: Invariant::PaidOnce },
    Variant { word: "answer-before-commit", faults: "node:kill", intensity: 4, breaks: Invariant::PromisesEnd },
];

/// A variant that escapes with one seed has these others; which message meets a kill depends on the machine.
const SEEDS: [u64; 3] = [101, 102, 103];

fn schedule(variant: &Variant, seed: u64) -> anyhow::Result<Schedule> {
    let chosen = Chosen::parse(variant.faults)?;
    let (faults_ms, asks) = (5_000, 60);
    Ok(Schedule::of(Recipe { seed, database: Database::Sqlite, chosen, faults_ms, asks, intensity: variant.intensity }))
}

/// Runs every variant, or the one of that name; whether each was caught and its sound twin passed.
pub async fn all(root: &Path, only: &str) -> anyhow::Result<bool> {
    println!("| deliberate mistake | seed | caught by | the same schedule without it |\n|---|---:|---|---|");
    let mut good = true;
    for variant in VARIANTS.iter().filter(|variant| only.is_empty() || only == variant.word) {
        good &= one(variant, root).await?;
    }
    Ok(good)
}

async fn one(variant: &Variant, root: &Path) -> anyhow::Result<bool> {
    for seed in SEEDS {
        let folder = root.join(format!("{}-{seed}", variant.word));
        let broken = run(schedule(variant, seed)?, None, &folder, Some(variant.word)).await?;
        let caught = broken.violations.iter().filter(|violation| violation.invariant == variant.breaks);
        let (count, first) = (caught.clone().count(), caught.clone().next());
        if let Some(first) = first {
            let folder = root.join(format!("{}-{seed}-sound", variant.word));
            let sound = run(schedule(variant, seed)?, None, &folder, None).await?;
            let verdict = if sound.violations.is_empty() { "no violation" } else { "VIOLATIONS" };
            println!("| {} | {seed} | {count} × {} | {verdict} |", variant.word, first.invariant.sentence());
            for violation in &sound.violations {
                println!("    {violation} ({})", sound.folder.display());
            }
            return Ok(sound.violations.is_empty());
        }
        println!("    {} was not caught with seed {seed}; logs in {}", variant.word, folder.display());
    }
    println!("| {} | – | NOT CAUGHT | – |", variant.word);
    Ok(false)
}
