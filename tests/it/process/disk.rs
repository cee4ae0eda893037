//! A disk that is full for a while. Root alone could mount a small one; so the server is forbidden to write files, which its system calls
//! tell just so (`EFBIG` for `ENOSPC`), and later allowed to again.

use std::{process::Command, time::Instant};

use serde_json::{Value, json};

use super::{BOUND, Bed, LOOK, Server};

/// util-linux; on every Debian. Where it is missing nothing can be said.
fn can_limit() -> bool {
    Command::new("prlimit").arg("--version").output().is_ok_and(|output| output.status.success())
}

fn limit(server: &Server, size: &str) {
    let process = server.child.id().to_string();
    assert!(Command::new("prlimit").args(["--pid", &process, &format!("--fsize={size}")]).status().unwrap().success());
}

async fn health(bed: &Bed, server: &Server) -> u16 {
    bed.http.get(format!("{}/api/health", server.url)).send().await.unwrap().status().as_u16()
}

async fn accepted(bed: &Bed, server: &Server, prompt: &str) -> u16 {
    let url = format!("{}/api/external/generation", server.url);
    let body = json!({ "modelIdentifier": "flux-2-pro", "prompt": prompt });
    bed.http.post(url).bearer_auth(&bed.key).json(&body).send().await.unwrap().status().as_u16()
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !done().await {
        assert!(start.elapsed() < BOUND, "{what}");
        tokio::time::sleep(LOOK).await;
    }
}

#[actix_web::test]
async fn a_full_disk_takes_nothing_loses_nothing_is_told_and_passes() {
    if !can_limit() {
        return;
    }
    let bed = Bed::new();
    // What is ignored stays ignored: the signal that comes with the error would end the process.
    let server = bed.serve_by(&["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
    let mut ids = Vec::new();
    for model in ["kling-2.6", "flux-2-pro", "tuzi-flux-kontext-pro"] {
        ids.push(bed.submit(&server, json!({ "modelIdentifier": model, "prompt": "a disk [[sim slow=1500]]" })).await);
    }
    until("they are submitted", async || bed.ledger().await.len() == ids.len()).await;
    limit(&server, "0:unlimited");
    assert_eq!(accepted(&bed, &server, "refused").await, 503, "what cannot be kept is not accepted");
    // Everything ends at the providers meanwhile.
    until("the provider is done", async || bed.ledger().await.iter().all(|entry: &Value| entry["outcome"] == "succeeded")).await;
    until("it says that it is unwell", async || health(&bed, &server).await == 503).await;
    limit(&server, "unlimited:unlimited");
    until("it says that it is well", async || health(&bed, &server).await == 200).await;
    for id in &ids {
        let shown = bed.ended(&server, id).await;
        assert_eq!(shown["status"], "SUCCESS", "{shown}");
    }
    assert_eq!(accepted(&bed, &server, "taken").await, 202);
    until("the last one is submitted", async || bed.ledger().await.len() == ids.len() + 1).await;
}
