//! `DELETE /v1/videos/{id}`: the file is gone from the storage, whatever happens in between; the books keep what was made and paid.

use std::{path::Path, time::Instant};

use serde_json::{Value, json};

use super::{BOUND, Bed, LOOK, Server};
use crate::storage::s3_server::S3Server;

async fn make(bed: &Bed, server: &Server, prompt: &str) -> String {
    let body = json!({ "model": "kling-2.6", "prompt": prompt });
    let reply = bed.http.post(format!("{}/v1/videos", server.url)).bearer_auth(&bed.key).json(&body).send().await.unwrap();
    reply.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
}

async fn get(bed: &Bed, server: &Server, rest: &str, range: Option<&str>) -> reqwest::Response {
    let request = bed.http.get(format!("{}/v1/videos{rest}", server.url)).bearer_auth(&bed.key);
    range.into_iter().fold(request, |request, range| request.header("range", range)).send().await.unwrap()
}

async fn delete(bed: &Bed, server: &Server, id: &str) -> u16 {
    let url = format!("{}/v1/videos/{id}", server.url);
    bed.http.delete(url).bearer_auth(&bed.key).send().await.unwrap().status().as_u16()
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < BOUND, "never: {what}");
        tokio::time::sleep(LOOK).await;
    }
}

async fn deletes(bed: &Bed, files: impl Fn() -> usize) {
    let server = bed.serve();
    let (first, second) = (make(bed, &server, "a boat").await, make(bed, &server, "a mill").await);
    for id in [&first, &second] {
        assert_eq!(bed.ended(&server, id).await["status"], "SUCCESS");
    }
    assert_eq!(files(), 2);
    let whole = get(bed, &server, &format!("/{first}/content"), None).await;
    assert_eq!(whole.status(), 200);
    let whole = whole.bytes().await.unwrap();
    let part = get(bed, &server, &format!("/{first}/content"), Some("bytes=4-7")).await;
    assert_eq!(
        (part.status().as_u16(), part.headers()["content-range"].to_str().unwrap()),
        (206, &*format!("bytes 4-7/{}", whole.len()))
    );
    assert_eq!(part.bytes().await.unwrap(), whole.slice(4..8));
    assert_eq!((delete(bed, &server, &first).await, delete(bed, &server, &first).await), (200, 200), "repeatable");
    for gone in [format!("/{first}"), format!("/{first}/content")] {
        assert_eq!(get(bed, &server, &gone, None).await.status(), 404);
    }
    let listed: Value = get(bed, &server, "", None).await.json().await.unwrap();
    assert_eq!((listed["data"].as_array().unwrap().len(), &listed["data"][0]["id"]), (1, &json!(second)));
    until("the file is gone", || files() == 1).await;
    let shown = bed.wait(&server, &first, "told as deleted", |shown| shown["results"] == json!([])).await;
    assert_eq!((&shown["status"], &shown["missing"][0]["error"]["code"]), (&json!("SUCCESS"), &json!("NOT_FOUND")), "{shown}");
    assert_ne!(shown["cost"]["charged"], "0.000000", "the books stay");
    // Killed right after the answer, and one that has not ended yet: this provider cannot cancel it, so its file still comes.
    let third = make(bed, &server, "late [[sim slow=8000]]").await;
    bed.wait(&server, &third, "running", |shown| shown["stage"] == "running").await;
    assert_eq!((delete(bed, &server, &second).await, delete(bed, &server, &third).await), (200, 200));
    server.kill();
    let server = bed.serve();
    for id in [&second, &third] {
        let gone = |shown: &Value| shown["missing"][0]["error"]["code"] == "NOT_FOUND";
        assert_eq!(bed.wait(&server, id, "told as deleted", gone).await["results"], json!([]));
    }
    assert_eq!((files(), bed.ledger().await.len()), (0, 3));
}

fn count(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.map(|entry| entry.unwrap().path()).map(|path| if path.is_dir() { count(&path) } else { 1 }).sum()
}

#[actix_web::test]
async fn a_deleted_videos_file_is_gone_from_the_disk() {
    let bed = Bed::new();
    let media = bed.folder.path().join("data/media");
    deletes(&bed, || count(&media)).await;
}

#[actix_web::test]
async fn a_deleted_videos_file_is_gone_from_the_disk_with_its_rows_on_postgresql() {
    let Some(database) = crate::store::bed::Bed::postgres().await else { return };
    let bed = Bed::with(vec![("LONGTAKE__STORE__URL", database.config.url.clone())]);
    let media = bed.folder.path().join("data/media");
    deletes(&bed, || count(&media)).await;
    database.drop_all().await;
}

#[actix_web::test]
async fn a_deleted_videos_file_is_gone_from_the_bucket() {
    let s3 = S3Server::start().await;
    let bed = Bed::with(s3.environment());
    deletes(&bed, || s3.files().iter().filter(|file| file.ends_with(".mp4")).count()).await;
}
