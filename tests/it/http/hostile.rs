//! Bad input of every kind: a problem document, never a fault.

use actix_web::{
    App, HttpResponse,
    body::to_bytes,
    dev::Service,
    http::{
        Method,
        header::{HeaderName, HeaderValue},
    },
    middleware::from_fn,
    rt::System,
    test::{TestRequest, init_service},
    web,
};
use longtake::http::{configure, edge};
use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any, prop_oneof},
    strategy::ValueTree,
    test_runner::TestRunner,
};
use serde_json::{Value, json};

use super::app::{TestApp, with_key};

const PATH: &str = "/api/external/generation";

fn body(app: &TestApp, bytes: impl Into<Vec<u8>>) -> TestRequest {
    let request = TestRequest::post().uri(PATH).insert_header(("content-type", "application/json")).set_payload(bytes.into());
    with_key(request, &app.client)
}

#[actix_web::test]
async fn unknown_paths_and_wrong_methods_say_what_there_is() {
    let app = TestApp::start().await;
    for path in ["/", "/api", "/api/external/generation/", "/API/health", "//", "/api/external/generation/x/y", "/%00", "/%ff"] {
        app.send(TestRequest::get().uri(path)).await.problem(404, "NOT_FOUND");
    }
    for (method, path, allow) in [
        ("PUT", PATH, "POST, GET, HEAD"),
        ("POST", "/api/health", "GET, HEAD"),
        ("OPTIONS", "/api/external/generation/x", "GET, HEAD, DELETE"),
        ("GET", "/api/external/generation/x/cancel", "POST"),
        ("BREW", "/api/health", "GET, HEAD"),
    ] {
        let answer = app.send(TestRequest::with_uri(path).method(method.parse().unwrap())).await;
        answer.problem(405, "METHOD_NOT_ALLOWED");
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
    }
    app.get("/api/external/generation/x").await.problem(404, "NOT_FOUND");
    app.get("/api/external/generation/gen_%ff").await.problem(404, "NOT_FOUND");
}

#[actix_web::test]
async fn bodies_that_cannot_be_read_are_refused_by_kind() {
    let app = TestApp::start().await;
    for (bytes, status, code, words) in [
        (&b""[..], 400, "INVALID_REQUEST", "empty"),
        (b"{", 400, "INVALID_REQUEST", "line 1, column 1"),
        (b"{\"prompt\": \"\xff\"}", 400, "INVALID_REQUEST", "byte 12"),
        (b"[[[[[[[[[]]]]]]]]]", 400, "INVALID_REQUEST", "deeper than 8"),
        (b"[]", 422, "INVALID_PARAMETERS", "must be an object"),
        (b"null", 422, "INVALID_PARAMETERS", "must be an object"),
        (b"{\"prompt\":1e400}", 400, "INVALID_REQUEST", "line 1"),
    ] {
        let answer = app.send(body(&app, bytes)).await.problem(status, code);
        assert!(answer["detail"].as_str().unwrap().contains(words), "{answer}");
    }
    let large = app.send(body(&app, vec![b' '; 65_537])).await;
    assert_eq!(large.problem(413, "PAYLOAD_TOO_LARGE")["details"]["maxBytes"], 65_536);
    for (name, value) in
        [("content-type", "text/plain"), ("content-type", "application/x-www-form-urlencoded"), ("content-encoding", "gzip")]
    {
        let mut request = with_key(TestRequest::post().uri(PATH), &app.client).set_payload("{}");
        if name != "content-type" {
            request = request.insert_header(("content-type", "application/json"));
        }
        app.send(request.insert_header((name, value))).await.problem(415, "UNSUPPORTED_MEDIA_TYPE");
    }
    app.send(with_key(TestRequest::post().uri(PATH), &app.client).set_payload("{}")).await.problem(415, "UNSUPPORTED_MEDIA_TYPE");
}

#[actix_web::test]
async fn every_answer_names_its_request_and_is_neither_sniffed_nor_kept() {
    let app = TestApp::start().await;
    for path in ["/nothing", "/api/health", "/api/external/models", "/openapi.json"] {
        let answer = app.send(TestRequest::get().uri(path)).await;
        assert!(answer.header("x-request-id").starts_with("req_"), "{path}");
        assert_eq!((answer.header("x-content-type-options"), answer.header("cache-control")), ("nosniff", "no-store"), "{path}");
        assert_eq!(answer.header("server"), "");
    }
}

