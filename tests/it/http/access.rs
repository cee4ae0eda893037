//! Who may do what.

use std::time::Duration;

use actix_web::{http::Method, test::TestRequest};
use longtake::{
    http::{auth::Access, routes::ROUTES},
    intake::{key_text::KeyText, keys},
    store::Scope,
};

use super::app::{TestApp, with_key};

/// A path of the table with its names filled in.
fn uri(path: &str) -> String {
    path.replace("{id}", "gen_00000000000000000000000000000000")
        .replace("{slug}", "not-found")
        .replace("{tail:.*}", "x")
        .replace("{key:.*}", "x")
}

fn request(method: &Method, path: &str) -> TestRequest {
    TestRequest::with_uri(&uri(path)).method(method.clone())
}

#[actix_web::test]
async fn every_route_refuses_whom_it_must() {
    let app = TestApp::start().await;
    for entry in ROUTES {
        let without = app.send(request(&entry.method, entry.path)).await;
        let client = app.send(with_key(request(&entry.method, entry.path), &app.client)).await;
        let admin = app.send(with_key(request(&entry.method, entry.path), &app.admin)).await;
        let place = format!("{} {}", entry.method, entry.path);
        match entry.access {
            Access::Open => assert!(![401, 403].contains(&without.status.as_u16()), "{place}"),
            Access::Client | Access::Admin => {
                if entry.path.starts_with("/v1/") {
                    assert_eq!(
                        (without.status.as_u16(), &without.json()["error"]["code"]),
                        (401, &"invalid_api_key".into()),
                        "{place}"
                    );
                } else {
                    without.problem(401, "AUTHENTICATION_FAILED");
                }
                assert!(without.header("www-authenticate").starts_with("Bearer"), "{place}");
            }
        }
        let refused = entry.access == Access::Admin;
        assert_eq!(client.status == 403, refused, "{place}: {}", client.status);
        assert!(![401, 403].contains(&admin.status.as_u16()), "{place}: an admin key may do all, in its project");
    }
}

#[actix_web::test]
async fn the_open_routes_are_these_and_no_others() {
    let open: Vec<_> = ROUTES.iter().filter(|entry| entry.access == Access::Open).map(|entry| entry.path).collect();
    assert_eq!(open.len(), 7, "{open:?}");
    for path in open {
        let harmless = ["/api/health", "/openapi.json", "/docs", "/errors/", "/media/", "/hooks/"];
        assert!(harmless.iter().any(|start| path.starts_with(start)), "{path} is open to everybody");
        assert!(!path.starts_with("/api/health/"), "{path} is open to everybody");
    }
}

#[actix_web::test]
async fn wrong_keys_are_told_apart_from_missing_ones_but_never_echoed() {
    let app = TestApp::start().await;
    let unknown = KeyText::mint().reveal().to_owned();
    let typo = format!("{}x", &app.client[..app.client.len() - 1]);
    let typo = if typo == app.client { format!("{}y", &app.client[..app.client.len() - 1]) } else { typo };
    for (value, words) in [
        (format!("Bearer {unknown}"), "unknown"),
        (format!("Bearer {typo}"), "a character is wrong"),
        (format!("Basic {}", app.client), "send `Authorization: Bearer"),
        (app.client.clone(), "send `Authorization: Bearer"),
        ("Bearer".to_owned(), "send `Authorization: Bearer"),
        ("Bearer \u{e9}".to_owned(), "send `Authorization"),
    ] {
        let request = TestRequest::get().uri("/api/external/models").insert_header(("authorization", value.clone()));
        let answer = app.send(request).await;
        let body = answer.problem(401, "AUTHENTICATION_FAILED");
        assert!(body["detail"].as_str().unwrap().contains(words), "{value}: {body}");
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(!text.contains(&unknown[3..]) && !text.contains(&app.client[3..]));
    }
    let request =
        TestRequest::get().uri("/api/external/models").insert_header(("authorization", format!("bEaReR {}", app.client)));
    assert_eq!(app.send(request).await.status, 200, "the scheme's case does not matter");
}

#[actix_web::test]
async fn the_host_header_opens_nothing() {
    let app = TestApp::start().await;
    for host in ["localhost", "127.0.0.1", "admin", "x@y:1", "/api/health"] {
        let request = TestRequest::get()
            .uri("/api/metrics")
            .insert_header(("host", host))
            .insert_header(("x-forwarded-host", host))
            .insert_header(("x-original-url", "/api/health"))
            .insert_header(("x-forwarded-for", "127.0.0.1"));
        assert!([400, 401].contains(&app.send(request).await.status.as_u16()), "{host}");
    }
    let request = TestRequest::post()
        .uri("/api/external/generation")
        .insert_header(("host", "evil.example"))
        .set_json(serde_json::json!({"modelIdentifier": "flux-test", "prompt": "x"}));
    let answer = app.send(with_key(request, &app.client)).await;
    assert!(!answer.header("location").contains("evil"), "URLs are never made from the request");
}

#[actix_web::test]
async fn a_revoked_key_is_refused_once_it_is_not_believed_any_more() {
    let app = TestApp::distrustful().await;
    assert_eq!(app.get("/api/external/models").await.status, 200);
    let record = app.store.keys().list().await.unwrap().into_iter().find(|key| key.name == "client").unwrap();
    assert!(keys::revoke(&app.store.keys(), record.id, app.api.clock.now()).await.unwrap());
    app.get("/api/external/models").await.problem(401, "AUTHENTICATION_FAILED");
    assert!(!keys::revoke(&app.store.keys(), record.id, app.api.clock.now()).await.unwrap(), "revoking again changes nothing");
}

#[actix_web::test]
async fn a_rotated_key_lives_on_for_the_overlap_and_its_successor_sees_the_same_work() {
    let app = TestApp::distrustful().await;
    let made = app.post(&serde_json::json!({"modelIdentifier": "flux-test", "prompt": "x"})).await.json();
    let path = format!("/api/external/generation/{}", made["id"].as_str().unwrap());
    let record = app.store.keys().list().await.unwrap().into_iter().find(|key| key.name == "client").unwrap();
    let hour = Duration::from_secs(3600);
    let minted = keys::rotate(&app.store.keys(), record.id, hour, app.api.clock.now()).await.unwrap();
    assert_eq!((minted.record.project, minted.record.scope), (record.project, Scope::Client));
    let successor = async || app.send(with_key(TestRequest::get().uri(&path), minted.text.reveal())).await.status.as_u16();
    assert_eq!((app.get(&path).await.status.as_u16(), successor().await), (200, 200));
    app.clock.advance(hour);
    assert_eq!((app.get(&path).await.status.as_u16(), successor().await), (401, 200));
}
