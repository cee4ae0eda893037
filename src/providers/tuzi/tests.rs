//! Tuzi's answers to the conformance suite and its wire, style by style.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::{
    domain::record::Handle,
    providers::adapter::{
        OutputSource,
        conformance::{self, Answer, Case, IMAGE_URL, Suite, answer, handle, page, pair, wire},
    },
};

const ID: &str = "video_68f1c2";

fn error(status: u16, code: &str, message: &str) -> Answer {
    answer(status, json!({"error": {"message": message, "type": "new_api_error", "code": code}}))
}

fn endpoint(upstream: &str, family: Option<&str>, kind: Kind) -> Endpoint {
    Tuzi.endpoint("https://api.tu-zi.com", upstream, family, &BTreeMap::new(), false, kind)
}

/// Style `videos`; the others differ below.
fn videos() -> Suite {
    let task = |status: &str, more: Value| {
        let mut body = json!({"id": ID, "object": "video", "model": "kling-v2-6", "status": status});
        body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        answer(200, body)
    };
    let file = "https://cdn.tu-zi.com/1.mp4";
    Suite {
        adapter: Box::new(Tuzi),
        endpoint: endpoint("kling-v2-6", None, Kind::Video),
        kind: Kind::Video,
        handle: handle(ID),
        accepted: Case::Is((task("queued", json!({})), handle(ID))),
        long_id: Case::Is((answer(200, json!({"id": 9_007_199_254_740_993_u64, "status": "queued"})), "9007199254740993")),
        done_at_once: Case::NotApplicable("this style is asynchronous"),
        refused: Case::Is(error(400, "invalid_request", "seconds is invalid")),
        unauthorised: Case::Is(error(401, "invalid_api_key", "Invalid token")),
        out_of_money: Case::Is(error(403, "insufficient_user_quota", "user quota is not enough")),
        refused_by_moderation: Case::Is(error(400, "content_policy_violation", "refused")),
        throttled: Case::Is((error(429, "rate_limit", "slow down").with("retry-after", "3"), Some(3))),
        unbilled: Case::NotApplicable("no explicit refusal is documented as unbilled and worth another try"),
        server_error: error(503, "upstream_error", "no channel available"),
        pending: Case::Is((task("in_progress", json!({"progress": 30})), Some(30))),
        unknown_word: Case::Is((task("dreaming", json!({})), "dreaming")),
        done_one: Case::Is((task("completed", json!({"video_url": file})), OutputSource::Url(file.to_owned()))),
        done_many: Case::NotApplicable("one file a task"),
        done_with_nothing: Case::Is(task("completed", json!({"video_url": null}))),
        failed: Case::Is((task("failed", json!({"error": {"message": "the model crashed"}})), "the model crashed")),
        moderated: Case::Is(task("failed", json!({"error": {"message": "blocked by moderation"}}))),
        missing: Case::Is(error(404, "task_not_exist", "task not exist")),
        poll_unclear: Case::Is(vec![
            page(404),
            answer(200, json!({"id": ID})),
            error(404, "invalid_url", "Invalid URL (GET /v1/videos/1)"),
        ]),
        found: Case::NotApplicable("there is no lookup by an id of ours"),
        not_found: Case::NotApplicable("there is no lookup by an id of ours"),
        cancelled: Case::NotApplicable("no client has a cancel; a cut connection stops nothing"),
        too_late: Case::NotApplicable("no client has a cancel; a cut connection stops nothing"),
        authorization: ("authorization", "Bearer TOP-SECRET"),
        wrong_credential: pair(),
        output_lifetime: Duration::from_secs(600),
        image_url: Case::Is("input_reference"),
        image_data: Case::NotApplicable("the form carries text fields, so a URL"),
    }
}

