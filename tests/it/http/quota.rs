//! Limits of keys: requests a minute and at a time, what headers tell of them, and what costs nothing.

use std::time::Duration;

use actix_web::test::TestRequest;
use longtake::{
    domain::quota::Quotas,
    intake::keys::{self, QuotaChange},
};

use super::app::{Answer, TestApp, with_key};

const MODELS: &str = "/api/external/models";

async fn per_minute(limit: u32) -> TestApp {
    TestApp::with(|config| config.server.requests_per_minute = limit).await
}

fn told(answer: &Answer) -> (&str, &str) {
    (answer.header("ratelimit-policy"), answer.header("ratelimit"))
}

#[actix_web::test]
async fn a_key_without_limits_is_told_nothing() {
    let app = TestApp::start().await;
    assert_eq!(told(&app.get(MODELS).await), ("", ""));
}

#[actix_web::test]
async fn every_answer_tells_what_is_left_and_the_last_one_when_to_come_back() {
    let app = per_minute(2).await;
    let first = app.get(MODELS).await;
    assert_eq!(told(&first), ("\"requests\";q=2;w=60", "\"requests\";r=1;t=60"));
    app.clock.advance(Duration::from_secs(10));
    let second = app.get("/api/external/generation/none").await;
    assert_eq!(second.status, 404);
    assert_eq!(told(&second).1, "\"requests\";r=0;t=50", "a refusal is told of, too");
    let third = app.get(MODELS).await;
    let body = third.problem(429, "RATE_LIMITED");
    assert_eq!((third.header("retry-after"), told(&third).1), ("50", "\"requests\";r=0;t=50"));
    assert_eq!((&body["details"]["violatedPolicies"][0], &body["retryable"]), (&"requests".into(), &true.into()));
    // Another key has its own, and what needs no key costs nobody anything.
    assert_eq!(app.send(with_key(TestRequest::get().uri(MODELS), &app.stranger)).await.status, 200);
    assert_eq!(told(&app.send(TestRequest::get().uri("/api/health")).await), ("", ""));
    app.clock.advance(Duration::from_secs(50));
    assert_eq!(app.get(MODELS).await.status, 200);
}

#[actix_web::test]
async fn a_304_costs_nothing() {
    let app = per_minute(3).await;
    let made = app.post(&serde_json::json!({"modelIdentifier": "flux-test", "prompt": "x"})).await.json();
    let path = format!("/api/external/generation/{}", made["id"].as_str().unwrap());
    let tag = app.get(&path).await.header("etag").to_owned();
    for _ in 0..5 {
        let request = TestRequest::get().uri(&path).insert_header(("if-none-match", tag.clone()));
        let answer = app.send(with_key(request, &app.client)).await;
        assert_eq!((answer.status.as_u16(), told(&answer).1), (304, "\"requests\";r=1;t=60"));
    }
}

#[actix_web::test]
async fn what_is_said_of_a_key_goes_before_the_configuration() {
    let app = TestApp::distrustful().await;
    let store = app.store.keys();
    let record = store.list().await.unwrap().into_iter().find(|key| key.name == "client").unwrap();
    let change = QuotaChange { per_minute: Some(Some(9)), at_once: Some(Some(4)) };
    keys::set_quotas(&store, record.id, change).await.unwrap();
    let policy = "\"requests\";q=9;w=60, \"in-flight\";q=4;qu=\"concurrent-requests\"";
    // The request itself is over when its headers leave, as far as nothing of its body is held back.
    assert_eq!(told(&app.get(MODELS).await), (policy, "\"requests\";r=8;t=60, \"in-flight\";r=3"));
    let change = QuotaChange { per_minute: Some(None), at_once: None };
    let now = keys::set_quotas(&store, record.id, change).await.unwrap();
    assert_eq!(now, Quotas { per_minute: None, at_once: Some(4) });
    let minted = keys::rotate(&store, record.id, Duration::ZERO, app.api.clock.now()).await.unwrap();
    assert_eq!(minted.record.quotas, now, "a successor may do what the old one might");
}
