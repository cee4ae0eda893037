//! What must never be in a log is not: canaries through the whole HTTP side, at TRACE.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use actix_web::test::TestRequest;
use longtake::{
    config::telemetry::{LogFormat, TelemetryConfig},
    telemetry::{logs, redact::Secrets},
};
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

use super::app::{CREDENTIAL, TestApp, with_key};

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn subscriber(lines: &Lines, format: LogFormat, secrets: Secrets) -> impl tracing::Subscriber + Send + Sync + use<> {
    logs::subscriber(&TelemetryConfig { format, filter: "trace".to_owned() }, secrets, lines.clone()).unwrap()
}

/// Meets every place that logs once, then has them ask the subscribers anew: a place that another test meets at the very
/// moment when ours subscribes would else stay silent.
async fn warm(app: &TestApp) {
    let ask = json!({"modelIdentifier": "flux-test", "prompt": "x"});
    let request = TestRequest::post().uri("/api/external/generation").insert_header(("x-request-id", "warm")).set_json(ask);
    app.send(with_key(request, &app.client)).await;
    app.send(TestRequest::get().uri("/nothing").insert_header(("x-request-id", "warm"))).await;
    tracing::callsite::rebuild_interest_cache();
}

#[actix_web::test]
async fn no_prompt_key_or_signed_query_is_logged_even_at_trace() {
    for format in [LogFormat::Json, LogFormat::Pretty] {
        let lines = Lines::default();
        // Without the last layer's list: what our code and libraries log themselves is judged.
        let guard = tracing::subscriber::set_default(subscriber(&lines, format, Secrets::default()));
        let app = TestApp::start().await;
        warm(&app).await;
        let image = "https://files.example/in.png?X-Amz-Signature=canary-signature";
        let ask = json!({"modelIdentifier": "flux-test", "prompt": "canary-prompt", "inputImages": [image],
            "metadata": {"note": "canary-note"}, "userId": "canary-user", "parameters": {"seed": "canary-value"}});
        app.post(&ask).await;
        let mut right = ask.clone();
        right["parameters"] = json!({});
        let made = app.post(&right).await;
        let id = made.json()["id"].as_str().unwrap_or("gen_x").to_owned();
        for path in [
            format!("/api/external/generation/{id}?token=canary-query"),
            "/api/external/generation?cursor=canary-cursor".to_owned(),
        ] {
            app.get(&path).await;
        }
        let stray = TestRequest::post().uri("/api/external/generation").insert_header(("content-type", "application/json"));
        app.send(with_key(stray.set_payload("{\"prompt\": \"canary-broken"), &app.client)).await;
        app.send(TestRequest::get().uri("/api/metrics").insert_header(("authorization", format!("Bearer {}x", app.admin)))).await;
        app.send(TestRequest::get().uri("/api/health").insert_header(("cookie", "canary-cookie"))).await;
        drop(guard);
        let text = lines.text();
        assert!(text.contains("request answered") && text.contains("generation accepted"), "the log was on");
        for secret in ["canary", &app.client[3..], &app.admin[3..], CREDENTIAL] {
            assert!(!text.contains(secret), "{secret} in: {text}");
        }
    }
}

#[actix_web::test]
async fn every_line_of_a_request_carries_its_id_and_lines_are_json() {
    let lines = Lines::default();
    let guard = tracing::subscriber::set_default(subscriber(&lines, LogFormat::Json, Secrets::default()));
    let app = TestApp::start().await;
    warm(&app).await;
    lines.0.lock().unwrap().clear();
    let request = TestRequest::post().uri("/api/external/generation").insert_header(("x-request-id", "follow-me"));
    app.send(with_key(request.set_json(json!({"modelIdentifier": "flux-test", "prompt": "x"})), &app.client)).await;
    drop(guard);
    let ours: Vec<Value> = lines
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}")))
        .filter(|line: &Value| line["target"].as_str().is_some_and(|target| target.starts_with("longtake::http")))
        .collect();
    assert!(ours.len() >= 2, "{ours:?}");
    for line in ours {
        assert_eq!(line["span"]["request.id"], "follow-me", "{line}");
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
    }
}

#[test]
fn the_last_layer_cuts_out_what_a_mistake_logs() {
    let config: longtake::config::Config = toml::from_str(&format!("[providers.flux]\napi_key = \"{CREDENTIAL}\"")).unwrap();
    for format in [LogFormat::Json, LogFormat::Pretty] {
        let lines = Lines::default();
        let key = longtake::intake::key_text::KeyText::mint();
        tracing::subscriber::with_default(subscriber(&lines, format, Secrets::of(&config)), || {
            tracing::info!(credential = CREDENTIAL, key = key.reveal(), "see https://h/p?sig=canary-signature");
        });
        let text = lines.text();
        for secret in [CREDENTIAL, &key.reveal()[3..], "canary-signature"] {
            assert!(!text.contains(secret), "{text}");
        }
        assert!(text.contains("https://h/p?[redacted]"), "{text}");
    }
}

#[test]
fn a_warning_that_repeats_is_left_out_after_a_while_and_nothing_else_is() {
    for format in [LogFormat::Pretty, LogFormat::Json] {
        let lines = Lines::default();
        tracing::subscriber::with_default(subscriber(&lines, format, Secrets::default()), || {
            for number in 0..20 {
                tracing::warn!(number, "one place");
                tracing::error!(number, "an error");
            }
            tracing::warn!("another place");
        });
        let text = lines.text();
        let count = |words: &str| text.matches(words).count();
        assert_eq!((count("one place"), count("an error"), count("another place")), (5, 20, 1), "{text}");
        assert_eq!(text.lines().count(), 26, "what is left out leaves no line");
    }
}
