//! What clients were told: by the stream, in order and without a gap; by webhooks, signed, true, and in the end each.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    judge::{Facts, Invariant, text},
    receiver::Received,
    stream::Event,
};

type Say<'a> = dyn FnMut(Invariant, String) + 'a;

/// Kinds that end what they tell of, and the status they mean.
const ENDS: [(&str, &str); 7] = [
    ("generation.completed", "SUCCESS"),
    ("generation.failed", "FAILED"),
    ("generation.cancelled", "CANCELLED"),
    ("batch.completed", "COMPLETED"),
    ("batch.partial_failed", "PARTIAL_FAILED"),
    ("batch.failed", "FAILED"),
    ("batch.cancelled", "CANCELLED"),
];

const LATE: &str = "generation.late_result";

/// Kinds that an endpoint is sent where nobody chose.
fn sent(kind: &str) -> bool {
    kind == LATE || end(kind).is_some()
}

fn end(kind: &str) -> Option<&'static str> {
    ENDS.iter().find(|(name, _)| *name == kind).map(|(_, status)| *status)
}

fn subject(event: &Event) -> &str {
    text(&event.data["data"]["id"])
}

pub fn judge(facts: &Facts, say: &mut Say<'_>) {
    order(facts, say);
    let mut of: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in &facts.streamed.events {
        of.entry(subject(event)).or_default().push(event);
    }
    for (id, shown) in &facts.shown {
        generation((id, shown), of.get(id.as_str()).map(Vec::as_slice).unwrap_or_default(), facts, say);
    }
    for (id, view) in &facts.batches {
        batch((id, view), of.get(id.as_str()).map(Vec::as_slice).unwrap_or_default(), facts, say);
    }
    for id in of.keys().filter(|id| !facts.shown.contains_key(**id) && !facts.batches.contains_key(**id)) {
        say(Invariant::EventsAreComplete, format!("an event tells of {id}, which is not there"));
    }
    true_ones(facts, say);
    delivered(facts, say);
}

/// Ids grow, none comes twice, and nobody says that something is lost.
fn order(facts: &Facts, say: &mut Say<'_>) {
    for pair in facts.streamed.events.windows(2).filter(|pair| pair[0].id >= pair[1].id) {
        say(Invariant::EventsAreComplete, format!("{} came before {}", pair[0].id, pair[1].id));
    }
    for gap in &facts.streamed.gaps {
        say(Invariant::EventsAreComplete, format!("the stream says: {gap}"));
    }
}

/// What a step of a generation is told as.
fn kind(from: &str, to: &str) -> String {
    let word = match (from, to) {
        (_, "active") => "processing",
        ("active", "queued") => "retrying",
        (_, other) => other,
    };
    format!("generation.{word}")
}

/// The events of a generation are its history, step by step.
fn generation((id, shown): (&str, &Value), events: &[&Event], facts: &Facts, say: &mut Say<'_>) {
    let steps = facts.histories.get(id).and_then(|history| history["data"].as_array());
    // Its birth is no step: an answer or the batch's own event tells of it.
    let steps = steps.into_iter().flatten().filter(|step| step["attempt"] == 0 && !step["from"].is_null());
    let mut expected: Vec<String> = steps.map(|step| kind(text(&step["from"]), text(&step["to"]))).collect();
    if expected.is_empty() && shown["status"] == "SUCCESS" {
        // A retry that was born with the late result of what it retries: it made no step.
        expected.push("generation.completed".to_owned());
    }
    let told: Vec<&str> = events.iter().map(|event| event.kind.as_str()).filter(|kind| *kind != LATE).collect();
    if told != expected {
        say(Invariant::EventsAreComplete, format!("{id} was told as {told:?}, its history is {expected:?}"));
    }
    for event in events.iter().filter(|event| end(&event.kind).is_some_and(|status| shown["status"] != status)) {
        say(Invariant::EventsAreTrue, format!("{id} is {} and was told as {}", shown["status"], event.text));
    }
    let late = shown["lateResults"].as_array().is_some_and(|late| !late.is_empty());
    if late && !events.iter().any(|event| event.kind == LATE) {
        say(Invariant::EventsAreComplete, format!("{id} has a late result, and nobody was told"));
    }
}

