//! Submits without a clear answer, through the real binary and the simulator's billing ledger: found, sent again, given up, held, decided
//! by hand, and what turns up late.

use std::time::Instant;

use serde_json::{Value, json};

use crate::process::{BOUND, Bed, LOOK, Server};

/// Deadlines of seconds, and a provider that is asked every moment.
fn bed(more: &[(&'static str, &str)]) -> Bed {
    let mut environment = vec![
        ("LONGTAKE__DISPATCH__NOT_AFTER_MS", "1000"),
        ("LONGTAKE__DISPATCH__RECONCILE_MS", "100"),
        ("LONGTAKE__DISPATCH__RECONCILE_VIDEO_S", "60"),
        ("LONGTAKE__DISPATCH__WATCH_EVERY_MS", "300"),
    ];
    for name in ["KLING", "FLUX", "REPLICATE", "TUZI_KLING"] {
        let name: &'static str = match name {
            "KLING" => "LONGTAKE__PROVIDERS__KLING__SUBMIT_TIMEOUT_MS",
            "FLUX" => "LONGTAKE__PROVIDERS__FLUX__SUBMIT_TIMEOUT_MS",
            "REPLICATE" => "LONGTAKE__PROVIDERS__REPLICATE__SUBMIT_TIMEOUT_MS",
            _ => "LONGTAKE__PROVIDERS__TUZI_KLING__SUBMIT_TIMEOUT_MS",
        };
        environment.push((name, "1500"));
    }
    environment.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
    environment.extend(more);
    Bed::with(environment.into_iter().map(|(name, value)| (name, value.to_owned())).collect())
}

fn unconfirmed(shown: &Value) -> bool {
    (shown["status"].as_str(), shown["error"]["code"].as_str()) == (Some("FAILED"), Some("SUBMISSION_UNCONFIRMED"))
}

/// Until a late result is shown.
async fn late(bed: &Bed, server: &Server, id: &str) -> Value {
    bed.wait(server, id, "late", |shown| shown["lateResults"].as_array().is_some_and(|late| !late.is_empty())).await
}

fn sequence(history: &Value, attempt: u64) -> Vec<String> {
    let steps = history["data"].as_array().unwrap().iter().filter(|step| step["attempt"] == attempt);
    steps.map(|step| step["to"].as_str().unwrap().to_owned()).collect()
}

/// What a command prints.
fn says(bed: &Bed, arguments: &[&str]) -> (bool, String) {
    let done = bed.command().args(arguments).output().unwrap();
    (done.status.success(), String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr))
}

fn listed(bed: &Bed) -> Vec<Value> {
    let (done, said) = says(bed, &["unconfirmed", "list", "--json"]);
    assert!(done, "{said}");
    serde_json::from_str::<Vec<Value>>(&said).unwrap()
}

/// Waits until a decision came to something, and tells what.
async fn decided(bed: &Bed, id: &str, outcome: &str) -> String {
    let start = Instant::now();
    loop {
        let mine = listed(bed).into_iter().find(|row| row["id"] == id);
        if let Some(row) = mine.filter(|row| row["decision"]["outcome"] == outcome) {
            return row["decision"]["reason"].as_str().unwrap().to_owned();
        }
        assert!(start.elapsed() < BOUND, "the decision about {id} never was {outcome}");
        tokio::time::sleep(LOOK).await;
    }
}

struct Admin<'a> {
    bed: &'a Bed,
    key: String,
}

impl<'a> Admin<'a> {
    fn new(bed: &'a Bed) -> Self {
        let (_, said) = says(bed, &["keys", "create", "--name", "ops", "--admin", "--json"]);
        let made: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
        Self { bed, key: made["key"].as_str().unwrap().to_owned() }
    }

    async fn list(&self, server: &Server, query: &str) -> Value {
        let url = format!("{}/api/admin/generations?{query}", server.url);
        let reply = self.bed.http.get(url).bearer_auth(&self.key).send().await.unwrap();
        assert_eq!(reply.status(), 200);
        reply.json().await.unwrap()
    }

    async fn resolve(&self, server: &Server, id: &str, body: Value) -> (u16, Value) {
        let url = format!("{}/api/admin/generations/{id}/resolve", server.url);
        let reply = self.bed.http.post(url).bearer_auth(&self.key).json(&body).send().await.unwrap();
        (reply.status().as_u16(), reply.json().await.unwrap())
    }
}

async fn history(bed: &Bed, server: &Server, id: &str) -> Value {
    let url = format!("{}/api/external/generation/{id}/history", server.url);
    bed.http.get(url).bearer_auth(&bed.key).send().await.unwrap().json().await.unwrap()
}

