//! `Idempotency-Key` on the routes that make something.

use actix_web::test::TestRequest;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::app::{Answer, TestApp, with_key};

fn ask() -> Value {
    json!({"modelIdentifier": "flux-test", "prompt": "a lighthouse", "metadata": {"b": 1, "a": [1, 2]}})
}

async fn post(app: &TestApp, key: &str, body: impl Into<String>) -> Answer {
    let request = TestRequest::post()
        .uri("/api/external/generation")
        .insert_header(("idempotency-key", key))
        .insert_header(("content-type", "application/json"))
        .set_payload(body.into());
    app.send(with_key(request, &app.client)).await
}

async fn made(app: &TestApp) -> usize {
    app.get("/api/external/generation").await.json()["data"].as_array().unwrap().len()
}

#[actix_web::test]
async fn the_same_request_is_given_the_same_answer_and_makes_nothing() {
    let app = TestApp::start().await;
    let first = post(&app, "k-1", ask().to_string()).await;
    assert_eq!((first.status.as_u16(), first.header("idempotency-replayed")), (202, ""));
    let id = first.json()["id"].as_str().unwrap().to_owned();
    // It has gone on since: time has passed, somebody wants it cancelled, its owner has told something.
    app.clock.advance(std::time::Duration::from_secs(90));
    let cancel = TestRequest::delete().uri(&format!("/api/external/generation/{id}"));
    assert_eq!(app.send(with_key(cancel, &app.client)).await.status, 202);
    app.api.live.update(id.parse().unwrap(), |view| view.progress = Some(40));
    // Quoted, with other white space and another order: the same request.
    let text = r#"{"metadata":{"a":[1,2], "b":1}, "prompt":"a lighthouse", "modelIdentifier":"flux-test"}"#;
    let again = post(&app, "\"k-1\"", text).await;
    assert_eq!((again.status.as_u16(), again.header("idempotency-replayed")), (202, "true"));
    assert_eq!(again.body, first.body);
    // When to ask again is told as of now.
    for name in ["location", "content-type"] {
        assert_eq!(again.header(name), first.header(name), "{name}");
    }
    assert_eq!(made(&app).await, 1);
}

#[actix_web::test]
async fn another_body_under_a_used_key_is_refused() {
    let app = TestApp::start().await;
    assert_eq!(post(&app, "k", ask().to_string()).await.status, 202);
    let mut other = ask();
    other["prompt"] = "a dam".into();
    post(&app, "k", other.to_string()).await.problem(422, "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(post(&app, "k-2", other.to_string()).await.status, 202);
    assert_eq!(made(&app).await, 2);
}

#[actix_web::test]
async fn a_key_belongs_to_its_project() {
    let app = TestApp::start().await;
    let first = post(&app, "k", ask().to_string()).await.json();
    let request = TestRequest::post().uri("/api/external/generation").insert_header(("idempotency-key", "k")).set_json(ask());
    let other = app.send(with_key(request, &app.stranger)).await;
    assert_eq!((other.status.as_u16(), other.header("idempotency-replayed")), (202, ""));
    assert_ne!(other.json()["id"], first["id"]);
}

#[actix_web::test]
async fn what_was_refused_is_not_kept() {
    let app = TestApp::with(|config| config.server.max_unfinished = 1).await;
    post(&app, "k", "{").await.problem(400, "INVALID_REQUEST");
    post(&app, "k", json!({"modelIdentifier": "flux-test"}).to_string()).await.problem(422, "INVALID_PARAMETERS");
    let disabled = json!({"modelIdentifier": "kling-test", "prompt": "x"}).to_string();
    post(&app, "k", disabled).await.problem(503, "SERVICE_UNAVAILABLE");
    assert_eq!(post(&app, "k", ask().to_string()).await.status, 202, "the key is still free");
    // Full, draining, and yet what was promised before is answered.
    app.api.draining.cancel();
    post(&app, "other", ask().to_string()).await.problem(503, "SERVICE_UNAVAILABLE");
    assert_eq!(post(&app, "k", ask().to_string()).await.header("idempotency-replayed"), "true");
}

#[actix_web::test]
async fn a_key_that_is_none_is_refused() {
    let app = TestApp::start().await;
    for key in ["", "\"open", &"k".repeat(256)] {
        let body = post(&app, key, ask().to_string()).await.problem(400, "INVALID_REQUEST");
        assert!(body["detail"].as_str().unwrap().contains("Idempotency-Key"), "{body}");
    }
    assert_eq!(made(&app).await, 0);
}

#[actix_web::test]
async fn of_requests_at_once_one_makes_it_and_the_others_are_told_to_come_back_or_given_its_answer() {
    let app = TestApp::start().await;
    let answers = join_all((0..50).map(|_| post(&app, "k", ask().to_string()))).await;
    let mut ids = std::collections::BTreeSet::new();
    for answer in &answers {
        if answer.status == 202 {
            ids.insert(answer.json()["id"].to_string());
        } else {
            assert_eq!(answer.problem(409, "REQUEST_IN_FLIGHT")["retryable"], true);
            assert_eq!(answer.header("retry-after"), "1");
        }
    }
    assert_eq!((ids.len(), made(&app).await), (1, 1));
    assert_eq!(post(&app, "k", ask().to_string()).await.header("idempotency-replayed"), "true", "nothing stays in flight");
}
