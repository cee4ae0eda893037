//! The executor over real sockets: what a provider can do to a paid call, and what we make of it. The rule under test: **never
//! sent** exactly when no byte of the request left, an answer only when it is complete, everything else is unknown.

#![expect(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "test support outside of test functions")]

mod fake;
mod redaction;
mod server;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use longtake::{
    clock::{Clock, ManualClock},
    domain::{error::ErrorCode, id::AttemptId, record::Endpoint, time::Timestamp},
    lifeline::Lifeline,
    providers::{
        adapter::{Body, Fault, HttpCall, Then},
        executor::{Executor, SUBMIT_ANSWER_BYTES, Sent, SubmitLimits},
        registry::{Account, Provider},
    },
};
use serde_json::json;

use self::{
    fake::{endpoint, post, provider, section},
    server::{Play, Server},
};

/// The instant at which the manual clock of these tests stands.
const NOW: Timestamp = Timestamp(1_790_000_000_000);

fn executor() -> Executor {
    Executor::new(Clock::Manual(ManualClock::at(NOW)))
}

fn account(provider: &Provider) -> Arc<Account> {
    Arc::clone(provider.account("default").expect("an account"))
}

fn limits(lifeline: &Lifeline) -> SubmitLimits<'_> {
    SubmitLimits { not_after: NOW.plus(Duration::from_secs(5)), lifeline, trust: Arc::new(|| true) }
}

async fn submit(provider: &Provider, path: &str) -> Sent {
    let lifeline = Lifeline::default();
    let call = post(provider, path);
    executor().submit(provider, &account(provider), &endpoint(provider), call, limits(&lifeline)).await
}

fn unknown(sent: Sent) -> Fault {
    match sent {
        Sent::Unknown(fault) => fault,
        Sent::Reply(_) | Sent::NeverSent(_) => panic!("expected unknown, got {sent:?}"),
    }
}

fn never_sent(sent: Sent) -> Fault {
    match sent {
        Sent::NeverSent(fault) => fault,
        Sent::Reply(_) | Sent::Unknown(_) => panic!("expected never sent, got {sent:?}"),
    }
}

