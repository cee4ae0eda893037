//! Money: nothing paid twice, nothing paid and dropped, and the same sums on both sides.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    drive,
    judge::{Attempt, Facts, Invariant, attempts, delivered, entries_of, outputs, text},
};

type Say<'a> = dyn FnMut(Invariant, String) + 'a;

/// Accepted and billed, now or at its end.
fn paid(entry: &Value) -> bool {
    entry["billed"] == true
}

fn known<'a>(attempts: &'a [Attempt], entry: &Value) -> Option<&'a Attempt> {
    attempts.iter().find(|attempt| attempt.task.as_deref() == entry["taskId"].as_str())
}

/// Whether all that was made is with the client. A synchronous result is known by this alone: it has no task.
fn complete(entry: &Value, delivered: &BTreeSet<String>) -> bool {
    let mut made = outputs(entry).filter_map(|output| output["sha256"].as_str()).peekable();
    made.peek().is_some() && made.all(|digest| delivered.contains(digest))
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
            if complete(entry, &delivered) {
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

/// What we say was charged is what the provider billed for tasks we know; whatever else it billed is covered by what we call at risk;
/// and once nothing is under way nothing is held.
pub fn spend(facts: &Facts, say: &mut Say<'_>) {
    for (id, shown) in &facts.shown {
        let (attempts, delivered) = (attempts(shown), delivered(shown));
        let [held, charged, at_risk] =
            ["held", "charged", "atRisk"].map(|place| micros(text(&shown["cost"][place])).unwrap_or(u64::MAX));
        let (ours, others): (Vec<&Value>, Vec<&Value>) =
            entries_of(facts, shown).partition(|entry| known(&attempts, entry).is_some() || complete(entry, &delivered));
        let sum = |entries: &[&Value]| entries.iter().filter_map(|entry| entry["microUsd"].as_u64()).sum::<u64>();
        let (billed, unknown) = (sum(&ours), sum(&others));
        let agrees = if ours.iter().all(|entry| exact(entry)) { charged == billed } else { charged >= billed };
        if !agrees {
            say(
                Invariant::SpendAgrees,
                format!("{id}: charged {charged}, the provider billed {billed} millionths for tasks we know"),
            );
        }
        if unknown > at_risk {
            say(
                Invariant::SpendAgrees,
                format!("{id}: {unknown} millionths were billed for tasks we do not know, {at_risk} are at risk"),
            );
        }
        if held > 0 && drive::terminal(shown) && !attempts.iter().any(Attempt::under_way) {
            say(Invariant::SpendAgrees, format!("{id}: {held} millionths are held for nothing"));
        }
    }
}

/// Whether the provider's bill for it is known to us to the unit. A cancelled prediction is billed by the time it took, and what a
/// relay bills for a failure is not established: there our figure may be higher, never lower.
fn exact(entry: &Value) -> bool {
    let relay = text(&entry["provider"]) == "tuzi";
    entry["outcome"] == "succeeded" || (entry["outcome"] == "failed" && !relay)
}

/// Decimal text in millionths.
fn micros(decimal: &str) -> Option<u64> {
    let (whole, part) = decimal.split_once('.').unwrap_or((decimal, "0"));
    let part: String = part.chars().chain(std::iter::repeat('0')).take(6).collect();
    Some(whole.parse::<u64>().ok()? * 1_000_000 + part.parse::<u64>().ok()?)
}
