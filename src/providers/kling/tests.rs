//! Kling's answers to the conformance suite, its wire, and traps 1 and 2.

use std::time::Duration;

use serde_json::{Value, json};

use super::{errors::TABLE, *};
use crate::{
    domain::{money::Micros, record::Handle},
    providers::adapter::{
        OutputSource, Then,
        conformance::{self, Answer, Case, IMAGE_DATA, IMAGE_URL, SUBMITTED_AT, Suite, answer, handle, pair, wire},
    },
};

const BASE: &str = "https://api-singapore.klingai.com";
const ID: &str = "866889456698785798";

fn endpoint(family: &str, has_images: bool, kind: Kind, options: &[(&str, &str)]) -> Endpoint {
    let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Kling.endpoint(BASE, "kling-v2-6", Some(family), &options, has_images, kind)
}

fn error(status: u16, code: u32, message: &str) -> Answer {
    answer(status, json!({"code": code, "message": message, "request_id": "r-1"}))
}

fn enveloped(data: Value) -> Answer {
    answer(200, json!({"code": 0, "message": "SUCCEED", "request_id": "r-1", "data": data}))
}

/// What all path families have in common; the differences follow below.
fn suite(endpoint: Endpoint, kind: Kind, task: fn(&str, Value) -> Value, done: &str, files: &str) -> Suite {
    let wrap = if endpoint.path_family.starts_with("new") { |task: Value| json!([task]) } else { |task: Value| task };
    let said = move |word: &str, more: Value| enveloped(wrap(task(word, more)));
    let file = json!({"url": "https://cdn.test/1", "duration": "5.1", "type": kind.as_str()});
    let outputs = |files: &str, list: Value| match files {
        "outputs" => json!({"outputs": list}),
        other => json!({"task_result": {other: list}}),
    };
    let reason = |words: &str| json!({"task_status_msg": words, "message": words, "task_result": {}, "task_info": {}});
    let fresh = |id: &str| {
        let mut body = task("submitted", json!({}));
        for key in ["task_id", "id"] {
            if body.get(key).is_some() {
                body[key] = json!(id);
            }
        }
        enveloped(body)
    };
    let gone = if endpoint.path_family.starts_with("new") {
        enveloped(json!([]))
    } else {
        error(400, 1201, "Task not found by id / external id")
    };
    Suite {
        adapter: Box::new(Kling),
        endpoint,
        kind,
        handle: handle(ID),
        accepted: Case::Is((fresh(ID), handle(ID))),
        long_id: Case::Is((fresh("9007199254740993000001"), "9007199254740993000001")),
        done_at_once: Case::NotApplicable("every task is asynchronous"),
        refused: Case::Is(error(400, 1200, "Invalid parameters")),
        unauthorised: Case::Is(error(401, 1002, "Authorization is invalid")),
        out_of_money: Case::Is(error(429, 1102, "Account balance not enough")),
        refused_by_moderation: Case::Is(error(400, 1301, "Content security triggered")),
        throttled: Case::Is((error(429, 1303, "parallel task over resource pack limit"), None)),
        unbilled: Case::Is(error(503, 5001, "Service temporarily unavailable")),
        server_error: error(500, 5000, "Internal error"),
        pending: Case::Is((said("processing", json!({})), None)),
        unknown_word: Case::Is((said("reviewing", json!({})), "reviewing")),
        done_one: Case::Is((said(done, outputs(files, json!([file]))), OutputSource::Url("https://cdn.test/1".to_owned()))),
        done_many: Case::Is((said(done, outputs(files, json!([file, file, file]))), 3)),
        done_with_nothing: Case::Is(said(done, outputs(files, json!([])))),
        failed: Case::Is((said("failed", reason("Image pixel is invalid")), "Image pixel is invalid")),
        moderated: Case::Is(said("failed", reason("Failure to pass the risk control system"))),
        missing: Case::Is(gone.clone()),
        poll_unclear: Case::Is(vec![
            error(500, 5000, "x"),
            error(429, 1302, "x"),
            error(401, 1004, "x"),
            answer(404, json!({"error": {"message": "Invalid URL", "code": "invalid_url"}})),
        ]),
        found: Case::Is((said("processing", json!({})), ID)),
        not_found: Case::Is(gone),
        cancelled: Case::NotApplicable("Kling documents no cancel"),
        too_late: Case::NotApplicable("Kling documents no cancel"),
        authorization: ("authorization", "Bearer TOP-SECRET"),
        wrong_credential: pair(),
        output_lifetime: Duration::from_secs(30 * 24 * 3600),
        image_url: Case::Is("/image"),
        image_data: Case::Is(("/image", "QUJD")),
    }
}

