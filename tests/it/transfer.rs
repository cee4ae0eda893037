//! Moving a result from a server that misbehaves into the storage.

use std::path::Path;

use bytes::Bytes;
use longtake::{
    assets::{
        fetch::Downloader,
        transfer::{Source, StoredAsset, TransferFault, TransferPlan, transfer},
    },
    config::{
        assets::AssetsConfig,
        storage::{StorageConfig, StorageKind},
    },
    domain::record::Kind,
    storage::Storage,
};
use sha2::{Digest, Sha256};
use url::Url;

use crate::{
    raw_server::{Answer, RawServer, Request},
    storage::{disk, pattern},
};

const TAG: &str = "ETag: \"one\"";

/// A real picture of some 180 KB: noise does not compress.
fn picture() -> Vec<u8> {
    let noise = image::RgbImage::from_raw(200, 300, pattern(200 * 300 * 3).to_vec()).unwrap();
    let mut png = std::io::Cursor::new(Vec::new());
    noise.write_to(&mut png, image::ImageFormat::Png).unwrap();
    png.into_inner()
}

async fn memory() -> Storage {
    Storage::open(&StorageConfig { kind: StorageKind::Memory, ..StorageConfig::default() }, Path::new("")).await.unwrap()
}

fn keys(storage: &Storage) -> Vec<String> {
    let Storage::Memory(memory) = storage else { panic!("these tests keep results in memory") };
    memory.keys()
}

fn limits() -> AssetsConfig {
    AssetsConfig { max_image_bytes: 1_000_000, stall_ms: 10_000, ..AssetsConfig::default() }
}

async fn guarded(
    source: Source<'_>,
    storage: &Storage,
    limits: &AssetsConfig,
    guard: &(dyn Fn(&Url) -> Result<(), String> + Send + Sync),
) -> Result<StoredAsset, TransferFault> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap();
    let plan = TransferPlan::new(source, "flux/gen_1/0-abc", Kind::Image, limits);
    transfer(Downloader { client: &client, guard }, storage, limits, plan).await
}

/// Fetches `/out` of the server into the storage.
async fn fetch(server: &RawServer, storage: &Storage) -> Result<StoredAsset, TransferFault> {
    guarded(Source::Url(&format!("{}/out?sig=secret", server.base)), storage, &limits(), &|_| Ok(())).await
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn holds(storage: &Storage, stored: &StoredAsset, content: &[u8]) {
    assert!(storage.read(&stored.storage_key).await.unwrap() == content, "the stored bytes are those of the source");
    assert_eq!(stored.bytes, i64::try_from(content.len()).unwrap());
    assert_eq!(stored.sha256, hex(content));
}

/// The rest of the picture from the offset that the request asks for, as a 206.
fn rest(request: &Request, whole: &[u8]) -> Answer {
    let range = request.header("range").unwrap();
    let start: usize = range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap();
    let (end, total) = (whole.len() - 1, whole.len());
    Answer::whole(&format!("206 Partial Content\r\n{TAG}\r\nContent-Range: bytes {start}-{end}/{total}"), &whole[start..])
}

/// Says it sends everything, and stops after `sent` bytes.
fn cut(headers: &str, whole: &[u8], sent: usize) -> Answer {
    Answer::new(&format!("200 OK\r\n{headers}\r\nContent-Length: {}", whole.len()), &whole[..sent])
}

#[tokio::test]
async fn a_result_is_stored_by_what_it_is_and_not_by_what_it_is_called() {
    let whole = picture();
    let body = whole.clone();
    let server = RawServer::start(move |_, _| Answer::whole("200 OK\r\nContent-Type: application/octet-stream", &body)).await;
    let folder = tempfile::TempDir::new().unwrap();
    for storage in [memory().await, disk(folder.path()).await] {
        let stored = fetch(&server, &storage).await.unwrap();
        assert_eq!(stored.storage_key, "flux/gen_1/0-abc.png");
        assert_eq!((stored.content_type.as_str(), stored.kind), ("image/png", Kind::Image));
        assert_eq!((stored.width, stored.height, stored.duration_ms), (Some(200), Some(300), None));
        holds(&storage, &stored, &whole).await;
    }
    let request = &server.requests()[0];
    assert_eq!(request.header("accept-encoding"), Some("identity"));
    assert_eq!(request.header("range"), None);
}

#[tokio::test]
async fn a_download_cut_in_the_middle_is_resumed_where_it_broke() {
    let whole = picture();
    let body = whole.clone();
    let server = RawServer::start(move |number, request| match number {
        0 => cut(TAG, &body, body.len() / 2),
        _ => rest(request, &body),
    })
    .await;
    let storage = memory().await;
    let stored = fetch(&server, &storage).await.unwrap();
    holds(&storage, &stored, &whole).await;
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[1].header("range"), Some(format!("bytes={}-", whole.len() / 2).as_str()));
    assert_eq!(requests[1].header("if-range"), Some("\"one\""));
}

