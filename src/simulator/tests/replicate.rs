//! Replicate: the three create calls, cancel, list, deadlines, removed data and the `Prefer: wait` trap.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Rig, decoded, read, receiver, run, text};

const CREATE: &str = "/replicate/v1/predictions";
const MODEL: &str = "/replicate/v1/models/black-forest-labs/flux-schnell/predictions";

fn version() -> String {
    format!("stability-ai/sdxl:{}", "39ed".repeat(16))
}

#[test]
fn a_prediction_starts_without_output_and_ends_with_files() {
    run(async {
        let rig = Rig::start();
        let input = json!({"prompt": "p [[sim slow=800]]", "width": 256, "height": 192, "seed": 5});
        let (status, created) = rig.post(CREATE, &json!({"version": version(), "input": input})).await;
        assert_eq!((status, &created["status"], &created["input"]["seed"]), (201, &json!("starting"), &json!(5)));
        assert!(created.get("output").is_none());
        assert_eq!((text(&created["id"]).len(), &created["model"]), (26, &json!("stability-ai/sdxl")));
        let url = text(&created["urls"]["get"]).to_owned();
        let running = rig.until(&url, |body| body["status"] != "starting").await;
        assert!(running["status"] == "succeeded" || running.get("output").is_none());
        let done = rig.until(&url, |body| body["status"] == "succeeded").await;
        assert_eq!(decoded(&rig.download(text(&done["output"][0])).await), (256, 192));
        assert!(done["metrics"]["predict_time"].as_f64().unwrap() > 0.0);
        let deployed = "/replicate/v1/deployments/acme/video-maker/predictions";
        let (_, video) = rig.post(deployed, &json!({"input": {"prompt": "p"}})).await;
        assert_eq!(video["deployment"], "acme/video-maker");
        let (_, video) = rig.get(text(&video["urls"]["get"])).await;
        rig.download(text(&video["output"])).await;
    });
}

#[test]
fn refusals_are_problem_documents() {
    run(async {
        let rig = Rig::start();
        let bad = rig.client.post(format!("{}{CREATE}", rig.simulator.url)).bearer_auth("bad").json(&json!({}));
        let response = bad.send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let (status, body) = read(response).await;
        assert_eq!((status, &body["title"]), (401, &json!("Unauthenticated")));
        for version in [json!("0".repeat(64)), json!("nonsense"), Value::Null] {
            assert_eq!(rig.post(CREATE, &json!({"version": version, "input": {}})).await.0, 422);
        }
        assert_eq!(rig.post(MODEL, &json!({"input": "p"})).await.0, 422);
        assert_eq!(rig.post(MODEL, &json!({"input": {}, "webhook": "ftp://x"})).await.0, 422);
        assert_eq!(rig.post("/replicate/v1/models/unknown/unknown/predictions", &json!({"input": {}})).await.0, 404);
        assert_eq!(rig.get("/replicate/v1/predictions/nothing").await.0, 404);
    });
}

#[test]
fn the_rate_limit_says_when_it_resets() {
    run(async {
        let rig = Rig::with(|config| config.replicate.creates_per_minute = 1);
        assert_eq!(rig.post(MODEL, &json!({"input": {}})).await.0, 201);
        let response = rig.call(Method::POST, MODEL).json(&json!({"input": {}})).send().await.unwrap();
        assert_eq!(response.headers()["ratelimit-remaining"], "0");
        let (status, body) = read(response).await;
        assert_eq!(status, 429);
        assert!((1..=60).contains(&body["retry_after"].as_u64().unwrap()));
        assert_eq!(rig.ledger("").await["totals"]["replicate"]["submits"], 1);
    });
}

#[test]
fn waiting_answers_processing_with_the_output_inline() {
    run(async {
        let rig = Rig::with(|config| config.tiny_outputs = true);
        let call = rig.call(Method::POST, MODEL).header("prefer", "wait=10").json(&json!({"input": {"prompt": "p"}}));
        let response = call.send().await.unwrap();
        assert_eq!(response.headers()["preference-applied"], "wait=10");
        let (status, body) = read(response).await;
        assert_eq!((status, &body["status"]), (201, &json!("processing")));
        assert!(text(&body["output"][0]).starts_with("data:image/png;base64,"));
    });
}

