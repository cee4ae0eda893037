//! Kling: both standards, client ids, keys, limits and signed callbacks.

use base64::Engine as _;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Rig, header, kling_body, read, receiver, run, text};

const TEXT: &str = "/kling/v1/videos/text2video";

#[test]
fn a_legacy_video_is_found_by_both_ids_and_billed_once_it_succeeds() {
    run(async {
        let rig = Rig::start();
        let mut body = kling_body("a cat [[sim slow=800]]");
        body["external_task_id"] = json!("job-1");
        let (status, created) = rig.post(TEXT, &body).await;
        assert_eq!((status, &created["code"], &created["message"]), (200, &json!(0), &json!("SUCCEED")));
        assert_eq!(created["data"]["task_info"]["external_task_id"], "job-1");
        assert_eq!(created["data"]["task_status"], "submitted");
        assert_eq!(rig.ledger("tag=job-1").await["entries"][0]["billed"], false);
        let id = text(&created["data"]["task_id"]).to_owned();
        assert!(id.parse::<u64>().unwrap() > 1 << 53);
        let done = rig.until(&format!("{TEXT}/job-1"), |body| body["data"]["task_status"] == "succeed").await;
        assert_eq!(done["data"]["task_id"], id);
        let video = &done["data"]["task_result"]["videos"][0];
        assert_eq!(video["duration"], "5.0");
        assert_eq!(done["data"]["final_unit_deduction"], "1.5");
        let bytes = rig.download(text(&video["url"])).await;
        assert_eq!(&bytes[4..8], b"ftyp");
        let entry = rig.ledger("tag=job-1").await["entries"][0].clone();
        assert_eq!(
            (&entry["billed"], &entry["microUsd"], &entry["outcome"]),
            (&json!(true), &json!(210_000), &json!("succeeded"))
        );
        // The path family must match the create path.
        let (status, other) = rig.get(&format!("/kling/v1/videos/image2video/{id}")).await;
        assert_eq!((status, &other["code"]), (400, &json!(1201)));
        assert_eq!(rig.get(&format!("{TEXT}?pageSize=5")).await.1["data"][0]["task_id"], id);
    });
}

#[test]
fn images_come_as_many_as_asked_and_all_differ() {
    run(async {
        let rig = Rig::start();
        let path = "/kling/v1/images/generations";
        let (_, created) = rig.post(path, &json!({"prompt": "p", "n": 2, "aspect_ratio": "1:1"})).await;
        let (_, done) = rig.get(&format!("{path}/{}", text(&created["data"]["task_id"]))).await;
        let images = done["data"]["task_result"]["images"].as_array().unwrap();
        let (one, two) = (rig.download(text(&images[0]["url"])).await, rig.download(text(&images[1]["url"])).await);
        assert_eq!(super::decoded(&one), (720, 720));
        assert_ne!(one, two);
    });
}

#[test]
fn the_new_standard_has_its_own_words_and_takes_no_jwt() {
    run(async {
        let rig = Rig::start();
        let body = json!({"prompt": "p", "settings": {"duration": 3}, "options": {"external_task_id": "new-1"}});
        let (status, created) = rig.post("/kling/text-to-video/kling-3.0-turbo", &body).await;
        assert_eq!((status, &created["data"]["external_id"]), (200, &json!("new-1")));
        let (_, found) = rig.get("/kling/tasks?external_task_ids=new-1,nobody").await;
        assert_eq!(found["data"].as_array().unwrap().len(), 1);
        assert_eq!(
            (&found["data"][0]["status"], &found["data"][0]["billing"][0]["amount"]),
            (&json!("succeeded"), &json!("2.4"))
        );
        rig.download(text(&found["data"][0]["outputs"][0]["url"])).await;
        let (status, both) = rig.get("/kling/tasks?external_task_ids=a&task_ids=b").await;
        assert_eq!((status, &both["code"]), (400, &json!(1201)));
        let (_, listed) = rig.post("/kling/tasks", &json!({"filters": [{"key": "status", "values": ["succeeded"]}]})).await;
        assert_eq!((&listed["data"]["count"], &listed["data"]["has_more"]), (&json!(1), &json!(false)));
        let frame =
            json!({"contents": [{"type": "prompt", "text": "p"}, {"type": "first_frame", "url": "https://x.test/a.png"}]});
        assert_eq!(rig.post("/kling/image-to-video/kling-3.0", &frame).await.0, 200);

        let jwt = rig.client.get(format!("{}/kling/tasks?task_ids=1", rig.simulator.url)).bearer_auth("eyJh.eyJi.c");
        let (status, refused) = read(jwt.send().await.unwrap()).await;
        assert_eq!((status, &refused["code"]), (401, &json!(1002)));
    });
}

