//! A batch as lines: stored while they come, visible only when all are right.

use std::time::Duration;

use actix_web::{error::PayloadError, test::TestRequest, web::Bytes};
use futures_util::stream::{self, Stream};
use serde_json::{Value, json};

use super::{
    super::app::{Answer, Piece, TestApp, with_key},
    PATH, errors, get, image, images, row, send, text, visible,
};
use crate::store::bed::Bed;

super::super::on_both! {
    lines_are_requests_and_blank_ones_are_left_out;
    two_hundred_lines_with_ten_bad_ones_name_each_with_its_line;
    more_errors_than_an_answer_holds_are_counted;
    a_template_in_the_first_line_makes_every_line_a_row_and_a_matrix_makes_all;
    fifty_thousand_lines_are_taken_as_a_stream_and_one_more_is_refused;
    of_a_body_that_breaks_off_nothing_is_ever_seen;
    a_bad_last_line_discards_what_was_loaded_before_it;
    lines_that_do_not_come_are_not_waited_for;
    only_so_many_batches_arrive_at_a_time;
}

async fn lines_are_requests_and_blank_ones_are_left_out(bed: &Bed) {
    let app = TestApp::on(bed).await;
    let body = format!("\u{feff}{}\r\n\n   \n{}", image("a"), image("b"));
    let answer = send(&app, "", body).await;
    assert_eq!(answer.status, 202, "{:?}", answer.body);
    let made = answer.json();
    let names: Vec<_> = made["tasks"].as_array().unwrap().iter().map(|task| (&task["customId"], &task["index"])).collect();
    assert_eq!(names, [(&json!("a"), &json!(0)), (&json!("b"), &json!(1))]);
    send(&app, "", "\n\n").await.problem(422, "INVALID_PARAMETERS");
}

async fn two_hundred_lines_with_ten_bad_ones_name_each_with_its_line(bed: &Bed) {
    let app = TestApp::on(bed).await;
    let mut lines: Vec<String> = images(200).iter().map(Value::to_string).collect();
    for (line, bad) in [
        (3, "{\"prompt\": ".to_owned()),
        (20, "[]".to_owned()),
        (41, json!({"modelIdentifier": "flux-tset", "prompt": "x"}).to_string()),
        (60, json!({"modelIdentifier": "flux-test", "prompt": ""}).to_string()),
        (77, json!({"modelIdentifier": "flux-test", "prompt": "x", "parameters": {"seed": "1"}}).to_string()),
        (90, image("n0").to_string()),
        (120, json!({"modelIdentifier": "flux-test", "prompt": "x", "customId": ""}).to_string()),
        (150, json!({"modelIdentifier": "flux-test", "prompt": "x", "dependsOn": ["nobody"]}).to_string()),
        (180, json!({"modelIdentifier": "flux-test", "prompt": "x", "numberOfOutputs": 11}).to_string()),
        (199, format!("{{\"prompt\": \"{}\"}}", "x".repeat(70_000))),
    ] {
        lines[line] = bad;
    }
    let problem = send(&app, "", lines.join("\n")).await.problem(422, "INVALID_PARAMETERS");
    let found: Vec<_> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| (error["index"].as_u64().unwrap(), error["line"].as_u64().unwrap(), error["code"].as_str().unwrap()))
        .collect();
    let expected = [
        (3, 4, "invalid_json"),
        (20, 21, "wrong_type"),
        (41, 42, "unknown_model"),
        (60, 61, "empty"),
        (77, 78, "wrong_type"),
        (90, 91, "duplicate_custom_id"),
        (120, 121, "empty"),
        (150, 151, "unknown_custom_id"),
        (180, 181, "out_of_range"),
        (199, 200, "too_large"),
    ];
    assert_eq!(found, expected);
    assert_eq!(visible(&app).await, 0);
    let skipped = send(&app, "?onInvalid=skip", lines.join("\n")).await;
    assert_eq!(skipped.status, 202, "{:?}", skipped.body);
    let skipped = skipped.json();
    assert_eq!((&skipped["totalTasks"], &skipped["skippedTasks"]), (&json!(190), &json!(10)));
    assert_eq!(
        (&skipped["skipped"][0]["line"], &skipped["skipped"][0]["errors"][0]["code"]),
        (&json!(4), &json!("invalid_json"))
    );
}

async fn more_errors_than_an_answer_holds_are_counted(bed: &Bed) {
    let app = TestApp::on(bed).await;
    let problem = send(&app, "", "{}\n".repeat(150)).await.problem(422, "INVALID_PARAMETERS");
    assert_eq!(problem["errors"].as_array().unwrap().len(), 100);
    assert_eq!(problem["details"], json!({"errorCount": 300, "named": 100}));
    assert!(problem["detail"].as_str().unwrap().contains("names the first 100"), "{problem}");
}

