//! Batches: all of one or nothing, counts that add up at every look, money, places and dependencies as they were asked for.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    batches::Followed,
    drive::terminal,
    judge::{Facts, Invariant, attempts, groups::micros, text},
    schedule::batches::{BatchAsk, Kind},
};

type Say<'a> = dyn FnMut(Invariant, String) + 'a;

struct Counts {
    total: u64,
    completed: u64,
    failed: u64,
    cancelled: u64,
    running: u64,
    waiting: u64,
}

impl Counts {
    fn of(batch: &Value) -> Self {
        let count = |name: &str| batch[name].as_u64().unwrap_or(u64::MAX / 8);
        Self {
            total: count("totalTasks"),
            completed: count("completedTasks"),
            failed: count("failedTasks"),
            cancelled: count("cancelledTasks"),
            running: count("runningTasks"),
            waiting: count("waitingTasks"),
        }
    }

    const fn ended(&self) -> u64 {
        self.completed + self.failed + self.cancelled
    }

    /// What a batch is called by its counts, once all its tasks have ended.
    const fn end(&self, cancelled: bool) -> &'static str {
        if self.completed == self.total {
            "COMPLETED"
        } else if cancelled {
            "CANCELLED"
        } else if self.completed > 0 {
            "PARTIAL_FAILED"
        } else {
            "FAILED"
        }
    }
}

/// What is wrong with one look at a batch, whenever it is taken: an answer is made of one row, so it must agree with itself.
pub fn look(batch: &Value, ask: Option<&BatchAsk>, followed: &Followed) -> Vec<(Invariant, String)> {
    let (id, counts) = (text(&batch["batchId"]), Counts::of(batch));
    let mut wrong = Vec::new();
    let mut say = |invariant, what: &str| wrong.push((invariant, format!("{id}: {what}: {batch}")));
    if counts.total != counts.ended() + counts.running + counts.waiting {
        say(Invariant::CountsAgree, "its counts do not add up");
    }
    if batch["progress"] != counts.ended() * 100 / counts.total.max(1) {
        say(Invariant::CountsAgree, "its progress is not what its counts say");
    }
    let (status, cancelled) = (text(&batch["status"]), batch["cancelRequested"] == true);
    let fits = match status {
        "PROCESSING" => counts.ended() < counts.total && !cancelled || followed.retries > 0,
        "PAUSED" => counts.ended() < counts.total && (followed.paused || !batch["cost"]["budget"].is_null()),
        "CANCELLING" => counts.ended() < counts.total && cancelled,
        end => counts.ended() == counts.total && end == counts.end(cancelled),
    };
    if !fits {
        say(Invariant::CountsAgree, "its status is not what its counts and its client's wishes say");
    }
    if cancelled && !followed.cancelled {
        say(Invariant::CountsAgree, "nobody cancelled it");
    }
    match ask {
        None => say(Invariant::BatchesAreWhole, "nobody asked for it"),
        Some(ask) if ask.kind == Kind::Reject => say(Invariant::BatchesAreWhole, "it has wrong lines and should not be there"),
        Some(ask) if counts.total != count(ask.good().count()) => say(Invariant::BatchesAreWhole, "it is there in part"),
        Some(_) => {}
    }
    let money = |name: &str| micros(text(&batch["cost"][name])).unwrap_or(u64::MAX);
    if money("charged") > money("spent") {
        say(Invariant::BudgetsHold, "it was charged more than it spent");
    }
    let budget = ask.and_then(|ask| ask.budget).map(|budget| followed.budget.unwrap_or(0).max(budget));
    if budget.is_some_and(|budget| money("spent") > budget) {
        say(Invariant::BudgetsHold, "it spent more than it may");
    }
    wrong
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// A batch with all that belongs to it, at the end.
struct Whole<'a> {
    id: &'a str,
    ask: &'a BatchAsk,
    view: &'a Value,
    followed: Followed,
    /// The generations of each line, also those that were replaced.
    lines: BTreeMap<usize, Vec<&'a str>>,
}