async fn tasks(bed: &Bed) -> Vec<String> {
    bed.ledger().await.iter().map(|entry| entry["taskId"].as_str().unwrap().to_owned()).collect()
}

async fn found_wherever_the_provider_can_be_asked(bed: &Bed) {
    let server = bed.serve();
    let mut ids = Vec::new();
    for model in ["kling-2.6", "flux-schnell"] {
        for n in 0..2 {
            let body = json!({ "modelIdentifier": model, "prompt": format!("a {n} [[sim drop=after]]") });
            ids.push(bed.submit(&server, body).await);
        }
        // Equal prompts are told apart by a seed of our own.
        ids.push(bed.submit(&server, json!({ "modelIdentifier": model, "prompt": "a 0 [[sim drop=after]]" })).await);
    }
    for id in &ids {
        let shown = bed.ended(&server, id).await;
        assert_eq!(shown["status"], "SUCCESS", "{shown}");
        assert_eq!(shown["attempts"].as_array().unwrap().len(), 1);
    }
    assert_eq!(bed.ledger().await.len(), ids.len(), "each is billed once");
    let found: std::collections::HashSet<_> = tasks(bed).await.into_iter().collect();
    let mut shown = std::collections::HashSet::new();
    for id in &ids {
        shown.insert(bed.show(&server, id).await["attempts"][0]["providerTaskId"].as_str().unwrap().to_owned());
    }
    assert_eq!(shown, found, "no task is taken twice");
}

#[actix_web::test]
async fn a_lost_answer_is_found_by_tag_and_by_input() {
    found_wherever_the_provider_can_be_asked(&bed(&[])).await;
}

#[actix_web::test]
async fn what_never_arrived_is_sent_again_as_the_same_attempt_where_duplicates_are_refused() {
    let bed = bed(&[]);
    let server = bed.serve();
    let body = json!({ "modelIdentifier": "kling-2.6", "prompt": "lost [[sim drop=before times=1]]" });
    let id = bed.submit(&server, body).await;
    let shown = bed.ended(&server, &id).await;
    assert_eq!(shown["status"], "SUCCESS", "{shown}");
    assert_eq!(shown["attempts"].as_array().unwrap().len(), 1, "the same attempt");
    let steps = sequence(&history(&bed, &server, &id).await, 1);
    assert_eq!(steps[..4], ["submitting", "unconfirmed", "submitting", "running"], "{steps:?}");
    assert_eq!(bed.ledger().await.len(), 1);
}

#[actix_web::test]
async fn a_provider_that_hides_a_task_refuses_the_resend_and_it_is_found_in_the_end() {
    let bed = bed(&[]);
    let server = bed.serve();
    let body = json!({ "modelIdentifier": "kling-2.6", "prompt": "hidden [[sim drop=after times=1 hide=6000]]" });
    let id = bed.submit(&server, body).await;
    let shown = bed.ended(&server, &id).await;
    assert_eq!(shown["status"], "SUCCESS", "{shown}");
    let steps = sequence(&history(&bed, &server, &id).await, 1);
    assert!(steps.iter().filter(|step| *step == "submitting").count() > 1, "it was sent again: {steps:?}");
    assert_eq!(bed.ledger().await.len(), 1, "one bill");
}

#[actix_web::test]
async fn through_a_relay_it_is_only_looked_for() {
    let mut bed = bed(&[
        ("LONGTAKE__DISPATCH__RECONCILE_VIDEO_S", "1"),
        ("LONGTAKE__PROVIDERS__TUZI_KLING__ALLOW_LOOPBACK", "true"),
        ("LONGTAKE__PROVIDERS__TUZI_KLING__API_KEY", "test-relay"),
    ]);
    let base = format!("{}/tuzi", bed.simulator.url);
    bed.environment.push(("LONGTAKE__PROVIDERS__TUZI_KLING__BASE_URL", base));
    let server = bed.serve();
    for fault in ["drop=before", "drop=after"] {
        let body = json!({ "modelIdentifier": "tuzi-kling-2.6", "prompt": format!("a relay [[sim {fault}]]") });
        let id = bed.submit(&server, body).await;
        let shown = bed.ended(&server, &id).await;
        assert!(unconfirmed(&shown), "{shown}");
        assert_eq!(sequence(&history(&bed, &server, &id).await, 1), ["submitting", "unconfirmed", "given_up"]);
    }
    assert_eq!(bed.ledger().await.len(), 1, "nothing was sent again");
}