#[tokio::test]
async fn a_complete_answer_is_a_reply_whatever_its_status() {
    for status in [200, 302, 429, 500] {
        let server = Server::start(Play::Answer { status, body: r#"{"id":"t1"}"# }).await;
        let provider = provider("fake", section(&server.base()));
        let Sent::Reply(reply) = submit(&provider, "/submit").await else { panic!("expected a reply") };
        assert_eq!((reply.status.as_u16(), reply.json(), reply.at), (status, Some(json!({"id": "t1"})), NOW));
        let seen = server.requests();
        assert_eq!(seen.len(), 1, "a redirect must not be followed and nothing be repeated");
        assert!(seen[0].starts_with("POST /submit HTTP/1.1\r\n"), "{}", seen[0]);
        assert!(seen[0].contains("authorization: Bearer sk-test\r\n") && seen[0].ends_with(r#"{"prompt":"a cat"}"#));
    }
}

#[tokio::test]
async fn a_form_goes_out_as_multipart_with_its_fields_in_order() {
    let server = Server::start(Play::Answer { status: 200, body: "{}" }).await;
    let provider = provider("fake", section(&server.base()));
    let fields = vec![("model".to_owned(), "m".to_owned()), ("prompt".to_owned(), "ein Kätzchen".to_owned())];
    let call = HttpCall { body: Body::Form(fields), ..post(&provider, "/v1/videos") };
    let lifeline = Lifeline::default();
    let sent = executor().submit(&provider, &account(&provider), &endpoint(&provider), call, limits(&lifeline)).await;
    assert!(matches!(sent, Sent::Reply(_)));
    let seen = server.requests();
    assert!(seen[0].contains("content-type: multipart/form-data; boundary="), "{}", seen[0]);
    let (model, prompt) = (seen[0].find("name=\"model\"\r\n\r\nm\r\n"), seen[0].find("name=\"prompt\"\r\n\r\nein Kätzchen\r\n"));
    assert!(model.is_some() && model < prompt, "{}", seen[0]);
}

#[tokio::test]
async fn a_reset_before_the_answer_is_unknown_and_not_repeated() {
    let server = Server::start(Play::ResetBeforeAnswer).await;
    let fault = unknown(submit(&provider("fake", section(&server.base())), "/submit").await);
    assert_eq!((fault.code, fault.then), (ErrorCode::ProviderError, Then::Unclear));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn an_answer_cut_in_half_is_unknown() {
    let server = Server::start(Play::HalfBody).await;
    let fault = unknown(submit(&provider("fake", section(&server.base())), "/submit").await);
    assert_eq!(fault.code, ErrorCode::ProviderError);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn no_answer_is_unknown_by_timeout() {
    let server = Server::start(Play::Silence).await;
    let mut section = section(&server.base());
    section.submit_timeout_ms = 1_500;
    let fault = unknown(submit(&provider("fake", section), "/submit").await);
    assert_eq!((fault.code, fault.message.as_str()), (ErrorCode::ProviderTimeout, "fake did not answer within 1500 ms"));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn an_answer_that_drips_for_ever_is_unknown_by_timeout() {
    let server = Server::start(Play::Drip).await;
    let mut section = section(&server.base());
    section.submit_timeout_ms = 1_500;
    assert_eq!(unknown(submit(&provider("fake", section), "/submit").await).code, ErrorCode::ProviderTimeout);
}

#[tokio::test]
async fn an_answer_without_end_or_with_a_huge_length_is_unknown_and_not_kept() {
    for play in [Play::Endless { announced: None }, Play::Endless { announced: Some(SUBMIT_ANSWER_BYTES + 1) }] {
        let server = Server::start(play).await;
        let fault = unknown(submit(&provider("fake", section(&server.base())), "/submit").await);
        assert_eq!(fault.code, ErrorCode::ProviderError);
        assert!(fault.message.contains("more than 100663296 bytes"), "{}", fault.message);
    }
}

#[tokio::test]
async fn a_connection_closed_right_after_the_gate_is_unknown_never_never_sent() {
    let server = Server::start(Play::CloseAtOnce).await;
    let fault = unknown(submit(&provider("fake", section(&server.base())), "/submit").await);
    assert_eq!(fault.code, ErrorCode::ProviderError);
}

#[tokio::test]
async fn a_refused_port_is_never_sent() {
    let fault = never_sent(submit(&provider("fake", section(&server::refused_base().await)), "/submit").await);
    assert_eq!((fault.code, fault.then), (ErrorCode::ProviderUnavailable, Then::RetryUnbilled));
    assert!(fault.message.contains("refused"), "{}", fault.message);
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_never_sent() {
    // RFC 6761 §6.4: `.invalid` never resolves.
    let fault = never_sent(submit(&provider("fake", section("http://provider.invalid")), "/submit").await);
    assert_eq!(fault.code, ErrorCode::ProviderUnavailable);
}

#[tokio::test]
async fn a_failed_tls_handshake_is_never_sent() {
    let server = Server::start(Play::Answer { status: 200, body: "{}" }).await;
    let base = server.base().replace("http://", "https://");
    let fault = never_sent(submit(&provider("fake", section(&base)), "/submit").await);
    assert_eq!(fault.code, ErrorCode::ProviderUnavailable);
}

#[tokio::test]
async fn a_tls_handshake_that_hangs_is_never_sent_by_the_connect_timeout() {
    let server = Server::start(Play::Silence).await;
    let mut section = section(&server.base().replace("http://", "https://"));
    section.connect_timeout_ms = 200;
    let fault = never_sent(submit(&provider("fake", section), "/submit").await);
    assert_eq!(fault.code, ErrorCode::ProviderUnavailable);
}

#[tokio::test]
async fn a_submit_deadline_during_the_connect_is_never_sent() {
    let server = Server::start(Play::Silence).await;
    let mut section = section(&server.base().replace("http://", "https://"));
    section.submit_timeout_ms = 200;
    let fault = never_sent(submit(&provider("fake", section), "/submit").await);
    assert_eq!(fault.code, ErrorCode::ProviderUnavailable);
}

#[tokio::test]
async fn a_private_address_is_never_sent_without_allowance_also_behind_a_name() {
    let server = Server::start(Play::Answer { status: 200, body: "{}" }).await;
    let mut section = section("https://api.example.com");
    section.allow_loopback = false;
    let provider = provider("fake", section);
    for host in ["127.0.0.1", "localhost"] {
        let mut call = post(&provider, "/submit");
        call.url = server.base().replace("http://127.0.0.1", &format!("https://{host}")).parse().expect("a URL");
        let lifeline = Lifeline::default();
        let sent = executor().submit(&provider, &account(&provider), &endpoint(&provider), call, limits(&lifeline)).await;
        let fault = never_sent(sent);
        assert!(fault.message.contains("loopback"), "{}", fault.message);
    }
    assert_eq!(server.connections(), 0);
}

/// Sends under `limits` to a server that accepts, and returns the fault after the server saw the connection end.
async fn held_back(limits: SubmitLimits<'_>) -> (Fault, Vec<String>) {
    let server = Server::start(Play::Answer { status: 200, body: "{}" }).await;
    let provider = provider("fake", section(&server.base()));
    let call = post(&provider, "/submit");
    let sent = executor().submit(&provider, &account(&provider), &endpoint(&provider), call, limits).await;
    let bytes = server.first_connection().await;
    assert_eq!(bytes, "", "the connection stood, and no byte came");
    (never_sent(sent), server.requests())
}

#[tokio::test]
async fn past_its_time_to_leave_nothing_is_sent_and_the_server_sees_no_byte() {
    let lifeline = Lifeline::default();
    let late = SubmitLimits { not_after: NOW.minus(Duration::from_millis(1)), ..limits(&lifeline) };
    let (fault, requests) = held_back(late).await;
    assert_eq!((fault.code, fault.then), (ErrorCode::ServiceUnavailable, Then::RetryUnbilled));
    assert_eq!(fault.message, "not sent to fake: its time to leave was over");
    assert!(requests.is_empty());
}

#[tokio::test]
async fn a_revoked_lifeline_or_lost_trust_sends_nothing() {
    let lifeline = Lifeline::default();
    let distrust = SubmitLimits { trust: Arc::new(|| false), ..limits(&lifeline) };
    assert!(held_back(distrust).await.1.is_empty());
    lifeline.revoke();
    let (fault, requests) = held_back(limits(&lifeline)).await;
    assert_eq!(fault.message, "not sent to fake: the sender was given up");
    assert!(requests.is_empty());
}

#[tokio::test]
async fn the_conditions_are_asked_once_and_only_after_the_connection_stands() {
    let server = Server::start(Play::Answer { status: 200, body: "{}" }).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let trust = {
        let asked = Arc::clone(&asked);
        Arc::new(move || {
            asked.fetch_add(1, Ordering::SeqCst);
            true
        })
    };
    let lifeline = Lifeline::default();
    let provider_up = provider("fake", section(&server.base()));
    let provider_down = provider("fake", section(&server::refused_base().await));
    for (provider, expected) in [(provider_down, 0), (provider_up, 1)] {
        let limits = SubmitLimits { trust: trust.clone(), ..limits(&lifeline) };
        let call = post(&provider, "/submit");
        let _sent = executor().submit(&provider, &account(&provider), &endpoint(&provider), call, limits).await;
        assert_eq!(asked.load(Ordering::SeqCst), expected);
    }
}

#[tokio::test]
async fn every_submit_has_a_connection_of_its_own() {
    let server = Server::start(Play::Answer { status: 200, body: "{}" }).await;
    let provider = provider("fake", section(&server.base()));
    for _ in 0..3 {
        assert!(matches!(submit(&provider, "/submit").await, Sent::Reply(_)));
    }
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn concurrent_submits_each_pass_their_own_gate() {
    let server = Server::start(Play::Answer { status: 200, body: "{}" }).await;
    let provider = provider("fake", section(&server.base()));
    let (alive, dead) = (Lifeline::default(), Lifeline::default());
    dead.revoke();
    let (executor, account, endpoint) = (executor(), account(&provider), endpoint(&provider));
    let calls = (0..40).map(|n| {
        let lifeline = if n % 2 == 0 { &alive } else { &dead };
        executor.submit(&provider, &account, &endpoint, post(&provider, &format!("/{n}")), limits(lifeline))
    });
    let sent = futures_util::future::join_all(calls).await;
    let answered: Vec<bool> = sent.iter().map(|sent| matches!(sent, Sent::Reply(_))).collect();
    assert_eq!(answered, (0..40).map(|n| n % 2 == 0).collect::<Vec<_>>());
    assert_eq!(server.requests().len(), 20);
}

#[tokio::test]
async fn a_credential_that_cannot_be_used_is_never_sent_with_the_adapters_fault() {
    let server = Server::start(Play::Answer { status: 200, body: "{}" }).await;
    let mut section = section(&server.base());
    section.api_key = Some("unusable".into());
    let fault = never_sent(submit(&provider("fake", section), "/submit").await);
    assert_eq!((fault.code, fault.then), (ErrorCode::AuthenticationFailed, Then::Final));
    assert_eq!(server.connections(), 0);
}

async fn ask(provider: &Provider, executor: &Executor, call: HttpCall) -> Result<u16, Fault> {
    let answer = executor.ask(provider, &account(provider), &endpoint(provider), call).await;
    answer.map(|reply| reply.status.as_u16())
}

fn get(provider: &Provider) -> HttpCall {
    HttpCall::get(format!("{}/poll", provider.config.base_url).parse().expect("a URL"))
}

#[tokio::test]
async fn asks_keep_their_connection_and_repeat_a_get_once_when_it_broke_before_the_answer() {
    let server = Server::start(Play::Answer { status: 200, body: "{}" }).await;
    let provider_ok = provider("fake", section(&server.base()));
    for _ in 0..3 {
        assert_eq!(ask(&provider_ok, &executor(), get(&provider_ok)).await.map_err(|fault| fault.code), Ok(200));
    }
    assert_eq!(server.connections(), 1);

    let server = Server::start(Play::ResetBeforeAnswer).await;
    let provider = provider("fake", section(&server.base()));
    let fault = ask(&provider, &executor(), get(&provider)).await.expect_err("a fault");
    assert_eq!((fault.code, fault.then), (ErrorCode::ProviderError, Then::Unclear));
    assert_eq!(server.requests().len(), 2);
    let fault = ask(&provider, &executor(), post(&provider, "/cancel")).await.expect_err("a fault");
    assert_eq!((fault.code, server.requests().len()), (ErrorCode::ProviderError, 3));
}

#[tokio::test]
async fn asks_follow_no_redirect_and_have_their_own_timeout_and_cap() {
    let server = Server::start(Play::Answer { status: 302, body: "{}" }).await;
    let redirecting = provider("fake", section(&server.base()));
    assert_eq!(ask(&redirecting, &executor(), get(&redirecting)).await.map_err(|fault| fault.code), Ok(302));

    let server = Server::start(Play::Silence).await;
    let mut quick = section(&server.base());
    quick.poll_timeout_ms = 200;
    let silent = provider("fake", quick);
    assert_eq!(ask(&silent, &executor(), get(&silent)).await.expect_err("a fault").code, ErrorCode::ProviderTimeout);

    let server = Server::start(Play::Endless { announced: None }).await;
    let endless = provider("fake", section(&server.base()));
    let fault = ask(&endless, &executor(), get(&endless)).await.expect_err("a fault");
    assert!(fault.message.contains("more than 8388608 bytes"), "{}", fault.message);
}

#[tokio::test]
async fn used_up_polls_are_refused_here_with_the_wait() {
    let server = Server::start(Play::Answer { status: 200, body: "{}" }).await;
    let mut section = section(&server.base());
    section.polls_per_minute = 1;
    let provider = provider("fake", section);
    assert!(ask(&provider, &executor(), get(&provider)).await.is_ok());
    let fault = ask(&provider, &executor(), get(&provider)).await.expect_err("a fault");
    assert_eq!((fault.code, fault.retry_after), (ErrorCode::RateLimited, Some(Duration::from_secs(60))));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn failures_open_the_circuit_refusals_do_not_and_a_held_back_probe_frees_its_place() {
    let refusing = Server::start(Play::Answer { status: 400, body: "{}" }).await;
    let provider_400 = provider("fake", section(&refusing.base()));
    let failing = Server::start(Play::Answer { status: 503, body: "{}" }).await;
    let provider_503 = provider("fake", section(&failing.base()));
    for _ in 0..5 {
        let _sent = submit(&provider_400, "/submit").await;
        let _sent = submit(&provider_503, "/submit").await;
    }
    assert_eq!(account(&provider_400).admit(AttemptId::fresh(), NOW), Ok(()));
    let wait = account(&provider_503).admit(AttemptId::fresh(), NOW).expect_err("open");
    let until = NOW.plus(Duration::from_secs(30));
    assert_eq!(wait.until, Some(until));
    assert_eq!(wait.why, format!("fake: circuit open until {}Z", &until.rfc3339()[11..19]));
    assert_eq!(account(&provider_503).budget.in_use().0, 0, "a refused admission keeps no slot");

    assert_eq!(account(&provider_503).admit(AttemptId::fresh(), until), Ok(()));
    assert!(account(&provider_503).admit(AttemptId::fresh(), until).is_err(), "one probe only");
    let lifeline = Lifeline::default();
    lifeline.revoke();
    let call = post(&provider_503, "/submit");
    let sent = executor().submit(&provider_503, &account(&provider_503), &endpoint(&provider_503), call, limits(&lifeline)).await;
    assert!(matches!(sent, Sent::NeverSent(_)));
    let probe = AttemptId::fresh();
    assert_eq!(account(&provider_503).admit(probe, until), Ok(()));
    account(&provider_503).withdraw(probe);
    assert_eq!(account(&provider_503).admit(AttemptId::fresh(), until), Ok(()));
}

#[tokio::test]
async fn a_throttled_or_silent_provider_never_blocks_another() {
    let silent = Server::start(Play::Silence).await;
    let stuck = provider("stuck", section(&silent.base()));
    let server = Server::start(Play::Answer { status: 200, body: "{}" }).await;
    let free = provider("free", section(&server.base()));
    account(&stuck).budget.hold_until(NOW.plus(Duration::from_secs(600)));
    assert!(account(&stuck).admit(AttemptId::fresh(), NOW).is_err());
    assert_eq!(account(&free).admit(AttemptId::fresh(), NOW), Ok(()));

    let hanging = futures_util::future::join_all((0..50).map(|_| submit(&stuck, "/submit")));
    let answered = futures_util::future::join_all((0..50).map(|_| submit(&free, "/submit")));
    // The silent ones have a timeout of 30 s; should they hold the others up, they end first.
    match futures_util::future::select(Box::pin(hanging), Box::pin(answered)).await {
        futures_util::future::Either::Left(_) => panic!("the silent provider held the other one up"),
        futures_util::future::Either::Right((sent, _)) => assert!(sent.iter().all(|sent| matches!(sent, Sent::Reply(_)))),
    }
}

#[tokio::test]
async fn a_foreign_polling_url_gets_no_credential() {
    let own = Server::start(Play::Answer { status: 200, body: "{}" }).await;
    let provider = provider("fake", section("http://api.provider.invalid"));
    let call = HttpCall::get(format!("{}/poll", own.base()).parse().expect("a URL"));
    assert_eq!(ask(&provider, &executor(), call).await.map_err(|fault| fault.code), Ok(200));
    assert!(!own.requests()[0].contains("sk-test"));
}

#[tokio::test]
async fn calls_are_counted_by_provider_call_and_outcome() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let server = Server::start(Play::Answer { status: 200, body: "{}" }).await;
    let provider = provider("fake", section(&server.base()));
    let _sent = submit(&provider, "/submit").await;
    let _answer = ask(&provider, &executor(), get(&provider)).await;
    let text = recorder.handle().render();
    assert!(text.contains(r#"longtake_provider_requests_total{provider="fake",call="submit",outcome="2xx"} 1"#), "{text}");
    assert!(text.contains(r#"longtake_provider_requests_total{provider="fake",call="ask",outcome="2xx"} 1"#), "{text}");
}

#[test]
fn an_endpoint_is_stored_with_the_sections_base_and_options() {
    let mut section = section("https://relay.example/");
    section.allow_loopback = false;
    section.relay = true;
    section.options.insert("submit_path".to_owned(), "/x".to_owned());
    let provider = provider("fake", section);
    let made: Endpoint = provider.endpoint(&fake::model("fake"), false);
    assert_eq!(made.base_url, "https://relay.example");
    assert_eq!(made.options.get("relay").map(String::as_str), Some("true"));
    assert_eq!(made.options.get("submit_path").map(String::as_str), Some("/x"));
}