/// Everything about batches that is judged at the end.
pub fn at_the_end(facts: &Facts, say: &mut Say<'_>) {
    let mut by_prompt: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (id, shown) in &facts.shown {
        by_prompt.entry(text(&shown["prompt"])).or_default().push(id);
    }
    for (id, followed) in facts.memory.batches.iter().filter(|(_, followed)| followed.promised) {
        if !facts.batches.contains_key(id) {
            say(Invariant::PromisesEnd, format!("{id} was acknowledged and is in no list"));
        }
        if followed.first_tasks().iter().any(|task| !facts.shown.contains_key(task)) {
            say(Invariant::PromisesEnd, format!("{id} was acknowledged with tasks that are in no list"));
        }
    }
    for ask in &facts.asks {
        let named: Vec<_> = facts.batches.iter().filter(|(_, view)| text(&view["name"]) == ask.name(facts.seed)).collect();
        let lines: BTreeMap<usize, Vec<&str>> = ask
            .good()
            .filter_map(|index| Some((index, by_prompt.get(ask.prompt(facts.seed, index).as_str())?.clone())))
            .collect();
        match named.as_slice() {
            [] if lines.is_empty() => {}
            [] => say(Invariant::BatchesAreWhole, format!("{}: there are lines of it, and no batch", ask.name(facts.seed))),
            [(id, view)] => {
                let followed = facts.memory.batches.get(*id).cloned().unwrap_or_default();
                whole(facts, &Whole { id, ask, view, followed, lines }, say);
            }
            several => say(Invariant::OneForAKey, format!("{}: one key made {} batches", ask.name(facts.seed), several.len())),
        }
    }
}

fn whole(facts: &Facts, batch: &Whole<'_>, say: &mut Say<'_>) {
    for (invariant, what) in look(batch.view, Some(batch.ask), &batch.followed) {
        say(invariant, what);
    }
    let (id, counts) = (batch.id, Counts::of(batch.view));
    if counts.ended() < counts.total || batch.view["status"] == "PROCESSING" {
        say(Invariant::PromisesEnd, format!("{id} never ends: {}", batch.view));
    }
    recount(facts, batch, &counts, say);
    for index in batch.ask.good() {
        let made = count(batch.lines.get(&index).map_or(0, Vec::len));
        if made == 0 || made > 1 + batch.followed.retries {
            let wishes = batch.followed.retries;
            say(Invariant::BatchesAreWhole, format!("{id}: line {index} has {made} generations after {wishes} wishes to retry"));
        }
    }
    money(facts, batch, say);
    places(facts, batch, say);
    dependents(facts, batch, say);
    stopped(facts, batch, say);
}

/// Its counts against its tasks, each of which is a line's newest generation.
fn recount(facts: &Facts, batch: &Whole<'_>, counts: &Counts, say: &mut Say<'_>) {
    let (id, tasks) = (batch.id, facts.tasks.get(batch.id).map(Vec::as_slice).unwrap_or_default());
    let of = |status: &str| count(tasks.iter().filter(|task| task["status"] == status).count());
    let counted = [of("SUCCESS"), of("FAILED"), of("CANCELLED"), count(tasks.len())];
    let said = [counts.completed, counts.failed, counts.cancelled, counts.total];
    if counted != said {
        let what = format!("{id} says {said:?}, its tasks are {counted:?} (completed, failed, cancelled, all)");
        say(Invariant::CountsAgree, what);
    }
    let places: BTreeSet<_> = tasks.iter().filter_map(|task| task["index"].as_u64()).collect();
    if places.len() != tasks.len() {
        say(Invariant::CountsAgree, format!("{id} has a line twice among its tasks"));
    }
    for task in tasks {
        let shown = facts.shown.get(text(&task["id"]));
        if shown.is_none_or(|shown| shown["status"] != task["status"]) {
            say(
                Invariant::CountsAgree,
                format!("{id}: its task {} is {} elsewhere", task, shown.unwrap_or(&Value::Null)["status"]),
            );
        }
    }
}

fn generations<'a>(facts: &'a Facts, batch: &'a Whole<'_>) -> impl Iterator<Item = &'a Value> {
    batch.lines.values().flatten().filter_map(|id| facts.shown.get(*id))
}

/// What it says it spent is what its generations say; what the provider billed keeps within the budget.
fn money(facts: &Facts, batch: &Whole<'_>, say: &mut Say<'_>) {
    let sum = |places: &[&str]| -> u64 {
        let of = |shown: &Value| places.iter().filter_map(|place| micros(text(&shown["cost"][*place]))).sum::<u64>();
        generations(facts, batch).map(of).sum()
    };
    let said = ["spent", "charged"].map(|name| micros(text(&batch.view["cost"][name])).unwrap_or(u64::MAX));
    let summed = [sum(&["held", "charged", "atRisk"]), sum(&["charged"])];
    if said != summed {
        say(
            Invariant::SpendAgrees,
            format!("{} says {said:?}, its generations {summed:?} (spent, charged, millionths)", batch.id),
        );
    }
    let Some(budget) = batch.ask.budget.map(|budget| budget.max(batch.followed.budget.unwrap_or(0))) else { return };
    let prompts: BTreeSet<String> = batch.ask.good().map(|index| batch.ask.prompt(facts.seed, index)).collect();
    let entries = facts.ledger.iter().filter(|entry| prompts.contains(text(&entry["prompt"])));
    let billed: u64 = entries.filter_map(|entry| entry["microUsd"].as_u64()).sum();
    if billed > budget {
        say(Invariant::BudgetsHold, format!("{}: {billed} were billed for a budget of {budget} (millionths)", batch.id));
    }
}

