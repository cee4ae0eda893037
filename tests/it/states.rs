//! Walks every state × event pair of both machines, and keeps the README's diagrams equal to what the machines do.

use std::{collections::BTreeSet, fmt::Write as _, path::Path, time::Duration};

use longtake::domain::{
    attempt::{self, AttemptEvent, AttemptState},
    generation::{self, GenerationEvent, GenerationState, Progress, Settlement},
    slots::Slots,
    time::Timestamp,
};

/// For each state, generations that are in it and differ in their slots.
fn samples(state: GenerationState) -> Vec<Progress> {
    let slots: &[&str] = match state {
        GenerationState::Waiting | GenerationState::Preparing => &["o", "oo"],
        GenerationState::Queued => &["o", "oo", "ao", "do", "fo"],
        GenerationState::Active => &["a", "aa", "da", "fa", "ca"],
        GenerationState::Completed => &["d", "df"],
        GenerationState::Failed => &["f"],
        GenerationState::Cancelled => &["c", "fc"],
    };
    slots
        .iter()
        .map(|slots| Progress { state, slots: Slots::parse(slots).unwrap(), not_before: Timestamp(0), tries: 0 })
        .collect()
}

fn generation_events(slots: u16) -> Vec<(String, GenerationEvent)> {
    let mut events = vec![
        ("DependencyMet".to_owned(), GenerationEvent::DependencyMet { prepare: false }),
        ("DependencyMet, images".to_owned(), GenerationEvent::DependencyMet { prepare: true }),
        ("Prepared".to_owned(), GenerationEvent::Prepared),
        ("Drop".to_owned(), GenerationEvent::Drop),
        ("Cancel".to_owned(), GenerationEvent::Cancel),
    ];
    for slot in 0..slots {
        events.push(("Intent".to_owned(), GenerationEvent::Intent { slot }));
        events.push(("Reclaimed".to_owned(), GenerationEvent::Reclaimed { slot }));
        let settlements = [
            ("delivered", Settlement::Delivered),
            ("owed again", Settlement::Owe { wait: Duration::from_secs(1), counts: true }),
            ("failed", Settlement::Failed),
            ("cancelled", Settlement::Cancelled),
        ];
        for (word, settlement) in settlements {
            events.push((format!("AttemptEnded, {word}"), GenerationEvent::AttemptEnded { slot, settlement }));
        }
    }
    events
}

fn generation_edges() -> (String, BTreeSet<(usize, usize, String)>) {
    let place = |state: GenerationState| GenerationState::ALL.iter().position(|one| *one == state).unwrap();
    let (mut walk, mut edges) = (String::new(), BTreeSet::new());
    for state in GenerationState::ALL {
        for sample in samples(state) {
            for (word, event) in generation_events(sample.slots.len()) {
                let before = format!("{:9} {:2}", state.as_str(), sample.slots.to_string());
                match generation::apply(&sample, &event, Timestamp(0)) {
                    Ok(after) => {
                        writeln!(walk, "{before} | {word:26} -> {:9} {}", after.state.as_str(), after.slots).unwrap();
                        edges.insert((place(state), place(after.state), word));
                    }
                    Err(_) => writeln!(walk, "{before} | {word:26} -> illegal").unwrap(),
                }
            }
        }
    }
    (walk, edges)
}

fn attempt_edges() -> (String, BTreeSet<(usize, usize, String)>) {
    let place = |state: AttemptState| AttemptState::ALL.iter().position(|one| *one == state).unwrap();
    let (mut walk, mut edges) = (String::new(), BTreeSet::new());
    for state in AttemptState::ALL {
        for event in AttemptEvent::ALL {
            let word = format!("{event:?}");
            match attempt::apply(state, event) {
                Ok(after) => {
                    writeln!(walk, "{:11} | {word:14} -> {}", state.as_str(), after.as_str()).unwrap();
                    edges.insert((place(state), place(after), word));
                }
                Err(_) => writeln!(walk, "{:11} | {word:14} -> illegal", state.as_str()).unwrap(),
            }
        }
    }
    (walk, edges)
}

fn diagram(names: &[&str], born: &[&str], edges: &BTreeSet<(usize, usize, String)>) -> String {
    let mut text = "```mermaid\nstateDiagram-v2\n".to_owned();
    for state in born {
        writeln!(text, "    [*] --> {state}").unwrap();
    }
    let pairs: BTreeSet<_> = edges.iter().map(|(from, to, _)| (*from, *to)).collect();
    for (from, to) in pairs {
        let words: Vec<_> = edges.iter().filter(|edge| (edge.0, edge.1) == (from, to)).map(|edge| edge.2.as_str()).collect();
        writeln!(text, "    {} --> {}: {}", names[from], names[to], words.join(" / ")).unwrap();
    }
    text.push_str("```\n");
    text
}

fn diagrams() -> String {
    let generations: Vec<_> = GenerationState::ALL.iter().map(|state| state.as_str()).collect();
    let attempts: Vec<_> = AttemptState::ALL.iter().map(|state| state.as_str()).collect();
    format!(
        "A generation:\n\n{}\nAn attempt:\n\n{}",
        diagram(&generations, &["waiting", "preparing", "queued"], &generation_edges().1),
        diagram(&attempts, &["submitting"], &attempt_edges().1)
    )
}

#[test]
fn every_pair_of_state_and_event_is_decided_as_the_table_says() {
    let table = format!("{}\n{}", generation_edges().0, attempt_edges().0);
    insta::assert_snapshot!("state_table", table);
}

#[test]
fn terminal_states_never_change() {
    for state in GenerationState::ALL.into_iter().filter(|state| state.terminal()) {
        for sample in samples(state) {
            for (_, event) in generation_events(sample.slots.len()) {
                assert!(generation::apply(&sample, &event, Timestamp(0)).is_err(), "{state:?} took {event:?}");
            }
        }
    }
}

#[test]
fn the_readme_shows_the_diagrams_of_the_machines() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(path).unwrap();
    let shown = readme.split("<!-- states:begin -->\n").nth(1).and_then(|rest| rest.split("<!-- states:end -->").next());
    let drawn = diagrams();
    assert_eq!(shown.map(str::trim), Some(drawn.trim()), "put this between the markers of README.md:\n{drawn}");
}