fn images() -> Suite {
    let polls = "the answer to the submit is the result: nothing is polled";
    let two = json!({"created": 1, "data": [{"url": "https://cdn.tu-zi.com/1.png"}, {"b64_json": "QUJD"}]});
    Suite {
        endpoint: endpoint("flux-kontext-pro", None, Kind::Image),
        kind: Kind::Image,
        accepted: Case::NotApplicable("the answer is the result"),
        long_id: Case::NotApplicable("there is no task and no id"),
        done_at_once: Case::Is((answer(200, two), 2)),
        pending: Case::NotApplicable(polls),
        unknown_word: Case::NotApplicable(polls),
        done_one: Case::NotApplicable(polls),
        done_with_nothing: Case::NotApplicable(polls),
        failed: Case::NotApplicable(polls),
        moderated: Case::NotApplicable(polls),
        missing: Case::NotApplicable(polls),
        poll_unclear: Case::NotApplicable(polls),
        image_url: Case::Is("/prompt"),
        image_data: Case::NotApplicable("the URL goes in front of the prompt"),
        ..videos()
    }
}

fn bfl() -> Suite {
    let sample = "https://cdn.tu-zi.com/1.png";
    let result = |status: &str, more: Value| {
        let mut body = json!({"id": ID, "status": status});
        body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        answer(200, body)
    };
    let polling = "https://api.tu-zi.com/flux/v1/get_result?id=video_68f1c2".to_owned();
    Suite {
        endpoint: endpoint("flux-kontext-pro", Some("bfl"), Kind::Image),
        kind: Kind::Image,
        accepted: Case::Is((
            answer(200, json!({"id": ID, "polling_url": polling})),
            Handle { task_id: ID.to_owned(), poll_url: Some(polling) },
        )),
        refused_by_moderation: Case::NotApplicable("the error body of this style is not known; its status decides"),
        out_of_money: Case::Is(answer(402, json!({"detail": "no balance"}))),
        pending: Case::Is((result("Pending", json!({"progress": 0.3})), Some(30))),
        unknown_word: Case::Is((result("Queued", json!({})), "Queued")),
        done_one: Case::Is((result("Ready", json!({"result": {"sample": sample}})), OutputSource::Url(sample.to_owned()))),
        done_with_nothing: Case::Is(result("Ready", json!({}))),
        failed: Case::Is((result("Error", json!({"details": "worker lost"})), "worker lost")),
        moderated: Case::Is(result("Content Moderated", json!({}))),
        missing: Case::Is(result("Task not found", json!({}))),
        image_url: Case::Is("/input_image"),
        image_data: Case::Is(("/input_image", "QUJD")),
        ..videos()
    }
}

pub fn suites() -> Vec<Suite> {
    vec![images(), videos(), bfl()]
}

#[test]
fn every_style_answers_every_case() {
    for suite in suites() {
        conformance::check(&suite);
    }
}

