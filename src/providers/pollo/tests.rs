//! Pollo's answers to the conformance suite, its wire, and trap 3.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::providers::adapter::{
    OutputSource, Then,
    conformance::{self, Case, IMAGE_URL, Suite, answer, handle, page, pair, wire},
};

const ID: &str = "cm3k8v0x50001jq08h2a7c9de";

fn suite(family: &str, kind: Kind) -> Suite {
    let endpoint = Pollo.endpoint(
        "https://pollo.ai/api/platform/",
        "kling-ai/kling-v2-5-turbo",
        Some(family),
        &BTreeMap::new(),
        false,
        kind,
    );
    let error = |status, code: &str, message: &str| answer(status, json!({"message": message, "code": code, "issues": []}));
    let task = |generations: Value| answer(200, json!({"taskId": ID, "credit": 10, "generations": generations}));
    let file = json!({"id": "g1", "status": "succeed", "url": "https://videocdn.pollo.ai/1.mp4", "mediaType": kind.as_str()});
    let failed = |words: &str| task(json!([{"id": "g1", "status": "failed", "failMsg": words, "url": null}]));
    Suite {
        adapter: Box::new(Pollo),
        endpoint,
        kind,
        handle: handle(ID),
        accepted: Case::Is((answer(200, json!({"taskId": ID, "status": "waiting"})), handle(ID))),
        long_id: Case::Is((answer(200, json!({"data": {"taskId": "9007199254740993"}})), "9007199254740993")),
        done_at_once: Case::NotApplicable("every task is asynchronous"),
        refused: Case::Is(error(400, "BAD_REQUEST", "Input validation failed")),
        unauthorised: Case::Is(error(401, "UNAUTHORIZED", "Invalid API key")),
        out_of_money: Case::Is(error(403, "FORBIDDEN", "Not enough credits")),
        refused_by_moderation: Case::NotApplicable("no refusal by moderation is documented for a create"),
        throttled: Case::Is((answer(429, json!({"message": "slow down"})).with("retry-after", "9"), Some(9))),
        unbilled: Case::NotApplicable("no explicit refusal is documented as unbilled and worth another try"),
        server_error: error(500, "INTERNAL_SERVER_ERROR", "could not charge credit"),
        pending: Case::Is((task(json!([{"id": "g1", "status": "waiting"}])), None)),
        unknown_word: Case::Is((task(json!([{"id": "g1", "status": "reviewing"}])), "reviewing")),
        done_one: Case::Is((task(json!([file])), OutputSource::Url("https://videocdn.pollo.ai/1.mp4".to_owned()))),
        done_many: Case::Is((task(json!([file, file])), 2)),
        done_with_nothing: Case::Is(task(json!([{"id": "g1", "status": "succeed", "url": null}]))),
        failed: Case::Is((failed("the model crashed"), "the model crashed")),
        moderated: Case::Is(failed("Sensitive content detected")),
        missing: Case::Is(error(404, "NOT_FOUND", "Task not found")),
        poll_unclear: Case::Is(vec![page(404), answer(200, json!([])), answer(200, json!({"message": "x"}))]),
        found: Case::NotApplicable("there is no list and no id of ours"),
        not_found: Case::NotApplicable("there is no list and no id of ours"),
        cancelled: Case::NotApplicable("there is no cancel"),
        too_late: Case::NotApplicable("there is no cancel"),
        authorization: ("x-api-key", "TOP-SECRET"),
        wrong_credential: pair(),
        output_lifetime: Duration::from_secs(14 * 24 * 3600),
        image_url: Case::Is("/input/image"),
        image_data: Case::NotApplicable("the documentation knows URLs only"),
    }
}

pub fn suites() -> Vec<Suite> {
    let v1 = |kind| {
        let missing = Case::NotApplicable("v1's status path is not documented for every model: a 404 proves nothing");
        Suite { missing, ..suite("v1", kind) }
    };
    vec![suite("legacy", Kind::Video), v1(Kind::Video), v1(Kind::Image)]
}

#[test]
fn every_path_family_answers_every_case() {
    for suite in suites() {
        conformance::check(&suite);
    }
}

fn submitted(family: &str, kind: Kind, images: &[&str]) -> String {
    let asked = json!({"duration": 5, "generateAudio": true, "negative_prompt": "rain", "seed": 7, "resolution": "720P"});
    wire(&suite(family, kind).call(images, &asked, |call| Pollo.submit(call)).unwrap())
}