fn legacy_task(word: &str, more: Value) -> Value {
    merged(json!({"task_id": ID, "task_status": word, "task_info": {"external_task_id": "tag-7f3a"}, "created_at": 1}), more)
}

fn new_task(word: &str, more: Value) -> Value {
    merged(json!({"id": ID, "status": word, "external_id": "tag-7f3a", "create_time": 1}), more)
}

fn merged(mut one: Value, other: Value) -> Value {
    one.as_object_mut().unwrap().extend(other.as_object().cloned().unwrap());
    one
}

fn new_standard(has_images: bool) -> Suite {
    let endpoint = endpoint("new", has_images, Kind::Video, &[]);
    Suite {
        // The answer to a create is one object, the answer to a query a list.
        accepted: Case::Is((enveloped(new_task("submitted", json!({"message": ""}))), handle(ID))),
        image_url: Case::Is("/contents/1/url"),
        image_data: Case::NotApplicable("the newer standard documents URLs only"),
        ..suite(endpoint, Kind::Video, new_task, "succeeded", "outputs")
    }
}

fn relay() -> Suite {
    let options = [("relay", "true"), ("poll_path", "/v1/videos/task/{id}"), ("duration", "integer")];
    let top_level = |word: &str| answer(200, json!({"id": ID, "task_id": ID, "object": "video", "status": word}));
    let lost = |message: &str| answer(400, json!({"code": "task_failed", "message": message}));
    let done = json!({"code": "success", "data": {"task_id": ID, "status": "succeeded", "url": "https://cdn.test/1"}});
    let failed = |words: &str| answer(200, json!({"code": "success", "data": {"status": "failed", "error": words}}));
    Suite {
        accepted: Case::Is((top_level("queued"), handle(ID))),
        refused: Case::Is(lost("prompt is too long")),
        out_of_money: Case::Is(lost("Account balance not enough")),
        refused_by_moderation: Case::Is(lost("content security triggered")),
        throttled: Case::Is((lost("parallel task over resource pack limit"), None)),
        server_error: answer(500, json!({"code": "fail_to_fetch_task", "message": "upstream error"})),
        pending: Case::Is((top_level("in_progress"), None)),
        done_one: Case::Is((answer(200, done), OutputSource::Url("https://cdn.test/1".to_owned()))),
        failed: Case::Is((failed("no face found"), "no face found")),
        moderated: Case::Is(failed("sensitive content")),
        found: Case::Is((enveloped(json!({"task_id": ID, "task_info": {"external_task_id": "tag-7f3a"}})), ID)),
        not_found: Case::NotApplicable("a relay asks its own database: its \"not found\" proves nothing"),
        ..suite(endpoint("legacy", true, Kind::Video, &options), Kind::Video, legacy_task, "succeed", "videos")
    }
}

pub fn suites() -> Vec<Suite> {
    let legacy = |images| Suite {
        wrong_credential: empty_pair(),
        ..suite(endpoint("legacy", images, Kind::Video, &[]), Kind::Video, legacy_task, "succeed", "videos")
    };
    let pictures = suite(endpoint("images", false, Kind::Image, &[]), Kind::Image, legacy_task, "succeed", "images");
    vec![legacy(true), Suite { wrong_credential: empty_pair(), ..pictures }, new_standard(true), relay()]
}

fn empty_pair() -> Credential {
    Credential::Pair { access: String::new(), secret: SecretString::from("") }
}

#[test]
fn every_path_family_answers_every_case() {
    for suite in suites() {
        conformance::check(&suite);
    }
}

fn submitted(endpoint: Endpoint, kind: Kind, images: &[&str], asked: &Value) -> String {
    let suite = suite(endpoint, kind, legacy_task, "succeed", "videos");
    wire(&suite.call(images, asked, |call| Kling.submit(call)).unwrap())
}

