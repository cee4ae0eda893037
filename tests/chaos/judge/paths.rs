//! Histories against the machines: each step an edge, each step where the last one ended, the last one where the row stands.

use std::collections::{BTreeMap, BTreeSet};

use longtake::domain::{
    attempt::{self, AttemptEvent, AttemptState},
    generation::{self, GenerationEvent, GenerationState, Progress, Settlement},
    slots::Slots,
    time::Timestamp,
};
use serde_json::Value;

use crate::judge::{Facts, Invariant, text};

type Edges = BTreeSet<(String, String)>;

/// States in which slots of these letters can be.
fn states(slots: &str) -> Vec<GenerationState> {
    use GenerationState as S;
    if slots.contains('o') {
        return if slots.chars().all(|letter| letter == 'o') {
            vec![S::Waiting, S::Preparing, S::Queued]
        } else {
            vec![S::Queued]
        };
    }
    vec![match () {
        () if slots.contains('a') => S::Active,
        () if slots.contains('d') => S::Completed,
        () if slots.contains('c') => S::Cancelled,
        () => S::Failed,
    }]
}

/// Every edge that the machine of a generation has, over up to three slots.
fn generation_edges() -> Edges {
    let letters = ["o", "a", "d", "f", "c"];
    let mut all: Vec<String> = letters.map(str::to_owned).into();
    for _ in 0..2 {
        let longer: Vec<String> = all.iter().flat_map(|slots| letters.map(|letter| format!("{slots}{letter}"))).collect();
        all.extend(longer);
    }
    let mut edges = Edges::new();
    for text in all {
        let Some(slots) = Slots::parse(&text) else { continue };
        for state in states(&text) {
            let now = Progress { state, slots: slots.clone(), not_before: Timestamp(0), tries: 0 };
            for event in events(slots.len()) {
                if let Ok(after) = generation::apply(&now, &event, Timestamp(0)) {
                    edges.insert((state.as_str().to_owned(), after.state.as_str().to_owned()));
                }
            }
        }
    }
    edges
}

fn events(slots: u16) -> Vec<GenerationEvent> {
    let mut events = vec![GenerationEvent::Prepared, GenerationEvent::Drop, GenerationEvent::Cancel];
    events.extend([true, false].map(|prepare| GenerationEvent::DependencyMet { prepare }));
    for slot in 0..slots {
        events.push(GenerationEvent::Intent { slot });
        let owe = Settlement::Owe { wait: std::time::Duration::ZERO, counts: true };
        for settlement in [Settlement::Delivered, owe, Settlement::Failed, Settlement::Cancelled] {
            events.push(GenerationEvent::AttemptEnded { slot, settlement });
        }
    }
    events
}

fn attempt_edges() -> Edges {
    let mut edges = Edges::from([("owed".to_owned(), AttemptState::Submitting.as_str().to_owned())]);
    for from in AttemptState::ALL {
        for event in AttemptEvent::ALL {
            if let Ok(to) = attempt::apply(from, event) {
                edges.insert((from.as_str().to_owned(), to.as_str().to_owned()));
            }
        }
    }
    edges
}

/// Walks every history.
pub fn histories(facts: &Facts, say: &mut dyn FnMut(Invariant, String)) {
    let (generations, attempts) = (generation_edges(), attempt_edges());
    for (id, shown) in &facts.shown {
        let Some(history) = facts.histories.get(id) else {
            say(Invariant::HistoryIsAPath, format!("{id} has no history"));
            continue;
        };
        let mut stands: BTreeMap<u64, String> = BTreeMap::new();
        for step in history["data"].as_array().into_iter().flatten() {
            let n = step["attempt"].as_u64().unwrap_or(0);
            let to = text(&step["to"]).to_owned();
            if let Some(from) = step["from"].as_str() {
                let edges = if n == 0 { &generations } else { &attempts };
                let before = stands.get(&n).map_or(if n == 0 { "nothing" } else { "owed" }, String::as_str);
                if before != from || !edges.contains(&(from.to_owned(), to.clone())) {
                    say(Invariant::HistoryIsAPath, format!("{id}, attempt {n}: {from} → {to} while it stood at {before}"));
                }
            }
            stands.insert(n, to);
        }
        ends(id, (shown, &stands), say);
    }
}

/// Whether the last step of each is where the row stands.
fn ends(id: &str, (shown, stands): (&Value, &BTreeMap<u64, String>), say: &mut dyn FnMut(Invariant, String)) {
    let status = match stands.get(&0).map(String::as_str) {
        Some("completed") => "SUCCESS",
        Some("failed") => "FAILED",
        Some("cancelled") => "CANCELLED",
        // A retry that was born with the late result of what it retries.
        None if crate::judge::attempts(shown).is_empty() => "SUCCESS",
        Some(_) | None => "no end",
    };
    if status != text(&shown["status"]) && crate::drive::terminal(shown) {
        say(Invariant::HistoryIsAPath, format!("{id} is {} and its history ends at {status}", shown["status"]));
    }
    for attempt in shown["attempts"].as_array().into_iter().flatten() {
        let told = attempt["n"].as_u64().and_then(|n| stands.get(&n)).map_or("nothing", String::as_str);
        if told != text(&attempt["state"]) {
            say(
                Invariant::HistoryIsAPath,
                format!("{id}, attempt {}: it is {} and its history ends at {told}", attempt["n"], attempt["state"]),
            );
        }
    }
}
