//! The OpenAPI document, its page, the pages of problems, health and metrics.

use std::collections::BTreeSet;

use actix_web::test::TestRequest;
use longtake::{
    domain::error::ErrorCode,
    http::{auth::Access, openapi, problem::slug, routes::ROUTES},
};
use serde_json::Value;

use super::app::{TestApp, with_key};

const COMMITTED: &str = include_str!("../../../openapi.json");

fn committed() -> Value {
    serde_json::from_str(COMMITTED).unwrap()
}

/// `(method, path)` of every operation, with paths as the document writes them.
fn operations(document: &Value) -> BTreeSet<(String, String)> {
    let paths = document["paths"].as_object().unwrap();
    let of = |(path, item): (&String, &Value)| {
        item.as_object().unwrap().keys().map(|method| (method.clone(), path.clone())).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of).collect()
}

#[test]
fn the_routes_and_the_document_agree_in_both_directions() {
    let document = serde_json::to_value(openapi::document()).unwrap();
    let routed: BTreeSet<_> =
        ROUTES.iter().map(|entry| (entry.method.as_str().to_lowercase(), entry.path.replace(":.*}", "}"))).collect();
    assert_eq!(operations(&document), routed);
    for entry in ROUTES {
        let operation = &document["paths"][entry.path.replace(":.*}", "}")][entry.method.as_str().to_lowercase()];
        let expected = match entry.access {
            Access::Open => serde_json::json!([{}]),
            Access::Client => serde_json::json!([{"key": []}]),
            Access::Admin => serde_json::json!([{"key": ["admin"]}]),
        };
        assert_eq!(operation["security"], expected, "{} {}", entry.method, entry.path);
    }
}

#[test]
fn every_operation_has_a_name_of_its_own() {
    let document = serde_json::to_value(openapi::document()).unwrap();
    let paths = document["paths"].as_object().unwrap().values();
    let names: Vec<_> =
        paths.flat_map(|item| item.as_object().unwrap().values().map(|operation| &operation["operationId"])).collect();
    let different: BTreeSet<_> = names.iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(different.len(), names.len());
}

#[test]
fn the_committed_document_is_the_generated_one() {
    assert!(COMMITTED == openapi::text(), "run `cargo run -- openapi > openapi.json` and look at the difference");
}

#[test]
fn nothing_that_was_promised_is_taken_away() {
    let broken = breaking(&committed(), &serde_json::to_value(openapi::document()).unwrap());
    assert_eq!(broken, Vec::<String>::new());
}

#[test]
fn the_check_for_breaking_changes_finds_each_kind() {
    let old = committed();
    let change = |pointer: &str, value: Option<Value>| {
        let mut new = old.clone();
        let (parent, last) = pointer.rsplit_once('/').unwrap();
        let parent = new.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        let last = last.replace("~1", "/");
        match value {
            Some(value) => drop(parent.insert(last, value)),
            None => drop(parent.remove(&last).expect("there is such a member")),
        }
        breaking(&old, &new)
    };
    let none = Vec::<String>::new();
    assert_eq!(change("/paths/~1api~1external~1models", None), ["removed: paths /api/external/models"]);
    assert_eq!(change("/paths/~1api~1external~1generation~1{id}/delete", None).len(), 1);
    assert_eq!(
        change("/components/schemas/Generation/properties/why", None),
        ["removed: components schemas Generation properties why"]
    );
    assert_eq!(change("/components/schemas/Generation/properties/id/type", Some("integer".into())).len(), 1);
    assert_eq!(
        change("/components/schemas/NewGeneration/required", Some(serde_json::json!(["modelIdentifier", "prompt", "x"]))).len(),
        1
    );
    assert_eq!(change("/components/schemas/Generation/properties/more", Some(serde_json::json!({"type": "string"}))), none);
    assert_eq!(change("/components/schemas/Generation/properties/why/description", Some("other words".into())), none);
}

/// Paths, operations, fields and enumeration words that are gone, types that changed, and what requests must newly hold.
fn breaking(old: &Value, new: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare(&mut Vec::new(), old, new, &mut found);
    found
}

