//! Inbound webhooks: who is believed, what is recorded, who is woken, and what happens when nothing is as it should be.

use std::time::Duration;

use actix_web::{http::StatusCode, test::TestRequest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use longtake::{
    domain::{
        attempt::{AttemptState, Outcome},
        id::AttemptId,
        record::{Attempt, Handle},
    },
    lifeline::Lifeline,
    net::hooks::Hooks,
};
use serde_json::json;
use sha2::Sha256;
use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};

use super::app::{Answer, HOOK_SECRET, TestApp, with_key};
use crate::store::bed;

const KEY: &[u8] = b"a key of twenty-four byte";

fn secret() -> String {
    format!("whsec_{}", STANDARD.encode(KEY))
}

/// An app whose provider `kling` signs its webhooks.
async fn signed() -> TestApp {
    TestApp::with(|config| config.providers.get_mut("kling").unwrap().webhook_secret = Some(secret().into())).await
}

/// An attempt in that state, with that task.
async fn attempt(app: &TestApp, state: AttemptState, task: Option<&str>) -> Attempt {
    let journal = app.store.journal(&Lifeline::default());
    let (mut entry, _) = bed::intent(&bed::born(&journal).await, 1);
    let attempt = &mut entry.new_attempts[0].attempt;
    attempt.state = state;
    attempt.handle = task.map(|task| Handle { task_id: task.to_owned(), poll_url: None });
    let attempt = attempt.clone();
    journal.transition(entry).await.unwrap();
    attempt
}

fn path_by(secret: &str, provider: &str, attempt: AttemptId) -> String {
    let hooks = Hooks::new(Some("https://us.test"), vec![secret.to_owned().into()]);
    hooks.url(provider, attempt, false).unwrap().path().to_owned()
}

fn path(attempt: &Attempt) -> String {
    path_by(HOOK_SECRET, "kling", attempt.id)
}

async fn post(app: &TestApp, path: &str, body: impl Into<Vec<u8>>) -> Answer {
    app.send(TestRequest::post().uri(path).set_payload(body.into())).await
}

fn says(task: &str) -> String {
    json!({ "task_id": task, "task_status": "succeed" }).to_string()
}

/// Task and source of everything recorded.
async fn recorded(app: &TestApp, attempt: &Attempt) -> Vec<(String, String)> {
    let rows = app.store.reads().evidence(attempt.id).await.unwrap();
    rows.into_iter().map(|row| (row.handle.task_id, row.source)).collect()
}

