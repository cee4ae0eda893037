//! What signs a webhook: the secrets of its own account, configured or told by the provider.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_web::test::TestRequest;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use longtake::{
    config::providers::{AccountConfig, ProviderConfig},
    domain::{attempt::AttemptState, record::Attempt},
    lifeline::Lifeline,
    net::hooks::Hooks,
};
use serde_json::json;

use super::{
    app::{Answer, HOOK_SECRET, TestApp},
    hooks::signature,
};
use crate::{
    raw_server::{self, RawServer},
    store::bed,
};

fn secret(key: &[u8]) -> String {
    format!("whsec_{}", STANDARD.encode(key))
}

async fn attempt(app: &TestApp, provider: &str, account: &str) -> Attempt {
    let journal = app.store.journal(&Lifeline::default());
    let (mut entry, _) = bed::intent(&bed::born(&journal).await, 1);
    let attempt = &mut entry.new_attempts[0].attempt;
    attempt.state = AttemptState::Unconfirmed;
    attempt.provider = provider.into();
    attempt.account = account.into();
    let attempt = attempt.clone();
    journal.transition(entry).await.unwrap();
    attempt
}

/// A webhook about an attempt, signed with that key.
async fn send(app: &TestApp, about: &Attempt, key: &[u8]) -> Answer {
    let hooks = Hooks::new(Some("https://us.test"), vec![HOOK_SECRET.to_owned().into()]);
    let path = hooks.url(&about.provider, about.id, false).unwrap().path().to_owned();
    let (now, body) = (app.api.clock.now().0 / 1_000, json!({ "id": "p1", "task_id": "p1", "status": "starting" }).to_string());
    let request = TestRequest::post()
        .uri(&path)
        .insert_header(("webhook-id", "msg_1"))
        .insert_header(("webhook-timestamp", now.to_string()))
        .insert_header(("webhook-signature", signature(key, "msg_1", now, &body)))
        .set_payload(body);
    app.send(request).await
}

#[actix_web::test]
async fn the_secret_of_one_account_proves_nothing_for_another() {
    let app = TestApp::with(|config| {
        let kling = config.providers.get_mut("kling").unwrap();
        kling.api_key = Some("key".to_owned().into());
        kling.webhook_secret = Some(secret(b"of the section").into());
        let own = AccountConfig {
            api_key: Some("other".to_owned().into()),
            webhook_secret: Some(secret(b"of its own").into()),
            ..AccountConfig::default()
        };
        kling.accounts = [("second".to_owned(), own)].into();
    })
    .await;
    let (first, second) = (attempt(&app, "kling", "default").await, attempt(&app, "kling", "second").await);
    assert_eq!(send(&app, &first, b"of the section").await.status, 200);
    assert_eq!(send(&app, &second, b"of its own").await.status, 200);
    send(&app, &first, b"of its own").await.problem(401, "AUTHENTICATION_FAILED");
    send(&app, &second, b"of the section").await.problem(401, "AUTHENTICATION_FAILED");
    // One that is not configured any more may have been signed with any of them.
    let gone = attempt(&app, "kling", "gone").await;
    assert_eq!(send(&app, &gone, b"of its own").await.status, 200);
    send(&app, &gone, b"of nobody").await.problem(401, "AUTHENTICATION_FAILED");
}

/// A Replicate that answers so to the question for the secret, and an app that may ask it.
struct Told {
    app: TestApp,
    server: RawServer,
    answer: Arc<Mutex<(&'static str, String)>>,
    about: Attempt,
}

impl Told {
    async fn start() -> Self {
        let answer = Arc::new(Mutex::new(("200 OK", json!({ "key": secret(b"first") }).to_string())));
        let told = Arc::clone(&answer);
        let server = RawServer::start(move |_, _| {
            let (status, body) = told.lock().unwrap().clone();
            raw_server::Answer::whole(&format!("{status}\r\nContent-Type: application/json"), body.as_bytes())
        })
        .await;
        let base_url = server.base.clone();
        let app = TestApp::with(|config| {
            let key = Some("r8_key".to_owned().into());
            let section = ProviderConfig { base_url, allow_loopback: true, api_key: key, ..ProviderConfig::default() };
            config.providers.insert("replicate".to_owned(), section);
        })
        .await;
        let about = attempt(&app, "replicate", "default").await;
        Self { app, server, answer, about }
    }

    fn tells(&self, status: &'static str, body: String) {
        *self.answer.lock().unwrap() = (status, body);
    }

    async fn sent(&self, key: &[u8]) -> Answer {
        send(&self.app, &self.about, key).await
    }

    fn asked(&self) -> usize {
        self.server.requests().len()
    }
}

#[actix_web::test]
async fn replicates_secret_is_asked_for_once_and_again_after_a_rotation() {
    let told = Told::start().await;
    for _ in 0..3 {
        assert_eq!(told.sent(b"first").await.status, 200);
    }
    assert_eq!(told.asked(), 1);
    let request = told.server.requests().remove(0);
    assert_eq!(request.line, "GET /webhooks/default/secret");
    assert_eq!(request.header("authorization"), Some("bearer r8_key"));
    told.tells("200 OK", json!({ "key": secret(b"second") }).to_string());
    told.sent(b"second").await.problem(401, "AUTHENTICATION_FAILED");
    assert_eq!(told.asked(), 1, "not asked again within a minute");
    told.app.clock.advance(Duration::from_secs(60));
    assert_eq!(told.sent(b"second").await.status, 200);
    told.sent(b"first").await.problem(401, "AUTHENTICATION_FAILED");
    told.sent(b"forged").await.problem(401, "AUTHENTICATION_FAILED");
    assert_eq!(told.asked(), 2, "a flood of forgeries asks nothing");
}

#[actix_web::test]
async fn while_the_provider_cannot_be_asked_nothing_is_believed_and_nothing_lost() {
    let told = Told::start().await;
    told.tells("503 Service Unavailable", "<html>".to_owned());
    told.sent(b"first").await.problem(503, "SERVICE_UNAVAILABLE");
    assert_eq!(told.app.store.reads().evidence(told.about.id).await.unwrap().len(), 0);
    told.tells("200 OK", json!({ "key": secret(b"first") }).to_string());
    told.sent(b"first").await.problem(503, "SERVICE_UNAVAILABLE");
    assert_eq!(told.asked(), 1, "not asked for every webhook");
    told.app.clock.advance(Duration::from_secs(5));
    assert_eq!(told.sent(b"first").await.status, 200);
    assert_eq!(told.app.store.reads().evidence(told.about.id).await.unwrap().len(), 1);
}

#[actix_web::test]
async fn where_the_key_may_not_ask_for_the_secret_the_url_alone_is_the_proof() {
    let told = Told::start().await;
    told.tells("403 Forbidden", json!({ "detail": "not for this token", "status": 403 }).to_string());
    assert_eq!(told.sent(b"whatever").await.status, 200);
    assert_eq!(told.sent(b"whatever").await.status, 200);
    assert_eq!(told.asked(), 1);
}
