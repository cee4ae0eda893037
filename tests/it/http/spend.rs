//! The spend report, a generation's ledger, and limits, as an operator and a client meet them.

use actix_web::test::TestRequest;
use longtake::{domain::money::Micros, intake::keys, store::KeyRecord};
use serde_json::{Value, json};

use super::app::{Answer, TestApp, with_key};

fn ask() -> Value {
    json!({"modelIdentifier": "flux-test", "prompt": "a lighthouse", "numberOfOutputs": 2})
}

async fn admin(app: &TestApp, path: &str) -> Answer {
    app.send(with_key(TestRequest::get().uri(path), &app.admin)).await
}

async fn record(app: &TestApp, name: &str) -> KeyRecord {
    let all = app.store.keys().list().await.unwrap();
    all.into_iter().find(|key| key.name == name).unwrap()
}

#[actix_web::test]
async fn the_report_sums_all_projects_by_what_is_asked_for() {
    let app = TestApp::start().await;
    for _ in 0..2 {
        assert_eq!(app.post(&ask()).await.status, 202);
    }
    let stranger = TestRequest::post().uri("/api/external/generation").set_json(ask());
    assert_eq!(app.send(with_key(stranger, &app.stranger)).await.status, 202);
    let report = admin(&app, "/api/admin/spend").await.json();
    assert_eq!((&report["from"], &report["to"]), (&json!("2026-10-23"), &json!("2026-11-21")));
    assert_eq!(report["total"], json!({"held": "0.240000", "charged": "0.000000", "atRisk": "0.000000", "released": "0.000000"}));
    let lines = report["data"].as_array().unwrap();
    let of = |name: &str| lines.iter().find(|line| line["project"]["name"] == name).unwrap();
    assert_eq!((&of("default")["held"], &of("other")["held"]), (&json!("0.160000"), &json!("0.080000")));
    assert_eq!(
        (&of("other")["day"], &of("other")["provider"], &of("other")["modelIdentifier"], of("other").get("key")),
        (&json!("2026-11-21"), &json!("flux"), &json!("flux-test"), None)
    );
    let narrow = admin(&app, "/api/admin/spend?groupBy=provider&project=other&from=2026-11-21").await.json();
    assert_eq!(
        narrow["data"],
        json!([{"provider": "flux", "held": "0.080000", "charged": "0.000000", "atRisk": "0.000000", "released": "0.000000"}])
    );
    let before = admin(&app, "/api/admin/spend?to=2026-11-20").await.json();
    assert_eq!((&before["data"], &before["total"]["held"]), (&json!([]), &json!("0.000000")));
    admin(&app, "/api/admin/spend?project=nobody").await.problem(422, "INVALID_PARAMETERS");
    admin(&app, "/api/admin/spend?groupBy=colour").await.problem(422, "INVALID_PARAMETERS");
}

#[actix_web::test]
async fn a_generations_ledger_shows_every_row() {
    let app = TestApp::start().await;
    let id = app.post(&ask()).await.json()["id"].as_str().unwrap().to_owned();
    let ledger = admin(&app, &format!("/api/admin/generations/{id}/ledger")).await.json();
    let hold = json!({"attempt": 0, "kind": "hold", "seq": 0, "held": "0.080000", "charged": "0.000000", "atRisk": "0.000000",
        "at": "2026-11-21T12:00:00.000Z"});
    assert_eq!((&ledger["data"], &ledger["attempts"], &ledger["day"]), (&json!([hold]), &json!([]), &json!("2026-11-21")));
    for unknown in ["gen_00000000000000000000000000000000", "nonsense"] {
        admin(&app, &format!("/api/admin/generations/{unknown}/ledger")).await.problem(404, "NOT_FOUND");
    }
}

#[actix_web::test]
async fn a_daily_limit_refuses_before_anything_is_spent_and_says_when_it_ends() {
    let app = TestApp::distrustful().await;
    keys::limit(&app.store.keys(), record(&app, "client").await.id, Some(Micros(100_000))).await.unwrap();
    assert_eq!(app.post(&ask()).await.status, 202);
    let problem = app.post(&ask()).await.problem(402, "SPEND_LIMIT_REACHED");
    assert_eq!(
        problem["details"],
        json!({"limitOf": "key", "limit": "0.100000", "spent": "0.080000", "asked": "0.080000", "currency": "USD",
            "resetsAt": "2026-11-22T00:00:00.000Z"})
    );
    assert_eq!(problem["retryable"], true);
    assert_eq!(admin(&app, "/api/admin/spend").await.json()["total"]["held"], "0.080000");
    // The next day is another one.
    app.clock.advance(std::time::Duration::from_secs(12 * 3600));
    assert_eq!(app.post(&ask()).await.status, 202);
}

#[actix_web::test]
async fn a_projects_limit_holds_for_each_of_its_keys() {
    let app = TestApp::distrustful().await;
    keys::limit_project(&app.store.keys(), "default", Some(Micros(0))).await.unwrap();
    let problem = app.post(&ask()).await.problem(402, "SPEND_LIMIT_REACHED");
    assert_eq!(problem["details"]["limitOf"], "project");
    let stranger = TestRequest::post().uri("/api/external/generation").set_json(ask());
    assert_eq!(app.send(with_key(stranger, &app.stranger)).await.status, 202);
    keys::limit_project(&app.store.keys(), "default", None).await.unwrap();
    assert_eq!(app.post(&ask()).await.status, 202);
}
