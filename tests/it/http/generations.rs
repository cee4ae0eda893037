//! Submitting, showing, listing, cancelling.

use std::time::Duration;

use actix_web::test::TestRequest;
use longtake::{
    domain::{
        generation::{GenerationEvent, Settlement, apply},
        id::GenerationId,
    },
    store::{Transition, Verdict},
};
use serde_json::{Value, json};

use super::app::{Answer, TestApp, with_key};

pub fn ask() -> Value {
    json!({"modelIdentifier": "flux-test", "prompt": " a lighthouse ", "userId": "u1", "metadata": {"a": 1}})
}

pub async fn accepted(app: &TestApp) -> String {
    let answer = app.post(&ask()).await;
    assert_eq!(answer.status, 202, "{:?}", answer.body);
    answer.json()["id"].as_str().unwrap().to_owned()
}

/// Ends a generation without a submit, as a queue deadline does.
pub async fn end(app: &TestApp, id: &str) {
    let id: GenerationId = id.parse().unwrap();
    let mut generation = app.store.reads().generation(id).await.unwrap().unwrap();
    let now = generation.created_at.plus(Duration::from_secs(1));
    generation.progress = apply(&generation.progress, &GenerationEvent::Drop, now).unwrap();
    generation.ended_at = Some(now);
    let mut entry = Transition::of(&generation);
    entry.generation = Some(generation);
    let journal = app.store.journal(&longtake::lifeline::Lifeline::default());
    assert_eq!(journal.transition(entry).await.unwrap(), Verdict::Won);
}

#[actix_web::test]
async fn a_generation_is_accepted_with_its_url_and_all_defaults_visible() {
    let app = TestApp::start().await;
    let answer = app.post(&ask()).await;
    assert_eq!(answer.status, 202);
    let body = answer.json();
    assert_eq!(answer.header("location"), body["urls"]["self"]);
    assert_eq!((&body["status"], &body["stage"]), (&json!("PENDING"), &json!("queued")));
    assert_eq!((&body["prompt"], &body["numberOfOutputs"]), (&json!("a lighthouse"), &json!(1)));
    assert_eq!(body["parameters"], json!({"size_or_ratio": "1024x1024"}));
    assert_eq!(
        body["cost"],
        json!({
            "estimated": "0.040000", "held": "0.040000", "charged": "0.000000", "atRisk": "0.000000", "currency": "USD"
        })
    );
    let shown = app.get(&format!("/api/external/generation/{}", body["id"].as_str().unwrap())).await;
    assert_eq!(shown.status, 200);
    let mut shown = shown.json();
    assert_eq!((&shown["why"], &body["why"]), (&json!("place 1 of 1 at flux"), &json!("waits for its turn at flux")));
    shown["why"] = body["why"].clone();
    assert_eq!(shown, body, "what is stored is what was answered");
    let woken = app.api.dispatch_wake.take().expect("dispatch was woken");
    assert_eq!(woken.ids.len(), 1);
}

#[actix_web::test]
async fn the_clients_request_id_is_answered_and_stored() {
    let app = TestApp::start().await;
    let request = TestRequest::post().uri("/api/external/generation").set_json(ask()).insert_header(("x-request-id", "mine-1"));
    let answer = app.send(with_key(request, &app.client)).await;
    assert_eq!((answer.header("x-request-id"), &answer.json()["requestId"]), ("mine-1", &json!("mine-1")));
}

#[actix_web::test]
async fn everything_wrong_with_a_request_is_said_at_once() {
    let app = TestApp::start().await;
    let answer = app
        .post(&json!({"modelIdentifier": "flux-test", "prompt": 3, "parameters": {"seed": -1, "sed": 1},
        "number_of_outputs": 11, "colour": 1}))
        .await;
    let body = answer.problem(422, "INVALID_PARAMETERS");
    let mut places: Vec<_> = body["errors"].as_array().unwrap().iter().map(|e| e["pointer"].as_str().unwrap()).collect();
    places.sort_unstable();
    assert_eq!(places, ["#/colour", "#/number_of_outputs", "#/parameters/sed", "#/parameters/seed", "#/prompt"]);
    let answer = app.post(&json!({"modelIdentifier": "flux-tset", "prompt": "x"})).await;
    let body = answer.problem(422, "INVALID_PARAMETERS");
    assert!(body["detail"].as_str().unwrap().contains("did you mean `flux-test`?"), "{body}");
}

#[actix_web::test]
async fn a_disabled_provider_says_why() {
    let app = TestApp::start().await;
    let answer = app.post(&json!({"modelIdentifier": "kling-test", "prompt": "x"})).await;
    let body = answer.problem(503, "SERVICE_UNAVAILABLE");
    assert!(body["detail"].as_str().unwrap().starts_with("provider kling is disabled: "), "{body}");
    let models = app.get("/api/external/models").await.json();
    let kling = models["data"].as_array().unwrap().iter().find(|m| m["modelIdentifier"] == "kling-test").unwrap().clone();
    assert_eq!((&kling["available"], &kling["kind"]), (&json!(false), &json!("video")));
    assert_eq!(kling["parameters"]["properties"]["duration"]["default"], 5);
}