async fn ambiguous_until_an_operator_decides(bed: &Bed) {
    let server = bed.serve();
    // The same seed by the client's own choice: two equal inputs at one time.
    let body = json!({ "modelIdentifier": "flux-schnell", "prompt": "twins [[sim drop=after]]", "parameters": { "seed": 7 } });
    let (first, second) = (bed.submit(&server, body.clone()).await, bed.submit(&server, body).await);
    for id in [&first, &second] {
        let shown = bed.ended(&server, id).await;
        assert!(unconfirmed(&shown), "ambiguous is never guessed: {shown}");
    }
    let mut tasks = tasks(bed).await;
    assert_eq!(tasks.len(), 2);
    let risk: Vec<_> = listed(bed).into_iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
    assert!(risk.contains(&first) && risk.contains(&second), "{risk:?}");

    let (done, said) = says(bed, &["unconfirmed", "adopt", &first, "--provider-task", "no-such-task"]);
    assert!(done, "{said}");
    let why = decided(bed, &first, "refused").await;
    assert!(why.contains("does not know"), "{why}");
    let task = tasks.pop().unwrap();
    let (done, said) = says(bed, &["unconfirmed", "adopt", &first, "--provider-task", &task]);
    assert!(done, "{said}");
    let shown = late(bed, &server, &first).await;
    assert!(unconfirmed(&shown), "the status stays: {shown}");
    assert_eq!(shown["attempts"][0]["state"], "delivered");
    // Whoever claims the same task for the other is refused; with one task and one attempt left there is no doubt any more.
    let shown = late(bed, &server, &second).await;
    assert!(unconfirmed(&shown), "{shown}");
    assert_eq!(shown["attempts"][0]["providerTaskId"], tasks[0].as_str());
    let (done, said) = says(bed, &["unconfirmed", "adopt", &second, "--provider-task", &task]);
    assert!(!done && said.contains("none of its attempts"), "{said}");
    assert!(listed(bed).is_empty());
    assert_eq!(bed.ledger().await.len(), 2);
}

#[actix_web::test]
async fn equal_inputs_stay_unconfirmed_until_an_operator_names_one_and_the_other_follows() {
    ambiguous_until_an_operator_decides(&bed(&[])).await;
}

