//! Faults, the ledger, and what survives a kill.

use futures_util::future::join_all;
use serde_json::json;

use super::{Rig, kling_body, run, text};

const KLING: &str = "/kling/v1/videos/text2video";
const BFL: &str = "/flux/v1/flux-dev";

#[test]
fn a_cut_connection_is_an_error_and_the_ledger_knows_whether_it_was_accepted() {
    run(async {
        let rig = Rig::start();
        for (when, entries, refused) in [("before", 0, 1), ("after", 1, 1)] {
            let body = json!({"prompt": format!("p [[sim drop={when}]]"), "seed": 3});
            let failed = rig.call(reqwest::Method::POST, BFL).json(&body).send().await.unwrap_err();
            assert!(failed.status().is_none() && !failed.is_timeout(), "{failed:?}");
            let ledger = rig.ledger("tag=3").await;
            assert_eq!(ledger["entries"].as_array().unwrap().len(), entries, "{when}");
            assert_eq!(ledger["refused"].as_array().unwrap().len(), refused, "{when}");
        }
        let entry = &rig.ledger("tag=3").await["entries"][0];
        assert_eq!((&entry["billed"], &entry["path"]), (&json!(true), &json!("/flux/v1/flux-dev")));
        let body = json!({"prompt": "p [[sim drop=before times=1]]"});
        assert!(rig.call(reqwest::Method::POST, BFL).json(&body).send().await.is_err());
        assert_eq!(rig.post(BFL, &body).await.0, 200);
    });
}

#[test]
fn throttled_submits_are_unbilled_and_pass_after_their_number() {
    run(async {
        let rig = Rig::start();
        let body = kling_body("p [[sim throttle=2]]");
        for expected in [429, 429, 200, 200] {
            assert_eq!(rig.post(KLING, &body).await.0, expected);
        }
        let ledger = rig.ledger("").await;
        assert_eq!(ledger["totals"]["kling"]["submits"], 2);
        assert_eq!((&ledger["refused"][0]["status"], &ledger["refused"][0]["code"]), (&json!(429), &json!("1302")));
    });
}

#[test]
fn odd_answers_words_polls_and_counts_follow_their_directives() {
    run(async {
        let rig = Rig::start();
        assert_eq!(rig.post(KLING, &kling_body("p [[sim http=502]]")).await.0, 502);
        assert_eq!(rig.ledger("").await["entries"], json!([]));
        assert_eq!(rig.post(KLING, &kling_body("p [[sim http=502 billed=1]]")).await.0, 502);
        assert_eq!(rig.ledger("").await["entries"].as_array().unwrap().len(), 1);
        assert_eq!(rig.post(KLING, &kling_body("p [[sim refuse=1102]]")).await.0, 429);

        let (_, created) = rig.post(KLING, &kling_body("p [[sim slow=60000 status=dreaming pollfail=2]]")).await;
        let path = format!("{KLING}/{}", text(&created["data"]["task_id"]));
        assert!(text(&rig.get(&path).await.1).contains("502"), "garbage at 200");
        assert_eq!(rig.get(&path).await.0, 500);
        assert_eq!(rig.get(&path).await.1["data"]["task_status"], "dreaming");
        let polls = rig.ledger(&format!("task={}", text(&created["data"]["task_id"]))).await;
        assert_eq!(polls["entries"][0]["polls"], 3);
        let (_, created) = rig.post(BFL, &json!({"prompt": "[[sim outputs=0]]"})).await;
        assert!(rig.get(text(&created["polling_url"])).await.1["result"]["sample"].is_null());
    });
}

#[test]
fn rules_work_for_a_number_of_submits_until_deleted() {
    run(async {
        let rig = Rig::start();
        assert_eq!(rig.post("/faults", &json!({"provider": "flux", "times": 2, "throttle": 1})).await.0, 201);
        assert_eq!(rig.post("/faults", &json!({"provider": "flux", "unheard": 1})).await.0, 400);
        assert_eq!(rig.post(KLING, &kling_body("p")).await.0, 200);
        for expected in [429, 429, 200] {
            assert_eq!(rig.post(BFL, &json!({"prompt": "p"})).await.0, expected);
        }
        rig.post("/faults", &json!({"http": 503})).await;
        assert_eq!(rig.post(BFL, &json!({"prompt": "p"})).await.0, 503);
        rig.call(reqwest::Method::DELETE, "/faults").send().await.unwrap();
        assert_eq!(rig.post(BFL, &json!({"prompt": "p"})).await.0, 200);
    });
}

