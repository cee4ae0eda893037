//! Black Forest Labs: regional polling, validation, moderation and expiry.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};

use super::{Rig, decoded, header, receiver, run, text};

#[test]
fn an_image_is_polled_where_the_answer_says_and_nowhere_else() {
    run(async {
        let rig = Rig::start();
        let body = json!({"prompt": "p [[sim slow=800]]", "width": 320, "height": 256, "output_format": "png", "seed": 7});
        let (status, created) = rig.post("/flux/v1/flux-pro-1.1", &body).await;
        assert_eq!((status, &created["cost"]), (200, &json!(4.0)));
        let url = text(&created["polling_url"]).to_owned();
        let (status, elsewhere) = rig.get(&format!("/flux/v1/get_result?id={}", text(&created["id"]))).await;
        assert_eq!((status, &elsewhere["status"]), (200, &json!("Task not found")));
        assert_eq!(rig.get(&url).await.1["status"], "Pending");
        let done = rig.until(&url, |body| body["status"] == "Ready").await;
        assert_eq!((&done["result"]["seed"], &done["progress"]), (&json!(7), &json!(1.0)));
        assert_eq!(decoded(&rig.download(text(&done["result"]["sample"])).await), (320, 256));
        assert_eq!(rig.ledger("tag=7").await["entries"][0]["microUsd"], 40_000);
    });
}

#[test]
fn each_model_has_its_own_bounds() {
    run(async {
        let rig = Rig::start();
        let refused = [
            ("flux-pro-1.1", json!({"prompt": "p", "width": 1_000})),
            ("flux-2-pro", json!({"prompt": "p", "width": 1_000})),
            ("flux-2-pro", json!({"prompt": "p", "safety_tolerance": 6})),
            ("flux-2-pro", json!({"prompt": "p", "width": 4_096, "height": 2_048})),
            ("flux-kontext-pro", json!({"input_image": "x"})),
            ("flux-dev", json!({"prompt": 5})),
        ];
        for (model, body) in refused {
            let (status, answer) = rig.post(&format!("/flux/v1/{model}"), &body).await;
            assert_eq!(status, 422, "{model} {body}");
            assert_eq!(answer["detail"][0]["loc"][0], "body");
        }
        let accepted = [
            ("flux-pro-1.1", json!({"prompt": "p", "width": 1_024, "safety_tolerance": 6, "unknown": true})),
            ("flux-2-flex", json!({"prompt": "p", "width": 0, "height": 1_008})),
            ("flux-kontext-max", json!({"prompt": "p", "aspect_ratio": "21:9"})),
        ];
        for (model, body) in accepted {
            assert_eq!(rig.post(&format!("/flux/v1/{model}"), &body).await.0, 200, "{model} {body}");
        }
        assert_eq!(rig.post("/flux/v1/flux-9", &json!({"prompt": "p"})).await.0, 404);
        assert_eq!(rig.get("/flux/v1/credits").await.1["credits"], 1_000_000 - 4 - 5 - 8);
    });
}

#[test]
fn keys_active_tasks_and_credit_are_refused_by_status() {
    run(async {
        let rig = Rig::with(|config| config.flux.active_tasks = 1);
        let url = format!("{}/flux/v1/flux-dev", rig.simulator.url);
        assert_eq!(rig.client.post(&url).json(&json!({})).send().await.unwrap().status(), 403);
        assert_eq!(rig.client.post(&url).header("x-key", "bad").json(&json!({})).send().await.unwrap().status(), 401);
        assert_eq!(rig.post("/flux/v1/flux-dev", &json!({"prompt": "[[sim slow=60000]]"})).await.0, 200);
        assert_eq!(rig.post("/flux/v1/flux-dev", &json!({"prompt": "p"})).await.0, 429);
        assert_eq!(rig.post("/flux/v1/flux-dev", &json!({"prompt": "[[sim refuse=402]]"})).await.0, 402);
    });
}

#[test]
fn moderation_and_errors_are_status_words_and_stay_billed() {
    run(async {
        let rig = Rig::start();
        let words = [("moderated", "Request Moderated"), ("content", "Content Moderated"), ("boom", "Error")];
        for (value, word) in words {
            let (_, created) = rig.post("/flux/v1/flux-dev", &json!({"prompt": format!("[[sim fail={value}]]")})).await;
            let (status, done) = rig.get(text(&created["polling_url"])).await;
            assert_eq!((status, &done["status"], &done["result"]), (200, &json!(word), &Value::Null));
        }
        assert_eq!(rig.ledger("").await["totals"]["flux"]["billed"], 3);
    });
}

#[test]
fn a_webhook_replaces_the_polling_url_and_signs_the_body_alone() {
    run(async {
        let rig = Rig::start();
        let (url, mut hooks) = receiver(vec![]).await;
        let body = json!({"prompt": "p", "webhook_url": url, "webhook_secret": "s3cret"});
        let (_, created) = rig.post("/flux/v1/flux-2-pro", &body).await;
        assert!(created.get("polling_url").is_none());
        assert_eq!(created["webhook_url"], url);
        let (head, raw) = hooks.recv().await.unwrap();
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"s3cret").unwrap();
        mac.update(&raw);
        let expected = super::super::files::hex(&mac.finalize().into_bytes());
        assert_eq!(header(&head, "x-bfl-signature"), format!("sha256={expected}"));
        let (_, done) = rig.get(&format!("/flux/v1/get_result?id={}", text(&created["id"]))).await;
        assert_eq!(done["status"], "Ready");
    });
}