#[tokio::test]
async fn a_weak_tag_does_not_allow_to_resume_but_a_date_does() {
    let whole = picture();
    let body = whole.clone();
    let date = "Sat, 21 Nov 2026 10:00:00 GMT";
    let server = RawServer::start(move |number, request| match number {
        0 => cut(&format!("ETag: W/\"one\"\r\nLast-Modified: {date}"), &body, 1_000),
        _ => rest(request, &body),
    })
    .await;
    let storage = memory().await;
    let stored = fetch(&server, &storage).await.unwrap();
    holds(&storage, &stored, &whole).await;
    assert_eq!(server.requests()[1].header("if-range"), Some(date.to_lowercase().as_str()));
}

#[tokio::test]
async fn a_server_that_offers_no_validator_is_asked_once_more_from_the_start() {
    let whole = picture();
    let body = whole.clone();
    let server = RawServer::start(move |number, _| match number {
        0 => cut("ETag: W/\"weak\"", &body, 100_000),
        _ => Answer::whole("200 OK", &body),
    })
    .await;
    let storage = memory().await;
    let stored = fetch(&server, &storage).await.unwrap();
    holds(&storage, &stored, &whole).await;
    assert_eq!(server.requests()[1].header("range"), None);
}

#[tokio::test]
async fn a_file_that_changed_meanwhile_is_fetched_anew_and_never_mixed() {
    let (old, mut new) = (picture(), picture());
    let middle = new.len() / 2;
    new[middle..].reverse();
    let body = new.clone();
    let server = RawServer::start(move |number, _| match number {
        0 => cut(TAG, &old, old.len() / 2),
        _ => Answer::whole("200 OK\r\nETag: \"two\"", &body),
    })
    .await;
    let storage = memory().await;
    let stored = fetch(&server, &storage).await.unwrap();
    holds(&storage, &stored, &new).await;
    assert_eq!(server.requests().len(), 3, "broken, changed, anew");
}

