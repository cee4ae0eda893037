//! `Prefer: wait`: an answer comes with the news, not before and not much later, and costs nothing meanwhile.

use std::{future::Future, time::Duration};

use actix_web::test::TestRequest;
use futures_util::future::join;
use longtake::domain::id::GenerationId;
use serde_json::json;

use super::{
    app::{Answer, TestApp, with_key},
    generations::{accepted, ask, end},
};

/// Far below the 60 seconds that are waited at most: who reaches it was not told.
const BOUND: Duration = Duration::from_secs(30);

fn path(id: &str) -> String {
    format!("/api/external/generation/{id}")
}

pub async fn waited(app: &TestApp, request: TestRequest, seconds: u64) -> Answer {
    let request = request.insert_header(("prefer", format!("wait={seconds}")));
    tokio::time::timeout(BOUND, app.send(with_key(request, &app.client))).await.expect("it is told")
}

/// Waits while `act` changes something, which happens only once somebody waits.
pub async fn told(app: &TestApp, request: TestRequest, act: impl Future<Output = ()>) -> Answer {
    let acting = async {
        while app.api.waiting.taken() == 0 {
            tokio::task::yield_now().await;
        }
        act.await;
    };
    join(waited(app, request, 60), acting).await.0
}

#[actix_web::test]
async fn who_waits_for_a_generation_is_told_its_end() {
    let app = TestApp::start().await;
    let id = accepted(&app).await;
    let answer = told(&app, TestRequest::get().uri(&path(&id)), end(&app, &id)).await;
    assert_eq!((answer.status.as_u16(), answer.header("preference-applied")), (200, "wait=60"));
    assert_eq!((&answer.json()["status"], answer.header("retry-after")), (&json!("FAILED"), ""));
    assert_eq!(app.api.waiting.taken(), 0);
    let again = waited(&app, TestRequest::get().uri(&path(&id)), 60).await;
    assert_eq!(again.json()["status"], "FAILED", "what has ended is not waited for");
}

#[actix_web::test]
async fn who_holds_a_tag_is_told_the_first_difference() {
    let app = TestApp::start().await;
    let id = accepted(&app).await;
    let held = app.get(&path(&id)).await.header("etag").to_owned();
    let request = || TestRequest::get().uri(&path(&id)).insert_header(("if-none-match", held.clone()));
    let cancel = async {
        let uri = format!("{}/cancel", path(&id));
        app.send(with_key(TestRequest::post().uri(&uri), &app.client)).await;
    };
    let answer = told(&app, request(), cancel).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["stage"]), (200, &json!("cancelling")));
    let differs = waited(&app, request(), 60).await;
    assert_eq!(differs.status, 200, "what differs already is not waited for");
}

#[actix_web::test]
async fn without_news_the_answer_comes_when_the_time_is_over_and_nobody_asked_the_database() {
    let app = TestApp::start().await;
    let id = accepted(&app).await;
    let shown = app.get(&path(&id)).await;
    let request = TestRequest::get().uri(&path(&id)).insert_header(("if-none-match", shown.header("etag")));
    let asked = app.api.reads.asked();
    let answer = waited(&app, request, 1).await;
    assert_eq!((answer.status.as_u16(), answer.header("preference-applied")), (304, "wait=1"));
    assert_eq!(app.api.reads.asked(), asked, "a young generation is answered from memory, waiting or not");
    assert_eq!(waited(&app, TestRequest::get().uri(&path(&id)), 1).await.json()["status"], "PENDING");
}

#[actix_web::test]
async fn a_submit_may_wait_for_its_end_and_is_a_202_all_the_same() {
    let app = TestApp::start().await;
    let ending = async {
        let woken = app.api.dispatch_wake.next().await;
        let id: GenerationId = *woken.ids.iter().next().unwrap();
        end(&app, &id.to_string()).await;
    };
    let request = TestRequest::post().uri("/api/external/generation").set_json(ask());
    let answer = Box::pin(told(&app, request, ending)).await;
    assert_eq!((answer.status.as_u16(), answer.header("preference-applied")), (202, "wait=60"));
    assert_eq!((&answer.json()["status"], answer.header("retry-after")), (&json!("FAILED"), ""));
    assert_eq!(answer.header("location"), answer.json()["urls"]["self"]);
}

#[actix_web::test]
async fn a_shutdown_ends_every_wait() {
    let app = TestApp::start().await;
    let id = accepted(&app).await;
    let answer = told(&app, TestRequest::get().uri(&path(&id)), async { app.api.draining.cancel() }).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["status"]), (200, &json!("PENDING")));
    assert_ne!(answer.header("retry-after"), "");
}

#[actix_web::test]
async fn where_no_more_may_wait_the_answer_comes_at_once() {
    let app = TestApp::with(|config| config.notify.max_waiters = 0).await;
    let id = accepted(&app).await;
    let answer = waited(&app, TestRequest::get().uri(&path(&id)), 60).await;
    assert_eq!((answer.status.as_u16(), answer.header("preference-applied")), (200, ""));
}

#[actix_web::test]
async fn another_projects_generation_is_not_waited_for() {
    let app = TestApp::start().await;
    let id = accepted(&app).await;
    let request = TestRequest::get().uri(&path(&id)).insert_header(("prefer", "wait=60"));
    let answer = tokio::time::timeout(BOUND, app.send(with_key(request, &app.stranger))).await.expect("at once");
    answer.problem(404, "NOT_FOUND");
}
