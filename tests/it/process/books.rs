//! The books against the simulator's own billing ledger: for every attempt whose id at the provider is known they are equal to the
//! unit, also after a kill; and what the provider billed beyond that is at risk with us.

use std::{collections::BTreeMap, time::Instant};

use serde_json::{Value, json};

use super::{BOUND, Bed, LOOK, Server};

/// What is submitted: model, directives, outputs.
const LOAD: [(&str, &str, u16); 14] = [
    ("kling-2.6", "plain", 1),
    ("kling-2.6", "[[sim drop=after times=1]]", 1),
    ("kling-2.6", "[[sim fail=1]]", 1),
    ("kling-2.6", "[[sim refuse=5001 times=1]]", 1),
    ("kling-2.6", "two of them", 2),
    ("kling-2.6", "[[sim http=500 times=1]]", 1),
    ("flux-2-pro", "plain", 1),
    ("flux-2-pro", "[[sim drop=after times=1]]", 1),
    ("flux-2-pro", "[[sim drop=before times=1]]", 1),
    ("flux-2-pro", "[[sim fail=1]]", 1),
    ("flux-2-pro", "[[sim refuse=422 times=1]]", 2),
    ("flux-2-pro", "[[sim throttle=1]]", 1),
    ("flux-2-pro", "three of them", 3),
    ("flux-pro-1.1", "plain", 1),
];

fn micros(text: &Value) -> i64 {
    let text = text.as_str().unwrap_or_else(|| panic!("no amount: {text}"));
    let (whole, fraction) = text.split_once('.').unwrap();
    assert_eq!(fraction.len(), 6, "{text}");
    format!("{whole}{fraction}").parse().unwrap()
}

/// Charged, at risk and held of everything that was submitted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sums {
    held: i64,
    charged: i64,
    at_risk: i64,
}

impl Sums {
    fn add(&mut self, told: &Value) {
        self.held += micros(&told["held"]);
        self.charged += micros(&told["charged"]);
        self.at_risk += micros(&told["atRisk"]);
    }
}

async fn get(bed: &Bed, server: &Server, admin: &str, path: &str) -> Value {
    let reply = bed.http.get(format!("{}{path}", server.url)).bearer_auth(admin).send().await.unwrap();
    assert_eq!(reply.status(), 200, "{path}");
    reply.json().await.unwrap()
}

fn admin_key(bed: &Bed) -> String {
    let made = bed.command().args(["keys", "create", "--name", "boss", "--admin", "--json"]).output().unwrap();
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    made["key"].as_str().unwrap().to_owned()
}

async fn submit_all(bed: &Bed, server: &Server, round: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for (at, (model, prompt, outputs)) in LOAD.iter().enumerate() {
        let body = json!({"modelIdentifier": model, "prompt": format!("{round}.{at} {prompt}"), "numberOfOutputs": outputs});
        ids.push(bed.submit(server, body).await);
    }
    // One that never leaves: cancelled at once, or delivered if it was faster.
    let id = bed.submit(server, json!({"modelIdentifier": "flux-2-pro", "prompt": format!("{round} cancelled")})).await;
    let url = format!("{}/api/external/generation/{id}/cancel", server.url);
    assert!(bed.http.post(url).bearer_auth(&bed.key).send().await.unwrap().status().is_success());
    ids.push(id);
    ids
}

/// Compares every attempt with the provider's ledger, and the report with the sum of the generations' ledgers.
async fn books_agree(bed: &Bed, server: &Server, admin: &str, ids: &[String]) {
    let provider = bed.ledger().await;
    let mut billed: BTreeMap<&str, i64> = BTreeMap::new();
    for entry in &provider {
        billed.insert(entry["taskId"].as_str().unwrap(), entry["microUsd"].as_i64().unwrap());
    }
    let (mut all, mut known) = (Sums::default(), 0);
    for id in ids {
        let ledger = get(bed, server, admin, &format!("/api/admin/generations/{id}/ledger")).await;
        let mut attempts = Sums::default();
        for attempt in ledger["attempts"].as_array().unwrap() {
            attempts.add(attempt);
            match attempt["providerTaskId"].as_str() {
                Some(task) => {
                    let theirs = billed.remove(task).unwrap_or_else(|| panic!("the provider knows no {task}: {ledger}"));
                    assert_eq!(micros(&attempt["charged"]), theirs, "{task}: {ledger}");
                    known += 1;
                }
                None => assert_eq!(micros(&attempt["charged"]), 0, "charged without an id: {ledger}"),
            }
        }
        let mut total = Sums::default();
        total.add(&ledger["total"]);
        assert_eq!(total, attempts, "the rows say what the attempts say: {ledger}");
        assert_eq!(total.held, 0, "nothing is held once all is over: {ledger}");
        all.add(&ledger["total"]);
        let shown = bed.show(server, id).await;
        assert_eq!(shown["cost"]["charged"], ledger["total"]["charged"]);
        assert_eq!(shown["cost"]["atRisk"], ledger["total"]["atRisk"]);
    }
    assert!(known >= ids.len() / 2, "only {known} attempts with a known id");
    let unknown: i64 = billed.values().sum();
    assert!(unknown <= all.at_risk, "billed beyond what is known: {unknown}, at risk: {}", all.at_risk);
    assert!(unknown > 0, "some answer was lost for good");
    let report = get(bed, server, admin, "/api/admin/spend").await;
    let mut told = Sums::default();
    told.add(&report["total"]);
    assert_eq!(told, all, "the days' sums are the sum of the ledgers");
}

