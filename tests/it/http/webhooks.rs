//! Webhooks to clients, from the event to the receiver: signed as an independent library verifies it, tried again, and one endpoint that
//! hangs delays no other.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use actix::Actor as _;
use actix_web::test::TestRequest;
use http::{HeaderMap, HeaderName, HeaderValue};
use longtake::{
    clock::Clock,
    domain::{id::DeliveryId, time::Timestamp},
    flights::Flights,
    lifeline::Lifeline,
    net::client,
    notify::{
        courier::{Courier, Delivering, Places},
        notifier::{Notifier, Notifying},
    },
    observe::{ChildContext, Pulse},
    store::Store,
};
use serde_json::{Value, json};
use standardwebhooks::Webhook;

use super::{
    app::{Answer as Reply, TestApp, with_key},
    batches,
    events::finish,
    generations::{accepted, ask},
};
use crate::{
    raw_server::{Answer, RawServer, Request},
    store::bed::Bed,
};

super::on_both! {
    an_endpoint_is_told_the_end_signed_thin_and_once;
    a_url_named_with_a_generation_is_signed_by_the_project_and_a_rotated_secret_signs_along;
    a_url_named_with_a_batch_is_told_of_its_end_once_and_of_no_line;
    what_fails_is_tried_again_when_it_is_due_with_the_same_id;
    an_endpoint_that_hangs_delays_no_other;
    gone_disables_an_endpoint_until_its_owner_takes_it_up_again;
    what_was_committed_while_nobody_told_is_told_once_however_often_the_reader_begins_anew;
    deliveries_are_found_by_what_they_tell_of;
    what_an_endpoint_did_not_take_is_sent_once_more_as_a_whole;
    nothing_is_sent_to_private_addresses_unless_that_is_allowed;
    endpoints_belong_to_their_project_and_say_all_that_is_wrong_with_them;
}

const BOUND: Duration = Duration::from_secs(60);
const PATH: &str = "/api/external/webhooks";

fn child(app: &TestApp, name: &str) -> ChildContext {
    ChildContext {
        name: name.to_owned(),
        pulse: Arc::new(Pulse::default()),
        lifeline: Lifeline::default(),
        clock: app.api.clock.clone(),
        sockets: tokio::runtime::Handle::current(),
        beat: Duration::from_millis(50),
    }
}

pub fn notifying(app: &TestApp) -> Notifying {
    let store: &Store = &app.store;
    Notifying {
        reads: store.reads(),
        webhooks: store.webhooks(),
        journal: store.journal(&Lifeline::default()),
        feed: store.feed(),
        watch: store.watch(),
        wake: app.api.clerk.wake.clone(),
        clock: app.api.clock.clone(),
        kept: Duration::from_secs(86_400 * 30),
    }
}

/// Starts what tells clients, by this clock.
fn start(app: &TestApp, clock: Clock) {
    Notifier::new(notifying(app), child(app, "notifier")).start();
    courier(app, clock);
}

fn courier(app: &TestApp, clock: Clock) {
    let delivering = Delivering {
        reads: app.store.reads(),
        webhooks: app.store.webhooks(),
        journal: app.store.journal(&Lifeline::default()),
        retention: app.store.retention(),
        client: client::outward((*app.api.clerk.allow).clone(), Duration::from_secs(5)).unwrap(),
        signer: app.api.clerk.signer.clone(),
        wake: app.api.clerk.wake.clone(),
        places: Places::default(),
        clock,
        config: Arc::clone(&app.api.config),
    };
    let flights: Flights<DeliveryId> = Flights::bounded("webhooks", 64, app.api.clock.clone());
    Courier::new(delivering, Arc::new(flights), child(app, "courier")).start();
}

/// Receivers on this machine are allowed.
async fn allowing(bed: &Bed) -> TestApp {
    TestApp::on_with(bed, |config| {
        config.notify.allow_http = true;
        config.notify.allow_private_hosts = vec!["127.0.0.1".to_owned()];
        config.notify.webhook_timeout_ms = 30_000;
    })
    .await
}

/// By the machine's clock, as the library that verifies judges.
async fn app(bed: &Bed) -> TestApp {
    let app = allowing(bed).await;
    start(&app, Clock::System);
    app
}

async fn receiver() -> RawServer {
    RawServer::start(|_, _| Answer::whole("204 No Content", b"")).await
}