#[tokio::test]
async fn a_range_that_was_not_asked_for_is_not_appended() {
    let whole = picture();
    let body = whole.clone();
    let server = RawServer::start(move |number, _| match number {
        0 => cut(TAG, &body, body.len() / 2),
        1 => {
            Answer::whole(&format!("206 Partial Content\r\nContent-Range: bytes 5-{}/{}", body.len() - 1, body.len()), &body[5..])
        }
        _ => Answer::whole("200 OK", &body),
    })
    .await;
    let storage = memory().await;
    let stored = fetch(&server, &storage).await.unwrap();
    holds(&storage, &stored, &whole).await;
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn a_range_that_is_shorter_than_asked_for_is_continued() {
    let whole = picture();
    let body = whole.clone();
    let server = RawServer::start(move |number, request| match number {
        0 => cut(TAG, &body, 50_000),
        1 => {
            let head = format!("206 Partial Content\r\nContent-Range: bytes 50000-99999/{}", body.len());
            Answer::whole(&head, &body[50_000..100_000])
        }
        _ => rest(request, &body),
    })
    .await;
    let storage = memory().await;
    let stored = fetch(&server, &storage).await.unwrap();
    holds(&storage, &stored, &whole).await;
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn a_body_in_chunks_that_breaks_is_resumed_although_its_length_was_not_known() {
    let whole = picture();
    let body = whole.clone();
    let server = RawServer::start(move |number, request| match number {
        0 => {
            let mut chunk = format!("{:x}\r\n", 50_000).into_bytes();
            chunk.extend_from_slice(&body[..50_000]);
            chunk.extend_from_slice(b"\r\n");
            Answer::new(&format!("200 OK\r\n{TAG}\r\nTransfer-Encoding: chunked"), &chunk)
        }
        _ => rest(request, &body),
    })
    .await;
    let storage = memory().await;
    let stored = fetch(&server, &storage).await.unwrap();
    holds(&storage, &stored, &whole).await;
}

#[tokio::test]
async fn a_server_that_fails_while_resuming_is_asked_again() {
    let whole = picture();
    let body = whole.clone();
    let server = RawServer::start(move |number, request| match number {
        0 => cut(TAG, &body, 50_000),
        1 => Answer::whole("503 Service Unavailable", b""),
        2 => Answer { bytes: Vec::new(), hold: false },
        _ => rest(request, &body),
    })
    .await;
    let storage = memory().await;
    let stored = fetch(&server, &storage).await.unwrap();
    holds(&storage, &stored, &whole).await;
    assert_eq!(server.requests().len(), 4);
}

#[tokio::test]
async fn a_server_that_goes_silent_is_left_and_asked_for_the_rest() {
    let whole = picture();
    let body = whole.clone();
    let server = RawServer::start(move |number, request| match number {
        0 => cut(TAG, &body, 50_000).held(),
        _ => rest(request, &body),
    })
    .await;
    let storage = memory().await;
    let limits = AssetsConfig { stall_ms: 400, ..limits() };
    let url = format!("{}/out", server.base);
    let stored = guarded(Source::Url(&url), &storage, &limits, &|_| Ok(())).await.unwrap();
    holds(&storage, &stored, &whole).await;
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let server = RawServer::start(|_, _| Answer { bytes: Vec::new(), hold: true }).await;
    let limits = AssetsConfig { stall_ms: 50, ..limits() };
    let url = format!("{}/out", server.base);
    let fault = guarded(Source::Url(&url), &memory().await, &limits, &|_| Ok(())).await.unwrap_err();
    assert!(matches!(&fault, TransferFault::Transient(text) if text.contains("no answer")), "{fault}");
}

#[tokio::test]
async fn a_transfer_ends_at_its_deadline_however_steadily_it_trickles() {
    let whole = picture();
    let server = RawServer::start(move |_, _| cut(TAG, &whole, 50_000).held()).await;
    let limits = AssetsConfig { max_transfer_s: 0, ..limits() };
    let url = format!("{}/out", server.base);
    let storage = memory().await;
    let fault = guarded(Source::Url(&url), &storage, &limits, &|_| Ok(())).await.unwrap_err();
    assert!(matches!(&fault, TransferFault::Transient(text) if text.contains("not finished")), "{fault}");
    assert_eq!(keys(&storage), Vec::<String>::new());
}

#[tokio::test]
async fn a_body_shorter_than_promised_never_becomes_an_object() {
    let whole = picture();
    let server = RawServer::start(move |_, _| cut(TAG, &whole, whole.len() - 1)).await;
    let folder = tempfile::TempDir::new().unwrap();
    let storage = disk(folder.path()).await;
    let fault = fetch(&server, &storage).await.unwrap_err();
    assert!(matches!(fault, TransferFault::Transient(_)), "{fault}");
    assert_eq!(server.requests().len(), 4, "broken, changed, and so once more");
    let left: Vec<_> = std::fs::read_dir(folder.path().join("media")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [".incoming"]);
    assert_eq!(std::fs::read_dir(folder.path().join("media/.incoming")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_download_is_resumed_three_times_and_begun_twice_at_most() {
    let whole = picture();
    let total = whole.len();
    let server = RawServer::start(move |_, request| match request.header("range") {
        None => cut(TAG, &whole, 10_000),
        Some(range) => {
            let start: usize = range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap();
            let head = format!(
                "206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {start}-{}/{total}",
                total - start,
                total - 1
            );
            Answer::new(&head, &whole[start..start + 10_000])
        }
    })
    .await;
    let storage = memory().await;
    let fault = fetch(&server, &storage).await.unwrap_err();
    assert!(matches!(fault, TransferFault::Transient(_)), "{fault}");
    assert_eq!(server.requests().len(), 8);
    assert_eq!(keys(&storage), Vec::<String>::new());
}

#[tokio::test]
async fn a_body_without_a_length_ends_with_its_connection() {
    let whole = picture();
    let body = whole.clone();
    let server = RawServer::start(move |_, _| Answer::new("200 OK", &body)).await;
    let storage = memory().await;
    let stored = fetch(&server, &storage).await.unwrap();
    holds(&storage, &stored, &whole).await;
}

#[tokio::test]
async fn what_is_no_picture_is_refused_by_what_it_is() {
    let cases: [(&[u8], &str); 5] = [
        (b"<!DOCTYPE html><title>Sign in</title>", "an HTML page, labelled image/png"),
        (b"{\"error\":\"gone\"}", "JSON"),
        (b"<?xml version=\"1.0\"?><Error/>", "an XML document"),
        (b"not here", "plain text"),
        (b"\x00\x01\x02\xff", "unknown data that begins with 00 01 02 ff"),
    ];
    for (body, named) in cases {
        let server = RawServer::start(move |_, _| Answer::whole("200 OK\r\nContent-Type: image/png", body)).await;
        let storage = memory().await;
        let fault = fetch(&server, &storage).await.unwrap_err();
        assert!(matches!(&fault, TransferFault::Unacceptable(text) if text.contains(named)), "{fault}");
        assert_eq!(keys(&storage), Vec::<String>::new());
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn an_empty_file_may_be_there_later() {
    let server = RawServer::start(|_, _| Answer::whole("200 OK", b"")).await;
    let fault = fetch(&server, &memory().await).await.unwrap_err();
    assert!(matches!(fault, TransferFault::Transient(_)), "{fault}");
}

#[tokio::test]
async fn a_file_above_the_limit_is_refused_by_its_length_or_while_it_streams() {
    let limits = AssetsConfig { max_image_bytes: 100_000, ..limits() };
    for announced in [true, false] {
        let whole = picture();
        let server =
            RawServer::start(move |_, _| if announced { Answer::whole("200 OK", &whole) } else { Answer::new("200 OK", &whole) })
                .await;
        let storage = memory().await;
        let url = format!("{}/out", server.base);
        let fault = guarded(Source::Url(&url), &storage, &limits, &|_| Ok(())).await.unwrap_err();
        assert!(matches!(&fault, TransferFault::Unacceptable(text) if text.contains("100000")), "{fault}");
        assert_eq!(keys(&storage), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_status_says_whether_the_result_has_expired() {
    for (status, expired) in
        [(403, true), (404, true), (410, true), (400, false), (429, false), (500, false), (503, false), (206, false)]
    {
        let server = RawServer::start(move |_, _| Answer::whole(&format!("{status} Status"), b"")).await;
        let fault = fetch(&server, &memory().await).await.unwrap_err();
        match fault {
            TransferFault::Expired(text) => assert!(expired && text.contains(&status.to_string())),
            TransferFault::Transient(text) => assert!(!expired && text.contains(&status.to_string())),
            other @ (TransferFault::Unacceptable(_) | TransferFault::Storage(_)) => panic!("{status}: {other}"),
        }
    }
}

#[tokio::test]
async fn a_result_that_expires_while_it_is_resumed_has_expired() {
    let whole = picture();
    let server = RawServer::start(move |number, _| match number {
        0 => cut(TAG, &whole, 50_000),
        _ => Answer::whole("403 Forbidden", b""),
    })
    .await;
    let storage = memory().await;
    assert!(matches!(fetch(&server, &storage).await, Err(TransferFault::Expired(_))));
    assert_eq!(keys(&storage), Vec::<String>::new());
}

#[tokio::test]
async fn every_hop_passes_the_guard_and_a_forbidden_one_is_never_contacted() {
    let inner = RawServer::start(|_, _| Answer::whole("200 OK", &picture())).await;
    let target = format!("{}/internal", inner.base);
    let forbidden = target.clone();
    let outer = RawServer::start(move |_, _| Answer::whole(&format!("302 Found\r\nLocation: {target}"), b"")).await;
    let guard = move |url: &Url| if url.as_str() == forbidden { Err("that host is private".to_owned()) } else { Ok(()) };
    let url = format!("{}/out", outer.base);
    let fault = guarded(Source::Url(&url), &memory().await, &limits(), &guard).await.unwrap_err();
    assert_eq!(fault, TransferFault::Unacceptable("that host is private".to_owned()));
    assert_eq!(inner.requests().len(), 0);
    assert_eq!(outer.requests().len(), 1);
}

#[tokio::test]
async fn three_redirects_are_followed_and_a_fourth_is_not() {
    for (redirects, well) in [(3, true), (4, false)] {
        let server = RawServer::start(move |number, _| {
            if number < redirects {
                Answer::whole(&format!("302 Found\r\nLocation: /hop{number}"), b"")
            } else {
                Answer::whole("200 OK", &picture())
            }
        })
        .await;
        let fetched = fetch(&server, &memory().await).await;
        assert_eq!(fetched.is_ok(), well, "{fetched:?}");
    }
}

#[tokio::test]
async fn a_redirect_that_is_no_http_url_is_refused() {
    for location in ["file:///etc/passwd", "gopher://127.0.0.1/", "http://[broken"] {
        let server = RawServer::start(move |_, _| Answer::whole(&format!("302 Found\r\nLocation: {location}"), b"")).await;
        let fault = fetch(&server, &memory().await).await.unwrap_err();
        assert!(matches!(fault, TransferFault::Unacceptable(_)), "{location}: {fault}");
    }
}

#[tokio::test]
async fn no_error_repeats_the_signed_query() {
    let server = RawServer::start(|_, _| Answer { bytes: b"not http at all\r\n\r\n".to_vec(), hold: false }).await;
    let fault = fetch(&server, &memory().await).await.unwrap_err();
    assert!(!fault.to_string().contains("secret") && !format!("{fault:?}").contains("secret"), "{fault:?}");
    let fault =
        guarded(Source::Url("http://127.0.0.1:9/out?sig=secret"), &memory().await, &limits(), &|_| Ok(())).await.unwrap_err();
    assert!(matches!(fault, TransferFault::Transient(_)), "{fault}");
    assert!(!format!("{fault:?}").contains("secret"), "{fault:?}");
}

#[tokio::test]
async fn a_staged_result_is_moved_and_a_lost_one_has_expired() {
    let storage = memory().await;
    storage.put("staged/att_1/0", "application/octet-stream", Bytes::from(picture())).await.unwrap();
    let stored = guarded(Source::Staged("staged/att_1/0"), &storage, &limits(), &|_| Ok(())).await.unwrap();
    holds(&storage, &stored, &picture()).await;
    assert_eq!(keys(&storage), ["flux/gen_1/0-abc.png", "staged/att_1/0"], "the caller deletes it after its commit");
    let fault = guarded(Source::Staged("staged/att_1/1"), &storage, &limits(), &|_| Ok(())).await.unwrap_err();
    assert!(matches!(fault, TransferFault::Expired(_)), "{fault}");
}

#[tokio::test]
async fn a_storage_that_fails_is_told_apart_from_a_download_that_fails() {
    let server = RawServer::start(|_, _| Answer::whole("200 OK", &picture())).await;
    let folder = tempfile::TempDir::new().unwrap();
    let storage = disk(folder.path()).await;
    std::fs::remove_dir_all(folder.path().join("media")).unwrap();
    let fault = fetch(&server, &storage).await.unwrap_err();
    assert!(matches!(fault, TransferFault::Storage(_)), "{fault}");
}