#[test]
fn a_jwt_of_the_configured_pair_opens_the_legacy_paths() {
    run(async {
        let rig = Rig::start();
        let part = |value: &Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
        let now = super::super::clock::now_ms() / 1_000;
        let claims = json!({"iss": "sandbox-access", "exp": now + 1_800, "nbf": now - 5});
        let signed = format!("{}.{}", part(&json!({"alg": "HS256", "typ": "JWT"})), part(&claims));
        let signature = super::super::webhooks::hs256(b"sandbox-secret", signed.as_bytes());
        let token = format!("{signed}.{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(signature));
        let call = rig.client.post(format!("{}{TEXT}", rig.simulator.url)).bearer_auth(token).json(&kling_body("p"));
        assert_eq!(read(call.send().await.unwrap()).await.0, 200);
        assert_eq!(rig.ledger("").await["entries"][0]["account"], "cess");
    });
}

#[test]
fn a_request_that_the_real_service_refuses_is_refused() {
    run(async {
        let rig = Rig::start();
        let mut cases = vec![
            (json!({"prompt": "p"}), 400, 1201),
            (json!({"model_name": "kling-v9", "prompt": "p"}), 404, 1203),
            (json!({"model_name": "kling-v3"}), 400, 1201),
            (json!([]), 400, 1200),
        ];
        for (field, value, code) in [
            ("duration", json!(5), 1200),
            ("duration", json!("7"), 1201),
            ("mode", json!("best"), 1201),
            ("cfg_scale", json!(0.5), 1201),
            ("prompt", json!("x".repeat(2_501)), 1201),
            ("callback_url", json!("nowhere"), 1201),
        ] {
            let mut body = kling_body("p");
            body[field] = value;
            cases.push((body, 400, code));
        }
        for (body, status, code) in &cases {
            let (seen, answer) = rig.post(TEXT, body).await;
            assert_eq!((seen, &answer["code"]), (*status, &json!(code)), "{body}");
            assert!(answer.get("data").is_none());
        }
        let data = json!({"model_name": "kling-v3", "image": "data:image/png;base64,AAAA"});
        assert_eq!(rig.post("/kling/v1/videos/image2video", &data).await.1["code"], 1201);
        assert_eq!(rig.call(Method::DELETE, TEXT).send().await.unwrap().status(), 404);
        let none = rig.client.post(format!("{}{TEXT}", rig.simulator.url)).json(&kling_body("p"));
        assert_eq!(read(none.send().await.unwrap()).await.1["code"], 1001);
        let bad = rig.client.post(format!("{}{TEXT}", rig.simulator.url)).bearer_auth("bad-key").json(&kling_body("p"));
        assert_eq!(read(bad.send().await.unwrap()).await.1["code"], 1002);
        let ledger = rig.ledger("").await;
        assert_eq!(ledger["entries"], json!([]));
        assert_eq!(ledger["refused"].as_array().unwrap().len(), cases.len() + 3);
    });
}

#[test]
fn a_client_id_is_taken_once_per_account_across_products() {
    run(async {
        let rig = Rig::start();
        let mut body = kling_body("p");
        body["external_task_id"] = json!("same");
        assert_eq!(rig.post(TEXT, &body).await.0, 200);
        let (status, again) = rig.post("/kling/v1/images/generations", &json!({"prompt": "p", "external_task_id": "same"})).await;
        assert_eq!((status, &again["code"]), (400, &json!(1201)));
        let other = rig.client.post(format!("{}{TEXT}", rig.simulator.url)).bearer_auth("other-key").json(&body);
        assert_eq!(read(other.send().await.unwrap()).await.0, 200);
        assert_eq!(rig.ledger("tag=same").await["entries"].as_array().unwrap().len(), 2);
    });
}

#[test]
fn slots_and_failures_are_told_in_klings_way() {
    run(async {
        let rig = Rig::with(|config| config.kling.slots = 1);
        assert_eq!(rig.post(TEXT, &kling_body("first [[sim slow=60000]]")).await.0, 200);
        let (status, full) = rig.post(TEXT, &kling_body("second")).await;
        assert_eq!((status, &full["code"]), (429, &json!(1303)));

        let rig = Rig::start();
        let (_, created) = rig.post(TEXT, &kling_body("p [[sim fail=\"Image pixel is invalid\"]]")).await;
        let (status, failed) = rig.get(&format!("{TEXT}/{}", text(&created["data"]["task_id"]))).await;
        assert_eq!((status, &failed["code"], &failed["message"]), (200, &json!(0), &json!("SUCCEED")));
        assert_eq!(failed["data"]["task_status"], "failed");
        assert_eq!(failed["data"]["task_status_msg"], "Image pixel is invalid");
        assert_eq!(failed["data"]["task_result"], json!({}));
    });
}

#[test]
fn callbacks_carry_the_bare_task_with_a_standard_signature() {
    run(async {
        let rig = Rig::start();
        let (url, mut hooks) = receiver(vec![500]).await;
        let mut body = kling_body("p");
        body["callback_url"] = json!(url);
        let (_, created) = rig.post(TEXT, &body).await;
        let (first, _) = hooks.recv().await.unwrap();
        let (head, raw) = hooks.recv().await.unwrap();
        assert_eq!(header(&first, "webhook-id"), header(&head, "webhook-id"), "a retry keeps its id");
        assert!(head.starts_with("post /hook?job=7 "));
        let body: Value = serde_json::from_slice(&raw).unwrap();
        assert_eq!((&body["task_id"], &body["task_status"]), (&created["data"]["task_id"], &json!("succeed")));
        assert!(header(&head, "webhook-signature").starts_with("v1,"));
    });
}
