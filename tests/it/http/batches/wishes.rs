//! Cancel, pause, resume, retry: what is noted, what is answered.

use longtake::domain::{batch::CancelMode, money::Micros};
use serde_json::json;

use super::{super::app::TestApp, accepted, command, errors, fail, get, ids, images, row};
use crate::store::bed::Bed;

super::super::on_both! {
    a_pause_is_noted_shown_and_taken_back;
    a_batch_is_resumed_with_a_new_budget;
    a_cancel_goes_as_far_as_asked_and_never_back;
    a_retry_is_a_wish_that_its_owner_carries_out;
}

async fn a_pause_is_noted_shown_and_taken_back(bed: &Bed) {
    let app = TestApp::on(bed).await;
    let id = accepted(&app, &images(2), json!({})).await;
    let before = get(&app, &format!("/{id}")).await.header("etag").to_owned();
    let paused = command(&app, &id, "pause", None).await;
    assert_eq!((paused.status.as_u16(), &paused.json()["status"]), (202, &json!("PAUSED")));
    assert!(paused.json()["why"].as_str().unwrap().starts_with("it is paused"));
    assert_ne!(paused.header("etag"), before, "a wish changes the tag");
    assert_eq!(command(&app, &id, "pause", None).await.status, 200, "repeatable");
    let _of_the_birth = app.api.dispatch_wake.take();
    let resumed = command(&app, &id, "resume", None).await;
    assert_eq!((resumed.status.as_u16(), &resumed.json()["status"]), (202, &json!("PROCESSING")));
    assert!(app.api.dispatch_wake.take().is_some_and(|woken| woken.everywhere), "dispatch was woken");
}

async fn a_batch_is_resumed_with_a_new_budget(bed: &Bed) {
    let app = TestApp::on(bed).await;
    let id = accepted(&app, &images(2), json!({"budget": "0.01 USD"})).await;
    command(&app, &id, "pause", None).await;
    let resumed = command(&app, &id, "resume", Some(json!({"budget": "4.00 USD"}))).await;
    assert_eq!((resumed.status.as_u16(), &resumed.json()["cost"]["budget"]), (202, &json!("4.000000")));
    assert_eq!(row(&app, &id).await.options.budget, Some(Micros(4_000_000)));
    let wrong = command(&app, &id, "resume", Some(json!({"budget": "4"}))).await.problem(422, "INVALID_PARAMETERS");
    assert_eq!(errors(&wrong), [("#/budget".to_owned(), "invalid_amount".to_owned())]);
}

async fn a_cancel_goes_as_far_as_asked_and_never_back(bed: &Bed) {
    let app = TestApp::on(bed).await;
    let id = accepted(&app, &images(2), json!({})).await;
    let cancelled = command(&app, &id, "cancel", None).await;
    assert_eq!((cancelled.status.as_u16(), &cancelled.json()["status"]), (202, &json!("CANCELLING")));
    assert_eq!(cancelled.json()["cancelRequested"], true);
    assert_eq!(row(&app, &id).await.cancel.map(|wish| wish.mode), Some(CancelMode::Queued));
    assert_eq!(command(&app, &id, "cancel", Some(json!({"mode": "queued"}))).await.status, 200, "repeatable");
    assert_eq!(command(&app, &id, "cancel", Some(json!({"mode": "all"}))).await.status, 202);
    assert_eq!(command(&app, &id, "cancel", Some(json!({"mode": "queued"}))).await.status, 200);
    assert_eq!(row(&app, &id).await.cancel.map(|wish| wish.mode), Some(CancelMode::All));
    let wrong = command(&app, &id, "cancel", Some(json!({"mode": "some"}))).await.problem(422, "INVALID_PARAMETERS");
    assert_eq!(errors(&wrong), [("#/mode".to_owned(), "not_one_of".to_owned())]);
    let wrong = command(&app, &id, "cancel", Some(json!({"mod": "all"}))).await.problem(422, "INVALID_PARAMETERS");
    assert!(wrong["detail"].as_str().unwrap().contains("did you mean `mode`?"), "{wrong}");
}

async fn a_retry_is_a_wish_that_its_owner_carries_out(bed: &Bed) {
    let app = TestApp::on(bed).await;
    let id = accepted(&app, &images(1), json!({})).await;
    assert_eq!(command(&app, &id, "retry-failed", None).await.status, 200, "nothing failed yet");
    fail(&app, ids(&app, &id).await[0], "x").await;
    assert_eq!(get(&app, &format!("/{id}")).await.json()["status"], "FAILED");
    let noted = command(&app, &id, "retry-failed", Some(json!({"force": true}))).await;
    assert_eq!((noted.status.as_u16(), &noted.json()["status"]), (202, &json!("PROCESSING")));
    assert_eq!(noted.json()["why"], "what failed is being tried again");
    assert!(row(&app, &id).await.retry.is_some_and(|wish| wish.forced));
    let wrong = command(&app, &id, "retry-failed", Some(json!({"force": 1}))).await.problem(422, "INVALID_PARAMETERS");
    assert_eq!(errors(&wrong)[0].0, "#/force");
}
