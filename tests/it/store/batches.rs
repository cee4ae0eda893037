//! Batches: loads that are seen whole or not at all, wishes, exact counts, what holds a submit back.

mod counts;
mod histories;
mod loads;
mod retries;
mod wishes;

use longtake::{
    domain::{
        attempt::AttemptEvent,
        batch::{Batch, BatchOptions, BatchPlace},
        generation::GenerationEvent,
        id::{BatchId, KeyId, ProjectId},
        limits::Limits,
        money::Micros,
        record::{Attempt, Generation},
        retry::RetryPolicy,
        settle::Ending,
        slots::Slots,
        time::Timestamp,
    },
    store::{
        Birth, Load, Loaded, NewAttempt, Store, Transition,
        change::{Change, End, Start, commit},
    },
};

use super::bed::{NOW, attempt, generation, journal, request};

pub const PRICE: Micros = Micros(350_000);
pub const HOOK: &str = "https://client.example/hook";

/// A load that has no lines yet.
pub fn loading(project: ProjectId, options: BatchOptions) -> Batch {
    Batch::loading(BatchId::fresh(), (project, KeyId::fresh()), 17, options, NOW)
}

/// A line of one call.
pub fn line(batch: &Batch, index: u32) -> Birth {
    let mut row = Generation { key: batch.key, outputs: 1, call_price: PRICE, ..generation(batch.project) };
    row.progress.slots = Slots::owed(1, 1);
    row.batch = Some(BatchPlace { id: batch.id, index, custom_id: Some(format!("line-{index}").into()) });
    Birth { generation: row, request: request(), limits: Limits::default(), depends_on: Vec::new(), claim: None }
}

/// The same, by a client that wants to be told of it.
pub fn telling(mut line: Birth) -> Birth {
    line.request.webhook_url = Some(HOOK.to_owned());
    line
}

/// A visible batch of so many lines, and these.
pub async fn loaded(store: &Store, options: BatchOptions, lines: u32) -> (Batch, Vec<Generation>) {
    let mut load = Load::begin(&journal(store), loading(ProjectId::fresh(), options)).await.unwrap();
    let births: Vec<_> = (0..lines).map(|index| line(load.batch(), index)).collect();
    let rows = births.iter().map(|birth| birth.generation.clone()).collect();
    load.add(births, NOW).await.unwrap();
    (load.publish(Limits::default(), None, NOW).await.unwrap(), rows)
}

/// The batch as it is stored.
pub async fn stored(store: &Store, id: BatchId) -> Batch {
    store.reads().batch_by_id(id).await.unwrap().unwrap()
}

/// Hands in what `decide` makes of a line; none when nothing came of it.
pub async fn step(store: &Store, line: &Generation, decide: impl Fn(&Loaded) -> Option<Transition>) -> Option<Loaded> {
    commit(&store.reads(), &journal(store), Start::Load(line.id), decide).await.unwrap()
}

/// The intent of the first slot that owes a submit.
pub fn intent_at(loaded: &Loaded, at: Timestamp) -> Option<Transition> {
    let slot = loaded.generation.slots().first_owed()?;
    let n = u16::try_from(loaded.attempts.len() + 1).unwrap();
    let new = Attempt { slot, price: loaded.generation.call_price, ..attempt(&loaded.generation, n) };
    let mut change = Change::of(&loaded.generation, at);
    change.advance(&GenerationEvent::Intent { slot }, None, "intent").ok()?;
    change.intent(NewAttempt { attempt: new, request: serde_json::json!({}) }, "intent");
    Some(change.entry())
}

pub fn intent(loaded: &Loaded) -> Option<Transition> {
    intent_at(loaded, NOW)
}

/// The newest attempt moves; the provider bills when it accepts.
pub fn moved(loaded: &Loaded, event: AttemptEvent) -> Option<Transition> {
    let mut attempt = loaded.attempts.last()?.clone();
    attempt.charged |= event == AttemptEvent::Accepted;
    let mut change = Change::of(&loaded.generation, NOW);
    change.attempt(&mut attempt, event, "moved").ok()?;
    Some(change.entry())
}

/// The newest attempt ends, and its slot with it.
pub fn ended(loaded: &Loaded, event: AttemptEvent, ending: Ending) -> Option<Transition> {
    let mut attempt = loaded.attempts.last()?.clone();
    let policy = policy();
    let end = End { event, ending, failure: None, shown: None, policy: &policy, unit: 0.5, reason: "ended" };
    let mut change = Change::of(&loaded.generation, NOW);
    change.end(loaded, &mut attempt, &end).ok()?;
    Some(change.entry())
}

pub fn policy() -> RetryPolicy {
    RetryPolicy {
        max_attempts: 3,
        initial_delay: std::time::Duration::from_secs(1),
        multiplier: 2.0,
        max_delay: std::time::Duration::from_secs(30),
        jitter: false,
    }
}

/// What is owed ends, by a cancel or otherwise.
pub fn dropped(loaded: &Loaded, event: &GenerationEvent) -> Option<Transition> {
    let mut change = Change::of(&loaded.generation, NOW);
    change.advance(event, None, "dropped").ok()?;
    Some(change.entry())
}

/// A line goes all the way to its result.
pub async fn deliver(store: &Store, line: &Generation) {
    step(store, line, intent).await.expect("its batch takes it");
    step(store, line, |loaded| moved(loaded, AttemptEvent::Accepted)).await.unwrap();
    step(store, line, |loaded| moved(loaded, AttemptEvent::Finished)).await.unwrap();
    step(store, line, |loaded| ended(loaded, AttemptEvent::Stored, Ending::Delivered)).await.unwrap();
}

/// A line is submitted and fails.
pub async fn fail(store: &Store, line: &Generation) {
    step(store, line, intent).await.expect("its batch takes it");
    step(store, line, |loaded| ended(loaded, AttemptEvent::Refused, Ending::Final)).await.unwrap();
}
