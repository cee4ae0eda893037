//! The storages: one conformance suite for all, and what only one of them can get wrong.

mod s3_faults;
pub mod s3_server;

use std::{path::Path, time::SystemTime};

use bytes::Bytes;
use longtake::{
    config::storage::{ChecksumCalculation, StorageConfig, StorageKind},
    storage::{Storage, StorageError},
};
use s3_server::S3Server;
use tempfile::TempDir;

const MIB: usize = 1024 * 1024;

/// Bytes that differ from place to place, so that a part in the wrong order shows.
pub fn pattern(length: usize) -> Bytes {
    let mut word: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.truncate(length);
    Bytes::from(bytes)
}

pub async fn disk(folder: &Path) -> Storage {
    Storage::open(&StorageConfig::default(), folder).await.unwrap()
}

async fn memory() -> Storage {
    Storage::open(&StorageConfig { kind: StorageKind::Memory, ..StorageConfig::default() }, Path::new("")).await.unwrap()
}

/// Every promise of a storage, one after the other.
async fn conforms(storage: &Storage) {
    what_is_put_can_be_read_and_put_again(storage).await;
    an_object_appears_when_its_writer_is_finished(storage).await;
    an_object_of_many_writes_is_their_sum(storage).await;
    an_aborted_or_dropped_writer_leaves_no_object(storage).await;
    what_is_deleted_is_gone_and_may_be_deleted_again(storage).await;
    what_is_not_there_is_not_found(storage).await;
    a_text_that_is_no_key_is_refused_everywhere(storage).await;
    storage.ping().await.unwrap();
}

async fn what_is_put_can_be_read_and_put_again(storage: &Storage) {
    for content in ["first", "second, longer", ""] {
        storage.put("a/put.png", "image/png", Bytes::from(content)).await.unwrap();
        assert_eq!(storage.read("a/put.png").await.unwrap(), content);
    }
}

async fn an_object_appears_when_its_writer_is_finished(storage: &Storage) {
    let mut writer = storage.writer("a/late.png", "image/png").unwrap();
    writer.write(pattern(MIB)).await.unwrap();
    assert_eq!(storage.read("a/late.png").await, Err(StorageError::NotFound("a/late.png".to_owned())));
    writer.finish().await.unwrap();
    assert_eq!(storage.read("a/late.png").await.unwrap(), pattern(MIB));
}