#[actix_web::test]
async fn a_full_or_draining_service_takes_nothing_and_says_when_to_come_back() {
    let app = TestApp::with(|config| config.server.max_unfinished = 1).await;
    accepted(&app).await;
    let full = TestApp::with(|config| config.server.max_unfinished = 0).await;
    let answer = full.post(&ask()).await;
    answer.problem(503, "SERVICE_UNAVAILABLE");
    assert_eq!(answer.header("retry-after"), "2");
    app.api.draining.cancel();
    app.post(&ask()).await.problem(503, "SERVICE_UNAVAILABLE");
}

#[actix_web::test]
async fn an_unchanged_generation_costs_no_body() {
    let app = TestApp::start().await;
    let path = format!("/api/external/generation/{}", accepted(&app).await);
    let first = app.get(&path).await;
    assert!(first.header("etag").starts_with("W/\""));
    assert_eq!(first.header("retry-after"), "2");
    let held = first.header("etag").to_owned();
    let again = |tag: String| with_key(TestRequest::get().uri(&path).insert_header(("if-none-match", tag)), &app.client);
    let unchanged = app.send(again(held.clone())).await;
    assert_eq!((unchanged.status.as_u16(), unchanged.body.len()), (304, 0));
    app.send(with_key(TestRequest::delete().uri(&path), &app.client)).await;
    let changed = app.send(again(held)).await;
    assert_eq!((changed.status.as_u16(), &changed.json()["cancelRequested"]), (200, &json!(true)));
}

#[actix_web::test]
async fn what_the_owner_knows_beyond_the_rows_is_shown() {
    let app = TestApp::start().await;
    let id = accepted(&app).await;
    app.api.live.update(id.parse().unwrap(), |view| {
        view.progress = Some(40);
    });
    let answer = app.get(&format!("/api/external/generation/{id}")).await;
    let body = answer.json();
    assert_eq!(body["progress"], 40);
}

#[actix_web::test]
async fn what_is_queued_says_its_place_and_what_all_in_line_wait_for() {
    let app = TestApp::start().await;
    let ids = [accepted(&app).await, accepted(&app).await, accepted(&app).await];
    let why = async |id: &str| app.get(&format!("/api/external/generation/{id}")).await.json()["why"].clone();
    assert_eq!(why(&ids[1]).await, "place 2 of 3 at flux");
    let account = &app.api.registry.provider("flux").unwrap().accounts[0];
    for _ in 0..20 {
        account.budget.occupy(longtake::domain::id::AttemptId::fresh());
    }
    assert_eq!(why(&ids[2]).await, "place 3 of 3 at flux: 20 of 20 slots in use");
}

#[actix_web::test]
async fn cancelling_is_repeatable_and_leaves_what_has_ended_alone() {
    let app = TestApp::start().await;
    let id = accepted(&app).await;
    let cancel = || with_key(TestRequest::post().uri(&format!("/api/external/generation/{id}/cancel")), &app.client);
    for _ in 0..2 {
        let answer = app.send(cancel()).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["stage"]), (202, &json!("cancelling")));
    }
    assert_eq!(app.api.cancel_wake.take().unwrap().ids.len(), 1);
    end(&app, &id).await;
    let before = app.get(&format!("/api/external/generation/{id}")).await;
    let answer = app.send(cancel()).await;
    assert_eq!((answer.status.as_u16(), answer.json()), (200, before.json()));
    assert_eq!(answer.header("retry-after"), "");
    assert!(app.api.cancel_wake.take().is_none());
}

#[actix_web::test]
async fn another_projects_generation_answers_like_one_that_does_not_exist() {
    let app = TestApp::start().await;
    let id = accepted(&app).await;
    let path = format!("/api/external/generation/{id}");
    for (method, tail) in [("GET", ""), ("GET", "/history"), ("DELETE", ""), ("POST", "/cancel")] {
        let method: actix_web::http::Method = method.parse().unwrap();
        let request = |id: &str| TestRequest::with_uri(&format!("/api/external/generation/{id}{tail}")).method(method.clone());
        let foreign = app.send(with_key(request(&id), &app.stranger)).await.problem(404, "NOT_FOUND");
        let absent = GenerationId::fresh().to_string();
        let missing = app.send(with_key(request(&absent), &app.stranger)).await.problem(404, "NOT_FOUND");
        assert_eq!(
            foreign["detail"].as_str().unwrap().replace(&id, ""),
            missing["detail"].as_str().unwrap().replace(&absent, "")
        );
    }
    assert_eq!(app.get(&path).await.json()["cancelRequested"], false);
    let list = app.send(with_key(TestRequest::get().uri("/api/external/generation"), &app.stranger)).await;
    assert_eq!(list.json()["data"], json!([]));
}

