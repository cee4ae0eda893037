//! The unchanged `openai` package of PyPI (pinned in `openai/requirements.txt`) against the real binary and simulated providers. Needs a
//! Python that has it: `scripts/services start` makes one; without it the tests say that they were skipped.

use std::{
    io::Write as _,
    process::Stdio,
    sync::{
        Arc, Once,
        atomic::{AtomicU32, Ordering},
    },
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::Handle,
};

use super::{Bed, Server};

static SAY_ONCE: Once = Once::new();

/// The Python with the package; says so when there is none.
fn python() -> Option<String> {
    let found = std::env::var("LONGTAKE_TEST_PYTHON").ok();
    if found.is_none() {
        SAY_ONCE.call_once(|| {
            let text = "SKIPPED: the openai package's tests, since LONGTAKE_TEST_PYTHON is not set (scripts/services start)";
            #[expect(clippy::explicit_write, reason = "past the test harness, which swallows what a passing test prints")]
            writeln!(std::io::stderr(), "{text}").unwrap();
        });
    }
    found
}

/// Runs a case of the script at a URL.
async fn run(python: &str, bed: &Bed, url: &str, words: &[&str]) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/process/openai/client.py");
    let (case, rest) = words.split_first().unwrap();
    let mut command = tokio::process::Command::new(python);
    command.args(["-W", "ignore", script, case, url, &bed.key]).args(rest).stdin(Stdio::null()).kill_on_drop(true);
    for name in
        ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy", "OPENAI_API_KEY", "OPENAI_BASE_URL"]
    {
        command.env_remove(name);
    }
    let done = command.output().await.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

async fn listed(bed: &Bed, server: &Server) -> usize {
    let url = format!("{}/api/external/generation?limit=100", server.url);
    let page: Value = bed.http.get(url).bearer_auth(&bed.key).send().await.unwrap().json().await.unwrap();
    page["data"].as_array().unwrap().len()
}

/// A proxy that passes everything on but drops the first answers: whoever asked knows nothing of what was made.
async fn dropping(server: &Server, answers: u32) -> String {
    let target = server.url.strip_prefix("http://").unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let left = Arc::new(AtomicU32::new(answers));
    Handle::current().spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            Handle::current().spawn(pass(client, target.clone(), Arc::clone(&left)));
        }
    });
    url
}

