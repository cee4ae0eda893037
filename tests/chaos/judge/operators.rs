//! What operators see and decide: everything at risk is in their list, and their word is checked before it is believed.

use crate::{
    fault::Fault,
    judge::{Facts, Invariant, attempts, groups::micros, text},
    operators::Decided,
};

type Say<'a> = dyn FnMut(Invariant, String) + 'a;

/// Each attempt at risk is listed, unless it was declared lost; with an age that can be, and all of a generation's money.
pub fn risk(facts: &Facts, say: &mut Say<'_>) {
    for (id, shown) in &facts.shown {
        let listed: Vec<_> = facts.doubts.iter().filter(|doubt| text(&doubt["id"]) == id).collect();
        let is_listed = |n: u64| listed.iter().any(|doubt| doubt["attempt"] == n);
        let forsaken =
            |n: u64| facts.decided.iter().any(|one| one.fault == Fault::Forsake && one.generation == *id && one.n == n);
        let attempts = attempts(shown);
        for attempt in attempts.iter().filter(|attempt| attempt.at_risk() && !is_listed(attempt.n) && !forsaken(attempt.n)) {
            say(Invariant::RiskIsListed, format!("{id}: attempt {} is {} and in no list", attempt.n, attempt.state));
        }
        for doubt in &listed {
            let age = doubt["ageSeconds"].as_u64();
            let known = attempts.iter().any(|attempt| doubt["attempt"] == attempt.n && attempt.at_risk());
            if !known || age.is_none_or(|age| age > facts.took_s + 1) {
                let (n, took) = (&doubt["attempt"], facts.took_s);
                say(Invariant::RiskIsListed, format!("{id}: attempt {n} is listed, {age:?} s old, after a run of {took} s"));
            }
        }
        let listed: u64 = listed.iter().filter_map(|doubt| micros(text(&doubt["atRisk"]))).sum();
        let said = micros(text(&shown["cost"]["atRisk"])).unwrap_or(u64::MAX);
        if listed != said {
            say(Invariant::RiskIsListed, format!("{id}: the list has {listed} at risk, the generation says {said} (millionths)"));
        }
    }
}

/// The right id was adopted, a wrong one never, and what was declared lost is at risk no longer.
pub fn decisions(facts: &Facts, say: &mut Say<'_>) {
    for one in &facts.decided {
        let Some(shown) = facts.shown.get(&one.generation) else { continue };
        // Of a URL its query's end is the id.
        let task = one.task.rsplit('=').next().unwrap_or_default();
        let attempts = attempts(shown);
        let held = |n: u64| attempts.iter().any(|attempt| attempt.n == n && attempt.task.as_deref() == Some(task));
        let wrong = match one.fault {
            Fault::Misname => held(one.n).then_some("a wrong id was believed"),
            Fault::Adopt => {
                (one.noted && !attempts.iter().any(|attempt| held(attempt.n))).then_some("the right id was not adopted")
            }
            _ => (one.noted && listed(facts, one)).then_some("it was declared lost and is at risk"),
        };
        if let Some(wrong) = wrong {
            let (id, n) = (&one.generation, one.n);
            say(Invariant::DecisionsAreChecked, format!("{id}, attempt {n}: {wrong} ({task})"));
        }
    }
    for doubt in facts.doubts.iter().filter(|doubt| doubt["decision"]["outcome"] == "open") {
        say(Invariant::DecisionsAreChecked, format!("{}: a decision stays open", text(&doubt["id"])));
    }
}

fn listed(facts: &Facts, one: &Decided) -> bool {
    facts.doubts.iter().any(|doubt| doubt["attemptId"] == one.attempt.as_str())
}
