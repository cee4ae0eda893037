//! An S3 server on its bad days: what the protocol allows and few tests meet.

use std::path::Path;

use bytes::Bytes;
use longtake::{
    config::storage::{ChecksumCalculation, StorageConfig, StorageKind},
    storage::{Storage, StorageError},
};

use super::pattern;
use crate::raw_server::{Answer, RawServer, Request};

const MIB: usize = 1024 * 1024;

async fn storage(server: &RawServer, checksums: ChecksumCalculation) -> Storage {
    let config = StorageConfig {
        kind: StorageKind::S3,
        bucket: "b".to_owned(),
        endpoint: Some(server.base.clone()),
        path_style: true,
        access_key_id: Some("id".to_owned()),
        secret_access_key: Some("secret".to_owned().into()),
        part_bytes: 5 * MIB,
        request_checksum_calculation: checksums,
        ..StorageConfig::default()
    };
    Storage::open(&config, Path::new("")).await.unwrap()
}

fn xml(status: &str, body: &str) -> Answer {
    Answer::whole(&format!("{status}\r\nContent-Type: application/xml"), body.as_bytes())
}

fn created() -> Answer {
    xml(
        "200 OK",
        "<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>up</UploadId></InitiateMultipartUploadResult>",
    )
}

/// Answers all but the completion as a good server does.
fn good(request: &Request) -> Option<Answer> {
    if request.line.starts_with("POST") && request.line.contains("?uploads") {
        Some(created())
    } else if request.line.starts_with("PUT") {
        Some(Answer::whole("200 OK\r\nETag: \"e\"", b""))
    } else if request.line.starts_with("DELETE") {
        Some(Answer::new("204 No Content", b""))
    } else {
        None
    }
}

const LATE_ERROR: &str = "<?xml version=\"1.0\"?><Error><Code>InternalError</Code><Message>again</Message></Error>";

fn completed() -> Answer {
    xml(
        "200 OK",
        "<CompleteMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><ETag>\"e-2\"</ETag></CompleteMultipartUploadResult>",
    )
}

fn lines(server: &RawServer) -> Vec<String> {
    server.requests().into_iter().map(|request| request.line.split("&x-id").next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_completion_that_fails_with_status_200_is_tried_again() {
    let server = RawServer::start(|_, request| good(request).unwrap_or_else(|| xml("200 OK", LATE_ERROR))).await;
    let storage = storage(&server, ChecksumCalculation::WhenRequired).await;
    let error = storage.put("k.mp4", "video/mp4", pattern(6 * MIB)).await.unwrap_err();
    assert!(matches!(&error, StorageError::Unavailable(text) if text.contains("InternalError")), "{error}");
    let lines = lines(&server);
    assert_eq!(lines.iter().filter(|line| line.starts_with("POST") && line.contains("uploadId")).count(), 3, "{lines:?}");
    assert!(lines.last().unwrap().starts_with("DELETE"), "the upload is aborted in the end: {lines:?}");
}

#[tokio::test]
async fn a_completion_that_succeeds_at_the_second_try_is_a_success() {
    let server = RawServer::start(|number, request| {
        good(request).unwrap_or_else(|| if number <= 3 { xml("200 OK", LATE_ERROR) } else { completed() })
    })
    .await;
    let storage = storage(&server, ChecksumCalculation::WhenRequired).await;
    storage.put("k.mp4", "video/mp4", pattern(6 * MIB)).await.unwrap();
    assert!(!lines(&server).iter().any(|line| line.starts_with("DELETE")), "nothing is aborted");
}

/// The first completion's answer is lost, the retry hears that there is no such upload.
async fn lost_completion(length: usize) -> (Result<(), StorageError>, Vec<String>) {
    let server = RawServer::start(move |number, request| {
        let gone = "<Error><Code>NoSuchUpload</Code><Message>gone</Message></Error>";
        good(request).unwrap_or_else(|| {
            if request.line.starts_with("HEAD") {
                Answer::new(&format!("200 OK\r\nContent-Length: {length}"), b"")
            } else if number <= 3 {
                Answer { bytes: Vec::new(), hold: false }
            } else {
                xml("404 Not Found", gone)
            }
        })
    })
    .await;
    let storage = storage(&server, ChecksumCalculation::WhenRequired).await;
    let put = storage.put("k.mp4", "video/mp4", pattern(6 * MIB)).await;
    (put, lines(&server))
}

#[tokio::test]
async fn a_completion_whose_answer_was_lost_counts_when_the_object_is_there() {
    let (put, lines) = lost_completion(6 * MIB).await;
    put.unwrap_or_else(|error| panic!("{error}: {lines:?}"));
}

#[tokio::test]
async fn a_completion_whose_answer_was_lost_does_not_count_when_another_object_is_there() {
    let (put, lines) = lost_completion(6 * MIB - 1).await;
    assert!(matches!(put, Err(StorageError::Unavailable(_))), "{put:?} {lines:?}");
}

#[tokio::test]
async fn a_part_that_is_refused_aborts_the_upload() {
    let server = RawServer::start(|_, request| {
        if request.line.starts_with("PUT") {
            xml("403 Forbidden", "<Error><Code>AccessDenied</Code><Message>no</Message></Error>")
        } else {
            good(request).unwrap_or_else(completed)
        }
    })
    .await;
    let storage = storage(&server, ChecksumCalculation::WhenRequired).await;
    let error = storage.put("k.mp4", "video/mp4", pattern(6 * MIB)).await.unwrap_err();
    assert!(matches!(error, StorageError::Denied(_)), "{error}");
    let lines = lines(&server);
    assert!(lines.last().unwrap().starts_with("DELETE"), "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("POST") && line.contains("uploadId")), "never completed: {lines:?}");
}

#[tokio::test]
async fn the_checksum_setting_reaches_the_wire() {
    for (checksums, trailer) in [(ChecksumCalculation::WhenSupported, true), (ChecksumCalculation::WhenRequired, false)] {
        let server = RawServer::start(|_, request| good(request).unwrap_or_else(completed)).await;
        let storage = storage(&server, checksums).await;
        storage.put("small.png", "image/png", Bytes::from_static(b"small")).await.unwrap();
        storage.put("big.mp4", "video/mp4", pattern(6 * MIB)).await.unwrap();
        let puts: Vec<_> = server.requests().into_iter().filter(|request| request.line.starts_with("PUT")).collect();
        assert_eq!(puts.len(), 3, "one object and two parts");
        for put in puts {
            let checked = put.head.lines().any(|line| line.starts_with("x-amz-checksum") || line.starts_with("x-amz-trailer"));
            assert_eq!(checked, trailer, "{}", put.head);
        }
    }
}

#[tokio::test]
async fn a_dropped_upload_is_aborted_in_the_background() {
    let (aborted, heard) = tokio::sync::oneshot::channel();
    let aborted = std::sync::Mutex::new(Some(aborted));
    let server = RawServer::start(move |_, request| {
        if request.line.starts_with("DELETE") {
            let _ = aborted.lock().unwrap().take().map(|sender| sender.send(request.line.clone()));
        }
        good(request).unwrap_or_else(completed)
    })
    .await;
    let storage = storage(&server, ChecksumCalculation::WhenRequired).await;
    let mut writer = storage.writer("k.mp4", "video/mp4").unwrap();
    writer.write(pattern(6 * MIB)).await.unwrap();
    drop(writer);
    assert!(heard.await.unwrap().contains("uploadId=up"));
}