async fn pass(mut client: TcpStream, target: String, left: Arc<AtomicU32>) {
    let mut server = TcpStream::connect(target).await.unwrap();
    if left.load(Ordering::SeqCst) == 0 {
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        return;
    }
    let (mut from_client, _to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let mut first = [0; 1];
    tokio::select! {
        _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
        // The whole answer is made by the time its first byte comes.
        _ = from_server.read(&mut first) => drop(left.fetch_sub(1, Ordering::SeqCst)),
    }
    let _ = to_server.shutdown().await;
}

#[actix_web::test]
async fn videos_are_made_polled_downloaded_listed_and_deleted() {
    let Some(python) = python() else { return };
    let bed = Bed::new();
    let server = bed.serve();
    let seen = run(&python, &bed, &server.url, &["videos"]).await;
    let (first, second) = (&seen["first"], &seen["second"]);
    for video in [first, second] {
        let states = (&video["object"], &video["status"], &video["progress"]);
        assert_eq!(states, (&json!("video"), &json!("completed"), &json!(100)), "{video}");
        assert_eq!((&video["model"], &video["seconds"]), (&json!("kling-2.6"), &json!("5")));
        assert!(video["completed_at"].as_i64().unwrap() >= video["created_at"].as_i64().unwrap(), "{video}");
    }
    assert_eq!((&first["prompt"], &first["error"]), (&json!("a paper boat"), &Value::Null));
    assert_eq!((&seen["brand"], &seen["part"]), (&json!("ftyp"), &json!("ftyp")), "the file, and a range of it");
    assert!(seen["size"].as_u64().unwrap() > 100);
    assert_eq!(seen["listed"], json!([second["id"], first["id"]]), "newest first, over two pages");
    assert_eq!(seen["oldest"], json!([first["id"], second["id"]]));
    assert_eq!(seen["deleted"], json!({"id": first["id"], "object": "video.deleted", "deleted": true}));
    assert_eq!(seen["left"], json!([second["id"]]));
    for gone in ["gone", "gone_content"] {
        assert_eq!(seen[gone], json!(["NotFoundError", 404, "not_found", null]));
    }
    let shown = bed.show(&server, second["id"].as_str().unwrap()).await;
    assert_eq!((&shown["parameters"]["mode"], &shown["inputImages"][0]), (&json!("standard"), &json!("data:image/png;base64,…")));
    assert_eq!(bed.ledger().await.len(), 2);
}

#[actix_web::test]
async fn images_come_inline_and_by_url() {
    let Some(python) = python() else { return };
    let bed = Bed::new();
    let server = bed.serve();
    let seen = run(&python, &bed, &server.url, &["images"]).await;
    assert_eq!((&seen["count"], &seen["only_url"], &seen["only_inline"]), (&json!(2), &json!(true), &json!(true)));
    for start in seen["starts"].as_array().unwrap() {
        let start = start.as_str().unwrap();
        assert!(["89504e47", "ffd8ff", "52494646"].iter().any(|magic| start.starts_with(magic)), "no image: {start}");
    }
    for url in seen["urls"].as_array().unwrap() {
        assert_eq!(bed.http.get(url.as_str().unwrap()).send().await.unwrap().status(), 200);
    }
}

#[actix_web::test]
async fn models_are_those_whose_provider_takes_something() {
    let Some(python) = python() else { return };
    let bed = Bed::new();
    let server = bed.serve();
    let seen = run(&python, &bed, &server.url, &["models"]).await;
    let ids: Vec<_> = seen["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    assert!(ids.contains(&"kling-2.6") && ids.contains(&"flux-2-pro"), "{ids:?}");
    assert!(!ids.contains(&"tuzi-kling-2.6"), "its section has no credential here");
    assert_eq!((&seen["one"]["object"], &seen["one"]["owned_by"]), (&json!("model"), &json!("kling")));
}

#[actix_web::test]
async fn errors_are_raised_as_the_classes_that_programs_expect() {
    let Some(python) = python() else { return };
    let bed = Bed::new();
    let server = bed.serve();
    let seen = run(&python, &bed, &server.url, &["errors"]).await;
    let expected = json!({
        "key": ["AuthenticationError", 401, "invalid_api_key", null],
        "model": ["NotFoundError", 404, "model_not_found", "model"],
        "kind": ["BadRequestError", 400, "not_one_of", "model"],
        "seconds": ["BadRequestError", 400, "not_one_of", "seconds"],
        "size": ["BadRequestError", 400, "not_one_of", "size"],
        "prompt": ["BadRequestError", 400, "empty", "prompt"],
        "file": ["BadRequestError", 400, "invalid_request", null],
        "video": ["NotFoundError", 404, "not_found", null],
        "path": ["NotFoundError", 404, "not_found", null],
        "method": ["APIStatusError", 405, "method_not_allowed", null],
        "failed": ["BadRequestError", 400, "moderation_blocked", null],
    });
    assert_eq!(seen, expected);
    let limited = Bed::with(vec![("LONGTAKE__SERVER__REQUESTS_PER_MINUTE", "1".to_owned())]);
    let server = limited.serve();
    let seen = run(&python, &limited, &server.url, &["limited"]).await;
    assert_eq!(seen["refused"], json!(["RateLimitError", 429, "rate_limit_exceeded", null]));
}

#[actix_web::test]
async fn the_packages_own_retries_make_nothing_twice() {
    let Some(python) = python() else { return };
    let bed = Bed::new();
    let server = bed.serve();
    // Two answers in a row are lost; with a key, and without one as the package does by itself.
    let proxy = dropping(&server, 2).await;
    let keyed = run(&python, &bed, &proxy, &["video", "mine-1"]).await;
    let proxy = dropping(&server, 2).await;
    let bare = run(&python, &bed, &proxy, &["video"]).await;
    assert_ne!(keyed["id"], bare["id"]);
    let proxy = dropping(&server, 1).await;
    assert_eq!(run(&python, &bed, &proxy, &["image"]).await["count"], 1);
    assert_eq!(listed(&bed, &server).await, 3, "one for each call");
    // The same asked for once more on purpose is another one.
    let again = run(&python, &bed, &server.url, &["video"]).await;
    assert_ne!(again["id"], bare["id"]);
    assert_eq!(listed(&bed, &server).await, 4);
    for made in [&keyed, &bare, &again] {
        assert_eq!(bed.ended(&server, made["id"].as_str().unwrap()).await["status"], "SUCCESS");
    }
    assert_eq!(bed.ledger().await.len(), 4, "one submit, one bill each");
}

#[actix_web::test]
async fn an_image_that_takes_longer_than_the_wait_runs_on_and_is_joined() {
    let Some(python) = python() else { return };
    let bed = Bed::with(vec![("LONGTAKE__OPENAI__IMAGE_WAIT_S", "1".to_owned())]);
    let server = bed.serve();
    let url = format!("{}/v1/images/generations", server.url);
    let body = json!({"model": "flux-2-pro", "prompt": "a tower [[sim slow=6000]]"});
    let post = || bed.http.post(&url).bearer_auth(&bed.key).header("idempotency-key", "tower").json(&body).send();
    let late = post().await.unwrap();
    assert_eq!(late.status(), 504);
    let error = late.json::<Value>().await.unwrap()["error"].clone();
    assert_eq!(error["code"], "generation_running");
    let id = error["generation_id"].as_str().unwrap().to_owned();
    assert!(error["message"].as_str().unwrap().contains(&id), "{error}");
    assert_eq!(bed.ended(&server, &id).await["status"], "SUCCESS");
    let joined = post().await.unwrap();
    assert_eq!((joined.status().as_u16(), joined.headers()["idempotency-replayed"].to_str().unwrap()), (200, "true"));
    assert!(joined.json::<Value>().await.unwrap()["data"][0]["b64_json"].is_string());
    // The package waits by itself: it sends again after the 504, and is told of the same one.
    let seen = run(&python, &bed, &server.url, &["image", "a mast [[sim slow=1800]]"]).await;
    assert_eq!((&seen["count"], listed(&bed, &server).await), (&json!(1), 2));
    assert_eq!(bed.ledger().await.len(), 2);
}
