//! What is said at the end: the table fault × link × runs × violations, in Markdown.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::{
    fault::{Fault, Link},
    run::Outcome,
    schedule::Database,
};

/// One line while it runs.
pub fn line(outcome: &Outcome) -> String {
    format!(
        "{} seed {}: {} faults, {} promised, {} batches, {} answers repeated, {} events, {} webhooks, {} accepted by providers, {} at risk ({} USD, the oldest {} s), {} quiet polls, {} starts ({} ends of its own), {:.0} s: {}",
        outcome.database,
        outcome.seed,
        outcome.faults(),
        outcome.promised,
        outcome.batches,
        outcome.replayed,
        outcome.events,
        outcome.webhooks,
        outcome.accepted_by_providers,
        outcome.at_risk,
        dollars(outcome.risked),
        outcome.oldest_s,
        outcome.quiet_polls,
        outcome.starts,
        outcome.own_ends,
        outcome.took.as_secs_f64(),
        match outcome.violations.len() {
            0 => "no violation".to_owned(),
            count => format!("{count} VIOLATIONS"),
        }
    )
}

fn dollars(micros: u64) -> String {
    format!("{}.{:02}", micros / 1_000_000, micros % 1_000_000 / 10_000)
}

#[derive(Debug, Default, Clone, Copy)]
struct Cell {
    made: u64,
    runs: u64,
    violations: u64,
}

/// The table, and the sums below it.
pub fn table(outcomes: &[Outcome]) -> String {
    let mut cells: BTreeMap<(Link, Fault, Database), Cell> = BTreeMap::new();
    for outcome in outcomes {
        for ((link, fault), made) in &outcome.counts {
            let cell = cells.entry((*link, *fault, outcome.database)).or_default();
            cell.made += made;
            cell.runs += 1;
            cell.violations += u64::try_from(outcome.violations.len()).unwrap_or(u64::MAX);
        }
    }
    let mut text = String::from(
        "| link | fault | SQLite: faults (runs) | PostgreSQL: faults (runs) | violations in those runs |\n|---|---|---:|---:|---:|\n",
    );
    for link in Link::ALL {
        for fault in Fault::ALL {
            let of = |database| cells.get(&(link, fault, database)).copied().unwrap_or_default();
            let (sqlite, postgres) = (of(Database::Sqlite), of(Database::Postgres));
            if sqlite.runs + postgres.runs == 0 {
                continue;
            }
            let cell = |cell: Cell| if cell.runs == 0 { "–".to_owned() } else { format!("{} ({})", cell.made, cell.runs) };
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} |",
                link.title(),
                fault.title(),
                cell(sqlite),
                cell(postgres),
                sqlite.violations + postgres.violations
            );
        }
    }
    text.push_str(&sums(outcomes));
    text
}

fn sums(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for database in [Database::Sqlite, Database::Postgres] {
        let of: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.database == database).collect();
        if of.is_empty() {
            continue;
        }
        let sum = |number: fn(&Outcome) -> usize| of.iter().map(|outcome| number(outcome)).sum::<usize>();
        let faults: u64 = of.iter().map(|outcome| outcome.faults()).sum();
        let replayed: u64 = of.iter().map(|outcome| outcome.replayed).sum();
        let risked = dollars(of.iter().map(|outcome| outcome.risked).sum());
        let _ = writeln!(
            text,
            "\n{database}: {} seeds, {faults} faults, {} generations acknowledged, {} batches, {replayed} answers repeated by their key, {} \
             submits accepted by providers, {} attempts left at risk ({risked} USD), {} events on the streams, {} tries of webhooks, **{} \
             violations**.",
            of.len(),
            sum(|outcome| outcome.promised),
            sum(|outcome| outcome.batches),
            sum(|outcome| outcome.accepted_by_providers),
            sum(|outcome| outcome.at_risk),
            sum(|outcome| outcome.events),
            sum(|outcome| outcome.webhooks),
            sum(|outcome| outcome.violations.len()),
        );
    }
    text
}
