//! The commands that speak to a running service: what they print, what they leave, and the codes they exit with.

use std::{
    io::Read as _,
    process::{Command, Output, Stdio},
    time::Instant,
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{BOUND, Bed, LOOK, Server};

pub fn command(bed: &Bed, server: &Server, arguments: &[&str]) -> Command {
    let mut command = bed.command();
    command.args(arguments).env("LONGTAKE_URL", &server.url).env("LONGTAKE_KEY", &bed.key).stdin(Stdio::null());
    command
}

pub fn run(bed: &Bed, server: &Server, arguments: &[&str]) -> Output {
    command(bed, server, arguments).output().unwrap()
}

pub fn told(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// One JSON value a line.
pub fn lines(output: &Output) -> Vec<Value> {
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[actix_web::test]
async fn a_generation_is_submitted_waited_for_and_its_results_lie_in_a_folder() {
    let bed = Bed::new();
    let server = bed.serve();
    let arguments = ["submit", "-m", "flux-2-pro", "-p", "a folder", "-n", "2", "--out", "results", "--json"];
    let done = run(&bed, &server, &arguments);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let shown = lines(&done).remove(0);
    assert_eq!(shown["status"], "SUCCESS", "{shown}");
    let results = shown["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    for result in results {
        let extension = result["url"].as_str().unwrap().rsplit('.').next().unwrap();
        let name = format!("results/{}-{}.{extension}", shown["id"].as_str().unwrap(), result["index"]);
        let bytes = std::fs::read(bed.folder.path().join(&name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(result["sha256"], digest.as_str());
    }
    // What lies there is not fetched again, and nothing half done lies beside it.
    let id = shown["id"].as_str().unwrap();
    let (code, text) = told(&run(&bed, &server, &["watch", id, "--out", "results"]));
    assert!(code == Some(0) && text.contains("SUCCESS") && text.contains("results/"), "{text}");
    assert_eq!(std::fs::read_dir(bed.folder.path().join("results")).unwrap().count(), 2);
}

#[actix_web::test]
async fn exit_codes_say_how_it_went() {
    let bed = Bed::new();
    let server = bed.serve();
    let submit = |prompt: &str| {
        let (code, id) = told(&run(&bed, &server, &["submit", "-m", "flux-2-pro", "-p", prompt]));
        assert_eq!(code, Some(0));
        id.trim().to_owned()
    };
    let (good, bad) = (submit("a good one"), submit("a bad one [[sim fail=moderated]]"));
    assert_eq!(run(&bed, &server, &["watch", &good]).status.code(), Some(0));
    assert_eq!(run(&bed, &server, &["watch", &good, &bad]).status.code(), Some(2), "some failed");
    let failed = run(&bed, &server, &["watch", &bad]);
    assert_eq!(failed.status.code(), Some(3), "all failed");
    assert!(told(&failed).1.contains("CONTENT_FILTERED"), "{failed:?}");
    assert_eq!(run(&bed, &server, &["get", &bad]).status.code(), Some(0), "to look is no failure");
    for wrong in [
        &["submit", "-m", "no-such-model", "-p", "x"][..],
        &["submit"],
        &["get", "gen_0123"],
        &["get", "../admin/spend"],
        &["get"],
        &["watch", &good, "--timeout", "soon"],
        &["list", "--url", "nowhere"],
    ] {
        let output = run(&bed, &server, wrong);
        assert_eq!(output.status.code(), Some(1), "{wrong:?}: {output:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{wrong:?}");
    }
    for (name, value) in [("LONGTAKE_KEY", "lt_no_such_key"), ("LONGTAKE_KEY", "")] {
        let output = command(&bed, &server, &["list"]).env(name, value).output().unwrap();
        assert_eq!(output.status.code(), Some(4), "{output:?}");
    }
    let slow = submit("slow [[sim slow=60000]]");
    assert_eq!(run(&bed, &server, &["watch", &slow, "--timeout", "1s"]).status.code(), Some(124));
    let url = server.url.clone();
    server.kill();
    let mut away = bed.command();
    away.args(["get", &good, "--url", &url, "--retry-for", "0s"]).env("LONGTAKE_KEY", &bed.key);
    assert_eq!(away.output().unwrap().status.code(), Some(5));
}

#[actix_web::test]
async fn the_first_interrupt_leaves_it_running_and_says_how_to_come_back() {
    let bed = Bed::new();
    let server = bed.serve();
    let id = bed.submit(&server, json!({ "modelIdentifier": "kling-2.6", "prompt": "long [[sim slow=10000]]" })).await;
    let mut child = command(&bed, &server, &["watch", &id, "--progress", "plain"])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    bed.wait(&server, &id, "running", |shown| shown["stage"] == "running").await;
    let start = Instant::now();
    let mut seen = vec![0; 64];
    // Its first line says that it watches: from there on it listens for signals.
    assert!(child.stderr.as_mut().unwrap().read(&mut seen).unwrap() > 0);
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    while child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < BOUND, "it does not detach");
        tokio::time::sleep(LOOK).await;
    }
    let mut rest = String::new();
    child.stderr.take().unwrap().read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(rest.contains(&format!("longtake watch {id}")), "{rest}");
    assert_eq!(bed.ended(&server, &id).await["status"], "SUCCESS");
}

#[actix_web::test]
async fn waiting_survives_a_restart_of_the_service() {
    let bed = Bed::new();
    let server = bed.serve();
    let address = server.url.trim_start_matches("http://").to_owned();
    let id = bed.submit(&server, json!({ "modelIdentifier": "kling-2.6", "prompt": "long [[sim slow=10000]]" })).await;
    let mut child =
        command(&bed, &server, &["watch", &id, "--json"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    bed.wait(&server, &id, "running", |shown| shown["stage"] == "running").await;
    server.kill();
    let again = bed.serve_with(&[("LONGTAKE__SERVER__BIND", &address)]);
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{text}");
    assert!(text.contains("SUCCESS"));
    drop(again);
}

#[actix_web::test]
async fn a_request_may_come_from_a_file_and_lists_and_cancels_go_by_id() {
    let bed = Bed::with(vec![("LONGTAKE__PROVIDERS__FLUX__CONCURRENCY", "1".to_owned())]);
    let server = bed.serve();
    std::fs::write(
        bed.folder.path().join("request.json"),
        json!({ "modelIdentifier": "flux-2-pro", "prompt": "from a file [[sim slow=10000]]", "parameters": { "seed": 7 } })
            .to_string(),
    )
    .unwrap();
    let file = bed.folder.path().join("request.json").display().to_string();
    let accepted = lines(&run(&bed, &server, &["submit", &file, "--set", "output_format=png", "--json"])).remove(0);
    let first = accepted["id"].as_str().unwrap().to_owned();
    let second = told(&run(&bed, &server, &["submit", &file, "-p", "another prompt"])).1.trim().to_owned();
    let shown = bed.show(&server, &first).await;
    assert_eq!((&shown["parameters"]["seed"], &shown["parameters"]["output_format"]), (&json!(7), &json!("png")), "{shown}");
    let (code, text) = told(&run(&bed, &server, &["cancel", &second]));
    assert!(code == Some(0) && text.contains(&second), "{text}");
    assert_eq!(run(&bed, &server, &["watch", &first, &second]).status.code(), Some(2));
    let listed = lines(&run(&bed, &server, &["list", "--json"]));
    let ids: Vec<_> = listed.iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [second.as_str(), first.as_str()], "newest first");
    let cancelled = told(&run(&bed, &server, &["list", "--status", "CANCELLED"])).1;
    assert!(cancelled.contains(&second) && !cancelled.contains(&first), "{cancelled}");
    assert_eq!(lines(&run(&bed, &server, &["list", "--json", "-n", "1"])).len(), 1);
}

#[actix_web::test]
async fn the_same_key_submits_once_and_another_body_with_it_is_refused() {
    let bed = Bed::new();
    let server = bed.serve();
    let submit =
        |prompt: &str| told(&run(&bed, &server, &["submit", "-m", "flux-2-pro", "-p", prompt, "--idempotency-key", "k1"]));
    let first = submit("once");
    assert_eq!(first.0, Some(0));
    assert_eq!(submit("once"), first);
    assert_eq!(submit("twice").0, Some(1));
    assert_eq!(bed.ended(&server, first.1.trim()).await["status"], "SUCCESS");
    assert_eq!(bed.ledger().await.len(), 1);
}