#[actix_web::test]
async fn the_history_begins_with_the_birth() {
    let app = TestApp::start().await;
    let id = accepted(&app).await;
    let body = app.get(&format!("/api/external/generation/{id}/history")).await.json();
    let birth = json!({"attempt": 0, "from": null, "to": "queued", "reason": "accepted", "at": "2026-11-21T12:00:00.000Z"});
    assert_eq!(body["data"][0], birth);
}

#[actix_web::test]
async fn pages_show_every_generation_once_newest_first() {
    let app = TestApp::start().await;
    let mut made = Vec::new();
    for _ in 0..7 {
        made.push(accepted(&app).await);
    }
    end(&app, &made[3]).await;
    made.reverse();
    let mut seen = Vec::new();
    let mut path = "/api/external/generation?limit=3".to_owned();
    loop {
        let page = app.get(&path).await.json();
        let data = page["data"].as_array().unwrap();
        seen.extend(data.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        assert!(data.iter().all(|item| item.get("prompt").is_none() && item["urls"]["self"].is_string()));
        let Some(cursor) = page["nextCursor"].as_str() else { break };
        assert_eq!(page["hasMore"], true);
        path = format!("/api/external/generation?limit=3&cursor={cursor}");
    }
    assert_eq!(seen, made);
    let ids = |answer: Answer| -> Vec<String> {
        answer.json()["data"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(app.get("/api/external/generation?status=FAILED").await), [made[3].clone()]);
    assert_eq!(ids(app.get("/api/external/generation?status=PENDING&limit=100").await).len(), 6);
    assert_eq!(ids(app.get("/api/external/generation?status=PROCESSING").await).len(), 0);
    assert_eq!(ids(app.get("/api/external/generation?provider=kling").await).len(), 0);
    assert_eq!(ids(app.get("/api/external/generation?model=flux-test&createdBefore=2026-11-21T12:00:00Z").await).len(), 0);
    assert_eq!(ids(app.get("/api/external/generation?createdAfter=2026-11-21T12:00:00Z").await).len(), 7);
    app.get("/api/external/generation?limit=101&statu=x").await.problem(422, "INVALID_PARAMETERS");
}

#[actix_web::test]
async fn a_submitted_generation_is_processing_and_its_retry_still_is() {
    let app = TestApp::start().await;
    let id = accepted(&app).await;
    let key: GenerationId = id.parse().unwrap();
    let change = async |event: GenerationEvent| {
        let mut generation = app.store.reads().generation(key).await.unwrap().unwrap();
        let now = generation.created_at;
        generation.progress = apply(&generation.progress, &event, now).unwrap();
        let mut entry = Transition::of(&generation);
        entry.generation = Some(generation);
        let journal = app.store.journal(&longtake::lifeline::Lifeline::default());
        assert_eq!(journal.transition(entry).await.unwrap(), Verdict::Won);
    };
    let status = async || app.get(&format!("/api/external/generation/{id}")).await.json()["status"].clone();
    let listed = async || app.get("/api/external/generation").await.json()["data"][0]["status"].clone();
    assert_eq!((status().await, listed().await), (json!("PENDING"), json!("PENDING")));
    change(GenerationEvent::Intent { slot: 0 }).await;
    assert_eq!((status().await, listed().await), (json!("PROCESSING"), json!("PROCESSING")));
    let settlement = Settlement::Owe { wait: Duration::from_secs(5), counts: true };
    change(GenerationEvent::AttemptEnded { slot: 0, settlement }).await;
    assert_eq!((status().await, listed().await), (json!("PROCESSING"), json!("PROCESSING")));
    let body = app.get(&format!("/api/external/generation/{id}")).await.json();
    assert_eq!(body["why"], "the next try is due at 2026-11-21T12:00:05.000Z");
}

#[actix_web::test]
async fn a_database_that_is_gone_is_a_problem_and_never_a_fault() {
    let app = TestApp::start().await;
    let id = accepted(&app).await;
    app.store.close().await;
    let young = app.get(&format!("/api/external/generation/{id}")).await;
    assert_eq!(young.status, 200, "what this process wrote lately is known without it");
    for path in [format!("/api/external/generation/{id}/history"), "/api/external/generation".to_owned()] {
        let answer = app.get(&path).await;
        answer.problem(503, "SERVICE_UNAVAILABLE");
        assert_eq!(answer.header("retry-after"), "2");
    }
    app.post(&ask()).await.problem(503, "SERVICE_UNAVAILABLE");
    app.get("/api/health").await.problem(503, "SERVICE_UNAVAILABLE");
}