/// A batch is told from its beginning to its end, and its last end is how it is.
fn batch((id, view): (&str, &Value), events: &[&Event], facts: &Facts, say: &mut Say<'_>) {
    let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    let created = kinds.iter().filter(|kind| **kind == "batch.created").count();
    if created != 1 || kinds.first() != Some(&"batch.created") {
        say(Invariant::EventsAreComplete, format!("{id} was told as {kinds:?}, which does not begin once"));
    }
    let ends: Vec<&str> = kinds.iter().filter_map(|kind| end(kind)).collect();
    let retried = facts.memory.batches.get(id).is_some_and(|followed| followed.retries > 0);
    let right = if retried { !ends.is_empty() } else { ends.len() == 1 };
    if !right || ends.last().is_none_or(|last| view["status"] != *last) {
        say(Invariant::EventsAreTrue, format!("{id} is {} and was told as {kinds:?}", view["status"]));
    }
}

/// Where an event may be sent to, besides the endpoint.
fn url<'a>(event: &Event, facts: &'a Facts) -> &'a str {
    let id = subject(event);
    let named = facts.shown.get(id).map(|shown| &shown["webhookUrl"]);
    named.or_else(|| facts.batches.get(id).map(|batch| &batch["options"]["webhookUrl"])).map_or("", text)
}

/// Every try of every message: signed by its owner's secret, the words of the stream under the id of the stream, at a place that asked
/// for them.
fn true_ones(facts: &Facts, say: &mut Say<'_>) {
    let events: BTreeMap<&str, &Event> = facts.streamed.events.iter().map(|event| (event.id.as_str(), event)).collect();
    for one in &facts.received {
        let Received { path, id, body, .. } = one;
        let secret = if path == ENDPOINT { &facts.secrets.endpoint } else { &facts.secrets.project };
        if !one.verifies(secret) {
            say(Invariant::WebhooksAreTrue, format!("{id} to {path} is not signed by its owner's secret"));
        }
        match events.get(id.as_str()) {
            None => say(Invariant::WebhooksAreTrue, format!("{id} to {path} is no event of the stream: {body}")),
            Some(event) if event.text != *body => {
                say(Invariant::WebhooksAreTrue, format!("{id} to {path} says {body}, the stream {}", event.text));
            }
            Some(event) => {
                let wanted = if path == ENDPOINT { sent(&event.kind) } else { url(event, facts).ends_with(path.as_str()) };
                if !wanted {
                    say(Invariant::WebhooksAreTrue, format!("{path} was sent {id}, which is none of its own: {body}"));
                }
            }
        }
    }
    let mut ids: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for one in &facts.received {
        ids.entry((&one.path, &one.body)).or_default().insert(&one.id);
    }
    for ((path, body), ids) in ids.into_iter().filter(|(_, ids)| ids.len() > 1) {
        say(Invariant::WebhooksAreTrue, format!("{path} was sent {body} under several ids: {ids:?}"));
    }
}

/// Where the endpoint of the project is.
pub const ENDPOINT: &str = "/endpoint";

/// What was to be sent was taken in the end, at each place.
fn delivered(facts: &Facts, say: &mut Say<'_>) {
    let taken: BTreeSet<(&str, &str)> =
        facts.received.iter().filter(|one| one.taken).map(|one| (one.path.as_str(), one.id.as_str())).collect();
    for event in facts.streamed.events.iter().filter(|event| sent(&event.kind)) {
        let named = url(event, facts).strip_prefix(facts.receiver.as_str());
        for path in std::iter::once(ENDPOINT).chain(named) {
            if !taken.contains(&(path, event.id.as_str())) {
                say(Invariant::WebhooksArrive, format!("{} {} never came to {path}", event.id, event.text));
            }
        }
    }
    for delivery in facts.deliveries.iter().filter(|delivery| delivery["status"] != "delivered") {
        say(Invariant::WebhooksArrive, format!("a delivery is {} in the end: {delivery}", delivery["status"]));
    }
}
