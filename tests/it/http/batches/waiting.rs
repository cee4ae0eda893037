//! Waiting for news of a batch: `Prefer`, entity tags and `Retry-After`.

use std::time::Duration;

use actix_web::test::TestRequest;
use longtake::{domain::id::AttemptId, providers::breaker::Way};
use serde_json::{Value, json};

use super::{
    super::{
        app::{TestApp, with_key},
        waiting::{told, waited},
    },
    PATH, accepted, command, deliver, fail, get, ids, images, submit,
};
use crate::store::bed::Bed;

super::super::on_both! {
    who_waits_is_told_the_end_of_the_batch_and_of_no_line_before;
    who_holds_a_tag_is_told_everything_that_differs;
    without_news_the_answer_comes_when_the_time_is_over_and_hardly_anybody_asked_the_database;
    what_has_ended_is_not_waited_for;
    when_to_ask_again_follows_from_the_expected_end_with_a_body_and_without;
    what_holds_the_next_line_back_is_named;
}

fn at(id: &str) -> TestRequest {
    TestRequest::get().uri(&format!("{PATH}/{id}"))
}

fn holding(id: &str, tag: &str) -> TestRequest {
    at(id).insert_header(("if-none-match", tag.to_owned()))
}

async fn who_waits_is_told_the_end_of_the_batch_and_of_no_line_before(bed: &Bed) {
    let app = TestApp::on(bed).await;
    let id = accepted(&app, &images(2), json!({})).await;
    let tasks = ids(&app, &id).await;
    let ending = async {
        deliver(&app, tasks[0], "https://cdn.example.com/a.png").await;
        fail(&app, tasks[1], "too late").await;
    };
    let answer = Box::pin(told(&app, at(&id), ending)).await;
    assert_eq!((answer.status.as_u16(), answer.header("preference-applied")), (200, "wait=60"));
    let shown = answer.json();
    assert_eq!((&shown["status"], &shown["completedTasks"]), (&json!("PARTIAL_FAILED"), &json!(1)));
    assert_eq!((answer.header("retry-after"), app.api.waiting.taken()), ("", 0));
}

/// Who holds the tag `held` is told what `act` changes.
async fn differs(app: &TestApp, (id, held): (&str, &mut String), act: impl Future<Output = ()>, (member, wanted): (&str, Value)) {
    let answer = Box::pin(told(app, holding(id, held), act)).await;
    assert_eq!((answer.status.as_u16(), &answer.json()[member]), (200, &wanted), "{member}");
    *held = answer.header("etag").to_owned();
}

async fn wish(app: &TestApp, id: &str, what: &str) {
    assert_eq!(command(app, id, what, None).await.status, 202);
}

async fn who_holds_a_tag_is_told_everything_that_differs(bed: &Bed) {
    let app = TestApp::on(bed).await;
    let id = accepted(&app, &images(3), json!({})).await;
    let tasks = ids(&app, &id).await;
    let mut held = get(&app, &format!("/{id}")).await.header("etag").to_owned();
    differs(&app, (&id, &mut held), submit(&app, tasks[0]), ("runningTasks", json!(1))).await;
    differs(&app, (&id, &mut held), fail(&app, tasks[1], "too late"), ("failedTasks", json!(1))).await;
    differs(&app, (&id, &mut held), wish(&app, &id, "pause"), ("status", json!("PAUSED"))).await;
    differs(&app, (&id, &mut held), wish(&app, &id, "resume"), ("status", json!("PROCESSING"))).await;
    differs(&app, (&id, &mut held), wish(&app, &id, "cancel"), ("status", json!("CANCELLING"))).await;
    let first = "W/\"0\"".to_owned();
    let answer = waited(&app, holding(&id, &first), 60).await;
    assert_eq!(answer.status, 200, "what differs already is not waited for");
}

