//! The figures as lines of text.

use std::{io::Write as _, time::Duration};

use crate::{Outcome, Wish, load::Found};

/// Queues on a machine of this kind at equal durability, jobs a second: measured for the issue that asked for this bench.
const OTHERS: [(&str, f64); 4] = [
    ("BullMQ, Redis with fsync always", 2_154.0),
    ("River (Rust), PostgreSQL", 910.0),
    ("pg-boss, PostgreSQL", 785.0),
    ("River (Rust), SQLite", 668.0),
];

/// Writes a line.
pub fn say(line: &str) -> Outcome<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

/// Writes what one database gave.
pub fn print(wish: Wish, found: &Found) -> Outcome<()> {
    let (database, checked) = (found.database, found.checked);
    if wish.smoke {
        return say(&format!("{database}: {checked} generations succeeded, one submit each (smoke: no figures)"));
    }
    let path = if wish.assets { "submit, polls, file of at most 4 KiB" } else { "submit, polls, no file" };
    say(&format!("\n{database}: {path}; {} unfinished at a time", wish.limits.in_flight))?;
    say(&format!("  {:.0} generations/s ({:.1} polls each)", found.rate, found.polls))?;
    let (posts, waits) = &found.waits;
    let at = |per_mille: usize| waits.get(waits.len() * per_mille / 1_000).copied().unwrap_or(Duration::MAX).as_secs_f64() * 1e3;
    say(&format!("  202 at {posts:.0} posts/s: p50 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms", at(500), at(990), at(999)))?;
    let each = |amount: f64| amount / found.finished.max(1.0);
    for (name, used) in &found.used {
        let (cpu, written) = (each(used.cpu) * 1e6, each(used.written) / 1024.0);
        say(&format!(
            "  {name:<10} {:>6.1} CPU s ({cpu:>4.0} µs a generation), {written:>6.1} KiB written a generation",
            used.cpu
        ))?;
    }
    for (name, count) in &found.flushes {
        say(&format!("  {:.3} a generation: {name}", each(*count)))?;
    }
    say(&format!("  checked: {checked} generations succeeded, each submitted and billed once"))
}

/// Writes the figures of others beside ours, where the work is alike.
pub fn comparison(wish: Wish) -> Outcome<()> {
    if wish.smoke || wish.assets {
        return Ok(());
    }
    say("\nfor comparison, jobs/s of queues at equal durability on such a machine (one job: no HTTP, no provider):")?;
    OTHERS.iter().try_for_each(|(name, rate)| say(&format!("  {rate:>6.0}  {name}")))
}