#[test]
fn a_canceled_prediction_is_billed_for_the_time_it_used() {
    run(async {
        let rig = Rig::with(|config| config.image_ms = 60_000);
        let (_, created) = rig.post(MODEL, &json!({"input": {"prompt": "p"}})).await;
        assert_eq!(rig.ledger("").await["entries"][0]["billed"], false);
        let (status, canceled) = rig.post(text(&created["urls"]["cancel"]), &json!({})).await;
        assert_eq!((status, &canceled["status"], &canceled["output"]), (200, &json!("canceled"), &Value::Null));
        let entry = rig.ledger("").await["entries"][0].clone();
        assert_eq!((&entry["billed"], &entry["outcome"], &entry["cancels"]), (&json!(true), &json!("canceled"), &json!(1)));
        assert!(entry["microUsd"].as_u64().unwrap() < 60_000);
        assert_eq!(rig.post(text(&created["urls"]["cancel"]), &json!({})).await.1["status"], "canceled");
    });
}

#[test]
fn a_deadline_before_the_start_aborts_unbilled() {
    run(async {
        let rig = Rig::with(|config| config.image_ms = 600_000);
        let call = rig.call(Method::POST, MODEL).header("cancel-after", "90s").json(&json!({"input": {}}));
        let (status, body) = read(call.send().await.unwrap()).await;
        assert_eq!(status, 201);
        assert!(body["deadline"].is_string());
        let short = rig.call(Method::POST, MODEL).header("cancel-after", "1s").json(&json!({"input": {}}));
        assert_eq!(short.send().await.unwrap().status(), 422);
    });
}

#[test]
fn data_is_removed_after_its_lifetime() {
    run(async {
        let rig = Rig::start();
        let (_, created) = rig.post(MODEL, &json!({"input": {"prompt": "[[sim expire=0]]"}})).await;
        let (_, gone) = rig.get(text(&created["urls"]["get"])).await;
        assert_eq!((&gone["status"], &gone["data_removed"]), (&json!("succeeded"), &json!(true)));
        assert_eq!((&gone["output"], &gone["input"]), (&Value::Null, &json!({})));
    });
}

#[test]
fn the_list_is_newest_first_in_pages_within_a_window() {
    run(async {
        let rig = Rig::start();
        for number in 0..101 {
            rig.post(MODEL, &json!({"input": {"number": number}})).await;
        }
        let (_, first) = rig.get(CREATE).await;
        assert_eq!(first["results"].as_array().unwrap().len(), 100);
        assert_eq!((&first["results"][0]["input"]["number"], &first["previous"]), (&json!(100), &Value::Null));
        let (_, second) = rig.get(text(&first["next"])).await;
        assert_eq!((&second["results"][0]["input"]["number"], &second["next"]), (&json!(0), &Value::Null));
        let (_, none) = rig.get(&format!("{CREATE}?created_before=2020-01-01T00:00:00Z")).await;
        assert_eq!(none["results"], json!([]));
        let (_, all) = rig.get(&format!("{CREATE}?created_after=2020-01-01T00:00:00%2B00:00")).await;
        assert!(text(&all["next"]).contains("created_after"));
    });
}

#[test]
fn webhooks_come_for_the_events_asked_for() {
    run(async {
        let rig = Rig::start();
        let (url, mut hooks) = receiver(vec![]).await;
        let body =
            json!({"input": {"prompt": "[[sim slow=50]]"}, "webhook": url, "webhook_events_filter": ["start", "completed"]});
        rig.post(MODEL, &body).await;
        let (head, first) = hooks.recv().await.unwrap();
        assert!(super::header(&head, "webhook-signature").starts_with("v1,"));
        let (_, second) = hooks.recv().await.unwrap();
        let status = |raw: &[u8]| serde_json::from_slice::<Value>(raw).unwrap()["status"].clone();
        assert_eq!((status(&first), status(&second)), (json!("processing"), json!("succeeded")));
        assert!(text(&rig.get("/replicate/v1/webhooks/default/secret").await.1["key"]).starts_with("whsec_"));
    });
}
