//! Money: nothing paid twice, nothing paid and dropped, and the same sums on both sides.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::judge::{
    Attempt, Facts, Invariant,
    groups::{Group, micros},
    text,
};

type Say<'a> = dyn FnMut(Invariant, String) + 'a;

/// Accepted and billed, now or at its end.
fn paid(entry: &Value) -> bool {
    entry["billed"] == true
}

/// No acceptance without an intent, none twice for one tag, and no task with two attempts.
pub fn known(facts: &Facts, say: &mut Say<'_>) {
    let prompts: BTreeSet<&str> = facts.shown.values().map(|shown| text(&shown["prompt"])).collect();
    let mut by_tag: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for entry in &facts.ledger {
        let (provider, tag) = (text(&entry["provider"]), text(&entry["tag"]));
        // A seed is no tag: several attempts of one generation may share it.
        if !tag.is_empty() && tag.parse::<i64>().is_err() {
            *by_tag.entry((provider, tag)).or_default() += 1;
        }
        if !prompts.contains(text(&entry["prompt"])) {
            say(Invariant::PaidOnce, format!("{provider} has task {} for no generation of ours", text(&entry["taskId"])));
        }
    }
    for ((provider, tag), count) in by_tag {
        if count > 1 {
            say(Invariant::PaidOnce, format!("{provider} accepted {count} submits with the tag {tag}"));
        }
    }
}

/// Each slot was paid at most once, and each attempt is at most one acceptance.
pub fn paid_once(group: &Group<'_>, say: &mut Say<'_>) {
    let name = group.name();
    let sent = group.attempts.iter().filter(|attempt| !matches!(attempt.state.as_str(), "never_sent" | "refused")).count();
    if group.entries.len() > sent {
        let tasks: Vec<&str> = group.entries.iter().map(|entry| text(&entry["taskId"])).collect();
        let count = tasks.len();
        say(
            Invariant::PaidOnce,
            format!("{name}: {count} acceptances ({}) for {sent} attempts that may have left", tasks.join(" ")),
        );
    }
    let billed = group.entries.iter().filter(|entry| paid(entry)).count();
    if billed > group.payable {
        say(Invariant::PaidOnce, format!("{name}: {billed} billed submits where {} may be", group.payable));
    }
    let tasks: Vec<&String> = group.attempts.iter().filter_map(|attempt| attempt.task.as_ref()).collect();
    if tasks.iter().collect::<BTreeSet<_>>().len() < tasks.len() {
        say(Invariant::PaidOnce, format!("{name}: two attempts hold the same task"));
    }
}

/// Every result that was paid is with the client, or is counted as at risk.
pub fn nothing_dropped(group: &Group<'_>, facts: &Facts, say: &mut Say<'_>) {
    let name = group.name();
    let mut unaccounted = 0;
    for entry in group.entries.iter().filter(|entry| paid(entry) && entry["outcome"] == "succeeded") {
        if group.has(entry) {
            continue;
        }
        let task = text(&entry["taskId"]);
        match group.holder(entry) {
            Some(attempt) => {
                let state = &attempt.state;
                say(Invariant::NothingDropped, format!("{name}: task {task} is paid and not delivered; its attempt is {state}"));
            }
            None => unaccounted += 1,
        }
        for seen in facts.acknowledged.iter().filter(|seen| seen.names(task)) {
            let path = seen.path.split('/').take(4).collect::<Vec<_>>().join("/");
            say(
                Invariant::NothingDropped,
                format!("{name}: the webhook {path}/… of its paid task was acknowledged and forgotten"),
            );
        }
    }
    for entry in group.entries.iter().filter(|entry| group.holder(entry).is_none() && !group.has(entry)) {
        // At risk is what could not be known. This could.
        let task = text(&entry["taskId"]);
        if facts.answered.iter().any(|answer| answer.undisturbed && answer.names(task)) {
            say(Invariant::NothingDropped, format!("{name}: the answer with task {task} arrived whole and was forgotten"));
        }
    }
    if unaccounted > group.doubts {
        let listed = group.doubts;
        say(Invariant::NothingDropped, format!("{name}: {unaccounted} paid results are missing, {listed} attempts are at risk"));
    }
}

/// What we say was charged is what the provider billed for tasks we know; whatever else it billed is covered by what we call at risk;
/// and once nothing is under way nothing is held.
pub fn spend(group: &Group<'_>, say: &mut Say<'_>) {
    let name = group.name();
    let (ours, others): (Vec<&Value>, Vec<&Value>) =
        group.entries.iter().partition(|entry| group.holder(entry).is_some() || group.has(entry));
    let sum = |entries: &[&Value]| entries.iter().filter_map(|entry| entry["microUsd"].as_u64()).sum::<u64>();
    let (billed, unknown) = (sum(&ours), sum(&others));
    let Group { held, charged, at_risk, .. } = *group;
    let agrees = if ours.iter().all(|entry| exact(entry)) { charged == billed } else { charged >= billed };
    if !agrees {
        say(
            Invariant::SpendAgrees,
            format!("{name}: charged {charged}, the provider billed {billed} for tasks we know (millionths)"),
        );
    }
    if unknown > at_risk {
        say(
            Invariant::SpendAgrees,
            format!("{name}: {unknown} were billed for tasks we do not know, {at_risk} are at risk (millionths)"),
        );
    }
    if held > 0 && !group.open && !group.attempts.iter().any(Attempt::under_way) {
        say(Invariant::SpendAgrees, format!("{name}: {held} millionths are held for nothing"));
    }
}

/// The rows of our ledger sum up to what each generation says of itself, and the day's sums of the report to all of them.
pub fn books(facts: &Facts, say: &mut Say<'_>) {
    let places = ["held", "charged", "atRisk"];
    let read = |money: &Value| places.map(|place| micros(text(&money[place])).unwrap_or(u64::MAX));
    let mut sum = [0_u64; 3];
    for (id, shown) in &facts.shown {
        let said = read(&shown["cost"]);
        let booked = facts.books.get(id).map(read).unwrap_or_default();
        if said != booked {
            say(
                Invariant::SpendAgrees,
                format!("{id} says {said:?} and its ledger {booked:?} (held, charged, at risk, millionths)"),
            );
        }
        for (total, part) in sum.iter_mut().zip(said) {
            *total = total.saturating_add(part);
        }
    }
    let report = read(&facts.report);
    if report != sum {
        say(Invariant::SpendAgrees, format!("the spend report says {report:?}, the generations together {sum:?} (millionths)"));
    }
}

/// Whether the provider's bill for it is known to us to the unit. A cancelled prediction is billed by the time it took: there our figure
/// may be higher, never lower.
fn exact(entry: &Value) -> bool {
    entry["outcome"] == "succeeded" || entry["outcome"] == "failed"
}
