//! `/v1`: OpenAI's shapes without its package, as far as no provider takes part.

use actix_web::test::TestRequest;
use serde_json::{Value, json};

use super::app::{Answer, TestApp, with_key};

async fn app() -> TestApp {
    TestApp::with(|config| {
        config.providers.get_mut("kling").unwrap().api_key = Some("test".to_owned().into());
        config.server.requests_per_minute = 100;
    })
    .await
}

async fn make(app: &TestApp, body: &Value, headers: &[(&str, &str)]) -> Answer {
    let request = TestRequest::post().uri("/v1/videos").set_json(body);
    let request = headers.iter().fold(request, |request, header| request.insert_header(*header));
    app.send(with_key(request, &app.client)).await
}

fn ask() -> Value {
    json!({"model": "kling-test", "prompt": "a dam", "seconds": "10"})
}

async fn listed(app: &TestApp) -> usize {
    app.get("/api/external/generation?limit=100").await.json()["data"].as_array().unwrap().len()
}

/// Holds what every error below `/v1` holds.
fn error(answer: &Answer, status: u16, code: &str) -> Value {
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (status, "application/json"), "{:?}", answer.body);
    let body = answer.json();
    let error = &body["error"];
    assert!(error["message"].is_string() && error["type"].is_string(), "{body}");
    assert!(error.get("param").is_some() && body.as_object().unwrap().len() == 1, "{body}");
    assert_eq!(error["code"], code, "{body}");
    assert!(!answer.header("x-request-id").is_empty());
    error.clone()
}

#[actix_web::test]
async fn a_video_is_a_generation_in_another_shape() {
    let app = app().await;
    let made = make(&app, &ask(), &[]).await;
    assert_eq!((made.status.as_u16(), made.header("openai-poll-after-ms")), (200, "2000"));
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let expected = json!({"id": id, "object": "video", "status": "queued", "progress": 0, "model": "kling-test", "created_at": 1_795_262_400,
        "completed_at": null, "expires_at": null, "prompt": "a dam", "seconds": "10", "size": "auto", "remixed_from_video_id": null,
        "error": null});
    assert_eq!(made.json(), expected);
    assert_eq!(app.get(&format!("/v1/videos/{id}")).await.json(), expected);
    let shown = app.get(&format!("/api/external/generation/{id}")).await.json();
    assert_eq!((&shown["parameters"], &shown["kind"]), (&json!({"duration": 10}), &json!("video")));
    // In lists the prompt stays where it is; images are none of it.
    app.post(&json!({"modelIdentifier": "flux-test", "prompt": "x"})).await;
    let page = app.get("/v1/videos").await.json();
    assert_eq!((&page["object"], &page["has_more"], &page["last_id"]), (&json!("list"), &json!(false), &json!(id)));
    assert_eq!((page["data"].as_array().unwrap().len(), &page["data"][0]["prompt"]), (1, &Value::Null));
}

#[actix_web::test]
async fn a_form_is_taken_as_well() {
    let app = app().await;
    let part = |name: &str, text: &str| format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n");
    let form = [part("model", "kling-test"), part("prompt", "a dam"), part("seconds", "10"), "--b--\r\n".to_owned()].concat();
    let request = TestRequest::post().uri("/v1/videos").insert_header(("content-type", "multipart/form-data; boundary=b"));
    let made = app.send(with_key(request.set_payload(form), &app.client)).await;
    assert_eq!((made.status.as_u16(), &made.json()["seconds"]), (200, &json!("10")));
}

#[actix_web::test]
async fn every_error_has_openais_form() {
    let app = app().await;
    let missing = app.send(TestRequest::get().uri("/v1/models")).await;
    error(&missing, 401, "invalid_api_key");
    assert!(missing.header("www-authenticate").starts_with("Bearer"));
    error(&app.get("/v1/nothing").await, 404, "not_found");
    let method = app.send(with_key(TestRequest::put().uri("/v1/videos"), &app.client)).await;
    error(&method, 405, "method_not_allowed");
    assert_eq!(method.header("allow"), "POST, GET, HEAD");
    error(&app.get("/v1/videos/gen_x").await, 404, "not_found");
    assert_eq!(error(&app.get("/v1/videos?limit=0").await, 400, "out_of_range")["param"], "limit");
    let wrong = make(&app, &json!({"model": "kling-test", "prompt": "x", "seconds": 4}), &[]).await;
    let wrong = error(&wrong, 400, "not_one_of");
    assert_eq!((&wrong["param"], &wrong["type"]), (&json!("seconds"), &json!("invalid_request_error")));
    assert!(wrong["message"].as_str().unwrap().contains("5, 10"), "{wrong}");
    error(&make(&app, &json!({"model": "sora-2", "prompt": "x"}), &[]).await, 404, "model_not_found");
    let huge = json!({"model": "kling-test", "prompt": "x".repeat(70_000)});
    error(&make(&app, &huge, &[]).await, 413, "payload_too_large");
    let text = TestRequest::post().uri("/v1/videos").insert_header(("content-type", "text/plain")).set_payload("x");
    error(&app.send(with_key(text, &app.client)).await, 415, "unsupported_media_type");
    assert_eq!(listed(&app).await, 0);
}