async fn call(app: &TestApp, method: &str, path: &str, body: Option<Value>) -> Reply {
    let request = TestRequest::with_uri(path).method(method.parse().unwrap());
    let request = match body {
        Some(body) => request.set_json(body),
        None => request,
    };
    app.send(with_key(request, &app.client)).await
}

async fn endpoint(app: &TestApp, url: &str) -> Value {
    let answer = call(app, "POST", PATH, Some(json!({"url": url, "description": "test"}))).await;
    assert_eq!(answer.status, 201, "{:?}", answer.body);
    answer.json()
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(BOUND, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

async fn deliveries(app: &TestApp, query: &str) -> Vec<Value> {
    app.get(&format!("{PATH}/deliveries{query}")).await.json()["data"].as_array().unwrap().clone()
}

/// What any client's library makes of it.
fn verifies(request: &Request, secret: &str) -> bool {
    let mut headers = HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        let value = HeaderValue::from_str(request.exact(name).unwrap()).unwrap();
        headers.insert(HeaderName::from_static(name), value);
    }
    Webhook::new(secret).unwrap().verify(&request.body, &headers).is_ok()
}

async fn an_endpoint_is_told_the_end_signed_thin_and_once(bed: &Bed) {
    let (app, receiver) = (app(bed).await, receiver().await);
    let made = endpoint(&app, &format!("{}/hook", receiver.base)).await;
    let id = accepted(&app).await;
    finish(&app, &id).await;
    until("it is delivered", async || !deliveries(&app, "?status=delivered").await.is_empty()).await;
    let seen = receiver.requests();
    assert_eq!((seen.len(), seen[0].line.as_str()), (1, "POST /hook"));
    assert!(verifies(&seen[0], made["secret"].as_str().unwrap()));
    assert!(!verifies(&seen[0], "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
    let body: Value = serde_json::from_slice(&seen[0].body).unwrap();
    assert_eq!((&body["type"], &body["data"]), (&json!("generation.failed"), &json!({"id": id, "status": "FAILED"})));
    let delivery = &deliveries(&app, "").await[0];
    assert_eq!((&delivery["lastStatus"], &delivery["tries"]), (&json!(204), &json!(1)));
    assert_eq!(delivery["messageId"], seen[0].exact("webhook-id").unwrap());
    let secret = app.get(&format!("{PATH}/{}/secret", made["id"].as_str().unwrap())).await.json();
    assert_eq!(secret["secret"], made["secret"]);
}

async fn a_url_named_with_a_generation_is_signed_by_the_project_and_a_rotated_secret_signs_along(bed: &Bed) {
    let (app, receiver) = (app(bed).await, receiver().await);
    let before = app.get(&format!("{PATH}/secret")).await.json()["secret"].as_str().unwrap().to_owned();
    let now = call(&app, "POST", &format!("{PATH}/secret/rotate"), None).await.json();
    assert!(now["previousUntil"].is_string());
    let mut wish = ask();
    wish["webhookUrl"] = json!(format!("{}/mine", receiver.base));
    let id = app.post(&wish).await.json()["id"].as_str().unwrap().to_owned();
    finish(&app, &accepted(&app).await).await;
    finish(&app, &id).await;
    until("it is told", async || !receiver.requests().is_empty()).await;
    let seen = &receiver.requests()[0];
    assert!(seen.line.ends_with("/mine") && String::from_utf8_lossy(&seen.body).contains(&id));
    assert!(verifies(seen, &before) && verifies(seen, now["secret"].as_str().unwrap()));
    assert_eq!(receiver.requests().len(), 1, "the other one named none");
}

async fn a_url_named_with_a_batch_is_told_of_its_end_once_and_of_no_line(bed: &Bed) {
    let (app, receiver, endpoint_of_all) = (app(bed).await, receiver().await, receiver().await);
    let chosen = json!({"url": endpoint_of_all.base, "eventTypes": ["batch.*"]});
    assert_eq!(call(&app, "POST", PATH, Some(chosen)).await.status, 201);
    let options = json!({"webhookUrl": format!("{}/whole", receiver.base)});
    let id = batches::accepted(&app, &batches::images(2), options).await;
    let tasks = batches::ids(&app, &id).await;
    batches::deliver(&app, tasks[0], "https://cdn.example.com/a.png").await;
    batches::fail(&app, tasks[1], "too late").await;
    until("both are told of the end", async || {
        deliveries(&app, "?status=delivered").await.iter().filter(|one| one["type"] == "batch.partial_failed").count() == 2
    })
    .await;
    let seen = receiver.requests();
    assert_eq!((seen.len(), seen[0].line.as_str()), (1, "POST /whole"));
    let secret = app.get(&format!("{PATH}/secret")).await.json()["secret"].as_str().unwrap().to_owned();
    assert!(verifies(&seen[0], &secret));
    let body: Value = serde_json::from_slice(&seen[0].body).unwrap();
    assert_eq!((&body["type"], &body["data"]), (&json!("batch.partial_failed"), &json!({"id": id, "status": "PARTIAL_FAILED"})));
    let kinds: Vec<_> = deliveries(&app, "").await.iter().map(|one| one["type"].clone()).collect();
    assert_eq!(kinds, ["batch.partial_failed", "batch.partial_failed", "batch.created"], "an endpoint chooses more");
}

async fn what_fails_is_tried_again_when_it_is_due_with_the_same_id(bed: &Bed) {
    let app = allowing(bed).await;
    start(&app, app.api.clock.clone());
    let receiver = RawServer::start(|number, _| match number {
        0 => Answer::whole("302 Found\r\nLocation: /elsewhere", b"over there"),
        1 => Answer::whole("503 Busy\r\nRetry-After: 4000", b""),
        _ => Answer::whole("200 OK", b"fine"),
    })
    .await;
    endpoint(&app, &receiver.base).await;
    finish(&app, &accepted(&app).await).await;
    let tries = async |wanted: u64| deliveries(&app, "").await.first().is_some_and(|one| one["tries"] == wanted);
    until("it fails", async || tries(1).await).await;
    let failed = deliveries(&app, "?status=pending").await;
    assert_eq!((&failed[0]["lastStatus"], &failed[0]["lastAnswer"]), (&json!(302), &json!("over there")));
    app.clock.advance(Duration::from_secs(6));
    until("it fails again", async || tries(2).await).await;
    app.clock.advance(Duration::from_secs(3_900));
    tokio::task::yield_now().await;
    assert!(tries(2).await, "it asked for more time");
    app.clock.advance(Duration::from_secs(101));
    until("it is taken", async || !deliveries(&app, "?status=delivered").await.is_empty()).await;
    let ids: Vec<_> = receiver.requests().iter().map(|request| request.exact("webhook-id").unwrap().to_owned()).collect();
    assert_eq!((ids.len(), ids.iter().all(|id| *id == ids[0])), (3, true));
}

async fn an_endpoint_that_hangs_delays_no_other(bed: &Bed) {
    let (app, receiver) = (app(bed).await, receiver().await);
    let hung = RawServer::start(|_, _| Answer { bytes: Vec::new(), hold: true }).await;
    endpoint(&app, &hung.base).await;
    endpoint(&app, &receiver.base).await;
    for _ in 0..12 {
        finish(&app, &accepted(&app).await).await;
    }
    until("the other one has all", async || receiver.requests().len() == 12).await;
    assert_eq!(hung.requests().len(), app.api.config.notify.webhooks_per_endpoint, "it has its places and no more");
}

async fn gone_disables_an_endpoint_until_its_owner_takes_it_up_again(bed: &Bed) {
    let app = app(bed).await;
    let gone = RawServer::start(|number, _| Answer::whole(if number == 0 { "410 Gone" } else { "200 OK" }, b"")).await;
    let made = endpoint(&app, &gone.base).await;
    let path = format!("{PATH}/{}", made["id"].as_str().unwrap());
    finish(&app, &accepted(&app).await).await;
    until("it is disabled", async || app.get(&path).await.json()["enabled"] == false).await;
    finish(&app, &accepted(&app).await).await;
    let test = call(&app, "POST", &format!("{path}/test"), None).await;
    assert_eq!(test.status, 202);
    let told = test.json()["id"].as_str().unwrap().to_owned();
    let among = async |query: &str| deliveries(&app, query).await.iter().any(|delivery| delivery["id"] == told.as_str());
    let tests = || gone.requests().iter().filter(|sent| String::from_utf8_lossy(&sent.body).contains("webhook.test")).count();
    until("it is not sent", async || among("?status=dropped").await).await;
    assert_eq!(tests(), 0);
    let shown = call(&app, "PATCH", &path, Some(json!({"enabled": true}))).await.json();
    assert_eq!((&shown["enabled"], &shown["disabledReason"]), (&json!(true), &Value::Null));
    assert_eq!(call(&app, "POST", &format!("{PATH}/deliveries/{told}/replay"), None).await.status, 202);
    until("it is replayed", async || among("?status=delivered").await).await;
    assert_eq!(tests(), 1);
}

async fn what_was_committed_while_nobody_told_is_told_once_however_often_the_reader_begins_anew(bed: &Bed) {
    let (app, receiver) = (allowing(bed).await, receiver().await);
    endpoint(&app, &receiver.base).await;
    finish(&app, &accepted(&app).await).await;
    for _ in 0..3 {
        Notifier::new(notifying(&app), child(&app, "notifier")).start();
    }
    until("it is made", async || !deliveries(&app, "").await.is_empty()).await;
    finish(&app, &accepted(&app).await).await;
    until("the second is made", async || deliveries(&app, "").await.len() >= 2).await;
    courier(&app, Clock::System);
    until("both are told", async || deliveries(&app, "?status=delivered").await.len() == 2).await;
    assert_eq!((deliveries(&app, "").await.len(), receiver.requests().len()), (2, 2));
}

async fn deliveries_are_found_by_what_they_tell_of(bed: &Bed) {
    let (app, receiver) = (app(bed).await, receiver().await);
    let made = endpoint(&app, &receiver.base).await["id"].as_str().unwrap().to_owned();
    let (id, other) = (accepted(&app).await, accepted(&app).await);
    finish(&app, &id).await;
    finish(&app, &other).await;
    let batch = batches::accepted(&app, &batches::images(2), json!({})).await;
    let tasks = batches::ids(&app, &batch).await;
    for task in &tasks {
        batches::fail(&app, *task, "too late").await;
    }
    until("all is told", async || deliveries(&app, "?status=delivered").await.len() == 5).await;
    let own = format!("{PATH}/{made}/deliveries");
    let found = async |path: &str| app.get(path).await.json()["data"].as_array().unwrap().len();
    for (query, count) in [
        (format!("generation={id}"), 1),
        (format!("generation={}", tasks[0]), 1),
        (format!("batch={batch}"), 3),
        (format!("batch={batch}&status=failed"), 0),
    ] {
        assert_eq!(
            (deliveries(&app, &format!("?{query}")).await.len(), found(&format!("{own}?{query}")).await),
            (count, count),
            "{query}"
        );
    }
    assert_eq!((found(&own).await, found(&format!("{own}?limit=2")).await), (5, 2));
    app.get(&format!("{own}?batch=7&generation=x&colour=1")).await.problem(422, "INVALID_PARAMETERS");
    app.send(with_key(TestRequest::get().uri(&own), &app.stranger)).await.problem(404, "NOT_FOUND");
}

async fn what_an_endpoint_did_not_take_is_sent_once_more_as_a_whole(bed: &Bed) {
    let app = allowing(bed).await;
    start(&app, app.api.clock.clone());
    let broken = Arc::new(AtomicBool::new(true));
    let says = Arc::clone(&broken);
    let receiver = RawServer::start(move |_, _| Answer::whole(if says.load(SeqCst) { "500 Oh" } else { "200 OK" }, b"")).await;
    let made = endpoint(&app, &receiver.base).await["id"].as_str().unwrap().to_owned();
    let path = format!("{PATH}/{made}/replay");
    let since = app.api.clock.now().rfc3339();
    finish(&app, &accepted(&app).await).await;
    assert_eq!(call(&app, "POST", &format!("{PATH}/{made}/test"), None).await.status, 202);
    let failed = async || deliveries(&app, "?status=failed").await.len();
    until("the test has failed", async || failed().await == 1).await;
    // Through its whole schedule.
    until("every try has failed", async || {
        let (pending, now) = (deliveries(&app, "?status=pending").await, app.api.clock.now());
        let next = pending.first().and_then(|one| Timestamp::parse(one["nextTryAt"].as_str()?));
        next.into_iter().for_each(|next| app.clock.advance(next.since(now)));
        failed().await == 2
    })
    .await;
    let later = app.api.clock.now().rfc3339();
    call(&app, "PATCH", &format!("{PATH}/{made}"), Some(json!({"enabled": false}))).await;
    call(&app, "POST", &path, Some(json!({"since": since}))).await.problem(409, "CONFLICT");
    call(&app, "PATCH", &format!("{PATH}/{made}"), Some(json!({"enabled": true}))).await;
    broken.store(false, SeqCst);
    let replayed = async |body: Value| call(&app, "POST", &path, Some(body)).await.json()["replayed"].clone();
    assert_eq!(replayed(json!({"since": later})).await, 0, "nothing that failed is so young");
    assert_eq!(replayed(json!({"since": since, "status": "failed"})).await, 1, "a test is not sent again");
    until("it is taken", async || !deliveries(&app, "?status=delivered").await.is_empty()).await;
    let again = replayed(json!({"since": since})).await;
    assert_eq!(again, 0, "what was taken is not sent again");
    let problem = call(&app, "POST", &path, Some(json!({"status": "lost", "sinc": 1}))).await.problem(422, "INVALID_PARAMETERS");
    assert_eq!(problem["errors"].as_array().unwrap().len(), 3, "{problem}");
    let request = TestRequest::post().uri(&path).set_json(json!({"since": since}));
    app.send(with_key(request, &app.stranger)).await.problem(404, "NOT_FOUND");
}

async fn nothing_is_sent_to_private_addresses_unless_that_is_allowed(bed: &Bed) {
    let (app, receiver) = (TestApp::on(bed).await, receiver().await);
    start(&app, Clock::System);
    for url in
        [receiver.base.as_str(), "https://127.0.0.1/x", "https://[::1]/", "https://169.254.169.254/", "https://u:p@example.com/"]
    {
        let answer = call(&app, "POST", PATH, Some(json!({"url": url}))).await;
        assert_eq!(answer.problem(422, "INVALID_PARAMETERS")["errors"][0]["code"], "not_allowed", "{url}");
    }
    let mut wish = ask();
    // A name that leads here: where it leads is known when it is sent.
    wish["webhookUrl"] = json!(receiver.base.replace("http://127.0.0.1", "https://localhost"));
    let id = app.post(&wish).await.json()["id"].as_str().unwrap().to_owned();
    finish(&app, &id).await;
    until("it is dropped", async || !deliveries(&app, "?status=dropped").await.is_empty()).await;
    let dropped = &deliveries(&app, "").await[0];
    assert!(dropped["lastError"].as_str().unwrap().contains("not allowed"), "{dropped}");
    assert_eq!(receiver.requests().len(), 0);
}

async fn endpoints_belong_to_their_project_and_say_all_that_is_wrong_with_them(bed: &Bed) {
    let app = TestApp::on(bed).await;
    let made = call(&app, "POST", PATH, Some(json!({"url": "https://example.com/hook", "eventTypes": ["batch.*"]}))).await;
    assert_eq!(made.status, 201);
    let path = format!("{PATH}/{}", made.json()["id"].as_str().unwrap());
    for (method, tail) in [("GET", ""), ("DELETE", ""), ("GET", "/secret"), ("POST", "/rotate"), ("POST", "/test")] {
        let request = TestRequest::with_uri(&format!("{path}{tail}")).method(method.parse().unwrap());
        app.send(with_key(request, &app.stranger)).await.problem(404, "NOT_FOUND");
    }
    assert_eq!(app.send(with_key(TestRequest::get().uri(PATH), &app.stranger)).await.json()["data"], json!([]));
    let wrong = json!({"url": 7, "eventTypes": ["generation.exploded"], "enabled": "yes", "colour": 1});
    let problem = call(&app, "PATCH", &path, Some(wrong)).await.problem(422, "INVALID_PARAMETERS");
    assert_eq!(problem["errors"].as_array().unwrap().len(), 4);
    app.get(&format!("{PATH}/deliveries?status=lost&limit=0")).await.problem(422, "INVALID_PARAMETERS");
    assert_eq!(app.get(PATH).await.json()["data"][0]["eventTypes"], json!(["batch.*"]));
    assert_eq!(call(&app, "DELETE", &path, None).await.status, 204);
    app.get(&path).await.problem(404, "NOT_FOUND");
}
