//! No key and no signed query in logs at any level, in errors, or in any Debug.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use longtake::providers::adapter::HttpCall;
use tracing_subscriber::{fmt::MakeWriter, util::SubscriberInitExt};

use super::{
    account, executor,
    fake::{provider, section},
    limits, server,
    server::{Play, Server},
};
use longtake::lifeline::Lifeline;

const KEY: &str = "sk-canary-9f8e7d6c";
const SIGNATURE: &str = "canary-signature-5a4b3c";

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Captured {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// One of each: an answer, a reset, a half body, a refused port, a failing TLS handshake.
async fn bases() -> Vec<(Option<Server>, String)> {
    let mut bases = Vec::new();
    for play in [Play::Answer { status: 200, body: "{}" }, Play::ResetBeforeAnswer, Play::HalfBody] {
        let server = Server::start(play).await;
        let base = server.base();
        bases.push((Some(server), base));
    }
    bases.push((None, server::refused_base().await));
    let plain = Server::start(Play::Answer { status: 200, body: "{}" }).await;
    let base = plain.base().replace("http://", "https://");
    bases.push((Some(plain), base));
    bases
}

#[tokio::test]
async fn neither_the_key_nor_a_signed_query_is_ever_shown() {
    let captured = Captured::default();
    let subscriber = || tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(captured.clone()).finish();
    // While tracing-core 0.1 knows one dispatcher only, it asks the *registering thread's* default whether a new callsite is of
    // interest, and remembers a no from another test's thread for ever. A second one makes it ask all.
    let _second = tracing::Dispatch::new(subscriber());
    let _installed = subscriber().set_default();
    let mut shown = String::new();
    for (_server, base) in bases().await {
        let mut section = section(&base);
        section.api_key = Some(KEY.into());
        let provider = provider("fake", section);
        let url: url::Url = format!("{base}/submit?X-Amz-Signature={SIGNATURE}").parse().expect("a URL");
        let lifeline = Lifeline::default();
        let endpoint = super::endpoint(&provider);
        let call = HttpCall::post(url.clone(), serde_json::json!({}));
        let sent = executor().submit(&provider, &account(&provider), &endpoint, call, limits(&lifeline)).await;
        let answer = executor().ask(&provider, &account(&provider), &endpoint, HttpCall::get(url)).await;
        shown.push_str(&format!("{sent:?} {answer:?} {provider:?} {:?} {:?}", executor(), limits(&lifeline)));
    }
    let logs = String::from_utf8_lossy(&captured.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned();
    assert!(logs.contains("provider call ended") && logs.contains("TRACE"), "the capture works");
    for secret in [KEY, SIGNATURE] {
        assert!(!logs.contains(secret), "in the logs: {}", logs.lines().find(|line| line.contains(secret)).unwrap_or(""));
        assert!(!shown.contains(secret), "in a Debug or an error");
    }
}