async fn an_object_of_many_writes_is_their_sum(storage: &Storage) {
    let whole = pattern(3 * MIB + 17);
    let mut writer = storage.writer("a/b/c/sum.mp4", "video/mp4").unwrap();
    for chunk in whole.chunks(70_001) {
        writer.write(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    writer.finish().await.unwrap();
    assert_eq!(storage.read("a/b/c/sum.mp4").await.unwrap(), whole);
}

async fn an_aborted_or_dropped_writer_leaves_no_object(storage: &Storage) {
    let mut aborted = storage.writer("a/aborted.mp4", "video/mp4").unwrap();
    aborted.write(pattern(MIB)).await.unwrap();
    aborted.abort().await;
    let mut dropped = storage.writer("a/dropped.mp4", "video/mp4").unwrap();
    dropped.write(pattern(MIB)).await.unwrap();
    drop(dropped);
    for key in ["a/aborted.mp4", "a/dropped.mp4"] {
        assert_eq!(storage.read(key).await, Err(StorageError::NotFound(key.to_owned())));
    }
}

async fn what_is_deleted_is_gone_and_may_be_deleted_again(storage: &Storage) {
    storage.put("a/gone.png", "image/png", Bytes::from_static(b"x")).await.unwrap();
    storage.delete("a/gone.png").await.unwrap();
    assert_eq!(storage.read("a/gone.png").await, Err(StorageError::NotFound("a/gone.png".to_owned())));
    storage.delete("a/gone.png").await.unwrap();
}

async fn what_is_not_there_is_not_found(storage: &Storage) {
    assert_eq!(storage.read("a/never.png").await, Err(StorageError::NotFound("a/never.png".to_owned())));
}

async fn a_text_that_is_no_key_is_refused_everywhere(storage: &Storage) {
    for bad in ["", "../up.png", "/etc/passwd", ".incoming/x", "a b"] {
        assert!(matches!(storage.writer(bad, "image/png"), Err(StorageError::Invalid(_))), "{bad:?}");
        assert!(matches!(storage.put(bad, "image/png", Bytes::new()).await, Err(StorageError::Invalid(_))), "{bad:?}");
        assert!(matches!(storage.read(bad).await, Err(StorageError::Invalid(_))), "{bad:?}");
        assert!(matches!(storage.delete(bad).await, Err(StorageError::Invalid(_))), "{bad:?}");
        assert!(matches!(storage.url(bad, "http://here").await, Err(StorageError::Invalid(_))), "{bad:?}");
        assert_eq!(storage.disk_path(bad), None);
    }
}

#[tokio::test]
async fn memory_keeps_the_promises_of_a_storage() {
    conforms(&memory().await).await;
}

#[tokio::test]
async fn disk_keeps_the_promises_of_a_storage_and_leaves_no_unfinished_file() {
    let folder = TempDir::new().unwrap();
    let storage = disk(folder.path()).await;
    conforms(&storage).await;
    // The folder of other objects is none itself.
    assert_eq!(storage.read("a/b").await, Err(StorageError::NotFound("a/b".to_owned())));
    assert_eq!(std::fs::read_dir(folder.path().join("media/.incoming")).unwrap().count(), 0);
}

#[tokio::test]
async fn s3_keeps_the_promises_of_a_storage_with_checksums_and_without() {
    for checksums in [ChecksumCalculation::WhenSupported, ChecksumCalculation::WhenRequired] {
        let server = S3Server::start().await;
        conforms(&server.storage(checksums).await).await;
    }
}

#[tokio::test]
async fn what_a_crash_left_unfinished_is_swept_at_the_next_start_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    let storage = disk(folder.path()).await;
    storage.put("kept.png", "image/png", Bytes::from_static(b"kept")).await.unwrap();
    let incoming = folder.path().join("media/.incoming");
    let left = std::fs::File::create(incoming.join("left")).unwrap();
    left.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let mut busy = storage.writer("busy.mp4", "video/mp4").unwrap();
    busy.write(pattern(MIB)).await.unwrap();

    let again = disk(folder.path()).await;

    assert!(!incoming.join("left").exists());
    busy.finish().await.unwrap();
    assert_eq!(again.read("busy.mp4").await.unwrap(), pattern(MIB));
    assert_eq!(again.read("kept.png").await.unwrap(), "kept");
}

#[tokio::test]
async fn files_on_disk_are_found_below_our_own_url_and_path() {
    let folder = TempDir::new().unwrap();
    let storage = disk(folder.path()).await;
    assert_eq!(storage.url("kling/a.png", "https://lt.example/").await.unwrap(), "https://lt.example/media/kling/a.png");
    assert_eq!(storage.disk_path("kling/a.png").unwrap(), folder.path().join("media/kling/a.png"));
}

#[tokio::test]
async fn twenty_mebibytes_pass_through_s3_in_parts_with_bounded_memory() {
    for checksums in [ChecksumCalculation::WhenSupported, ChecksumCalculation::WhenRequired] {
        let server = S3Server::start().await;
        let storage = server.storage(checksums).await;
        let whole = pattern(20 * MIB + 3);
        let mut writer = storage.writer("big.mp4", "video/mp4").unwrap();
        let mut most = 0;
        for chunk in whole.chunks(100_000) {
            writer.write(Bytes::copy_from_slice(chunk)).await.unwrap();
            most = most.max(writer.held_bytes());
        }
        writer.finish().await.unwrap();
        assert!(most <= 3 * 5 * MIB, "one part fills up and two are under way at most; it held {most} bytes");
        assert!(storage.read("big.mp4").await.unwrap() == whole, "the parts are all there and in order");
    }
}

#[tokio::test]
async fn an_aborted_upload_in_parts_leaves_nothing_at_the_server() {
    let server = S3Server::start().await;
    let storage = server.storage(ChecksumCalculation::WhenRequired).await;
    let empty = server.files();
    let mut writer = storage.writer("big.mp4", "video/mp4").unwrap();
    writer.write(pattern(12 * MIB)).await.unwrap();
    assert_ne!(server.files(), empty, "the upload was begun");
    writer.abort().await;
    assert_eq!(server.files(), empty);
}

#[tokio::test]
async fn a_wrong_secret_is_denied_and_not_repeated_in_the_error() {
    let server = S3Server::start().await;
    let config = StorageConfig { secret_access_key: Some("wrong-secret".to_owned().into()), ..server.config() };
    let storage = Storage::open(&config, Path::new("")).await.unwrap();
    let error = storage.put("a.png", "image/png", Bytes::from_static(b"x")).await.unwrap_err();
    assert!(matches!(&error, StorageError::Denied(text) if text.contains("SignatureDoesNotMatch")), "{error}");
    assert!(!error.to_string().contains("wrong-secret"), "{error}");
    assert!(matches!(storage.read("a.png").await, Err(StorageError::Denied(_))));
    assert!(matches!(storage.ping().await, Err(StorageError::Denied(_))));
}

#[tokio::test]
async fn a_server_that_is_down_is_unavailable_and_a_missing_bucket_is_a_wrong_configuration() {
    let server = S3Server::start().await;
    let down = StorageConfig { endpoint: Some("http://127.0.0.1:9".to_owned()), ..server.config() };
    let storage = Storage::open(&down, Path::new("")).await.unwrap();
    assert!(matches!(storage.read("a.png").await, Err(StorageError::Unavailable(_))));
    let no_tls =
        StorageConfig { endpoint: server.config().endpoint.map(|url| url.replace("http:", "https:")), ..server.config() };
    let storage = Storage::open(&no_tls, Path::new("")).await.unwrap();
    assert!(matches!(storage.read("a.png").await, Err(StorageError::Unavailable(_))));
    let missing = StorageConfig { bucket: "missing".to_owned(), ..server.config() };
    let storage = Storage::open(&missing, Path::new("")).await.unwrap();
    // Asked by the ping only: s3s-fs makes a bucket that an object is put into.
    let error = storage.ping().await.unwrap_err();
    assert!(matches!(&error, StorageError::Invalid(text) if text.contains("missing")), "{error}");
}

#[tokio::test]
async fn a_presigned_url_fetches_the_object_with_its_type_and_a_tampered_one_does_not() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for checksums in [ChecksumCalculation::WhenSupported, ChecksumCalculation::WhenRequired] {
        let server = S3Server::start().await;
        let storage = server.storage(checksums).await;
        storage.put("a/one.png", "image/png", Bytes::from_static(b"one")).await.unwrap();
        storage.put("a/two.png", "image/png", Bytes::from_static(b"two")).await.unwrap();
        let url = storage.url("a/one.png", "http://ours").await.unwrap();
        assert!(url.contains("/results/team-a/media/a/one.png?"), "{url}");
        let answer = client.get(&url).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{url}");
        assert_eq!(answer.headers()["content-type"], "image/png");
        assert_eq!(answer.bytes().await.unwrap(), "one");
        for tampered in [url.replace("one.png", "two.png"), url.replace("X-Amz-Expires=3600", "X-Amz-Expires=3601")] {
            assert_ne!(tampered, url);
            assert_eq!(client.get(&tampered).send().await.unwrap().status(), 403, "{tampered}");
        }
    }
}

