//! Flux's answers to the conformance suite, its wire, and trap 5.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::{
    domain::{money::Micros, record::Handle},
    providers::adapter::{
        OutputSource, Then,
        conformance::{self, Case, IMAGE_DATA, IMAGE_URL, Suite, answer, handle, page, pair, wire},
    },
};

const ID: &str = "7c1f2a90-53d1-4a7e-9b57-1f0f8e2f6a11";
const POLLING: &str = "https://api.us1.bfl.ai/v1/get_result?id=7c1f2a90-53d1-4a7e-9b57-1f0f8e2f6a11";
const SAMPLE: &str = "https://delivery-us1.bfl.ai/results/1/sample.jpeg?sig=x";

fn suite(upstream: &str) -> Suite {
    let endpoint = Flux.endpoint("https://api.bfl.ai", upstream, None, &BTreeMap::new(), false, Kind::Image);
    let polling = Handle { task_id: ID.to_owned(), poll_url: Some(POLLING.to_owned()) };
    let problem = |status: u16, detail: Value| answer(status, json!({"detail": detail}));
    let result = |status: &str, more: Value| {
        let mut body = json!({"id": ID, "status": status, "result": null, "progress": null, "details": null, "preview": null});
        body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        answer(200, body)
    };
    Suite {
        adapter: Box::new(Flux),
        endpoint,
        kind: Kind::Image,
        handle: polling.clone(),
        accepted: Case::Is((answer(200, json!({"id": ID, "polling_url": POLLING, "cost": 4.0})), polling)),
        long_id: Case::Is((answer(200, json!({"id": "9007199254740993"})), "9007199254740993")),
        done_at_once: Case::NotApplicable("every task is asynchronous"),
        refused: Case::Is(problem(422, json!([{"loc": ["body", "width"], "msg": "multiple of 32", "type": "multiple_of"}]))),
        unauthorised: Case::Is(problem(403, json!("Not authenticated"))),
        out_of_money: Case::Is(problem(402, json!("Insufficient credits"))),
        refused_by_moderation: Case::NotApplicable("moderation speaks in the result, not at the submit"),
        throttled: Case::Is((answer(429, json!({"error": "rate", "message": "active tasks", "retry_after": 12})), Some(12))),
        unbilled: Case::NotApplicable("no explicit refusal is documented as unbilled and worth another try"),
        server_error: problem(500, json!("Internal server error")),
        pending: Case::Is((result("Pending", json!({"progress": 0.25})), Some(25))),
        unknown_word: Case::Is((result("Queued", json!({})), "Queued")),
        done_one: Case::Is((
            result("Ready", json!({"result": {"sample": SAMPLE, "seed": 7}})),
            OutputSource::Url(SAMPLE.to_owned()),
        )),
        done_many: Case::NotApplicable("one image a request"),
        done_with_nothing: Case::Is(result("Ready", json!({"result": {}}))),
        failed: Case::Is((result("Error", json!({"details": "worker lost"})), "worker lost")),
        moderated: Case::Is(result("Request Moderated", json!({"details": {"Moderation Reasons": ["x"]}}))),
        missing: Case::Is(result("Task not found", json!({}))),
        poll_unclear: Case::Is(vec![page(404), problem(404, json!("Not found")), answer(500, json!({"status": "Error"}))]),
        found: Case::NotApplicable("there is no list and no id of ours"),
        not_found: Case::NotApplicable("there is no list and no id of ours"),
        cancelled: Case::NotApplicable("there is no cancel"),
        too_late: Case::NotApplicable("there is no cancel"),
        authorization: ("x-key", "TOP-SECRET"),
        wrong_credential: pair(),
        output_lifetime: Duration::from_secs(600),
        image_url: Case::Is("/input_image"),
        image_data: Case::Is(("/input_image", "QUJD")),
    }
}

fn base64_only(upstream: &str) -> Suite {
    Suite {
        image_url: Case::NotApplicable("image_prompt takes base64 alone"),
        image_data: Case::Is(("/image_prompt", "QUJD")),
        ..suite(upstream)
    }
}

