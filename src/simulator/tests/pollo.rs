//! Pollo: both generations of paths, empty lists at first, unknown fields that bill, bare signatures.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};

use super::{Rig, header, receiver, run, text};

const LEGACY: &str = "/pollo/api/platform/generation/pollo/pollo-v2-0";

#[test]
fn a_video_waits_with_an_empty_list_and_succeeds_item_by_item() {
    run(async {
        let rig = Rig::start();
        let body = json!({"input": {"prompt": "p [[sim slow=2000]]", "length": 5, "seed": 9}});
        let (status, created) = rig.post(LEGACY, &body).await;
        assert_eq!((status, &created["code"], &created["data"]["status"]), (200, &json!("SUCCESS"), &json!("waiting")));
        let path = format!("/pollo/api/platform/generation/{}/status", text(&created["data"]["taskId"]));
        let (_, first) = rig.get(&path).await;
        assert_eq!((&first["data"]["generations"], &first["data"]["credit"]), (&json!([]), &json!(10)));
        let done = rig.until(&path, |body| body["data"]["generations"][0]["status"] == "succeed").await;
        let item = &done["data"]["generations"][0];
        assert_eq!(item["mediaType"], "video");
        rig.download(text(&item["url"])).await;
        let entry = &rig.ledger("tag=9").await["entries"][0];
        assert_eq!((&entry["billed"], &entry["microUsd"]), (&json!(true), &json!(700_000)));
    });
}

#[test]
fn a_misnamed_length_runs_with_the_default_and_bills() {
    run(async {
        let rig = Rig::with(|config| config.pollo.wrapped = false);
        let (status, created) = rig.post(LEGACY, &json!({"input": {"prompt": "p", "duration": 10}})).await;
        assert_eq!(status, 200);
        let id = text(&created["taskId"]);
        let (_, done) = rig.get(&format!("/pollo/api/platform/v1/generation/{id}/status")).await;
        assert_eq!(done["credit"], 10);
        assert_eq!(rig.get("/pollo/api/platform/credit/balance").await.1["availableCredits"], 999_990);
    });
}

#[test]
fn refusals_have_a_text_for_a_code() {
    run(async {
        let rig = Rig::start();
        let (status, body) = rig.post(LEGACY, &json!({"prompt": "p"})).await;
        assert_eq!((status, &body["code"]), (400, &json!("BAD_REQUEST")));
        assert_eq!(rig.post(LEGACY, &json!({"input": {"prompt": "p", "resolution": "720P"}})).await.0, 400);
        let bad = rig.client.post(format!("{}{LEGACY}", rig.simulator.url)).header("x-api-key", "bad").json(&json!({}));
        let (status, body) = super::read(bad.send().await.unwrap()).await;
        assert_eq!((status, &body["code"]), (401, &json!("UNAUTHORIZED")));
        assert_eq!(rig.get("/pollo/api/platform/task/status/cm1").await.0, 404);
        let (status, page) = rig.post(LEGACY, &json!({"input": {"prompt": "p [[sim refuse=html]]"}})).await;
        assert!(status == 429 && text(&page).contains("Cloudflare"));
        let (status, body) = rig.post(LEGACY, &json!({"input": {"prompt": "p [[sim refuse=credit]]"}})).await;
        assert!(status == 403 && text(&body["message"]).contains("credit"));
    });
}

#[test]
fn the_webhook_tells_the_tasks_status_and_is_signed_without_a_version() {
    run(async {
        let rig = Rig::start();
        let (url, mut hooks) = receiver(vec![]).await;
        let path = "/pollo/api/platform/v1/generation/pollo-ai/pollo-v2-5/image";
        let (_, created) = rig.post(path, &json!({"input": {"prompt": "p [[sim fail=oops]]"}, "webhookUrl": url})).await;
        let (head, raw) = hooks.recv().await.unwrap();
        let body: Value = serde_json::from_slice(&raw).unwrap();
        assert_eq!((&body["taskId"], &body["status"]), (&created["data"]["taskId"], &json!("failed")));
        assert_eq!(body["generations"][0]["failMsg"], "oops");
        // The head was made lower case, which base64 does not survive: compare in that form.
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"sandbox-pollo-webhook-key").unwrap();
        mac.update(format!("{}.{}.", header(&head, "x-webhook-id"), header(&head, "x-webhook-timestamp")).as_bytes());
        mac.update(&raw);
        let expected = STANDARD.encode(mac.finalize().into_bytes()).to_lowercase();
        assert_eq!(header(&head, "x-webhook-signature"), expected);
    });
}