#[tokio::test]
async fn a_public_bucket_has_public_urls() {
    let server = S3Server::start().await;
    let config = StorageConfig { public_url: Some("https://cdn.example/".to_owned()), ..server.config() };
    let storage = Storage::open(&config, Path::new("")).await.unwrap();
    assert_eq!(storage.url("a/one.png", "").await.unwrap(), "https://cdn.example/team-a/media/a/one.png");
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused_by_the_name_of_its_key() {
    let server = S3Server::start().await;
    let good = server.config();
    let cases = [
        ("storage.bucket", StorageConfig { bucket: String::new(), ..good.clone() }),
        ("storage.part_bytes", StorageConfig { part_bytes: 5 * MIB - 1, ..good.clone() }),
        ("storage.presign_s", StorageConfig { presign_s: 604_801, ..good.clone() }),
        ("storage.presign_s", StorageConfig { presign_s: 0, ..good.clone() }),
        ("storage.endpoint", StorageConfig { endpoint: Some("localhost:9000".to_owned()), ..good.clone() }),
        ("storage.prefix", StorageConfig { prefix: "a/../b".to_owned(), ..good.clone() }),
        ("storage.access_key_id", StorageConfig { secret_access_key: None, ..good.clone() }),
        ("storage.access_key_id", StorageConfig { access_key_id: None, ..good.clone() }),
        (
            "storage.secret_access_key_file",
            StorageConfig { secret_access_key: None, secret_access_key_file: Some("/nowhere".into()), ..good },
        ),
    ];
    for (key, config) in cases {
        let error = Storage::open(&config, Path::new("")).await.unwrap_err();
        assert!(matches!(&error, StorageError::Invalid(text) if text.contains(key)), "{key}: {error}");
    }
}

#[tokio::test]
async fn the_secret_may_come_from_a_file() {
    let server = S3Server::start().await;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, "test-secret\n").unwrap();
    let config = StorageConfig { secret_access_key: None, secret_access_key_file: Some(path), ..server.config() };
    Storage::open(&config, Path::new("")).await.unwrap().ping().await.unwrap();
}