#[test]
fn two_hundred_submits_at_once_are_two_hundred_entries() {
    run(async {
        let rig = Rig::with(|config| config.tiny_outputs = true);
        let submits = (0..200).map(|seed| {
            let rig = &rig;
            async move { rig.post(BFL, &json!({"prompt": "p", "seed": seed})).await.0 }
        });
        assert!(join_all(submits).await.into_iter().all(|status| status == 200));
        let ledger = rig.ledger("").await;
        let entries = ledger["entries"].as_array().unwrap();
        let mut seeds: Vec<u64> = entries.iter().map(|entry| text(&entry["tag"]).parse().unwrap()).collect();
        seeds.sort_unstable();
        assert_eq!(seeds, (0..200).collect::<Vec<u64>>());
        let mut hashes: Vec<&str> = entries.iter().map(|entry| text(&entry["outputs"][0]["sha256"])).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), 200, "any two generations differ");
        assert_eq!(ledger["totals"]["flux"], json!({"submits": 200, "billed": 200, "microUsd": 5_000_000}));
        rig.post("/ledger/reset", &json!({})).await;
        assert_eq!(rig.ledger("").await["entries"], json!([]));
    });
}

#[test]
fn a_ledger_file_outlives_its_simulator_torn_line_included() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        let config = |config: &mut crate::config::simulator::SimulatorConfig| config.ledger_path = Some(path.clone());
        let rig = Rig::with(config);
        let mut body = kling_body("p");
        body["external_task_id"] = json!("kept");
        rig.post(KLING, &body).await;
        let (_, created) =
            rig.post("/replicate/v1/models/a/b/predictions", &json!({"input": {"prompt": "[[sim slow=60000]]"}})).await;
        let cancel = text(&created["urls"]["cancel"]).replace(&rig.simulator.url, "");
        rig.post(&cancel, &json!({})).await;
        let before = rig.ledger("").await;
        rig.simulator.stop();
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        std::io::Write::write_all(&mut file, b"{\"accepted\":{\"ent").unwrap();

        let rig = Rig::with(config);
        let after = rig.ledger("").await;
        assert_eq!(before["totals"], after["totals"]);
        assert_eq!(after["entries"][1]["outcome"], "canceled");
        let (_, found) = rig.get(&format!("{KLING}/kept")).await;
        assert_eq!(found["data"]["task_status"], "succeed");
        rig.download(text(&found["data"]["task_result"]["videos"][0]["url"])).await;
        assert_eq!(rig.post(KLING, &body).await.0, 400, "the client id is still taken");
        rig.post(KLING, &kling_body("q")).await;
        assert_eq!(rig.ledger("").await["entries"][2]["seq"], 2);
    });
}

#[test]
fn rates_repeat_with_their_seed_and_the_oldest_finished_tasks_make_room() {
    run(async {
        let rig = Rig::with(|config| {
            config.throttle_rate = 0.5;
            config.max_tasks = 3;
        });
        let mut statuses = Vec::new();
        for _ in 0..40 {
            statuses.push(rig.post(BFL, &json!({"prompt": "p"})).await.0);
        }
        let accepted = statuses.iter().filter(|status| **status == 200).count();
        assert!((5..=35).contains(&accepted), "{accepted} of 40");
        let ledger = rig.ledger("").await;
        assert_eq!(ledger["entries"].as_array().unwrap().len(), accepted);
        let with_outputs = ledger["entries"].as_array().unwrap().iter().filter(|entry| entry["outputs"] != json!([])).count();
        assert_eq!(with_outputs, 3);
    });
}

#[test]
fn the_front_page_names_bases_and_directives() {
    run(async {
        let rig = Rig::start();
        let (status, page) = rig.get("/").await;
        assert_eq!(status, 200);
        for word in ["/kling", "/pollo/api/platform", "throttle=N", "GET /ledger"] {
            assert!(text(&page).contains(word), "{word}");
        }
    });
}

#[test]
fn a_late_answer_and_the_failure_rate_follow_config_and_directive() {
    run(async {
        let rig = Rig::with(|config| config.failure_rate = 1.0);
        let start = std::time::Instant::now();
        let (_, created) = rig.post(BFL, &json!({"prompt": "p [[sim hang=120]]"})).await;
        assert!(start.elapsed().as_millis() >= 120);
        assert_eq!(rig.get(text(&created["polling_url"])).await.1["status"], "Error");
        assert_eq!(rig.ledger("provider=flux&outputs=0").await["entries"][0]["outcome"], "failed");
        assert_eq!(rig.ledger("summary=1").await["entries"], json!([]));
    });
}
