//! Repeating a batch under its idempotency key.

use actix_web::test::TestRequest;
use serde_json::{Value, json};

use super::{
    super::app::{Answer, TestApp, with_key},
    PATH, get, ids, images, submit, text, visible,
};
use crate::store::bed::Bed;

super::super::on_both! {
    the_same_batch_under_the_same_key_is_made_once_and_answered_alike;
    lines_are_known_again_only_when_all_of_them_are_the_same;
    a_batch_that_was_refused_leaves_its_key_free;
}

async fn json_with(app: &TestApp, key: &str, query: &str, body: &Value) -> Answer {
    let request = TestRequest::post().uri(&format!("{PATH}{query}")).insert_header(("idempotency-key", key)).set_json(body);
    app.send(with_key(request, &app.client)).await
}

async fn lines_with(app: &TestApp, key: &str, body: String) -> Answer {
    let request = TestRequest::post().uri(&format!("{PATH}?onInvalid=skip")).insert_header(("idempotency-key", key));
    let request = request.insert_header(("content-type", "application/x-ndjson")).set_payload(body);
    app.send(with_key(request, &app.client)).await
}

async fn the_same_batch_under_the_same_key_is_made_once_and_answered_alike(bed: &Bed) {
    let app = TestApp::on(bed).await;
    let body = json!({"requests": images(3), "options": {"name": "x"}});
    let first = json_with(&app, "k1", "", &body).await;
    assert_eq!((first.status.as_u16(), first.header("idempotency-replayed")), (202, ""));
    submit(&app, ids(&app, first.json()["batchId"].as_str().unwrap()).await[0]).await;
    let again = json_with(&app, "k1", "", &body).await;
    assert_eq!((again.status.as_u16(), again.header("idempotency-replayed")), (202, "true"));
    assert_eq!(again.json(), first.json(), "also once it has moved on");
    assert_eq!(again.header("location"), first.header("location"));
    json_with(&app, "k1", "", &json!({"requests": images(2)})).await.problem(422, "IDEMPOTENCY_KEY_REUSED");
    json_with(&app, "k1", "?priority=1", &body).await.problem(422, "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(json_with(&app, "k2", "", &body).await.header("idempotency-replayed"), "");
    assert_eq!(get(&app, "").await.json()["data"].as_array().unwrap().len(), 2);
}

async fn lines_are_known_again_only_when_all_of_them_are_the_same(bed: &Bed) {
    let app = TestApp::on(bed).await;
    let mut lines = images(1_200);
    lines[7] = json!({"prompt": ""});
    let first = lines_with(&app, "k", text(&lines)).await;
    assert_eq!(first.status, 202, "{:?}", first.body);
    let again = lines_with(&app, "k", text(&lines)).await;
    assert_eq!((again.status.as_u16(), again.header("idempotency-replayed")), (202, "true"));
    assert_eq!(again.json(), first.json(), "with what was skipped then");
    lines[1_199]["prompt"] = json!("another");
    lines_with(&app, "k", text(&lines)).await.problem(422, "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(get(&app, "").await.json()["data"].as_array().unwrap().len(), 1);
}

async fn a_batch_that_was_refused_leaves_its_key_free(bed: &Bed) {
    let app = TestApp::on(bed).await;
    json_with(&app, "k", "", &json!({"requests": [{}]})).await.problem(422, "INVALID_PARAMETERS");
    assert_eq!(visible(&app).await, 0);
    let body = json!({"requests": images(1)});
    assert_eq!(json_with(&app, "k", "?dryRun=true", &body).await.status, 200);
    let made = json_with(&app, "k", "", &body).await;
    assert_eq!((made.status.as_u16(), made.header("idempotency-replayed")), (202, ""));
}
