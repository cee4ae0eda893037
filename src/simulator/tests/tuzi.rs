//! The Tuzi relay in its styles.

use base64::Engine as _;
use reqwest::Method;
use serde_json::json;

use super::{Rig, decoded, kling_body, read, run, text};

#[test]
fn style_b_answers_when_the_images_are_done() {
    run(async {
        let rig = Rig::start();
        let path = "/tuzi/v1/images/generations";
        let body = json!({"model": "flux-kontext-pro", "prompt": "p [[sim slow=100]]", "n": 2, "size": "256x128"});
        let (status, answer) = rig.post(path, &body).await;
        assert_eq!(status, 200);
        assert_eq!(decoded(&rig.download(text(&answer["data"][1]["url"])).await), (256, 128));
        let mut inline = body;
        inline["response_format"] = json!("b64_json");
        let (_, answer) = rig.post(path, &inline).await;
        let bytes = base64::engine::general_purpose::STANDARD.decode(text(&answer["data"][0]["b64_json"])).unwrap();
        assert_eq!(decoded(&bytes), (256, 128));
        assert_eq!(rig.ledger("").await["totals"]["tuzi"], json!({"submits": 2, "billed": 2, "microUsd": 160_000}));
        let (status, error) = rig.post(path, &json!({"model": "m"})).await;
        assert!(status == 400 && error["error"]["message"].is_string());
    });
}

#[test]
fn style_d_takes_a_form_and_style_a_polls_like_bfl() {
    run(async {
        let rig = Rig::start();
        let form = reqwest::multipart::Form::new().text("model", "sora-like").text("prompt", "p").text("size", "640x360");
        let (status, created) = read(rig.call(Method::POST, "/tuzi/v1/videos").multipart(form).send().await.unwrap()).await;
        assert_eq!(status, 200);
        let (_, done) = rig.get(&format!("/tuzi/v1/videos/{}", text(&created["id"]))).await;
        assert_eq!(done["status"], "completed");
        rig.download(text(&done["video_url"])).await;

        let (_, created) = rig.post("/tuzi/flux/v1/flux-kontext-pro", &json!({"prompt": "p"})).await;
        let (_, done) = rig.get(text(&created["polling_url"])).await;
        assert_eq!(done["status"], "Ready");
        rig.download(text(&done["result"]["sample"])).await;
        assert_eq!(rig.get("/tuzi/get-async?id=1").await.0, 410);
    });
}

#[test]
fn relayed_kling_takes_a_number_as_duration_and_answers_on_both_status_paths() {
    run(async {
        let rig = Rig::start();
        let mut body = kling_body("p");
        body["duration"] = json!(5);
        let (status, created) = rig.post("/tuzi/kling/v1/videos/text2video", &body).await;
        assert_eq!((status, &created["code"]), (200, &json!(0)));
        let id = text(&created["data"]["task_id"]);
        for family in ["text2video", "task"] {
            let (_, done) = rig.get(&format!("/tuzi/kling/v1/videos/{family}/{id}")).await;
            assert_eq!(done["data"]["task_status"], "succeed");
        }
        assert_eq!(rig.post("/tuzi/kling/v1/videos/text2video", &json!({"prompt": "p"})).await.1["code"], "task_failed");
        let rig = Rig::with(|config| config.tuzi.new_api_answers = true);
        let (_, created) = rig.post("/tuzi/kling/v1/videos/text2video", &kling_body("p")).await;
        assert_eq!((&created["object"], &created["status"]), (&json!("video"), &json!("queued")));
    });
}

#[test]
fn a_bad_key_is_refused_in_openais_words() {
    run(async {
        let rig = Rig::start();
        let call =
            rig.client.post(format!("{}/tuzi/v1/images/generations", rig.simulator.url)).bearer_auth("bad").json(&json!({}));
        let (status, body) = read(call.send().await.unwrap()).await;
        assert_eq!((status, &body["error"]["code"]), (401, &json!("invalid_api_key")));
    });
}

#[test]
fn failures_of_its_own_styles_cost_what_is_configured_and_relayed_kling_bills_as_kling() {
    run(async {
        for (bills_failures, billed) in [(true, 1), (false, 0)] {
            let rig = Rig::with(|config| config.tuzi.bills_failures = bills_failures);
            rig.post("/tuzi/flux/v1/flux-kontext-pro", &json!({"prompt": "p [[sim fail=1]]"})).await;
            let mut body = kling_body("p [[sim fail=1]]");
            body["duration"] = json!("5");
            rig.post("/tuzi/kling/v1/videos/text2video", &body).await;
            let total = &rig.ledger("").await["totals"]["tuzi"];
            assert_eq!((&total["submits"], &total["billed"]), (&json!(2), &json!(billed)), "{total}");
        }
    });
}