/// How often that was counted so far: by all tests of this process, so that only a difference tells anything.
async fn count(app: &TestApp, provider: &str, outcome: &str) -> u64 {
    let answer = app.send(with_key(TestRequest::get().uri("/api/metrics"), &app.admin)).await;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let name = format!("longtake_webhooks_total{{provider=\"{provider}\",outcome=\"{outcome}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0)
}

#[actix_web::test]
async fn a_webhook_records_what_it_names_completes_nothing_and_pulls_the_poll() {
    let app = TestApp::start().await;
    let recorded_before = count(&app, "kling", "recorded").await;
    let running = attempt(&app, AttemptState::Running, Some("t-1")).await;
    assert_eq!(post(&app, &path(&running), says("t-1")).await.status, 200);
    assert_eq!(recorded(&app, &running).await, [], "what is known is not written again");
    assert!(app.api.desk.poll_now.take().unwrap().ids.contains(&running.id));
    let unconfirmed = attempt(&app, AttemptState::Unconfirmed, None).await;
    for _ in 0..3 {
        assert_eq!(post(&app, &path(&unconfirmed), says("t-2")).await.status, 200);
    }
    assert_eq!(recorded(&app, &unconfirmed).await, [("t-2".to_owned(), "webhook".to_owned())], "once, however often it comes");
    assert!(app.api.desk.reconcile.take().unwrap().ids.contains(&unconfirmed.id));
    let state = app.store.reads().attempt(unconfirmed.id).await.unwrap().unwrap().state;
    assert_eq!(state, AttemptState::Unconfirmed, "it completes nothing");
    assert!(count(&app, "kling", "recorded").await > recorded_before);
}

#[actix_web::test]
async fn early_and_late_ones_are_kept() {
    let app = TestApp::start().await;
    let early = attempt(&app, AttemptState::Submitting, None).await;
    let late = attempt(&app, AttemptState::Ended(Outcome::GivenUp), None).await;
    let over = attempt(&app, AttemptState::Ended(Outcome::Delivered), Some("t-3")).await;
    for (attempt, task) in [(&early, "t-1"), (&late, "t-2"), (&over, "t-3")] {
        assert_eq!(post(&app, &path(attempt), says(task)).await.status, 200);
    }
    assert_eq!(recorded(&app, &early).await.len() + recorded(&app, &late).await.len(), 2);
    let woken = app.api.desk.reconcile.take().unwrap().ids;
    assert!(woken.contains(&early.id) && woken.contains(&late.id) && !woken.contains(&over.id));
    assert_eq!(app.api.desk.poll_now.take().unwrap().ids, [early.id].into(), "it may run by now");
}

#[actix_web::test]
async fn a_wrong_url_is_refused_before_anything_else() {
    let app = TestApp::start().await;
    let known = attempt(&app, AttemptState::Running, Some("t-1")).await;
    let right = path(&known);
    let (stem, token) = right.rsplit_once('/').unwrap();
    let other = path_by(HOOK_SECRET, "kling", AttemptId::fresh());
    for wrong in [
        format!("{stem}/{}", "0".repeat(64)),
        format!("{stem}/{}", &token[..63]),
        format!("{stem}/x"),
        format!("{stem}/%00%ff"),
        format!("{stem}/{}", other.rsplit_once('/').unwrap().1),
        right.replace("/kling/", "/flux/"),
        right.replace("att_", "gen_"),
        path_by("another-secret-of-thirty-two-chars", "kling", known.id),
        "/hooks/kling/att_/x".to_owned(),
    ] {
        // Refused before the body is looked at, whatever its size.
        post(&app, &wrong, vec![b'x'; 2 * 1024 * 1024]).await.problem(404, "NOT_FOUND");
    }
    assert_eq!(app.send(TestRequest::get().uri(&right)).await.status, 405);
    assert!(app.api.desk.poll_now.take().is_none());
}

#[actix_web::test]
async fn unknown_attempts_and_providers_are_answered_and_counted() {
    let app = TestApp::start().await;
    let unknown_attempt_before = count(&app, "kling", "unknown_attempt").await;
    let unknown_provider_before = count(&app, "unknown", "unknown_provider").await;
    let nobody = AttemptId::fresh();
    assert_eq!(post(&app, &path_by(HOOK_SECRET, "kling", nobody), says("t-1")).await.status, 200);
    assert_eq!(post(&app, &path_by(HOOK_SECRET, "gone", nobody), says("t-1")).await.status, 200);
    assert!(count(&app, "kling", "unknown_attempt").await > unknown_attempt_before);
    assert!(count(&app, "unknown", "unknown_provider").await > unknown_provider_before);
}

#[actix_web::test]
async fn a_body_that_says_nothing_is_a_hint_and_one_too_large_is_refused() {
    let app = TestApp::start().await;
    let unreadable_before = count(&app, "kling", "unreadable").await;
    let running = attempt(&app, AttemptState::Running, Some("t-1")).await;
    let deep = "[".repeat(100_000);
    let long = says(&"x".repeat(600));
    let control = says("t\u{0}1");
    for body in [&b""[..], b"{}", b"null", b"\xff\xfe{", b"{\"task_id\":", deep.as_bytes(), long.as_bytes(), control.as_bytes()] {
        assert_eq!(post(&app, &path(&running), body).await.status, 200);
        assert!(app.api.desk.poll_now.take().is_some(), "it is a hint all the same");
    }
    post(&app, &path(&running), vec![b' '; 1024 * 1024 + 1]).await.problem(413, "PAYLOAD_TOO_LARGE");
    assert_eq!(recorded(&app, &running).await, []);
    assert!(count(&app, "kling", "unreadable").await > unreadable_before);
}

#[actix_web::test]
async fn another_task_than_the_known_one_is_recorded_and_an_alarm() {
    let app = TestApp::start().await;
    let contradicts_before = count(&app, "kling", "contradicts").await;
    let running = attempt(&app, AttemptState::Running, Some("t-1")).await;
    let open = attempt(&app, AttemptState::Unconfirmed, None).await;
    assert_eq!(post(&app, &path(&running), says("t-2")).await.status, 200);
    assert_eq!(recorded(&app, &running).await, [("t-2".to_owned(), "webhook".to_owned())]);
    assert!(count(&app, "kling", "contradicts").await > contradicts_before);
    for task in ["t-3", "t-4"] {
        assert_eq!(post(&app, &path(&open), says(task)).await.status, 200);
    }
    assert_eq!(recorded(&app, &open).await.len(), 2, "neither is lost");
    let handle = app.store.reads().attempt(running.id).await.unwrap().unwrap().handle.unwrap();
    assert_eq!(handle.task_id, "t-1");
}

#[actix_web::test]
async fn from_a_relay_the_original_providers_name_of_a_task_is_no_alarm() {
    let app = TestApp::with(|config| config.providers.get_mut("kling").unwrap().relay = true).await;
    let foreign_before = count(&app, "kling", "foreign").await;
    let running = attempt(&app, AttemptState::Running, Some("relay-1")).await;
    assert_eq!(post(&app, &path(&running), says("upstream-1")).await.status, 200);
    assert_eq!(recorded(&app, &running).await, []);
    assert!(app.api.desk.poll_now.take().is_some() && count(&app, "kling", "foreign").await > foreign_before);
}

pub fn signature(key: &[u8], id: &str, at: i64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(format!("{id}.{at}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[actix_web::test]
async fn where_a_secret_is_set_only_a_right_signature_is_believed() {
    let app = signed().await;
    let open = attempt(&app, AttemptState::Unconfirmed, None).await;
    let (now, body) = (app.api.clock.now().0 / 1_000, says("t-1"));
    let send = async |signature: &str, at: i64, body: &str| {
        let request = TestRequest::post()
            .uri(&path(&open))
            .insert_header(("webhook-id", "msg_1"))
            .insert_header(("webhook-timestamp", at.to_string()))
            .insert_header(("webhook-signature", signature))
            .set_payload(body.to_owned());
        app.send(request).await
    };
    post(&app, &path(&open), body.clone()).await.problem(401, "AUTHENTICATION_FAILED");
    let right = signature(KEY, "msg_1", now, &body);
    send(&signature(b"another key", "msg_1", now, &body), now, &body).await.problem(401, "AUTHENTICATION_FAILED");
    send(&right, now, &says("t-2")).await.problem(401, "AUTHENTICATION_FAILED");
    send(&right, now + 1, &body).await.problem(401, "AUTHENTICATION_FAILED");
    send(&signature(KEY, "msg_1", now - 301, &body), now - 301, &body).await.problem(401, "AUTHENTICATION_FAILED");
    assert_eq!(recorded(&app, &open).await, [], "nothing of a forgery is believed");
    assert!(app.api.desk.reconcile.take().is_none());
    let both = format!("{} {right}", signature(b"an older key", "msg_1", now, &body));
    assert_eq!(send(&both, now, &body).await.status, 200);
    assert_eq!(recorded(&app, &open).await.len(), 1);
}

/// Runs a statement behind the store's back.
async fn meddle(app: &TestApp, sql: &'static str) {
    let options = SqliteConnectOptions::new().filename(app.folder.path().join("longtake.db"));
    let mut connection = SqliteConnection::connect_with(&options.busy_timeout(Duration::from_secs(10))).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
}

#[actix_web::test]
async fn without_a_database_it_is_spooled_answered_and_merged_later() {
    // Nothing is answered from memory.
    let app = TestApp::with(|config| config.store.recent = 0).await;
    let hint_before = count(&app, "kling", "hint").await;
    let open = attempt(&app, AttemptState::Unconfirmed, None).await;
    meddle(&app, "ALTER TABLE attempts RENAME TO hidden").await;
    for _ in 0..2 {
        assert_eq!(post(&app, &path(&open), says("t-1")).await.status, StatusCode::OK);
    }
    assert_eq!(post(&app, &path(&open), "{}").await.status, StatusCode::OK);
    let spool = app.store.spool();
    assert_eq!(spool.waiting(), 2);
    assert!(count(&app, "kling", "hint").await > hint_before);
    meddle(&app, "ALTER TABLE hidden RENAME TO attempts").await;
    while spool.merge(&app.store.journal(&Lifeline::default()), &app.store.reads()).await.is_err() {}
    assert_eq!(spool.waiting(), 0);
    assert_eq!(recorded(&app, &open).await, [("t-1".to_owned(), "webhook".to_owned())]);
    // Neither the database nor the folder takes it: the provider is asked to come again.
    meddle(&app, "ALTER TABLE attempts RENAME TO hidden").await;
    let spooled = app.folder.path().join("spool");
    std::fs::remove_dir_all(&spooled).unwrap();
    std::fs::write(&spooled, "in the way").unwrap();
    post(&app, &path(&open), says("t-2")).await.problem(503, "SERVICE_UNAVAILABLE");
}
