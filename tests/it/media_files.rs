//! Objects of the disk storage over HTTP, as a client sees them.

use actix_web::{
    App, HttpRequest, HttpResponse,
    dev::ServiceResponse,
    http::{Method, StatusCode},
    test::{self, TestRequest},
    web,
};
use bytes::Bytes;
use longtake::{
    config::storage::{StorageConfig, StorageKind},
    http::media::{MediaRefusal, media},
    storage::Storage,
};
use tempfile::TempDir;

use crate::storage::{disk, pattern};

const KEY: &str = "kling/gen_1/0-abc.mp4";

async fn route(request: HttpRequest, storage: web::Data<Storage>) -> HttpResponse {
    media(request, storage).await.unwrap_or_else(|refusal| match refusal {
        MediaRefusal::NotFound => HttpResponse::NotFound().finish(),
        MediaRefusal::Method => HttpResponse::MethodNotAllowed().finish(),
    })
}

async fn ask(storage: &Storage, request: TestRequest) -> ServiceResponse {
    let app = App::new().app_data(web::Data::new(storage.clone())).route("/media/{key:.*}", web::route().to(route));
    test::call_service(&test::init_service(app).await, request.to_request()).await
}

fn get(path: &str) -> TestRequest {
    TestRequest::get().uri(path)
}

async fn filled() -> (TempDir, Storage) {
    let folder = TempDir::new().unwrap();
    let storage = disk(folder.path()).await;
    storage.put(KEY, "video/mp4", pattern(300_000)).await.unwrap();
    (folder, storage)
}

fn header<'r>(response: &'r ServiceResponse, name: &str) -> &'r str {
    response.headers().get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap()
}

#[actix_web::test]
async fn a_file_is_sent_whole_with_its_type_and_harmless() {
    let (_folder, storage) = filled().await;
    let response = ask(&storage, get(&format!("/media/{KEY}"))).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(header(&response, "content-type"), "video/mp4");
    assert_eq!(header(&response, "x-content-type-options"), "nosniff");
    assert_eq!(header(&response, "content-security-policy"), "default-src 'none'; sandbox");
    assert_eq!(header(&response, "cache-control"), "private, max-age=31536000, immutable");
    assert_eq!(header(&response, "accept-ranges"), "bytes");
    assert!(header(&response, "etag").starts_with('"'));
    assert!(response.headers().contains_key("last-modified"));
    assert!(test::read_body(response).await == pattern(300_000));
}

#[actix_web::test]
async fn ranges_are_sent_as_asked_for() {
    let (_folder, storage) = filled().await;
    let whole = pattern(300_000);
    let cases = [
        ("bytes=0-0", "bytes 0-0/300000", 0..1),
        ("bytes=1000-1999", "bytes 1000-1999/300000", 1_000..2_000),
        ("bytes=299999-", "bytes 299999-299999/300000", 299_999..300_000),
        ("bytes=-10", "bytes 299990-299999/300000", 299_990..300_000),
        ("bytes=0-", "bytes 0-299999/300000", 0..300_000),
    ];
    for (asked, sent, bytes) in cases {
        let response = ask(&storage, get(&format!("/media/{KEY}")).insert_header(("range", asked))).await;
        assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT, "{asked}");
        assert_eq!(header(&response, "content-range"), sent);
        assert!(test::read_body(response).await == whole[bytes], "{asked}");
    }
    let response = ask(&storage, get(&format!("/media/{KEY}")).insert_header(("range", "bytes=300000-"))).await;
    assert_eq!(response.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(header(&response, "content-range"), "bytes */300000");
}

#[actix_web::test]
async fn what_the_client_has_already_is_not_sent_again() {
    let (_folder, storage) = filled().await;
    let first = ask(&storage, get(&format!("/media/{KEY}"))).await;
    let (tag, date) = (header(&first, "etag").to_owned(), header(&first, "last-modified").to_owned());
    for (name, value) in [("if-none-match", tag), ("if-modified-since", date)] {
        let response = ask(&storage, get(&format!("/media/{KEY}")).insert_header((name, value))).await;
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{name}");
        assert!(test::read_body(response).await.is_empty());
    }
    let response = ask(&storage, get(&format!("/media/{KEY}")).insert_header(("if-none-match", "\"other\""))).await;
    assert_eq!(response.status(), StatusCode::OK);
}

#[actix_web::test]
async fn head_is_answered_and_other_methods_are_not() {
    let (_folder, storage) = filled().await;
    let uri = format!("/media/{KEY}");
    let head = ask(&storage, TestRequest::default().method(Method::HEAD).uri(&uri)).await;
    assert_eq!(head.status(), StatusCode::OK);
    assert_eq!(header(&head, "content-type"), "video/mp4");
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let response = ask(&storage, TestRequest::default().method(method).uri(&uri)).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}

#[actix_web::test]
async fn nothing_outside_the_objects_is_found_and_nothing_is_listed() {
    let (folder, storage) = filled().await;
    std::fs::write(folder.path().join("secret.png"), "secret").unwrap();
    std::fs::write(folder.path().join("media/.incoming/half.png"), "half").unwrap();
    std::fs::write(folder.path().join("media/kling/odd.html"), "<script>").unwrap();
    std::fs::create_dir(folder.path().join("media/kling/folder.png")).unwrap();
    let paths = [
        "/media/",
        "/media/kling",
        "/media/kling/",
        "/media/kling/folder.png",
        "/media/kling/gen_1/none.mp4",
        "/media/kling/odd.html",
        "/media/.incoming/half.png",
        "/media/../secret.png",
        "/media/..%2fsecret.png",
        "/media/%2e%2e/secret.png",
        "/media/%2e%2e%2fsecret.png",
        "/media/kling/..%2f..%2fsecret.png",
        "/media/kling%5c..%5c..%5csecret.png",
        "/media//etc/passwd.png",
        "/media/kling/gen_1/0-abc.mp4%00.png",
    ];
    for path in paths {
        let response = ask(&storage, get(path)).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        assert!(test::read_body(response).await.is_empty(), "{path}");
    }
}

#[actix_web::test]
async fn objects_in_memory_are_sent_too() {
    let config = StorageConfig { kind: StorageKind::Memory, ..StorageConfig::default() };
    let storage = Storage::open(&config, std::path::Path::new("")).await.unwrap();
    storage.put("a/b.png", "image/png", Bytes::from_static(b"picture")).await.unwrap();
    let response = ask(&storage, get("/media/a/b.png")).await;
    assert_eq!(header(&response, "content-type"), "image/png");
    assert_eq!(header(&response, "x-content-type-options"), "nosniff");
    assert_eq!(test::read_body(response).await, "picture");
    assert_eq!(ask(&storage, get("/media/a/c.png")).await.status(), StatusCode::NOT_FOUND);
}