async fn a_template_in_the_first_line_makes_every_line_a_row_and_a_matrix_makes_all(bed: &Bed) {
    let app = TestApp::on(bed).await;
    let head = json!({"options": {"name": "rows"}, "template": {"modelIdentifier": "flux-test", "prompt": "a {{x}}"}});
    let made = send(&app, "", text(&[head.clone(), json!({"x": 1, "customId": "one"}), json!({"x": 2})])).await.json();
    let first = app.get(&format!("/api/external/generation/{}", made["tasks"][0]["id"].as_str().unwrap())).await.json();
    assert_eq!((&first["prompt"], &made["tasks"][0]["customId"]), (&json!("a 1"), &json!("one")));
    let problem = send(&app, "", text(&[head, json!({"y": 1}), json!(3)])).await.problem(422, "INVALID_PARAMETERS");
    let expected = [("#", "required"), ("#/y", "unknown_member"), ("#", "wrong_type")];
    assert_eq!(errors(&problem), expected.map(|(pointer, code)| (pointer.to_owned(), code.to_owned())));
    assert_eq!((&problem["errors"][0]["line"], &problem["errors"][2]["line"]), (&json!(2), &json!(3)));
    let matrix = json!({"matrix": {"prompt": ["a", "b"], "modelIdentifier": ["flux-test"]}});
    assert_eq!(send(&app, "", text(std::slice::from_ref(&matrix))).await.json()["totalTasks"], 2);
    let problem = send(&app, "", text(&[matrix, image("a")])).await.problem(422, "INVALID_PARAMETERS");
    assert_eq!((errors(&problem)[0].1.as_str(), &problem["errors"][0]["line"]), ("unexpected_line", &json!(2)));
}

/// A body that comes in pieces.
async fn arrive(app: &TestApp, body: impl Stream<Item = Piece> + 'static) -> Answer {
    let request = TestRequest::post().uri(PATH).insert_header(("content-type", "application/x-ndjson"));
    app.stream(with_key(request, &app.client), body).await
}

async fn fifty_thousand_lines_are_taken_as_a_stream_and_one_more_is_refused(bed: &Bed) {
    let app = TestApp::on(bed).await;
    let line = |i: usize| format!("{{\"modelIdentifier\":\"flux-test\",\"prompt\":\"p{i}\",\"customId\":\"c{i}\"}}\n");
    let body = move |count: usize| -> Vec<Piece> {
        let chunk = |from: usize| Ok(Bytes::from((from..(from + 500).min(count)).map(line).collect::<String>()));
        (0..count).step_by(500).map(chunk).collect()
    };
    let problem = arrive(&app, stream::iter(body(50_001))).await.problem(422, "INVALID_PARAMETERS");
    assert_eq!((errors(&problem)[0].1.as_str(), &problem["errors"][0]["line"]), ("too_many", &json!(50_001)));
    let made = arrive(&app, stream::iter(body(50_000))).await;
    assert_eq!(made.status, 202, "{:?}", made.body);
    let made = made.json();
    assert_eq!((&made["totalTasks"], made["tasks"].as_array().unwrap().len()), (&json!(50_000), 1_000));
    assert_eq!(row(&app, made["batchId"].as_str().unwrap()).await.counts.total, 50_000);
    let (id, cursor) = (made["batchId"].as_str().unwrap(), made["nextCursor"].as_str().unwrap());
    let next = get(&app, &format!("/{id}/tasks?limit=1&cursor={cursor}")).await.json();
    assert_eq!(next["data"][0]["customId"], "c1000");
}

async fn of_a_body_that_breaks_off_nothing_is_ever_seen(bed: &Bed) {
    let app = TestApp::on(bed).await;
    let some = Bytes::from(text(&images(2_100)));
    let broken = [Ok(some), Err(PayloadError::Incomplete(None))];
    arrive(&app, stream::iter(broken)).await.problem(400, "INVALID_REQUEST");
    assert_eq!(visible(&app).await, 0);
    taken_back(bed).await;
}

/// What was loaded goes without being asked for again.
async fn taken_back(bed: &Bed) {
    let left = async || bed.number("SELECT (SELECT count(*) FROM generations) + (SELECT count(*) FROM batches)").await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while left().await > 0 {
        assert!(tokio::time::Instant::now() < deadline, "what was loaded stays");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn a_bad_last_line_discards_what_was_loaded_before_it(bed: &Bed) {
    let app = TestApp::on(bed).await;
    let mut lines = images(2_100);
    lines.push(json!({"modelIdentifier": "flux-test"}));
    let problem = send(&app, "", text(&lines)).await.problem(422, "INVALID_PARAMETERS");
    assert_eq!(problem["errors"][0]["line"], 2_101);
    assert_eq!(visible(&app).await, 0);
    taken_back(bed).await;
}

async fn lines_that_do_not_come_are_not_waited_for(bed: &Bed) {
    let app = TestApp::on_with(bed, |config| config.server.body_timeout_s = 1).await;
    let problem = arrive(&app, stream::pending()).await.problem(400, "INVALID_REQUEST");
    assert!(problem["detail"].as_str().unwrap().contains("did not arrive in time"), "{problem}");
}

async fn only_so_many_batches_arrive_at_a_time(bed: &Bed) {
    let app = TestApp::on_with(bed, |config| config.batches.uploads = 0).await;
    let request = TestRequest::post().uri(PATH).insert_header(("content-type", "application/x-ndjson")).set_payload("{}");
    let answer = app.send(with_key(request, &app.client)).await;
    answer.problem(503, "SERVICE_UNAVAILABLE");
    assert_eq!(answer.header("retry-after"), "2");
}
