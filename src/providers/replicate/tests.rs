//! Replicate's answers to the conformance suite, its wire, and trap 4.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::{
    domain::error::ErrorCode,
    providers::adapter::{
        Body, OutputSource, Then,
        conformance::{self, Case, IMAGE_DATA, IMAGE_URL, Suite, answer, handle, page, pair, wire},
    },
};

const ID: &str = "m8x5q0c2nsrgp0ckt3bva1y7ze";

fn prediction(status: &str, more: &Value) -> Value {
    let mut body =
        json!({"id": ID, "model": "o/m", "status": status, "error": null, "logs": "", "created_at": "2026-11-01T10:00:00Z"});
    body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    body
}

fn suite(family: Option<&str>, upstream: &str, kind: Kind) -> Suite {
    let endpoint = Replicate.endpoint("https://api.replicate.com/v1", upstream, family, &BTreeMap::new(), false, kind);
    let problem = |status: u16, detail: &str| answer(status, json!({"detail": detail, "status": status}));
    let done = |output: Value| answer(200, prediction("succeeded", &json!({"output": output})));
    let file = "https://replicate.delivery/1/out.png";
    Suite {
        adapter: Box::new(Replicate),
        endpoint,
        kind,
        handle: handle(ID),
        accepted: Case::Is((answer(201, prediction("starting", &json!({}))), handle(ID))),
        long_id: Case::Is((answer(201, json!({"id": "9007199254740993", "status": "starting"})), "9007199254740993")),
        done_at_once: Case::NotApplicable("Prefer: wait is never sent"),
        refused: Case::Is(problem(422, "input: aspect_ratio must be one of ...")),
        unauthorised: Case::Is(problem(401, "You did not pass a valid authentication token")),
        out_of_money: Case::Is(problem(402, "Insufficient credit")),
        refused_by_moderation: Case::NotApplicable("moderation speaks in the prediction, not at the create"),
        throttled: Case::Is((answer(429, json!({"detail": "Request was throttled.", "status": 429, "retry_after": 5})), Some(5))),
        unbilled: Case::NotApplicable("no explicit refusal is documented as unbilled and worth another try"),
        server_error: problem(502, "Bad gateway"),
        pending: Case::Is((
            answer(200, prediction("processing", &json!({"logs": " 12%|#  | 6/50\n 40%|##  | 20/50"}))),
            Some(40),
        )),
        unknown_word: Case::Is((answer(200, prediction("hibernating", &json!({}))), "hibernating")),
        done_one: Case::Is((done(json!(file)), OutputSource::Url(file.to_owned()))),
        done_many: Case::Is((done(json!({"a": [file, file], "b": {"c": file}, "text": "no file"})), 3)),
        done_with_nothing: Case::Is(answer(200, prediction("succeeded", &json!({"output": null, "data_removed": true})))),
        failed: Case::Is((
            answer(200, prediction("failed", &json!({"error": "CUDA out of memory (E1001)"}))),
            "CUDA out of memory",
        )),
        moderated: Case::Is(answer(200, prediction("failed", &json!({"error": "NSFW content detected"})))),
        missing: Case::Is(problem(404, "The specified prediction does not exist")),
        poll_unclear: Case::Is(vec![page(404), answer(200, json!({"id": ID})), answer(502, prediction("failed", &json!({})))]),
        found: Case::NotApplicable("there is no id of ours; see the tests of the list"),
        not_found: Case::NotApplicable("there is no id of ours; see the tests of the list"),
        cancelled: Case::Is(answer(200, prediction("canceled", &json!({"logs": null})))),
        too_late: Case::Is(answer(200, prediction("succeeded", &json!({})))),
        authorization: ("authorization", "Bearer TOP-SECRET"),
        wrong_credential: pair(),
        output_lifetime: Duration::from_secs(3600),
        image_url: Case::Is("/input/image"),
        image_data: Case::Is(("/input/image", IMAGE_DATA)),
    }
}

pub fn suites() -> Vec<Suite> {
    vec![
        suite(None, "wan-video/wan-2.5-t2v", Kind::Video),
        suite(None, "stability-ai/sdxl:39ed52f2a78e934b3ba6e2a89f5b1c712de7dfea535525255b1aa35c5565e08b", Kind::Image),
        suite(Some("deployments"), "us/our-sdxl", Kind::Image),
    ]
}

#[test]
fn every_path_family_answers_every_case() {
    for suite in suites() {
        conformance::check(&suite);
    }
}