async fn each_policy_at_its_deadline(bed: &Bed) {
    let server = bed.serve();
    let admin = Admin::new(bed);
    let submit = async |policy: &str, prompt: &str| {
        bed.submit(&server, json!({ "modelIdentifier": "flux-2-pro", "prompt": prompt, "onUnconfirmed": policy })).await
    };
    let fails = submit("fail", "one [[sim drop=after]]").await;
    let held = submit("hold", "two [[sim drop=before]]").await;
    let again = submit("resubmit", "three [[sim drop=after times=1]]").await;
    assert!(unconfirmed(&bed.ended(&server, &fails).await));
    let shown = bed.ended(&server, &again).await;
    assert_eq!((shown["status"].as_str(), shown["onUnconfirmed"].as_str()), (Some("SUCCESS"), Some("resubmit")), "{shown}");
    let states: Vec<_> = shown["attempts"].as_array().unwrap().iter().map(|attempt| attempt["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["given_up", "delivered"]);
    assert_eq!(bed.show(&server, &held).await["stage"], "unconfirmed", "it is held");

    let page = admin.list(&server, "stage=unconfirmed&limit=2").await;
    assert_eq!((page["data"].as_array().unwrap().len(), page["hasMore"].as_bool()), (2, Some(true)));
    let next = page["nextCursor"].as_str().unwrap().to_owned();
    let rest = admin.list(&server, &format!("stage=unconfirmed&limit=2&cursor={next}")).await;
    assert_eq!((rest["data"].as_array().unwrap().len(), rest["hasMore"].as_bool()), (1, Some(false)));
    assert_eq!(rest["data"][0]["id"], fails.as_str());
    assert_eq!(rest["data"][0]["atRisk"], "0.030000");

    // The one that was resubmitted was made twice: the first shows up late.
    let twice: Vec<_> =
        bed.ledger().await.into_iter().filter(|entry| entry["prompt"].as_str().unwrap().contains("three")).collect();
    assert_eq!(twice.len(), 2, "the client asked for it");
    // BFL knows a task where it is polled, not everywhere.
    let task = format!("{}/flux/regions/eu1/v1/get_result?id={}", bed.simulator.url, twice[0]["taskId"].as_str().unwrap());
    let (status, answer) = admin.resolve(&server, &again, json!({ "decision": "adopt", "providerTask": task })).await;
    assert_eq!((status, answer["decision"]["outcome"].as_str()), (202, Some("open")), "{answer}");
    let shown = late(bed, &server, &again).await;
    assert_eq!((shown["status"].as_str(), shown["results"].as_array().unwrap().len()), (Some("SUCCESS"), 1));

    // What is held ends by a word, at once.
    let (status, _) = admin.resolve(&server, &held, json!({ "decision": "lost" })).await;
    assert_eq!(status, 202);
    assert!(unconfirmed(&bed.ended(&server, &held).await));
    let (status, answer) = admin.resolve(&server, &held, json!({ "decision": "lost" })).await;
    assert_eq!((status, answer["code"].as_str()), (409, Some("CONFLICT")), "{answer}");
    let left = admin.list(&server, "stage=unconfirmed").await;
    let ids: Vec<_> = left["data"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [fails.as_str()], "what is decided is gone from the list");
}

#[actix_web::test]
async fn fail_hold_and_resubmit_do_what_they_say() {
    each_policy_at_its_deadline(&bed(&[])).await;
}

#[actix_web::test]
async fn a_hold_ends_too() {
    let bed = bed(&[("LONGTAKE__DISPATCH__HOLD_S", "6"), ("LONGTAKE__PROVIDERS__FLUX__ON_UNCONFIRMED", "hold")]);
    let server = bed.serve();
    let id = bed.submit(&server, json!({ "modelIdentifier": "flux-2-pro", "prompt": "held [[sim drop=before]]" })).await;
    let held = |shown: &Value| shown["why"].as_str().is_some_and(|why| why.contains("held for an operator"));
    assert_eq!(bed.wait(&server, &id, "held", held).await["onUnconfirmed"], "hold");
    assert!(unconfirmed(&bed.ended(&server, &id).await));
}

#[actix_web::test]
async fn what_is_found_after_the_deadline_is_delivered_late_and_the_status_stays() {
    let bed = bed(&[("LONGTAKE__DISPATCH__RECONCILE_VIDEO_S", "1")]);
    let server = bed.serve();
    let body = json!({ "modelIdentifier": "kling-2.6", "prompt": "late [[sim drop=after hide=9000]]" });
    let id = bed.submit(&server, body).await;
    assert!(unconfirmed(&bed.ended(&server, &id).await));
    let shown = late(&bed, &server, &id).await;
    assert!(unconfirmed(&shown) && shown["results"].as_array().unwrap().is_empty(), "{shown}");
    let steps = sequence(&history(&bed, &server, &id).await, 1);
    assert_eq!(steps[steps.len() - 4..], ["given_up", "running", "storing", "delivered"], "{steps:?}");
    assert_eq!(bed.ledger().await.len(), 1);
}

#[actix_web::test]
async fn what_is_done_after_the_late_window_is_delivered_late_too() {
    let bed = bed(&[
        ("LONGTAKE__POLLING__MAX_IMAGE_S", "1"),
        ("LONGTAKE__POLLING__LATE_IMAGE_S", "1"),
        ("LONGTAKE__POLLING__OVERDUE_MS", "100"),
    ]);
    let server = bed.serve();
    let id = bed.submit(&server, json!({ "modelIdentifier": "flux-2-pro", "prompt": "slow [[sim slow=6000]]" })).await;
    assert_eq!(bed.ended(&server, &id).await["error"]["code"], "TASK_TIMEOUT");
    let shown = late(&bed, &server, &id).await;
    assert_eq!((shown["status"].as_str(), shown["error"]["code"].as_str()), (Some("FAILED"), Some("TASK_TIMEOUT")));
    assert_eq!(bed.ledger().await.len(), 1);
}

#[actix_web::test]
async fn on_postgresql_doubts_end_as_on_sqlite() {
    let Some(database) = crate::store::bed::Bed::postgres().await else { return };
    let bed = bed(&[("LONGTAKE__STORE__URL", &database.config.url)]);
    found_wherever_the_provider_can_be_asked(&bed).await;
    drop(bed);
    database.drop_all().await;
    for test in [0, 1] {
        let Some(database) = crate::store::bed::Bed::postgres().await else { return };
        let bed = self::bed(&[("LONGTAKE__STORE__URL", &database.config.url)]);
        match test {
            0 => ambiguous_until_an_operator_decides(&bed).await,
            _ => each_policy_at_its_deadline(&bed).await,
        }
        drop(bed);
        database.drop_all().await;
    }
}