fn compare(path: &mut Vec<String>, old: &Value, new: &Value, found: &mut Vec<String>) {
    let last = path.last().map(String::as_str).unwrap_or_default().to_owned();
    let below_names = path.iter().rev().nth(1).is_some_and(|parent| parent == "properties" || parent == "schemas");
    if !below_names
        && ["description", "summary", "example", "info", "tags", "operationId", "title", "default"].contains(&last.as_str())
    {
        return;
    }
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, old) in old {
                path.push(key.clone());
                match new.get(key) {
                    Some(new) => compare(path, old, new, found),
                    None if ["description", "example", "default"].contains(&key.as_str()) => {}
                    None => found.push(format!("removed: {}", path.join(" "))),
                }
                path.pop();
            }
        }
        (Value::Array(old), Value::Array(new)) if last == "required" => {
            let request = path.iter().any(|part| part == "NewGeneration");
            let (must, had): (&Vec<Value>, &Vec<Value>) = if request { (new, old) } else { (old, new) };
            for name in must.iter().filter(|name| !had.contains(name)) {
                found.push(format!("required changed: {} {name}", path.join(" ")));
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            for item in old.iter().filter(|item| !new.contains(item)) {
                found.push(format!("removed: {} {item}", path.join(" ")));
            }
        }
        (old, new) if old == new => {}
        (old, new) => found.push(format!("changed: {} from {old} to {new}", path.join(" "))),
    }
}

#[actix_web::test]
async fn the_documentation_is_served_whole_from_the_binary() {
    let app = TestApp::start().await;
    let document = app.send(TestRequest::get().uri("/openapi.json")).await;
    assert_eq!(document.json(), committed());
    assert_eq!(document.json()["openapi"], "3.1.0");
    assert_eq!(app.send(TestRequest::get().uri("/docs")).await.header("location"), "/docs/");
    let page = app.send(TestRequest::get().uri("/docs/")).await;
    assert!(page.header("content-type").starts_with("text/html"));
    let html = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(!html.contains("http://") && !html.contains("https://"), "nothing from elsewhere");
    let parts: Vec<_> = html
        .split(['"', '\''])
        .filter(|part| part.starts_with("./") || part.ends_with(".js") || part.ends_with(".css"))
        .collect();
    assert!(parts.len() >= 3, "{parts:?}");
    for part in parts {
        let path = format!("/docs/{}", part.trim_start_matches("./"));
        assert_eq!(app.send(TestRequest::get().uri(&path)).await.status, 200, "{path}");
    }
    let script = app.send(TestRequest::get().uri("/docs/swagger-initializer.js")).await;
    assert!(String::from_utf8_lossy(&script.body).contains("/openapi.json"));
    app.send(TestRequest::get().uri("/docs/absent.js")).await.problem(404, "NOT_FOUND");
}

#[actix_web::test]
async fn every_kind_of_problem_has_its_page() {
    let app = TestApp::start().await;
    for code in ErrorCode::ALL {
        let page = app.send(TestRequest::get().uri(&format!("/errors/{}", slug(*code)))).await;
        assert_eq!(page.status, 200, "{}", code.as_str());
        let html = String::from_utf8(page.body.to_vec()).unwrap();
        assert!(html.contains(code.as_str()) && html.contains(code.title()));
    }
    app.send(TestRequest::get().uri("/errors/nothing")).await.problem(404, "NOT_FOUND");
}

#[actix_web::test]
async fn health_is_brief_for_everybody_and_full_for_admins() {
    let app = TestApp::start().await;
    app.api.pulses.of("dispatcher").beat(app.api.clock.now());
    app.api.pulses.of("dispatcher").restarted();
    let brief = app.send(TestRequest::get().uri("/api/health")).await.json();
    assert_eq!((&brief["status"], &brief["uptime"]), (&"healthy".into(), &0.into()));
    assert_eq!(brief["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(brief.as_object().unwrap().len(), 4);
    let full = app.send(with_key(TestRequest::get().uri("/api/health/detailed"), &app.admin)).await.json();
    assert_eq!((&full["actors"][0]["name"], &full["actors"][0]["restarts"]), (&"dispatcher".into(), &1.into()));
    let kling = full["providers"].as_array().unwrap().iter().find(|provider| provider["name"] == "kling").unwrap();
    assert_eq!(kling["enabled"], false);
    app.clock.advance(std::time::Duration::from_secs(60));
    let late = app.send(TestRequest::get().uri("/api/health")).await.json();
    assert_eq!((&late["status"], &late["uptime"]), (&"degraded".into(), &60.into()), "an actor has not beaten for a minute");
    app.api.draining.cancel();
    app.send(TestRequest::get().uri("/api/health")).await.problem(503, "SERVICE_UNAVAILABLE");
}

#[actix_web::test]
async fn metrics_count_restarts_and_commits() {
    let app = TestApp::start().await;
    app.api.pulses.of("poller-of-this-test").restarted();
    let answer = app.send(with_key(TestRequest::get().uri("/api/metrics"), &app.admin)).await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(text.contains("longtake_actor_restarts_total{actor=\"poller-of-this-test\"} 1"), "{text}");
    assert!(text.contains("longtake_store_commits_total") && text.contains("longtake_build_info"));
    assert!(answer.header("content-type").starts_with("text/plain"));
}
