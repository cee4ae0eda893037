//! One suite for all adapters: a field per case, so that each path family answers every case or says why not. Bodies are our
//! own, composed from the providers' documentation.

mod arbitrary;
mod tables;
mod webhooks;

use std::{sync::LazyLock, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use super::*;
use crate::domain::record::Kind;

/// A case of the suite.
pub enum Case<T> {
    /// What the provider sends, and what must be read from it.
    Is(T),
    /// The case does not exist there.
    NotApplicable(&'static str),
}

/// An answer of a provider.
#[derive(Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, &'static str)>,
    pub body: String,
}

/// An answer of JSON.
pub fn answer(status: u16, body: Value) -> Answer {
    Answer { status, headers: vec![], body: body.to_string() }
}

/// A page of a gateway.
pub fn page(status: u16) -> Answer {
    Answer { status, headers: vec![], body: "<html><body>Just a moment</body></html>".to_owned() }
}

/// When the task was accepted.
pub const SUBMITTED_AT: Timestamp = Timestamp(1_790_000_000_000);

impl Answer {
    pub fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    /// As read so long after the submit.
    pub fn after(&self, span: Duration) -> Reply {
        let headers = self.headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        Reply {
            status: StatusCode::from_u16(self.status).unwrap(),
            headers: HeaderMap::from_iter(headers),
            body: Bytes::from(self.body.clone()),
            at: SUBMITTED_AT.plus(span),
        }
    }

    pub fn reply(&self) -> Reply {
        self.after(Duration::from_secs(1))
    }
}

/// One path family of one adapter, and its answer to every case.
pub struct Suite {
    pub adapter: Box<dyn Adapter>,
    pub endpoint: Endpoint,
    pub kind: Kind,
    pub handle: Handle,

    /// Accepted, with the handle that must be read.
    pub accepted: Case<(Answer, Handle)>,
    /// Accepted with an id beyond 2^53, which must survive digit by digit.
    pub long_id: Case<(Answer, &'static str)>,
    /// Finished in the answer to the submit, with so many outputs.
    pub done_at_once: Case<(Answer, usize)>,
    /// Explicitly and finally refused: INVALID_REQUEST.
    pub refused: Case<Answer>,
    /// AUTHENTICATION_FAILED.
    pub unauthorised: Case<Answer>,
    /// QUOTA_EXCEEDED.
    pub out_of_money: Case<Answer>,
    /// CONTENT_FILTERED.
    pub refused_by_moderation: Case<Answer>,
    /// RATE_LIMITED and owed again, after so many seconds.
    pub throttled: Case<(Answer, Option<u64>)>,
    /// Explicit, unbilled, worth another try.
    pub unbilled: Case<Answer>,
    /// Server errors in the provider's own words.
    pub server_error: Answer,

    pub pending: Case<(Answer, Option<u8>)>,
    pub unknown_word: Case<(Answer, &'static str)>,
    pub done_one: Case<(Answer, OutputSource)>,
    pub done_many: Case<(Answer, usize)>,
    /// Finished without anything to fetch (any more).
    pub done_with_nothing: Case<Answer>,
    /// Failed there; the provider's own words must be kept.
    pub failed: Case<(Answer, &'static str)>,
    pub moderated: Case<Answer>,
    /// The provider does not know the task.
    pub missing: Case<Answer>,
    pub poll_unclear: Case<Vec<Answer>>,

    pub found: Case<(Answer, &'static str)>,
    pub not_found: Case<Answer>,
    pub cancelled: Case<Answer>,
    pub too_late: Case<Answer>,

    /// Header and value for the key `TOP-SECRET`.
    pub authorization: (&'static str, &'static str),
    /// A credential that cannot be used here.
    pub wrong_credential: Credential,
    pub output_lifetime: Duration,
    /// Where a URL appears in the body.
    pub image_url: Case<&'static str>,
    /// Where the base64 `QUJD` of a data: URL appears, and how.
    pub image_data: Case<(&'static str, &'static str)>,
}

pub const IMAGE_URL: &str = "https://img.test/a.png";
pub const IMAGE_DATA: &str = "data:image/png;base64,QUJD";

/// The key that must never appear in a call.
pub fn key() -> Credential {
    Credential::Key(SecretString::from("TOP-SECRET"))
}

/// A signing pair.
pub fn pair() -> Credential {
    Credential::Pair { access: "access".to_owned(), secret: SecretString::from("TOP-SECRET") }
}

/// What was sent with the tag `tag-7f3a`, within five minutes around [`SUBMITTED_AT`].
pub fn search(endpoint: &Endpoint) -> Search<'_> {
    let half = Duration::from_secs(150);
    Search { endpoint, tag: "tag-7f3a", sent: &Value::Null, from: SUBMITTED_AT.minus(half), until: SUBMITTED_AT.plus(half) }
}

/// A handle by id.
pub fn handle(task_id: &str) -> Handle {
    Handle { task_id: task_id.to_owned(), poll_url: None }
}

/// Parameters from JSON.
pub fn parameters(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

/// Method, URL and body of a call as a snapshot shows them.
pub fn wire(call: &HttpCall) -> String {
    let body = match &call.body {
        Body::Empty => String::new(),
        Body::Json(value) => format!("\n{value:#}"),
        Body::Form(fields) => fields.iter().map(|(name, value)| format!("\n{name} = {value}")).collect(),
    };
    format!("{} {}{body}", call.method, call.url)
}

impl Suite {
    /// Builds a call with these images and hands it on.
    pub fn call<T>(&self, images: &[&str], asked: &Value, then: impl FnOnce(&Call<'_>) -> T) -> T {
        let images: Vec<String> = images.iter().map(|image| (*image).to_owned()).collect();
        let webhook = Url::parse("https://us.test/hooks/1").unwrap();
        then(&Call {
            prompt: "a red fox",
            images: &images,
            outputs: 1,
            parameters: &parameters(asked),
            kind: self.kind,
            endpoint: &self.endpoint,
            tag: "tag-7f3a",
            webhook_url: Some(&webhook),
        })
    }

    pub fn read_submit(&self, answer: &Answer) -> Submitted {
        self.call(&[], &json!({}), |call| self.adapter.read_submit(call, &answer.reply()))
    }

    pub fn refusal(&self, answer: &Answer) -> Fault {
        let read = self.read_submit(answer);
        let Submitted::Fault(fault) = read else {
            panic!("{} {}: no fault but {read:?}", self.endpoint.path_family, answer.body)
        };
        fault
    }

    pub fn accepted_by(&self, answer: &Answer) -> (Handle, Option<Micros>) {
        let read = self.read_submit(answer);
        let Submitted::Accepted { handle, cost } = read else { panic!("not accepted: {read:?}") };
        (handle, cost)
    }

    pub fn done_by(&self, answer: &Answer) -> Vec<Output> {
        let read = self.read_submit(answer);
        let Submitted::Done { outputs, .. } = read else { panic!("not done: {read:?}") };
        outputs
    }

    pub fn context(&self) -> Context<'_> {
        Context { endpoint: &self.endpoint, tag: "tag-7f3a", handle: &self.handle, kind: self.kind, submitted_at: SUBMITTED_AT }
    }

    pub fn read_poll(&self, answer: &Answer) -> Polled {
        self.adapter.read_poll(&self.context(), &answer.reply())
    }

    pub fn done(&self, answer: &Answer) -> (Vec<Output>, Option<Micros>) {
        let read = self.read_poll(answer);
        let Polled::Done { outputs, cost } = read else { panic!("{}: not done but {read:?}", answer.body) };
        (outputs, cost)
    }

    pub fn outputs(&self, answer: &Answer) -> Vec<Output> {
        self.done(answer).0
    }

    pub fn failure(&self, answer: &Answer) -> Fault {
        let read = self.read_poll(answer);
        let Polled::Failed(fault) = read else { panic!("{}: not failed but {read:?}", answer.body) };
        fault
    }
}

/// Hands on a case's content; a case that does not exist must say why.
fn given<T>(case: &Case<T>, then: impl FnOnce(&T)) {
    match case {
        Case::Is(content) => then(content),
        Case::NotApplicable(why) => assert!(why.len() > 10, "a case is left out without a reason"),
    }
}

/// Runs every case of one path family.
pub fn check(suite: &Suite) {
    check_submit(suite);
    check_uncertain_submit(suite);
    check_poll(suite);
    check_find_and_cancel(suite);
    check_credential(suite);
    check_images(suite);
}

fn check_submit(suite: &Suite) {
    given(&suite.accepted, |(answer, handle)| assert_eq!(suite.accepted_by(answer).0, *handle));
    given(&suite.long_id, |(answer, id)| assert_eq!(suite.accepted_by(answer).0.task_id, *id));
    given(&suite.done_at_once, |(answer, count)| assert_eq!(suite.done_by(answer).len(), *count));
    let synchronous = matches!(suite.done_at_once, Case::Is(_));
    assert_eq!(suite.adapter.capabilities(&suite.endpoint).synchronous, synchronous);
    let refused = |case: &Case<Answer>, code, then| {
        given(case, |answer| {
            let fault = suite.refusal(answer);
            assert_eq!((fault.code, fault.then, fault.http_status), (code, then, Some(answer.status)), "{}", answer.body);
        });
    };
    refused(&suite.refused, ErrorCode::InvalidRequest, Then::Final);
    refused(&suite.unauthorised, ErrorCode::AuthenticationFailed, Then::Final);
    refused(&suite.out_of_money, ErrorCode::QuotaExceeded, Then::Final);
    refused(&suite.refused_by_moderation, ErrorCode::ContentFiltered, Then::Final);
    given(&suite.unbilled, |answer| assert_eq!(suite.refusal(answer).then, Then::RetryUnbilled));
    given(&suite.throttled, |(answer, seconds)| {
        let fault = suite.refusal(answer);
        assert_eq!((fault.code, fault.then), (ErrorCode::RateLimited, Then::Throttled));
        assert_eq!(fault.retry_after, seconds.map(Duration::from_secs));
    });
}

/// Trap 7: whatever leaves the outcome of a submit open must never allow another one.
fn check_uncertain_submit(suite: &Suite) {
    let unclear = |answer: &Answer| {
        let fault = suite.refusal(answer);
        assert_eq!(fault.then, Then::Unclear, "{} {}", answer.status, answer.body);
    };
    unclear(&suite.server_error);
    for status in [500, 502, 503, 504, 520, 599, 408, 499] {
        unclear(&page(status));
        unclear(&answer(status, json!({"message": "upstream request timeout"})));
        unclear(&Answer { status, headers: vec![], body: String::new() });
    }
    for status in [200, 201, 202, 302] {
        unclear(&page(status));
        for body in ["", "{}", "[]", "null", "7", "\"ok\"", r#"{"code":0,"data":{}}"#, r#"{"data":[]}"#, "\u{0}", "{\"id\":null}"]
        {
            unclear(&Answer { status, headers: vec![], body: body.to_owned() });
        }
    }
    let good = match (&suite.accepted, &suite.done_at_once) {
        (Case::Is((answer, _)), _) | (_, Case::Is((answer, _))) => answer,
        (Case::NotApplicable(_), Case::NotApplicable(_)) => panic!("there must be a good answer"),
    };
    for cut in (0..good.body.len()).filter(|cut| good.body.is_char_boundary(*cut)) {
        unclear(&Answer { body: good.body[..cut].to_owned(), ..good.clone() });
    }
}

fn check_poll(suite: &Suite) {
    given(&suite.pending, |(answer, progress)| {
        let pending = |again_after| Polled::Pending { progress: *progress, again_after, unknown_word: None };
        assert_eq!(suite.read_poll(answer), pending(None));
        let hinted = answer.clone().with("retry-after", "17");
        assert_eq!(suite.read_poll(&hinted), pending(Some(Duration::from_secs(17))));
    });
    given(&suite.unknown_word, |(answer, word)| {
        let read = suite.read_poll(answer);
        let Polled::Pending { unknown_word, .. } = read else { panic!("an unknown word is not pending but {read:?}") };
        assert_eq!(unknown_word.as_deref(), Some(*word));
    });
    given(&suite.done_one, |(answer, source)| {
        let outputs = suite.outputs(answer);
        assert_eq!(outputs.len(), 1);
        assert_eq!((&outputs[0].source, outputs[0].lifetime), (source, suite.output_lifetime));
    });
    given(&suite.done_many, |(answer, count)| assert_eq!(suite.outputs(answer).len(), *count));
    given(&suite.done_with_nothing, |answer| assert_eq!(suite.outputs(answer), vec![]));
    assert_eq!(suite.adapter.capabilities(&suite.endpoint).output_lifetime, suite.output_lifetime);
    given(&suite.failed, |(answer, words)| {
        let fault = suite.failure(answer);
        assert_eq!((fault.code, fault.then), (ErrorCode::TaskFailed, Then::Final));
        assert!(fault.provider_message.as_deref().unwrap_or_default().contains(words), "{fault:?}");
    });
    given(&suite.moderated, |answer| {
        let fault = suite.failure(answer);
        assert_eq!((fault.code, fault.then), (ErrorCode::ContentFiltered, Then::Final));
    });
    given(&suite.missing, |answer| {
        let grace = suite.adapter.capabilities(&suite.endpoint).missing_grace;
        for (after, then) in [(grace - Duration::from_secs(1), Then::Unclear), (grace, Then::Final)] {
            let read = suite.adapter.read_poll(&suite.context(), &answer.after(after));
            let Polled::Missing(fault) = read else { panic!("{}: not missing but {read:?}", answer.body) };
            assert_eq!(fault.then, then);
        }
    });
    given(&suite.poll_unclear, |answers| {
        let statuses = [401, 403, 429, 500, 502, 503, 504];
        let common = statuses.into_iter().flat_map(|status| [page(status), answer(status, json!({"message": "no"}))]);
        for answer in common.chain([page(200), answer(200, json!({})), answer(200, Value::Null)]).chain(answers.iter().cloned()) {
            let read = suite.read_poll(&answer);
            let Polled::Unclear(fault) = read else {
                panic!("{} {}: a poll error must not fail a paid attempt: {read:?}", answer.status, answer.body)
            };
            assert_eq!(fault.then, Then::Unclear);
        }
    });
}

fn check_find_and_cancel(suite: &Suite) {
    let (adapter, endpoint) = (&suite.adapter, &suite.endpoint);
    let capabilities = adapter.capabilities(endpoint);
    let search = search(endpoint);
    assert_eq!(capabilities.found_by == FoundBy::Tag, matches!(suite.found, Case::Is(_)));
    assert_eq!(adapter.find(&search).is_some(), capabilities.found_by != FoundBy::Nobody);
    given(&suite.found, |(answer, id)| {
        assert!(adapter.find(&search).unwrap().url.as_str().contains("tag-7f3a"));
        assert_eq!(adapter.read_find(&search, &answer.reply()), Found::Task(handle(id)));
    });
    given(&suite.not_found, |answer| assert_eq!(adapter.read_find(&search, &answer.reply()), Found::Nothing));
    for status in [200, 401, 404, 429, 500, 503] {
        assert!(matches!(adapter.read_find(&search, &page(status).reply()), Found::Unclear(_)), "{status}");
    }
    assert_eq!(capabilities.cancellable, matches!(suite.cancelled, Case::Is(_)));
    assert_eq!(adapter.cancel(&suite.context()).is_some(), capabilities.cancellable);
    given(&suite.cancelled, |answer| {
        assert_eq!(adapter.read_cancel(&suite.context(), &answer.reply()), Cancelled::Yes);
        for status in [401, 429, 500, 503] {
            let read = adapter.read_cancel(&suite.context(), &page(status).reply());
            assert!(matches!(read, Cancelled::Unclear(_)), "{status}");
        }
    });
    given(&suite.too_late, |answer| {
        assert_eq!(adapter.read_cancel(&suite.context(), &answer.reply()), Cancelled::No);
    });
}

fn check_credential(suite: &Suite) {
    let (adapter, endpoint) = (&suite.adapter, &suite.endpoint);
    let headers = adapter.authorize(&key(), endpoint, SUBMITTED_AT).unwrap();
    let shown: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.expose_secret())).collect();
    assert_eq!(shown, [suite.authorization]);
    let fault = adapter.authorize(&suite.wrong_credential, endpoint, SUBMITTED_AT).unwrap_err();
    assert_eq!((fault.code, fault.then), (ErrorCode::AuthenticationFailed, Then::Final));
    let submit = suite.call(&[], &json!({}), |call| adapter.submit(call)).unwrap();
    let others = [adapter.poll(&suite.context()).ok(), adapter.find(&search(endpoint)), adapter.cancel(&suite.context())];
    for call in others.into_iter().flatten().chain([submit]) {
        assert!(!format!("{call:?}").contains("SECRET"));
    }
}

fn check_images(suite: &Suite) {
    let forms = suite.adapter.image_forms(&suite.endpoint);
    assert_eq!((forms.url, forms.data), (matches!(suite.image_url, Case::Is(_)), matches!(suite.image_data, Case::Is(_))));
    let submit = |image: &str| suite.call(&[image], &json!({}), |call| suite.adapter.submit(call));
    let at = |call: HttpCall, pointer: &str| match call.body {
        Body::Json(body) => body.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned(),
        Body::Form(fields) => fields.into_iter().find(|(name, _)| name == pointer).unwrap_or_default().1,
        Body::Empty => String::new(),
    };
    match &suite.image_url {
        Case::Is(pointer) => assert!(at(submit(IMAGE_URL).unwrap(), pointer).contains(IMAGE_URL)),
        Case::NotApplicable(_) => assert_eq!(submit(IMAGE_URL).unwrap_err().code, ErrorCode::InvalidParameters),
    }
    match &suite.image_data {
        Case::Is((pointer, expected)) => assert_eq!(at(submit(IMAGE_DATA).unwrap(), pointer), *expected),
        Case::NotApplicable(_) => assert_eq!(submit(IMAGE_DATA).unwrap_err().code, ErrorCode::InvalidParameters),
    }
    let many = vec![IMAGE_URL; forms.most + 1];
    assert!(suite.call(&many, &json!({}), |call| suite.adapter.submit(call)).is_err(), "one image too many passed");
}

/// Every path family of every adapter.
pub static ALL: LazyLock<Vec<Suite>> = LazyLock::new(|| {
    use crate::providers::{flux, kling, pollo, replicate, tuzi};
    let suites = [kling::tests::suites(), pollo::tests::suites(), replicate::tests::suites()];
    suites.into_iter().chain([flux::tests::suites(), tuzi::tests::suites()]).flatten().collect()
});

#[test]
fn trap_7_a_server_error_or_an_odd_answer_to_a_submit_never_allows_another_submit() {
    for suite in ALL.iter() {
        check_uncertain_submit(suite);
    }
}

#[test]
fn the_schema_of_each_adapter_is_its_own_table() {
    use crate::providers::schema::tables;
    for suite in ALL.iter() {
        let expected = match suite.adapter.name() {
            "kling" => tables::KLING,
            "pollo" => tables::POLLO,
            "replicate" => tables::REPLICATE,
            "flux" => tables::FLUX,
            "tuzi" => tables::TUZI,
            other => panic!("{other} has no table"),
        };
        let names = |table: &'static [InputSpec]| table.iter().map(|input| input.name).collect::<Vec<_>>();
        assert_eq!(names(suite.adapter.schema()), names(expected));
    }
}