/// At most so many at the provider at a time. What is counted is sure: an attempt holds its place from before its submit until we know of
/// its end, so the provider's own times, by one clock, lie within. Left out is what was given up (its place is free while the provider
/// may still work) and what answered at once (no task tells whose it was).
fn places(facts: &Facts, batch: &Whole<'_>, say: &mut Say<'_>) {
    let mut moments: Vec<(&str, i32)> = Vec::new();
    for shown in generations(facts, batch) {
        let id = text(&shown["id"]);
        for attempt in attempts(shown) {
            let steps = facts.histories.get(id).and_then(|history| history["data"].as_array());
            let given_up = steps.is_none_or(|steps| {
                steps.iter().any(|step| step["attempt"] == attempt.n && matches!(text(&step["to"]), "given_up" | "timed_out"))
            });
            let entry = facts.ledger.iter().find(|entry| attempt.task.as_deref() == entry["taskId"].as_str());
            if let Some(entry) = entry.filter(|_| !given_up) {
                moments.push((text(&entry["at"]), 1));
                moments.push((text(&entry["endsAt"]), -1));
            }
        }
    }
    // Ends before beginnings of the same millisecond.
    moments.sort_unstable();
    let (mut open, mut most) = (0, 0);
    for (_, change) in moments {
        open += change;
        most = most.max(open);
    }
    let allowed = i32::try_from(batch.ask.concurrency).unwrap_or(i32::MAX);
    if most > allowed {
        say(Invariant::PlacesHold, format!("{}: {most} were at the providers at a time, {allowed} may be", batch.id));
    }
}

/// The ids of the events of one kind of these generations, in order.
fn told<'a>(facts: &'a Facts, ids: &'a [&str], kind: &'a str) -> impl Iterator<Item = &'a str> {
    let of = move |event: &&crate::stream::Event| event.kind == kind && ids.contains(&text(&event.data["data"]["id"]));
    facts.streamed.events.iter().filter(of).map(|event| event.id.as_str())
}

/// Nothing is submitted before what it is made from is there, and nothing at all when that will never be. Ids of events stand in the order
/// of commits.
fn dependents(facts: &Facts, batch: &Whole<'_>, say: &mut Say<'_>) {
    for index in batch.ask.good() {
        let Some(on) = batch.ask.lines[index].on else { continue };
        let ids = |index: usize| batch.lines.get(&index).map(Vec::as_slice).unwrap_or_default();
        let there = told(facts, ids(on), "generation.completed").next();
        for begun in told(facts, ids(index), "generation.processing") {
            if there.is_none_or(|there| begun < there) {
                say(
                    Invariant::DependentsWait,
                    format!("{}: line {index} was submitted ({begun}) before line {on} was there", batch.id),
                );
            }
        }
    }
    for shown in generations(facts, batch).filter(|shown| shown["error"]["code"] == "DEPENDENCY_FAILED") {
        let cost = ["held", "charged", "atRisk"].map(|place| micros(text(&shown["cost"][place])));
        if !attempts(shown).is_empty() || cost != [Some(0); 3] {
            say(Invariant::DependentsWait, format!("{} fails with what it depends on, and was submitted", text(&shown["id"])));
        }
    }
}

/// Behind the failure that stops a batch nothing of it is submitted: in one commit the failure goes first, and its lines have one output
/// each and are never submitted twice by policy, so that they begin by an intent alone. A retry takes the stop back: not judged then.
fn stopped(facts: &Facts, batch: &Whole<'_>, say: &mut Say<'_>) {
    if batch.ask.kind != Kind::Stop || batch.followed.retries > 0 {
        return;
    }
    let stop = told(facts, std::slice::from_ref(&batch.id), "batch.stopped").next();
    let failed = generations(facts, batch).any(|shown| terminal(shown) && shown["status"] == "FAILED");
    if failed && stop.is_none() {
        say(Invariant::StopsHold, format!("{}: a line failed, and nothing tells that it stopped", batch.id));
    }
    let lines: Vec<&str> = batch.lines.values().flatten().copied().collect();
    for begun in told(facts, &lines, "generation.processing").filter(|begun| stop.is_some_and(|stop| *begun > stop)) {
        say(Invariant::StopsHold, format!("{}: a line was submitted ({begun}) after it had stopped ({stop:?})", batch.id));
    }
}
