//! Money: nothing paid twice, nothing paid and dropped, and the same sums on both sides.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::judge::{Attempt, Facts, Invariant, attempts, delivered, entries_of, outputs, text};

type Say<'a> = dyn FnMut(Invariant, String) + 'a;

/// Accepted and billed, now or at its end.
fn paid(entry: &Value) -> bool {
    entry["billed"] == true
}

fn known<'a>(attempts: &'a [Attempt], entry: &Value) -> Option<&'a Attempt> {
    attempts.iter().find(|attempt| attempt.task.as_deref() == entry["taskId"].as_str())
}

/// Each slot was paid at most once, each attempt is at most one acceptance, and no acceptance lacks its attempt.
pub fn paid_once(facts: &Facts, say: &mut Say<'_>) {
    let mut by_tag: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for entry in &facts.ledger {
        if !text(&entry["tag"]).is_empty() {
            *by_tag.entry((text(&entry["provider"]), text(&entry["tag"]))).or_default() += 1;
        }
        if !facts.shown.values().any(|shown| shown["prompt"] == entry["prompt"]) {
            say(
                Invariant::PaidOnce,
                format!("{} has task {} for no generation of ours", text(&entry["provider"]), text(&entry["taskId"])),
            );
        }
    }
    for ((provider, tag), count) in by_tag {
        if count > 1 && !seeded(tag) {
            say(Invariant::PaidOnce, format!("{provider} accepted {count} submits with the tag {tag}"));
        }
    }
    for (id, shown) in &facts.shown {
        let attempts = attempts(shown);
        let entries: Vec<&Value> = entries_of(facts, shown).collect();
        let sent = attempts.iter().filter(|attempt| !matches!(attempt.state.as_str(), "never_sent" | "refused")).count();
        if entries.len() > sent {
            let tasks: Vec<&str> = entries.iter().map(|entry| text(&entry["taskId"])).collect();
            say(
                Invariant::PaidOnce,
                format!("{id}: {} acceptances ({}) for {sent} attempts that may have left", entries.len(), tasks.join(" ")),
            );
        }
        let billed = entries.iter().filter(|entry| paid(entry)).count();
        let slots = usize::try_from(shown["numberOfOutputs"].as_u64().unwrap_or(1)).unwrap_or(1);
        if billed > slots {
            say(Invariant::PaidOnce, format!("{id}: {billed} billed submits for {slots} outputs"));
        }
    }
}

/// A seed is no tag: several attempts of one generation may share it.
fn seeded(tag: &str) -> bool {
    tag.parse::<i64>().is_ok()
}

/// Every result that was paid is with the client, or is counted as at risk.
pub fn nothing_dropped(facts: &Facts, say: &mut Say<'_>) {
    for (id, shown) in &facts.shown {
        let (attempts, delivered) = (attempts(shown), delivered(shown));
        let mut unaccounted = 0;
        for entry in entries_of(facts, shown).filter(|entry| paid(entry) && entry["outcome"] == "succeeded") {
            let complete = outputs(entry).filter_map(|output| output["sha256"].as_str()).all(|digest| delivered.contains(digest));
            if complete {
                continue;
            }
            match known(&attempts, entry) {
                Some(attempt) => {
                    let task = text(&entry["taskId"]);
                    say(
                        Invariant::NothingDropped,
                        format!("{id}: task {task} is paid and not delivered; its attempt is {}", attempt.state),
                    );
                }
                None => unaccounted += 1,
            }
            for seen in facts.acknowledged.iter().filter(|seen| seen.names(text(&entry["taskId"]))) {
                let path = seen.path.split('/').take(4).collect::<Vec<_>>().join("/");
                say(
                    Invariant::NothingDropped,
                    format!("{id}: the webhook {path}/… of its paid task was acknowledged and forgotten"),
                );
            }
        }
        let at_risk = attempts.iter().filter(|attempt| attempt.at_risk()).count();
        if unaccounted > at_risk {
            say(
                Invariant::NothingDropped,
                format!("{id}: {unaccounted} paid results are missing, {at_risk} attempts are at risk"),
            );
        }
    }
}

/// What we say was charged is what the provider billed, where every task is known.
pub fn spend(facts: &Facts, say: &mut Say<'_>) {
    for (id, shown) in &facts.shown {
        let attempts = attempts(shown);
        let entries: Vec<&Value> = entries_of(facts, shown).collect();
        let exact = shown["provider"] == "flux" && entries.iter().all(|entry| known(&attempts, entry).is_some());
        if !exact {
            continue;
        }
        let billed: u64 = entries.iter().filter_map(|entry| entry["microUsd"].as_u64()).sum();
        let charged = text(&shown["cost"]["charged"]);
        if micros(charged) != Some(billed) {
            say(Invariant::SpendAgrees, format!("{id}: charged {charged}, the provider billed {billed} millionths"));
        }
    }
}

/// Decimal text in millionths.
fn micros(decimal: &str) -> Option<u64> {
    let (whole, part) = decimal.split_once('.').unwrap_or((decimal, "0"));
    let part: String = part.chars().chain(std::iter::repeat('0')).take(6).collect();
    Some(whole.parse::<u64>().ok()? * 1_000_000 + part.parse::<u64>().ok()?)
}