#[test]
fn official_models_on_the_wire() {
    let [models, ..] = <[Suite; 3]>::try_from(suites()).ok().unwrap();
    let asked = json!({"aspect_ratio": "9:16", "duration": 5, "seed": 11});
    insta::assert_snapshot!(wire(&models.call(&[IMAGE_URL], &asked, |call| Replicate.submit(call)).unwrap()), @r#"
    POST https://api.replicate.com/v1/models/wan-video/wan-2.5-t2v/predictions
    {
      "input": {
        "aspect_ratio": "9:16",
        "duration": 5,
        "image": "https://img.test/a.png",
        "prompt": "a red fox",
        "seed": 11
      },
      "webhook": "https://us.test/hooks/1",
      "webhook_events_filter": [
        "start",
        "completed"
      ]
    }
    "#);
}

#[test]
fn versions_and_deployments_on_the_wire() {
    let [_, predictions, deployments] = suites().try_into().ok().unwrap();
    let several = |suite: &Suite| {
        suite.call(&[], &json!({}), |call| wire(&Replicate.submit(&Call { outputs: 3, webhook_url: None, ..*call }).unwrap()))
    };
    insta::assert_snapshot!(several(&predictions), @r#"
    POST https://api.replicate.com/v1/predictions
    {
      "input": {
        "num_outputs": 3,
        "prompt": "a red fox"
      },
      "version": "stability-ai/sdxl:39ed52f2a78e934b3ba6e2a89f5b1c712de7dfea535525255b1aa35c5565e08b"
    }
    "#);
    insta::assert_snapshot!(several(&deployments), @r#"
    POST https://api.replicate.com/v1/deployments/us/our-sdxl/predictions
    {
      "input": {
        "num_outputs": 3,
        "prompt": "a red fox"
      }
    }
    "#);
}

#[test]
fn a_model_may_take_its_images_as_a_list_or_under_other_names() {
    let [mut models, ..] = <[Suite; 3]>::try_from(suites()).ok().unwrap();
    let input = |suite: &Suite| {
        let call = suite.call(&[IMAGE_URL, IMAGE_DATA], &json!({}), |call| Replicate.submit(call)).unwrap();
        let Body::Json(body) = call.body else { panic!("{call:?}") };
        body["input"].clone()
    };
    models.endpoint.options.insert("image_field".to_owned(), "start_image,end_image".to_owned());
    assert_eq!(input(&models), json!({"prompt": "a red fox", "start_image": IMAGE_URL, "end_image": IMAGE_DATA}));
    let own = format!("image_field.{}", models.endpoint.upstream);
    models.endpoint.options.insert(own, "image_input[]".to_owned());
    assert_eq!(input(&models), json!({"prompt": "a red fox", "image_input": [IMAGE_URL, IMAGE_DATA]}));
}

#[test]
fn trap_4_output_in_a_201_that_still_processes_is_no_success() {
    let [_, images, _] = suites().try_into().ok().unwrap();
    let early = prediction("processing", &json!({"output": [IMAGE_DATA], "data_removed": false}));
    assert!(matches!(images.read_submit(&answer(201, early.clone())), Submitted::Accepted { .. }));
    assert!(matches!(images.read_poll(&answer(200, early)), Polled::Pending { .. }));
    // Nothing asks for it: the submit has no such header, and the credential's headers are the only ones there are.
    let headers = Replicate.authorize(&conformance::key(), &images.endpoint, conformance::SUBMITTED_AT).unwrap();
    assert_eq!(headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["authorization"]);
}

#[test]
fn trap_4_aborted_and_canceled_are_final_and_removed_data_is_nothing_to_fetch() {
    let [_, images, _] = suites().try_into().ok().unwrap();
    let ended = |word: &str| images.failure(&answer(200, prediction(word, &json!({}))));
    let (aborted, canceled) = (ended("aborted"), ended("canceled"));
    assert_eq!((aborted.code, aborted.then), (ErrorCode::TaskFailed, Then::RetryUnbilled), "not billed");
    assert_eq!((canceled.code, canceled.then), (ErrorCode::TaskCancelled, Then::Final), "time used is billed");
    let removed = prediction("succeeded", &json!({"output": [IMAGE_URL], "data_removed": true}));
    assert_eq!(images.outputs(&answer(200, removed)), vec![]);
}

#[test]
fn files_may_come_inline() {
    let [_, images, _] = suites().try_into().ok().unwrap();
    let outputs = images.outputs(&answer(200, prediction("succeeded", &json!({"output": [IMAGE_DATA, "plain text", 7]}))));
    assert_eq!(outputs.len(), 1);
    assert_eq!(outputs[0].source, OutputSource::Inline(Bytes::from_static(b"ABC")));
}

#[test]
fn what_may_be_paid_again_is_never_tried_again_by_itself() {
    let [models, ..] = <[Suite; 3]>::try_from(suites()).ok().unwrap();
    for words in ["Prediction failed. (E1000)", "Prediction interrupted; please retry (code: PA)", "E9999", ""] {
        assert_eq!(models.failure(&answer(200, prediction("failed", &json!({"error": words})))).then, Then::Final, "{words}");
    }
}

#[test]
fn the_reset_of_the_rate_limit_is_a_waiting_hint() {
    let [models, ..] = <[Suite; 3]>::try_from(suites()).ok().unwrap();
    let fault = models.refusal(&page(429).with("ratelimit-reset", "30"));
    assert_eq!((fault.then, fault.retry_after), (Then::Throttled, Some(Duration::from_secs(30))));
}

#[test]
fn a_cancel_that_is_not_yet_true_is_asked_again() {
    let [models, ..] = <[Suite; 3]>::try_from(suites()).ok().unwrap();
    let call = Replicate.cancel(&models.context()).unwrap();
    assert_eq!(wire(&call), format!("POST https://api.replicate.com/v1/predictions/{ID}/cancel"));
    let read =
        |status, word: &str| Replicate.read_cancel(&models.context(), &answer(status, prediction(word, &json!({}))).reply());
    assert!(matches!(read(200, "processing"), Cancelled::Unclear(_)));
    assert_eq!(read(404, "x"), Cancelled::No);
}