fn asked() -> Value {
    json!({"size_or_ratio": "9:16", "duration": 5, "mode": "standard", "negative_prompt": "rain", "generateAudio": true})
}

#[test]
fn legacy_text_to_video_on_the_wire() {
    insta::assert_snapshot!(submitted(endpoint("legacy", false, Kind::Video, &[]), Kind::Video, &[], &asked()), @r#"
    POST https://api-singapore.klingai.com/v1/videos/text2video
    {
      "aspect_ratio": "9:16",
      "callback_url": "https://us.test/hooks/1",
      "duration": "5",
      "external_task_id": "tag-7f3a",
      "mode": "std",
      "model_name": "kling-v2-6",
      "negative_prompt": "rain",
      "prompt": "a red fox",
      "sound": "on"
    }
    "#);
}

#[test]
fn legacy_image_to_video_strips_the_data_prefix_and_has_no_ratio() {
    let endpoint = endpoint("legacy", true, Kind::Video, &[]);
    insta::assert_snapshot!(submitted(endpoint, Kind::Video, &[IMAGE_DATA, IMAGE_URL], &asked()), @r#"
    POST https://api-singapore.klingai.com/v1/videos/image2video
    {
      "callback_url": "https://us.test/hooks/1",
      "duration": "5",
      "external_task_id": "tag-7f3a",
      "image": "QUJD",
      "image_tail": "https://img.test/a.png",
      "mode": "std",
      "model_name": "kling-v2-6",
      "negative_prompt": "rain",
      "prompt": "a red fox",
      "sound": "on"
    }
    "#);
}

#[test]
fn images_on_the_wire() {
    let endpoint = endpoint("images", true, Kind::Image, &[]);
    let asked = json!({"size_or_ratio": "21:9", "resolution": "2k"});
    insta::assert_snapshot!(submitted(endpoint, Kind::Image, &[IMAGE_DATA], &asked), @r#"
    POST https://api-singapore.klingai.com/v1/images/generations
    {
      "aspect_ratio": "21:9",
      "callback_url": "https://us.test/hooks/1",
      "external_task_id": "tag-7f3a",
      "image": "QUJD",
      "model_name": "kling-v2-6",
      "prompt": "a red fox",
      "resolution": "2k"
    }
    "#);
}

#[test]
fn the_newer_text_to_video_takes_whole_seconds() {
    let endpoint = endpoint("new", false, Kind::Video, &[]);
    let asked = json!({"size_or_ratio": "16:9", "duration": "12", "sound": false, "resolution": "1080p"});
    insta::assert_snapshot!(submitted(endpoint, Kind::Video, &[], &asked), @r#"
    POST https://api-singapore.klingai.com/text-to-video/kling-v2-6
    {
      "options": {
        "callback_url": "https://us.test/hooks/1",
        "external_task_id": "tag-7f3a"
      },
      "prompt": "a red fox",
      "settings": {
        "aspect_ratio": "16:9",
        "audio": "off",
        "duration": 12,
        "resolution": "1080p"
      }
    }
    "#);
}

#[test]
fn what_the_newer_standard_cannot_express_is_refused_before_it_is_sent() {
    let [_, _, newer, _] = suites().try_into().ok().unwrap();
    for asked in [json!({"mode": "pro"}), json!({"negative_prompt": "rain"}), json!({"cfg_scale": 0.5})] {
        let fault = newer.call(&[], &asked, |call| Kling.submit(call)).unwrap_err();
        assert_eq!((fault.code, fault.then), (ErrorCode::InvalidParameters, Then::Final));
    }
}

#[test]
fn the_newer_image_to_video_lists_its_contents() {
    let endpoint = endpoint("new", true, Kind::Video, &[]);
    insta::assert_snapshot!(submitted(endpoint, Kind::Video, &[IMAGE_URL, IMAGE_URL], &json!({"duration": 5})), @r#"
    POST https://api-singapore.klingai.com/image-to-video/kling-v2-6
    {
      "contents": [
        {
          "text": "a red fox",
          "type": "prompt"
        },
        {
          "type": "first_frame",
          "url": "https://img.test/a.png"
        },
        {
          "type": "last_frame",
          "url": "https://img.test/a.png"
        }
      ],
      "options": {
        "callback_url": "https://us.test/hooks/1",
        "external_task_id": "tag-7f3a"
      },
      "settings": {
        "duration": 5
      }
    }
    "#);
}

#[test]
fn a_relay_has_its_own_paths_and_may_want_whole_seconds() {
    let suite = relay();
    let call = suite.call(&[], &json!({"duration": "10"}), |call| Kling.submit(call)).unwrap();
    assert_eq!(call.url.path(), "/v1/videos/image2video");
    assert!(wire(&call).contains("\"duration\": 10"));
    assert_eq!(Kling.poll(&suite.context()).unwrap().url.path(), format!("/v1/videos/task/{ID}"));
    let capabilities = Kling.capabilities(&suite.endpoint);
    assert!(!capabilities.idempotent_submit, "it is looked for, but never sent again");
}

#[test]
fn polls_and_lookups_go_to_the_family_that_created_the_task() {
    let urls = |suite: &Suite| {
        let find = Kling.find(&conformance::search(&suite.endpoint)).unwrap().url;
        [Kling.poll(&suite.context()).unwrap().url, find].map(|url| url.as_str().trim_start_matches(BASE).to_owned())
    };
    let [image, picture, newer, _] = suites().try_into().ok().unwrap();
    assert_eq!(urls(&image), [format!("/v1/videos/image2video/{ID}"), "/v1/videos/image2video/tag-7f3a".to_owned()]);
    assert_eq!(urls(&picture), [format!("/v1/images/generations/{ID}"), "/v1/images/generations/tag-7f3a".to_owned()]);
    assert_eq!(urls(&newer), [format!("/tasks?task_ids={ID}"), "/tasks?external_task_ids=tag-7f3a".to_owned()]);
}

#[test]
fn a_signing_pair_makes_a_token_on_legacy_paths_only() {
    let [legacy, _, newer, relay] = suites().try_into().ok().unwrap();
    let headers = Kling.authorize(&pair(), &legacy.endpoint, SUBMITTED_AT).unwrap();
    let token = headers[0].1.expose_secret();
    assert!(token.starts_with("Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.") && !token.contains("SECRET"));
    for endpoint in [newer.endpoint, relay.endpoint] {
        let fault = Kling.authorize(&pair(), &endpoint, SUBMITTED_AT).unwrap_err();
        assert_eq!((fault.code, fault.then), (ErrorCode::AuthenticationFailed, Then::Final));
        assert!(fault.message.contains("create an API key"));
    }
}

#[test]
fn trap_1_a_failed_task_says_code_0_and_succeed_in_its_envelope() {
    let [legacy, ..] = <[Suite; 4]>::try_from(suites()).ok().unwrap();
    let failed = enveloped(legacy_task("failed", json!({"task_status_msg": "Image pixel is invalid", "task_result": {}})));
    assert!(failed.body.contains(r#""message":"SUCCEED""#));
    let fault = legacy.failure(&failed);
    assert_eq!(fault.provider_message.as_deref(), Some("Image pixel is invalid"));
    assert_eq!((fault.code, fault.provider_code), (ErrorCode::TaskFailed, None));
    // The success word differs by generation; both are read on both.
    for word in ["succeed", "succeeded"] {
        assert!(matches!(legacy.read_poll(&enveloped(legacy_task(word, json!({})))), Polled::Done { .. }));
    }
    // What relays call finished means nothing at Kling itself.
    let odd = legacy.read_poll(&enveloped(legacy_task("completed", json!({}))));
    assert!(matches!(odd, Polled::Pending { unknown_word: Some(_), .. }));
}

#[test]
fn trap_2_four_of_the_six_codes_of_http_429_are_permanent() {
    let [legacy, ..] = <[Suite; 4]>::try_from(suites()).ok().unwrap();
    let read = |code| {
        let fault = legacy.refusal(&error(429, code, "x"));
        (fault.code, fault.then)
    };
    assert_eq!(read(1100), (ErrorCode::AuthenticationFailed, Then::Final));
    assert_eq!(read(1101), (ErrorCode::QuotaExceeded, Then::Final));
    assert_eq!(read(1102), (ErrorCode::QuotaExceeded, Then::Final));
    assert_eq!(read(1304), (ErrorCode::AuthenticationFailed, Then::Final));
    assert_eq!(read(1302), (ErrorCode::RateLimited, Then::Throttled));
    assert_eq!(read(1303), (ErrorCode::RateLimited, Then::Throttled));
    assert_eq!(read(1399), (ErrorCode::RateLimited, Then::Final), "an unknown code is not taken for a throttle");
    assert_eq!(legacy.refusal(&conformance::page(429)).then, Then::Final);
}

#[test]
fn a_duplicate_tag_means_that_an_earlier_send_arrived() {
    let [legacy, ..] = <[Suite; 4]>::try_from(suites()).ok().unwrap();
    for words in ["external_task_id already exists", "Duplicate external task id"] {
        assert_eq!(legacy.refusal(&error(400, 1201, words)).then, Then::Unclear);
    }
    assert_eq!(legacy.refusal(&error(400, 1201, "duration is invalid")).then, Then::Final);
}

#[test]
fn every_documented_code_is_in_the_table_once() {
    let known = [1000, 1001, 1002, 1003, 1004, 1100, 1101, 1102, 1103, 1200, 1201, 1202, 1203, 1300, 1301, 1302, 1303, 1304];
    let plain = TABLE.rows.iter().filter(|row| row.text.is_none()).map(|row| row.code.unwrap().parse::<u32>().unwrap());
    assert_eq!(plain.collect::<Vec<_>>(), known.into_iter().chain([5000, 5001, 5002]).collect::<Vec<_>>());
    assert!(TABLE.rows.iter().all(|row| !row.source.is_empty() && !row.means.is_empty()));
    let unbilled: Vec<_> = TABLE.rows.iter().filter(|row| row.then == Then::RetryUnbilled).filter_map(|row| row.code).collect();
    assert_eq!(unbilled, ["1003", "1004", "5001"]);
}

#[test]
fn what_it_cost_is_read_in_units_and_in_dollars() {
    let [legacy, _, newer, relay] = suites().try_into().ok().unwrap();
    let cost = |suite: &Suite, answer: Answer| suite.done(&answer).1;
    let units = enveloped(legacy_task("succeed", json!({"final_unit_deduction": "2.5"})));
    assert_eq!(cost(&legacy, units.clone()), Some(Micros(350_000)));
    assert_eq!(cost(&relay, units), None, "a relay's prices are its own");
    let billing = json!([{"charge_type": "unit", "amount": "5", "package_type": "video"}]);
    let billed = |billing: &Value| enveloped(json!([new_task("succeeded", json!({"billing": billing}))]));
    assert_eq!(cost(&newer, billed(&billing)), Some(Micros(700_000)));
    assert_eq!(
        cost(&newer, billed(&json!([{"charge_type": "cash", "amount": "0.3", "currency": "USD"}]))),
        Some(Micros(300_000))
    );
    assert_eq!(cost(&newer, billed(&json!([{"charge_type": "cash", "amount": "3", "currency": "CNY"}]))), None);
}

#[test]
fn an_answer_about_other_tasks_teaches_nothing() {
    let [_, _, newer, _] = suites().try_into().ok().unwrap();
    let other = enveloped(json!([{"id": "1", "status": "failed"}]));
    assert!(matches!(newer.read_poll(&other), Polled::Unclear(_)));
    let two = enveloped(json!([{"id": "1", "status": "failed"}, {"id": ID, "status": "processing"}]));
    assert!(matches!(newer.read_poll(&two), Polled::Pending { .. }));
    assert!(matches!(Kling.read_find(&conformance::search(&newer.endpoint), &two.reply()), Found::Unclear(_)));
}

#[test]
fn an_unknown_path_family_is_refused_before_anything_is_sent() {
    let endpoint = endpoint("v9", false, Kind::Video, &[]);
    let suite = Suite { endpoint, handle: Handle::default(), ..relay() };
    assert_eq!(suite.call(&[], &json!({}), |call| Kling.submit(call)).unwrap_err().then, Then::Final);
    assert!(Kling.poll(&suite.context()).is_err());
}

#[test]
fn a_relay_shows_a_failed_or_a_lost_task_in_its_own_ways() {
    let relay = relay();
    let failed = json!({"task_id": ID, "status": "failed", "error": {"code": 400, "message": "no face found"}});
    assert_eq!(relay.failure(&answer(200, failed)).provider_message.as_deref(), Some("no face found"));
    for lost in [
        answer(404, json!({"error": {"message": "task_not_exist", "code": "task_not_exist"}})),
        answer(400, json!({"code": "task_not_exist", "message": "task_not_exist", "data": null})),
    ] {
        assert!(matches!(relay.read_poll(&lost), Polled::Missing(_)));
    }
    for word in ["completed", "success", "finished", "SUCCESS"] {
        assert_eq!(relay.outputs(&answer(200, json!({"status": word, "url": "https://cdn.test/1"}))).len(), 1);
    }
}

#[test]
fn a_relays_words_decide_only_where_it_refuses() {
    let relay = relay();
    let busy = |status| answer(status, json!({"code": "task_failed", "message": "parallel task over resource pack limit"}));
    assert_eq!(relay.refusal(&busy(400)).then, Then::Throttled);
    assert_eq!(relay.refusal(&busy(500)).then, Then::Unclear);
    // A code of Kling's own that comes through is read as Kling's.
    assert_eq!(relay.refusal(&error(429, 1304, "ip")).then, Then::Final);
}

#[test]
fn through_a_relay_only_a_task_that_echoes_our_tag_is_ours_and_not_found_proves_nothing() {
    let read = |suite: &Suite, body: Value| Kling.read_find(&conformance::search(&suite.endpoint), &enveloped(body).reply());
    let relay = relay();
    assert!(matches!(read(&relay, json!({"task_id": "9", "task_status": "submitted"})), Found::Unclear(_)));
    let other = json!({"task_id": "9", "task_info": {"external_task_id": "tag-of-a-stranger"}});
    assert!(matches!(read(&relay, other.clone()), Found::Unclear(_)));
    assert!(matches!(read(&relay, json!([])), Found::Unclear(_)));
    let [legacy, _, _, _] = suites().try_into().ok().unwrap();
    assert!(matches!(read(&legacy, other), Found::Unclear(_)), "another tag is never ours");
    assert_eq!(read(&legacy, json!([])), Found::Nothing);
    assert_eq!(Kling.find(&conformance::search(&relay.endpoint)).unwrap().url.path(), "/v1/videos/task/tag-7f3a");
}

#[test]
fn the_packs_that_can_be_used_are_told_with_what_is_left_of_each() {
    let endpoint = endpoint("legacy", false, Kind::Video, &[]);
    let call = Kling.balance(&endpoint, Timestamp(1_790_000_000_000)).unwrap();
    let url = "https://api-singapore.klingai.com/account/costs?start_time=1758464000000&end_time=1790000000000";
    assert_eq!(wire(&call), format!("GET {url}"));
    let pack = |name: &str, left: Value, status: &str| json!({"resource_pack_name": name, "remaining_quantity": left, "total_quantity": 200, "status": status});
    let packs =
        json!([pack("videos", json!(118.5), "online"), pack("old", json!(9), "expired"), pack("images", json!("3"), "online")]);
    let told = enveloped(json!({"code": 0, "msg": "", "resource_pack_subscribe_infos": packs}));
    let told = Kling.read_balance(&told.reply()).unwrap();
    let told: Vec<_> = told.iter().map(|one| (one.pack.as_deref().unwrap(), one.millionths, &*one.unit)).collect();
    assert_eq!(told, [("videos", 118_500_000, "units"), ("images", 3_000_000, "units")]);
    let none = enveloped(json!({"resource_pack_subscribe_infos": []}));
    assert_eq!(Kling.read_balance(&none.reply()).unwrap(), []);
    for wrong in [error(401, 1002, "bad key"), error(429, 1302, "too fast"), enveloped(json!({})), answer(500, json!(null))] {
        assert!(Kling.read_balance(&wrong.reply()).is_err(), "{}", wrong.body);
    }
}