#[actix_web::test]
async fn limits_are_told_in_openais_headers_and_refused_in_its_form() {
    let app = TestApp::with(|config| config.server.requests_per_minute = 1).await;
    let first = app.get("/v1/models").await;
    let told = ["limit", "remaining", "reset"].map(|word| first.header(&format!("x-ratelimit-{word}-requests")).to_owned());
    assert_eq!(told, ["1", "0", "60s"]);
    let second = app.get("/v1/models").await;
    assert_eq!(error(&second, 429, "rate_limit_exceeded")["type"], "requests");
    assert_eq!((second.header("retry-after"), second.header("x-ratelimit-remaining-requests")), ("60", "0"));
}

#[actix_web::test]
async fn a_key_makes_one_video_and_another_body_under_it_none() {
    let app = app().await;
    let first = make(&app, &ask(), &[("idempotency-key", "k")]).await;
    app.clock.advance(std::time::Duration::from_secs(300));
    let again = make(&app, &ask(), &[("idempotency-key", "k"), ("x-stainless-retry-count", "1")]).await;
    assert_eq!((again.status.as_u16(), again.header("idempotency-replayed")), (200, "true"));
    assert_eq!(again.json(), first.json());
    let mut other = ask();
    other["prompt"] = "a mill".into();
    error(&make(&app, &other, &[("idempotency-key", "k")]).await, 422, "idempotency_key_reused");
    assert_eq!(listed(&app).await, 1);
}

#[actix_web::test]
async fn a_packages_retry_without_a_key_is_told_of_the_newest_equal_request() {
    let app = app().await;
    let send = async |count: &str| make(&app, &ask(), &[("x-stainless-retry-count", count)]).await.json()["id"].clone();
    let first = send("0").await;
    let second = send("0").await;
    assert_ne!(first, second, "sent twice on purpose");
    assert_eq!(send("1").await, second);
    assert_eq!(send("2").await, second);
    assert_eq!(listed(&app).await, 2);
    // Another body, another key and another time are nobody's retry.
    let other = make(&app, &json!({"model": "kling-test", "prompt": "a mill"}), &[("x-stainless-retry-count", "1")]).await;
    assert_ne!(other.json()["id"], second);
    app.clock.advance(std::time::Duration::from_secs(91));
    assert_ne!(send("1").await, second);
    assert_eq!(listed(&app).await, 4);
}

#[actix_web::test]
async fn a_deleted_video_is_gone_and_never_submitted() {
    let app = app().await;
    let id = make(&app, &ask(), &[]).await.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/videos/{id}");
    let delete = async |key: &str| app.send(with_key(TestRequest::delete().uri(&path), key)).await;
    error(&delete(&app.stranger).await, 404, "not_found");
    assert_eq!(delete(&app.client).await.json(), json!({"id": id, "object": "video.deleted", "deleted": true}));
    assert_eq!(delete(&app.client).await.status, 200, "the first answer may have been lost");
    error(&app.get(&path).await, 404, "not_found");
    error(&app.get(&format!("{path}/content")).await, 404, "not_found");
    assert_eq!(app.get("/v1/videos").await.json()["data"], json!([]));
    assert_eq!(app.get(&format!("/api/external/generation/{id}")).await.json()["cancelRequested"], true);
}

#[actix_web::test]
async fn a_video_that_is_not_ready_has_no_content() {
    let app = app().await;
    let id = make(&app, &ask(), &[]).await.json()["id"].as_str().unwrap().to_owned();
    error(&app.get(&format!("/v1/videos/{id}/content")).await, 404, "video_not_ready");
    let thumbnail = app.get(&format!("/v1/videos/{id}/content?variant=thumbnail")).await;
    assert_eq!(error(&thumbnail, 400, "invalid_value")["param"], "variant");
}