#[test]
fn legacy_says_length() {
    insta::assert_snapshot!(submitted("legacy", Kind::Video, &[IMAGE_URL, IMAGE_URL]), @r#"
    POST https://pollo.ai/api/platform/generation/kling-ai/kling-v2-5-turbo
    {
      "input": {
        "generateAudio": true,
        "image": "https://img.test/a.png",
        "imageTail": "https://img.test/a.png",
        "length": 5,
        "negativePrompt": "rain",
        "prompt": "a red fox",
        "resolution": "720p",
        "seed": 7
      },
      "webhookUrl": "https://us.test/hooks/1"
    }
    "#);
}

#[test]
fn v1_says_duration() {
    insta::assert_snapshot!(submitted("v1", Kind::Video, &[]), @r#"
    POST https://pollo.ai/api/platform/v1/generation/kling-ai/kling-v2-5-turbo/video
    {
      "input": {
        "duration": 5,
        "generateAudio": true,
        "negativePrompt": "rain",
        "prompt": "a red fox",
        "resolution": "720p",
        "seed": 7
      },
      "webhookUrl": "https://us.test/hooks/1"
    }
    "#);
}

#[test]
fn polls_follow_the_generation_of_the_api_or_the_template() {
    let [legacy, v1, _] = suites().try_into().ok().unwrap();
    let path = |suite: &Suite| Pollo.poll(&suite.context()).unwrap().url.path().to_owned();
    assert_eq!(path(&legacy), format!("/api/platform/generation/{ID}/status"));
    assert_eq!(path(&v1), format!("/api/platform/v1/generation/{ID}/status"));
    let unknown = answer(404, json!({"message": "no", "code": "NOT_FOUND"}));
    assert!(matches!(v1.read_poll(&unknown), Polled::Unclear(_)));
    let mut other = v1;
    other.endpoint.options.insert("poll_path".to_owned(), "/generation/{id}/status".to_owned());
    assert!(matches!(other.read_poll(&unknown), Polled::Missing(_)));
    assert_eq!(path(&other), format!("/api/platform/generation/{ID}/status"));
}

#[test]
fn trap_3_status_lives_on_each_generation_and_none_yet_means_queued() {
    let [legacy, ..] = <[Suite; 3]>::try_from(suites()).ok().unwrap();
    let read = |body: Value| legacy.read_poll(&answer(200, body));
    let queued = Polled::Pending { progress: None, again_after: None, unknown_word: None };
    assert_eq!(read(json!({"taskId": ID, "generations": []})), queued);
    assert_eq!(read(json!({"taskId": ID})), queued);
    // A status of the whole, as webhooks carry it, decides nothing on a GET.
    assert_eq!(read(json!({"taskId": ID, "status": "succeed", "generations": []})), queued);
    let ok = json!({"status": "succeed", "url": "https://videocdn.pollo.ai/1.mp4"});
    let bad = json!({"status": "failed", "failMsg": "no"});
    let busy = json!({"status": "processing"});
    assert_eq!(read(json!({"taskId": ID, "generations": [ok, busy]})), queued);
    let mixed = answer(200, json!({"code": "SUCCESS", "data": {"taskId": ID, "generations": [bad, ok]}}));
    assert_eq!(legacy.outputs(&mixed).len(), 1, "one success is a success");
    assert!(matches!(read(json!({"taskId": ID, "generations": [bad, bad]})), Polled::Failed(_)));
    assert!(matches!(read(json!({"taskId": ID, "result": [ok]})), Polled::Done { .. }));
}

#[test]
fn trap_3_the_submit_answer_comes_bare_or_wrapped_and_neither_is_no_refusal() {
    let [legacy, ..] = <[Suite; 3]>::try_from(suites()).ok().unwrap();
    for body in [json!({"taskId": ID}), json!({"code": "SUCCESS", "message": "success", "data": {"taskId": ID}})] {
        assert!(matches!(legacy.read_submit(&answer(200, body)), Submitted::Accepted { .. }));
    }
    assert_eq!(legacy.refusal(&answer(200, json!({"code": "SUCCESS", "data": {}}))).then, Then::Unclear);
    assert_eq!(legacy.refusal(&answer(200, json!({"code": "BAD_REQUEST", "message": "no"}))).then, Then::Unclear);
    for status in [200, 400, 403, 429, 503] {
        assert_eq!(legacy.refusal(&page(status)).then, Then::Unclear, "HTML says nothing about what lies behind");
    }
}

#[test]
fn text_and_audio_are_not_delivered() {
    let [legacy, ..] = <[Suite; 3]>::try_from(suites()).ok().unwrap();
    let item = |media: &str| json!({"status": "succeed", "url": "https://videocdn.pollo.ai/1", "mediaType": media});
    let body = json!({"taskId": ID, "generations": [item("audio"), item("image"), item("text")]});
    let outputs = legacy.outputs(&answer(200, body));
    assert_eq!(outputs.iter().map(|output| output.kind).collect::<Vec<_>>(), [Kind::Image]);
}

#[test]
fn the_credits_that_are_left_are_told_bare_or_wrapped() {
    let [legacy, ..] = <[Suite; 3]>::try_from(suites()).ok().unwrap();
    let call = Pollo.balance(&legacy.endpoint, conformance::SUBMITTED_AT).unwrap();
    assert!(call.url.as_str().ends_with("/credit/balance"), "{}", call.url);
    let bare = json!({"availableCredits": 40, "totalCredits": 100});
    for body in [bare.clone(), json!({"code": "SUCCESS", "message": "success", "data": bare})] {
        let told = Pollo.read_balance(&answer(200, body).reply()).unwrap();
        assert_eq!((told[0].millionths, &*told[0].unit, told.len()), (40_000_000, "credits", 1));
    }
    for wrong in [answer(200, json!({"code": "SUCCESS", "data": {}})), answer(403, json!({"code": "FORBIDDEN"})), page(200)] {
        assert!(Pollo.read_balance(&wrong.reply()).is_err(), "{}", wrong.body);
    }
}