/// JSON of any shape.
fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec((".{0,12}", inner), 0..6).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Bodies: bytes, JSON, and requests that are almost right.
fn any_body() -> impl Strategy<Value = Vec<u8>> {
    let names =
        ["modelIdentifier", "prompt", "inputImages", "input_images", "numberOfOutputs", "parameters", "userId", "metadata"];
    let almost = vec((proptest::sample::select(names.to_vec()), json_value()), 0..8).prop_map(|members| {
        let mut body = json!({"modelIdentifier": "flux-test", "prompt": "x"});
        for (name, value) in members {
            body[name] = value;
        }
        body.to_string().into_bytes()
    });
    prop_oneof![vec(any::<u8>(), 0..200), json_value().prop_map(|value| value.to_string().into_bytes()), almost]
}

fn any_path() -> impl Strategy<Value = String> {
    let known = proptest::sample::select(vec![
        PATH,
        "/api/external/models",
        "/api/health",
        "/api/health/detailed",
        "/api/metrics",
        "/openapi.json",
        "/docs/",
        "/errors/",
        "/media/",
    ]);
    (known, "[!-~]{0,20}", "[ -~]{0,20}").prop_map(|(start, tail, query)| {
        let query: String = query.chars().filter(|c| !" \"<>\\^`{|}#".contains(*c)).collect();
        let tail: String = tail.chars().filter(|c| !"\"<>\\^`{|}#?".contains(*c)).collect();
        format!("{start}{tail}?{query}")
    })
}

fn any_headers() -> impl Strategy<Value = Vec<(HeaderName, HeaderValue)>> {
    let name = proptest::sample::select(vec![
        "authorization",
        "content-type",
        "content-encoding",
        "if-none-match",
        "x-request-id",
        "host",
        "range",
        "prefer",
        "accept",
    ]);
    let value = prop_oneof![
        vec(any::<u8>(), 0..40).prop_filter_map("not a header's value", |bytes| HeaderValue::from_bytes(&bytes).ok()),
        Just(HeaderValue::from_static("application/json")),
    ];
    vec((name.prop_map(HeaderName::from_static), value), 0..5)
}

#[test]
fn no_input_makes_a_fault_and_every_refusal_is_a_problem_document() {
    let methods =
        proptest::sample::select(vec![Method::GET, Method::POST, Method::DELETE, Method::PUT, Method::HEAD, Method::OPTIONS]);
    let paths = prop_oneof![Just(PATH.to_owned()), any_path()];
    let cases = (methods, paths, any_headers(), any_body(), 0..4_u8);
    System::new().block_on(async {
        let app = TestApp::start().await;
        let api = app.api.clone();
        let service = init_service(App::new().configure(move |config| configure(config, api))).await;
        let mut runner = TestRunner::deterministic();
        for _ in 0..1_500 {
            let case = cases.new_tree(&mut runner).unwrap().current();
            let shown = format!("{case:?}");
            let (method, path, headers, body, key) = case;
            let Ok(uri) = path.parse::<actix_web::http::Uri>() else { continue };
            let mut request = TestRequest::with_uri(&uri.to_string()).method(method.clone()).set_payload(body);
            for (name, value) in headers {
                request = request.insert_header((name, value));
            }
            if key > 0 {
                request = with_key(
                    request.insert_header(("content-type", "application/json")),
                    [&app.client, &app.admin, &app.stranger][usize::from(key) - 1],
                );
            }
            let response = match service.call(request.to_request()).await {
                Ok(response) => response.into_parts().1.map_into_boxed_body(),
                Err(error) => panic!("an error passed the edge: {error} for {shown}"),
            };
            let status = response.status();
            // A disabled provider is no fault of ours; nothing else answers 5xx.
            assert!(!status.is_server_error() || status == 503, "{status} for {shown}");
            if status.as_u16() >= 400 {
                assert_eq!(response.headers().get("content-type").unwrap(), "application/problem+json", "{shown}");
                let bytes = to_bytes(response.into_body()).await.unwrap_or_else(|_| panic!("no body"));
                let problem: Value = serde_json::from_slice(&bytes).unwrap();
                assert_eq!(problem["status"], status.as_u16(), "{shown}");
            }
        }
    });
}

#[actix_web::test]
async fn a_panic_in_a_handler_is_a_problem_too() {
    async fn boom() -> HttpResponse {
        panic!("a handler of this test");
    }
    let service = init_service(App::new().wrap(from_fn(edge::edge)).route("/boom", web::get().to(boom))).await;
    let Err(error) = service.call(TestRequest::get().uri("/boom").to_request()).await else { panic!("it answered") };
    let response = error.error_response();
    assert_eq!(response.status(), 500);
    assert!(response.headers().get("x-request-id").is_some());
    let problem: Value = serde_json::from_slice(&to_bytes(response.into_body()).await.unwrap()).unwrap();
    assert_eq!((&problem["code"], &problem["type"]), (&"INTERNAL_ERROR".into(), &"/errors/internal-error".into()));
}