async fn without_news_the_answer_comes_when_the_time_is_over_and_hardly_anybody_asked_the_database(bed: &Bed) {
    let app = TestApp::on(bed).await;
    let id = accepted(&app, &images(2), json!({})).await;
    let held = get(&app, &format!("/{id}")).await.header("etag").to_owned();
    let asked = app.api.reads.asked();
    assert_eq!(app.send(with_key(holding(&id, &held), &app.client)).await.status, 304);
    let at_once = app.api.reads.asked() - asked;
    let answer = waited(&app, holding(&id, &held), 1).await;
    assert_eq!((answer.status.as_u16(), answer.body.len(), answer.header("preference-applied")), (304, 0, "wait=1"));
    assert_eq!(app.api.reads.asked(), asked + 2 * at_once + 1, "one more look, when the time was over");
    let answer = waited(&app, at(&id), 1).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["status"]),
        (200, &json!("PROCESSING")),
        "without a tag only the end is news"
    );
}

async fn what_has_ended_is_not_waited_for(bed: &Bed) {
    let app = TestApp::on(bed).await;
    let id = accepted(&app, &images(1), json!({})).await;
    deliver(&app, ids(&app, &id).await[0], "https://cdn.example.com/a.png").await;
    let shown = waited(&app, at(&id), 60).await;
    assert_eq!((&shown.json()["status"], shown.header("retry-after")), (&json!("COMPLETED"), ""));
    let again = waited(&app, holding(&id, shown.header("etag")), 60).await;
    assert_eq!((again.status.as_u16(), again.header("retry-after")), (304, ""));
    let request = at(&accepted(&app, &images(1), json!({})).await).insert_header(("prefer", "wait=60"));
    let stranger = app.send(with_key(request, &app.stranger));
    tokio::time::timeout(Duration::from_secs(30), stranger).await.expect("at once").problem(404, "NOT_FOUND");
}

async fn when_to_ask_again_follows_from_the_expected_end_with_a_body_and_without(bed: &Bed) {
    let app = TestApp::on(bed).await;
    let id = accepted(&app, &images(13), json!({})).await;
    let tasks = ids(&app, &id).await;
    for task in &tasks[..3] {
        deliver(&app, *task, "https://cdn.example.com/a.png").await;
        app.clock.advance(Duration::from_secs(60));
    }
    // One a minute, and the last one a minute ago: ten are left.
    let shown = get(&app, &format!("/{id}")).await;
    assert_eq!((&shown.json()["eta"], shown.header("retry-after")), (&json!("2026-11-21T12:13:00.000Z"), "30"));
    let same = app.send(with_key(holding(&id, shown.header("etag")), &app.client)).await;
    assert_eq!((same.status.as_u16(), same.header("retry-after")), (304, "30"));
}

async fn what_holds_the_next_line_back_is_named(bed: &Bed) {
    let app = TestApp::on_with(bed, |config| {
        let flux = config.providers.get_mut("flux").unwrap();
        (flux.concurrency, flux.breaker_failures) = (1, 1);
    })
    .await;
    let id = accepted(&app, &images(2), json!({})).await;
    let why = async |id: &str| get(&app, &format!("/{id}")).await.json()["why"].as_str().unwrap().to_owned();
    let account = app.api.registry.provider("flux").unwrap().accounts[0].clone();
    account.budget.occupy(AttemptId::fresh());
    let idle = "0 of at most 3 tasks at a time are under way, 2 wait; the next: place 1 of 2 at flux";
    assert_eq!(why(&id).await, format!("{idle}: 1 of 1 slots in use"));
    account.breaker.failure(Way::Submit, app.api.clock.now());
    assert!(why(&id).await.starts_with(&format!("{idle}: circuit open until ")), "{}", why(&id).await);
    let mut later = images(2);
    later[1]["dependsOn"] = json!(["n0"]);
    let chained = accepted(&app, &later, json!({})).await;
    let tasks = ids(&app, &chained).await;
    submit(&app, tasks[0]).await;
    assert_eq!(
        why(&chained).await,
        format!("1 of at most 3 tasks at a time are under way, 1 wait; the next: depends on {}", tasks[0])
    );
    let single = accepted(&app, &images(2), json!({"maxConcurrency": 1})).await;
    submit(&app, ids(&app, &single).await[0]).await;
    assert_eq!(why(&single).await, "1 of at most 1 tasks at a time are under way, 1 wait", "its own limit holds it");
}
