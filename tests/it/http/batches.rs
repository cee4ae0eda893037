//! Batches over HTTP with a real store and no actors: in which forms they are taken, what is refused, what is shown.

#![cfg(test)]

mod forms;
mod keys;
mod lines;
mod options;
mod results;
mod streams;
mod waiting;
mod wishes;

use std::time::Duration;

use actix_web::test::TestRequest;
use longtake::{
    domain::{
        attempt::AttemptEvent,
        batch::Batch,
        error::{ErrorCode, Failure},
        generation::GenerationEvent,
        id::{BatchId, GenerationId},
        output::{Output, OutputSource},
        record::Kind,
        retry::RetryPolicy,
        settle::Ending,
    },
    lifeline::Lifeline,
    store::{
        Loaded, NewAttempt,
        change::{Change, End, Start, commit},
        finish::Finished,
    },
};
use serde_json::{Value, json};

use super::app::{Answer, TestApp, with_key};
use crate::store::bed;

pub const PATH: &str = "/api/external/generation/batch";

/// A request that is right.
pub fn image(name: &str) -> Value {
    json!({"customId": name, "modelIdentifier": "flux-test", "prompt": format!("a {name}")})
}

pub fn images(count: usize) -> Vec<Value> {
    (0..count).map(|i| image(&format!("n{i}"))).collect()
}

pub async fn post(app: &TestApp, query: &str, body: &Value) -> Answer {
    let request = TestRequest::post().uri(&format!("{PATH}{query}")).set_json(body);
    app.send(with_key(request, &app.client)).await
}

/// Sends lines.
pub async fn send(app: &TestApp, query: &str, body: impl Into<Vec<u8>>) -> Answer {
    let request = TestRequest::post().uri(&format!("{PATH}{query}")).insert_header(("content-type", "application/x-ndjson"));
    app.send(with_key(request.set_payload(body.into()), &app.client)).await
}

pub fn text(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// A batch that was accepted; its id.
pub async fn accepted(app: &TestApp, requests: &[Value], options: Value) -> String {
    let answer = post(app, "", &json!({"requests": requests, "options": options})).await;
    assert_eq!(answer.status, 202, "{:?}", answer.body);
    answer.json()["batchId"].as_str().unwrap().to_owned()
}

pub async fn command(app: &TestApp, id: &str, what: &str, body: Option<Value>) -> Answer {
    let request = TestRequest::post().uri(&format!("{PATH}/{id}/{what}"));
    let request = if let Some(body) = body { request.set_json(body) } else { request };
    app.send(with_key(request, &app.client)).await
}

pub async fn get(app: &TestApp, rest: &str) -> Answer {
    app.get(&format!("{PATH}{rest}")).await
}

/// `(pointer, code)` of everything that a problem names, in its order.
pub fn errors(problem: &Value) -> Vec<(String, String)> {
    let part = |error: &Value, name: &str| error[name].as_str().unwrap().to_owned();
    problem["errors"].as_array().unwrap().iter().map(|error| (part(error, "pointer"), part(error, "code"))).collect()
}

/// Every batch that anybody sees.
pub async fn visible(app: &TestApp) -> usize {
    let (batches, lines) = (get(app, "").await.json(), app.get("/api/external/generation").await.json());
    batches["data"].as_array().unwrap().len() + lines["data"].as_array().unwrap().len()
}

pub async fn row(app: &TestApp, id: &str) -> Batch {
    let id: BatchId = id.parse().unwrap();
    app.store.reads().batch_by_id(id).await.unwrap().unwrap()
}

/// The ids of a batch's tasks, in their order.
pub async fn ids(app: &TestApp, id: &str) -> Vec<GenerationId> {
    let tasks = get(app, &format!("/{id}/tasks?limit=100")).await.json();
    tasks["data"].as_array().unwrap().iter().map(|task| task["id"].as_str().unwrap().parse().unwrap()).collect()
}

/// Ends a task without a submit, as its queue deadline does.
pub async fn fail(app: &TestApp, id: GenerationId, message: &str) {
    let failure = Failure::new(ErrorCode::TaskTimeout, message);
    step(app, id, |change, _| change.advance(&GenerationEvent::Drop, Some(failure.clone()), "too late").unwrap()).await;
}

/// Submits a task as if a provider had taken it.
pub async fn submit(app: &TestApp, id: GenerationId) {
    step(app, id, |change, loaded| {
        let attempt = bed::attempt(&loaded.generation, 1);
        change.advance(&GenerationEvent::Intent { slot: 0 }, None, "submitted").unwrap();
        change.intent(NewAttempt { attempt, request: json!({}) }, "submitted");
    })
    .await;
    step(app, id, |change, loaded| change.accepted(&mut loaded.attempts[0].clone(), "accepted").unwrap()).await;
}

/// Ends a task with one file, as if a provider had made it.
pub async fn deliver(app: &TestApp, id: GenerationId, url: &str) {
    submit(app, id).await;
    let output = Output {
        source: OutputSource::Url(url.to_owned()),
        kind: Kind::Image,
        lifetime: Duration::from_secs(600),
        duration_seconds: None,
    };
    let policy =
        RetryPolicy { max_attempts: 1, initial_delay: Duration::ZERO, multiplier: 1.0, max_delay: Duration::ZERO, jitter: false };
    step(app, id, |change, loaded| {
        let (event, ending) = (AttemptEvent::Stored, Ending::Delivered);
        let delivered = End { event, ending, failure: None, shown: None, policy: &policy, unit: 0.0, reason: "stored" };
        let finished = Finished { outputs: &[(output.clone(), None)], link: true, delivered };
        change.finish(loaded, &mut loaded.attempts[0].clone(), &finished).unwrap();
    })
    .await;
}

async fn step(app: &TestApp, id: GenerationId, change: impl Fn(&mut Change, &Loaded)) {
    let (reads, journal) = (app.store.reads(), app.store.journal(&Lifeline::default()));
    let now = app.api.clock.now();
    let decide = |loaded: &Loaded| {
        let mut made = Change::of(&loaded.generation, now);
        change(&mut made, loaded);
        Some(made.entry())
    };
    assert!(commit(&reads, &journal, Start::Load(id), decide).await.unwrap().is_some());
}