#[test]
fn the_image_style_on_the_wire() {
    let asked = json!({"size_or_ratio": "1024x1024", "quality": "hd", "style": "vivid", "seed": 3});
    let call = images().call(&[IMAGE_URL], &asked, |call| Tuzi.submit(&Call { outputs: 2, ..*call })).unwrap();
    insta::assert_snapshot!(wire(&call), @r#"
    POST https://api.tu-zi.com/v1/images/generations
    {
      "model": "flux-kontext-pro",
      "n": 2,
      "prompt": "https://img.test/a.png a red fox",
      "quality": "hd",
      "response_format": "url",
      "seed": 3,
      "size": "1024x1024",
      "style": "vivid"
    }
    "#);
}

#[test]
fn a_ratio_goes_under_its_own_name_and_the_form_of_the_answer_is_an_option() {
    let mut suite = images();
    suite.endpoint.options.insert("response_format".to_owned(), "b64_json".to_owned());
    let call = suite.call(&[], &json!({"size_or_ratio": "16:9"}), |call| Tuzi.submit(call)).unwrap();
    let shown = wire(&call);
    assert!(shown.contains(r#""aspect_ratio": "16:9""#) && !shown.contains(r#""size""#));
    assert!(shown.contains(r#""response_format": "b64_json""#));
}

#[test]
fn the_video_style_on_the_wire() {
    let asked = json!({"size_or_ratio": "1280x720", "duration": 5});
    insta::assert_snapshot!(wire(&videos().call(&[IMAGE_URL], &asked, |call| Tuzi.submit(call)).unwrap()), @r#"
    POST https://api.tu-zi.com/v1/videos
    model = kling-v2-6
    prompt = a red fox
    seconds = 5
    size = 1280x720
    input_reference = https://img.test/a.png
    "#);
}

#[test]
fn the_bfl_style_on_the_wire() {
    insta::assert_snapshot!(wire(&bfl().call(&[], &json!({"size_or_ratio": "1:1"}), |call| Tuzi.submit(call)).unwrap()), @r#"
    POST https://api.tu-zi.com/flux/v1/flux-kontext-pro
    {
      "aspect_ratio": "1:1",
      "prompt": "a red fox"
    }
    "#);
}

#[test]
fn the_image_style_reads_urls_and_bytes_in_the_answer() {
    let suite = images();
    let Case::Is((answer, _)) = &suite.done_at_once else { panic!("it answers at once") };
    let outputs = suite.done_by(answer);
    assert_eq!(outputs[0].source, OutputSource::Url("https://cdn.tu-zi.com/1.png".to_owned()));
    assert_eq!(outputs[1].source, OutputSource::Inline(Bytes::from_static(b"ABC")));
    assert!(Tuzi.poll(&suite.context()).is_err(), "there is nothing to poll");
}

#[test]
fn in_the_image_style_only_an_error_object_with_a_client_status_is_a_refusal() {
    let suite = images();
    for unclear in [
        page(400),
        page(429),
        answer(400, json!({})),
        answer(403, json!(null)),
        error(500, "upstream_error", "x"),
        error(408, "timeout", "x"),
        error(200, "content_policy_violation", "an error at 200 may have been billed"),
        answer(200, json!({"data": [{"b64_json": "***"}]})),
    ] {
        assert_eq!(suite.refusal(&unclear).then, Then::Unclear, "{} {}", unclear.status, unclear.body);
    }
    assert_eq!(suite.refusal(&error(400, "invalid_request", "x")).then, Then::Final);
}

#[test]
fn the_bfl_style_tells_no_price_and_knows_the_relays_word_for_a_lost_task() {
    let suite = bfl();
    let sample = json!({"id": ID, "status": "Ready", "cost": 4.0, "result": {"sample": "https://cdn.tu-zi.com/1.png"}});
    assert_eq!(suite.done(&answer(200, sample)).1, None);
    assert_eq!(suite.accepted_by(&answer(200, json!({"id": ID, "cost": 4.0}))).1, None);
    assert!(matches!(suite.read_poll(&error(404, "task_not_exist", "task_not_exist")), Polled::Missing(_)));
}

#[test]
fn the_relays_key_stays_at_the_relay() {
    let suite = bfl();
    let url = |poll_url: &str| {
        let handle = Handle { poll_url: Some(poll_url.to_owned()), ..handle(ID) };
        Tuzi.poll(&Context { handle: &handle, ..suite.context() }).unwrap().url.to_string()
    };
    assert_eq!(url("https://api.tu-zi.com/other/get?id=9"), "https://api.tu-zi.com/other/get?id=9");
    let own = format!("https://api.tu-zi.com/flux/v1/get_result?id={ID}");
    assert_eq!(url("https://api.us1.bfl.ai/v1/get_result?id=9"), own);
    assert_eq!(url("no url"), own);
}

#[test]
fn failures_are_charged_unless_the_relay_is_known_to_bill_at_completion() {
    let bills = |word: Option<&str>| {
        let options = word.map(|word| ("bills".to_owned(), word.to_owned())).into_iter().collect();
        Tuzi.capabilities(&Tuzi.endpoint("https://api.tu-zi.com", "m", None, &options, false, Kind::Video)).bills
    };
    assert_eq!((bills(None), bills(Some("accept"))), (Bills::AtAccept, Bills::AtAccept));
    assert_eq!(bills(Some("completion")), Bills::AtCompletion);
}
