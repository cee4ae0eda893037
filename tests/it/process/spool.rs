//! The database is away at the moment at which a provider's answer arrives: the answer is not lost, not even by a kill, and nothing is
//! submitted twice.

use std::{path::PathBuf, time::Instant};

use serde_json::{Value, json};
use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};

use super::{BOUND, Bed, LOOK, Server};
use crate::store::bed::Bed as Database;

/// Nothing can be asked at BFL: what is not kept here is lost.
const BODY: &str = r#"{ "modelIdentifier": "flux-2-pro", "prompt": "a receipt [[sim hang=2500]]" }"#;

fn spooled(bed: &Bed) -> Vec<PathBuf> {
    let folder = bed.folder.path().join("data/spool");
    std::fs::read_dir(folder).map(|all| all.map(|one| one.unwrap().path()).collect()).unwrap_or_default()
}

/// Whether a receipt lies there, and not only its file.
fn has_receipt(bed: &Bed) -> bool {
    spooled(bed).iter().any(|file| std::fs::metadata(file).is_ok_and(|data| data.len() > 0))
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < BOUND, "it never came to this: {what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// Submits, and returns once the provider has it but has not answered.
async fn submitted(bed: &Bed, server: &Server) -> String {
    let id = bed.submit(server, serde_json::from_str(BODY).unwrap()).await;
    bed.accepted_by_provider().await;
    id
}

/// Holds SQLite's write lock.
async fn cut_off(bed: &Bed) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(bed.folder.path().join("data/longtake.db"));
    let mut connection = SqliteConnection::connect_with(&options.busy_timeout(BOUND)).await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
    connection
}

async fn delivered_once(bed: &Bed, server: &Server, id: &str) {
    let shown = bed.ended(server, id).await;
    assert_eq!(shown["status"], "SUCCESS", "{shown}");
    assert_eq!(shown["attempts"].as_array().unwrap().len(), 1);
    assert_eq!(bed.ledger().await.len(), 1, "one submit, one bill");
    until("an empty spool", || spooled(bed).is_empty()).await;
}

#[actix_web::test]
async fn a_kill_with_a_spooled_receipt_is_merged_by_the_next_start() {
    let bed = Bed::new();
    let server = bed.serve();
    let id = submitted(&bed, &server).await;
    let lock = cut_off(&bed).await;
    until("a spooled receipt", || has_receipt(&bed)).await;
    server.kill();
    drop(lock);
    let server = bed.serve();
    delivered_once(&bed, &server, &id).await;
}

#[actix_web::test]
async fn a_database_that_comes_back_goes_on_from_the_spool_without_a_restart() {
    let bed = Bed::new();
    let server = bed.serve();
    let id = submitted(&bed, &server).await;
    let lock = cut_off(&bed).await;
    until("a spooled receipt", || has_receipt(&bed)).await;
    drop(lock);
    delivered_once(&bed, &server, &id).await;
}

#[actix_web::test]
async fn on_postgresql_a_dead_hosts_spool_is_merged_by_hand() {
    let Some(database) = Database::postgres().await else { return };
    let bed = Bed::with(vec![("LONGTAKE__STORE__URL", database.config.url.clone())]);
    let server = bed.serve();
    let id = submitted(&bed, &server).await;
    let away = database.cut_off().await;
    until("a spooled receipt", || has_receipt(&bed)).await;
    server.kill();
    away.end().await;
    let dead = bed.folder.path().join("dead");
    std::fs::rename(bed.folder.path().join("data/spool"), &dead).unwrap();
    let merge = || bed.command().args(["spool", "merge", dead.to_str().unwrap(), "--json"]).output().unwrap();
    let said: Value = serde_json::from_slice(&merge().stdout).unwrap();
    let expected = json!([1, 1, 0, 0]);
    assert_eq!(json!([said["files"], said["recorded"], said["conflicts"], said["inUse"]]), expected, "{said}");
    let again: Value = serde_json::from_slice(&merge().stdout).unwrap();
    assert_eq!(again["files"], 0, "a merged file is gone");
    let server = bed.serve();
    delivered_once(&bed, &server, &id).await;
    drop(server);
    database.drop_all().await;
}

#[actix_web::test]
async fn on_postgresql_a_server_outlives_a_database_that_goes_away_and_comes_back() {
    let Some(database) = Database::postgres().await else { return };
    let bed = Bed::with(vec![("LONGTAKE__STORE__URL", database.config.url.clone())]);
    let server = bed.serve();
    let id = submitted(&bed, &server).await;
    let away = database.cut_off().await;
    until("a spooled receipt", || has_receipt(&bed)).await;
    away.end().await;
    delivered_once(&bed, &server, &id).await;
    let next = bed.submit(&server, json!({ "modelIdentifier": "flux-2-pro", "prompt": "the next one" })).await;
    let shown = bed.ended(&server, &next).await;
    assert_eq!(shown["status"], "SUCCESS", "submits go on once the lock is held again: {shown}");
    assert_eq!(server.terminate(), Some(0));
    database.drop_all().await;
}