pub fn suites() -> Vec<Suite> {
    vec![base64_only("flux-pro-1.1"), base64_only("flux-pro-1.1-ultra"), suite("flux-kontext-pro"), suite("flux-2-pro")]
}

#[test]
fn every_model_family_answers_every_case() {
    for suite in suites() {
        conformance::check(&suite);
    }
}

fn submitted(suite: &Suite, images: &[&str], asked: &Value) -> String {
    wire(&suite.call(images, asked, |call| Flux.submit(call)).unwrap())
}

#[test]
fn the_families_on_the_wire() {
    let [pro, ultra, kontext, two] = suites().try_into().ok().unwrap();
    let asked = json!({"size_or_ratio": "16:9", "seed": 7, "safety_tolerance": 2, "prompt_upsampling": false});
    insta::assert_snapshot!(submitted(&pro, &[IMAGE_DATA], &asked), @r#"
    POST https://api.bfl.ai/v1/flux-pro-1.1
    {
      "height": 768,
      "image_prompt": "QUJD",
      "prompt": "a red fox",
      "prompt_upsampling": false,
      "safety_tolerance": 2,
      "seed": 7,
      "width": 1376
    }
    "#);
    insta::assert_snapshot!(submitted(&ultra, &[], &json!({"size_or_ratio": "1344x768"})), @r#"
    POST https://api.bfl.ai/v1/flux-pro-1.1-ultra
    {
      "aspect_ratio": "7:4",
      "prompt": "a red fox"
    }
    "#);
    insta::assert_snapshot!(submitted(&kontext, &[IMAGE_URL, IMAGE_DATA], &json!({"size_or_ratio": "21:9"})), @r#"
    POST https://api.bfl.ai/v1/flux-kontext-pro
    {
      "aspect_ratio": "21:9",
      "input_image": "https://img.test/a.png",
      "input_image_2": "QUJD",
      "prompt": "a red fox"
    }
    "#);
    insta::assert_snapshot!(submitted(&two, &[], &json!({"size_or_ratio": "1:1"})), @r#"
    POST https://api.bfl.ai/v1/flux-2-pro
    {
      "height": 1024,
      "prompt": "a red fox",
      "width": 1024
    }
    "#);
}

#[test]
fn a_webhook_is_asked_for_only_where_the_host_is_pinned() {
    let [pro, ..] = <[Suite; 4]>::try_from(suites()).ok().unwrap();
    assert!(!submitted(&pro, &[], &json!({})).contains("webhook_url"));
    let base_url = "https://api.eu.bfl.ai".to_owned();
    let pinned = Suite { endpoint: Endpoint { base_url, ..pro.endpoint.clone() }, ..pro };
    assert!(submitted(&pinned, &[], &json!({})).contains(r#""webhook_url": "https://us.test/hooks/1""#));
    let call = pinned.call(&[], &json!({}), |call| Flux.submit(call)).unwrap();
    let sealed = wire(&Flux.seal(call, Some(&"made-up".to_owned().into())));
    assert!(sealed.contains(r#""webhook_secret": "made-up""#), "{sealed}");
}

fn polled(base_url: &str, poll_url: Option<&str>) -> Result<String, Fault> {
    let [pro, ..] = <[Suite; 4]>::try_from(suites()).ok().unwrap();
    let handle = Handle { poll_url: poll_url.map(str::to_owned), ..handle(ID) };
    let endpoint = Endpoint { base_url: base_url.to_owned(), ..pro.endpoint.clone() };
    let suite = Suite { endpoint, handle, ..pro };
    Flux.poll(&suite.context()).map(|call| call.url.to_string())
}

#[test]
fn trap_5_the_polling_url_is_used_as_given_and_may_be_absent() {
    assert_eq!(polled("https://api.bfl.ai", Some(POLLING)).unwrap(), POLLING);
    assert_eq!(polled("https://api.eu.bfl.ai", None).unwrap(), format!("https://api.eu.bfl.ai/v1/get_result?id={ID}"));
    let bare = polled("https://api.bfl.ai", Some("https://api.us1.bfl.ai/v1/get_result")).unwrap();
    assert_eq!(bare, POLLING, "the id is added where it is missing");
    let [pro, ..] = <[Suite; 4]>::try_from(suites()).ok().unwrap();
    let with_webhook = answer(200, json!({"id": ID, "status": "Pending", "webhook_url": "https://us.test/1", "cost": 4.0}));
    assert_eq!(pro.read_submit(&with_webhook), Submitted::Accepted { handle: handle(ID), cost: Some(Micros(40_000)) });
}

#[test]
fn trap_5_a_result_lives_ten_minutes() {
    let [pro, ..] = <[Suite; 4]>::try_from(suites()).ok().unwrap();
    let ready = answer(200, json!({"id": ID, "status": "Ready", "result": {"sample": SAMPLE}, "cost": 6}));
    let (outputs, cost) = pro.done(&ready);
    assert_eq!((outputs[0].lifetime, cost), (Duration::from_secs(600), Some(Micros(60_000))));
}

#[test]
fn the_key_goes_to_bfl_and_to_the_operators_own_host_only() {
    let own = "http://127.0.0.1:4010";
    assert!(polled(own, Some("http://127.0.0.1:4010/v1/get_result?id=1")).is_ok());
    let elsewhere = [
        "http://api.us1.bfl.ai/v1/get_result?id=1",
        "https://evilbfl.ai/v1/get_result?id=1",
        "https://bfl.ai.evil.test/?id=1",
        "https://api.bfl.ai@evil.test/?id=1",
        "http://127.0.0.1:4011/v1/get_result?id=1",
        "https://127.0.0.1:4010/v1/get_result?id=1",
        "file:///etc/passwd",
        "not a url",
    ];
    for url in elsewhere {
        assert_eq!(polled(own, Some(url)).unwrap_err().then, Then::Unclear, "{url}");
    }
}

#[test]
fn both_moderated_words_are_final_and_details_may_be_text() {
    let [pro, ..] = <[Suite; 4]>::try_from(suites()).ok().unwrap();
    let fault = |word: &str, details: Value| pro.failure(&answer(200, json!({"status": word, "details": details})));
    for word in ["Request Moderated", "Content Moderated"] {
        let fault = fault(word, json!({}));
        assert_eq!((fault.code, fault.then), (ErrorCode::ContentFiltered, Then::Final));
        assert_eq!(fault.provider_code.as_deref(), Some(word));
    }
    assert_eq!(fault("Failed", json!("content_policy_violation")).code, ErrorCode::ContentFiltered);
    assert_eq!(fault("Failed", Value::Null).code, ErrorCode::TaskFailed);
}

#[test]
fn a_size_that_is_none_is_refused_before_it_is_sent() {
    let [pro, ..] = <[Suite; 4]>::try_from(suites()).ok().unwrap();
    let fault = pro.call(&[], &json!({"size_or_ratio": "large"}), |call| Flux.submit(call)).unwrap_err();
    assert_eq!((fault.code, fault.then), (ErrorCode::InvalidParameters, Then::Final));
}

#[test]
fn the_credits_that_are_left_are_told() {
    let [pro, ..] = <[Suite; 4]>::try_from(suites()).ok().unwrap();
    let call = Flux.balance(&pro.endpoint, conformance::SUBMITTED_AT).unwrap();
    assert!(call.url.as_str().ends_with("/v1/credits"), "{}", call.url);
    let told = Flux.read_balance(&answer(200, json!({"credits": 12.34})).reply()).unwrap();
    assert_eq!((told[0].decimal().as_str(), &*told[0].unit, told.len()), ("12.340000", "credits", 1));
    for wrong in [answer(200, json!({})), answer(401, json!({"detail": "no"})), answer(200, json!({"credits": null}))] {
        assert!(Flux.read_balance(&wrong.reply()).is_err(), "{}", wrong.body);
    }
}