async fn through_faults_and_a_kill(bed: Bed) {
    let admin = admin_key(&bed);
    let server = bed.serve();
    let mut ids = submit_all(&bed, &server, 1).await;
    for id in &ids {
        bed.ended(&server, id).await;
    }
    books_agree(&bed, &server, &admin, &ids).await;
    ids.extend(submit_all(&bed, &server, 2).await);
    bed.wait(&server, &ids[15], "at the provider", |shown| shown["attempts"][0]["providerTaskId"].is_string()).await;
    server.kill();
    let server = bed.serve();
    for id in &ids {
        bed.ended(&server, id).await;
    }
    books_agree(&bed, &server, &admin, &ids).await;
}

#[actix_web::test]
async fn the_books_equal_the_providers_through_faults_and_a_kill() {
    through_faults_and_a_kill(Bed::with(quick())).await;
}

#[actix_web::test]
async fn the_books_equal_the_providers_through_faults_and_a_kill_on_postgresql() {
    let Some(database) = crate::store::bed::Bed::postgres().await else { return };
    let mut environment = quick();
    environment.push(("LONGTAKE__STORE__URL", database.config.url.clone()));
    through_faults_and_a_kill(Bed::with(environment)).await;
    database.drop_all().await;
}

/// Retries soon, and doubts that end soon; nothing else is different.
fn quick() -> Vec<(&'static str, String)> {
    vec![
        ("LONGTAKE__PROVIDERS__KLING__RETRY__INITIAL_DELAY_MS", "50".to_owned()),
        ("LONGTAKE__PROVIDERS__FLUX__RETRY__INITIAL_DELAY_MS", "50".to_owned()),
        ("LONGTAKE__DISPATCH__RECONCILE_VIDEO_S", "3".to_owned()),
        ("LONGTAKE__DISPATCH__NOT_AFTER_MS", "1000".to_owned()),
        ("LONGTAKE__PROVIDERS__KLING__SUBMIT_TIMEOUT_MS", "2000".to_owned()),
        ("LONGTAKE__PROVIDERS__FLUX__SUBMIT_TIMEOUT_MS", "2000".to_owned()),
    ]
}

/// The line of an account in the report's balances.
fn balance<'a>(report: &'a Value, provider: &str) -> &'a Value {
    let all = report["balances"].as_array().unwrap();
    all.iter().find(|line| line["provider"] == provider).unwrap_or(&Value::Null)
}

#[actix_web::test]
async fn balances_are_read_where_a_provider_tells_them_and_stand_beside_the_books() {
    let bed = Bed::with(vec![("LONGTAKE__SPEND__BALANCES_S", "1".to_owned())]);
    let admin = admin_key(&bed);
    let server = bed.serve();
    let report = async |what: &str, done: &dyn Fn(&Value) -> bool| {
        let start = Instant::now();
        loop {
            let report = get(&bed, &server, &admin, "/api/admin/spend").await;
            if done(&report) {
                return report;
            }
            assert!(start.elapsed() < BOUND, "{what}: {}", report["balances"]);
            tokio::time::sleep(LOOK).await;
        }
    };
    let all = |report: &Value| ["flux", "kling", "pollo"].iter().all(|name| balance(report, name)["amount"].is_string());
    let first = report("every balance is read", &all).await;
    assert_eq!((&balance(&first, "flux")["unit"], &balance(&first, "kling")["unit"]), (&json!("credits"), &json!("units")));
    assert_eq!(balance(&first, "kling")["pack"], "Sandbox pack");
    assert_eq!((balance(&first, "replicate"), balance(&first, "tuzi")), (&Value::Null, &Value::Null));
    let before = micros(&balance(&first, "flux")["amount"]);
    let id = bed.submit(&server, json!({"modelIdentifier": "flux-2-pro", "prompt": "three credits"})).await;
    bed.ended(&server, &id).await;
    // That the one before was another shows for an interval only, which a slow machine may miss.
    let spent = |report: &Value| {
        let line = balance(report, "flux");
        line["previousAmount"].is_string() && micros(&line["amount"]) == before - 3_000_000
    };
    let second = report("what was spent shows", &spent).await;
    assert_eq!(balance(&second, "flux")["error"], Value::Null);
    let later =
        report("a quiet interval", &|report| balance(report, "flux")["previousAmount"] == balance(report, "flux")["amount"])
            .await;
    assert_eq!(balance(&later, "flux")["ledgerCharged"], "0.000000");
    // The command reads what the server last wrote down, beside it.
    let told = bed.command().args(["spend", "--json"]).output().unwrap();
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(balance(&told, "flux")["amount"], balance(&later, "flux")["amount"]);
    assert_eq!(balance(&told, "kling")["pack"], "Sandbox pack");
    let told = bed.command().args(["spend", "--provider", "pollo"]).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    let left = told.split("Left at the providers").nth(1).unwrap();
    assert!(left.contains("pollo") && left.contains("credits") && !left.contains("flux"), "{told}");
}
