//! A batch as one JSON body: requests, template and rows, matrix; what is wrong with them; the dry run.

use actix_web::test::TestRequest;
use serde_json::{Value, json};

use super::{
    super::app::{TestApp, with_key},
    PATH, errors, get, image, images, post, row, visible,
};

#[actix_web::test]
async fn a_batch_is_accepted_with_its_tasks_and_ready_made_urls() {
    let app = TestApp::start().await;
    let answer = post(&app, "", &json!({"requests": images(3), "options": {"name": "three"}})).await;
    assert_eq!(answer.status, 202, "{:?}", answer.body);
    let body = answer.json();
    let id = body["batchId"].as_str().unwrap();
    assert_eq!(answer.header("location"), body["urls"]["self"]);
    assert!(id.starts_with("batch_") && body["urls"]["results"].as_str().unwrap().ends_with(&format!("/batch/{id}/results")));
    assert_eq!((&body["totalTasks"], &body["status"], &body["hasMore"]), (&json!(3), &json!("PROCESSING"), &json!(false)));
    let tasks = body["tasks"].as_array().unwrap();
    let shown: Vec<_> = tasks.iter().map(|task| (&task["customId"], &task["index"], &task["status"])).collect();
    assert_eq!(shown[2], (&json!("n2"), &json!(2), &json!("PENDING")));
    assert_eq!(body["estimate"]["expected"], "0.120000");
    let generation = app.get(&format!("/api/external/generation/{}", tasks[0]["id"].as_str().unwrap())).await.json();
    assert_eq!((&generation["prompt"], &generation["status"]), (&json!("a n0"), &json!("PENDING")));
    assert!(app.api.dispatch_wake.take().expect("dispatch was woken").everywhere);
    let batch = get(&app, &format!("/{id}")).await.json();
    assert_eq!((&batch["name"], &batch["waitingTasks"], &batch["progress"]), (&json!("three"), &json!(3), &json!(0)));
}

#[actix_web::test]
async fn more_tasks_than_an_answer_holds_are_paged() {
    let app = TestApp::with(|config| config.batches.max_requests = 1_500).await;
    let app_limits = images(1_001).into_iter().map(|mut request| {
        request.as_object_mut().unwrap().remove("customId");
        request
    });
    let requests: Vec<Value> = app_limits.collect();
    let body = post(&app, "", &json!({"requests": requests})).await.json();
    assert_eq!((body["tasks"].as_array().unwrap().len(), &body["hasMore"]), (1_000, &json!(true)));
    let path = format!("/{}/tasks?cursor={}", body["batchId"].as_str().unwrap(), body["nextCursor"].as_str().unwrap());
    let rest = get(&app, &path).await.json();
    assert_eq!((rest["data"].as_array().unwrap().len(), &rest["data"][0]["index"]), (1, &json!(1_000)));
}

#[actix_web::test]
async fn a_template_takes_rows_and_a_matrix_makes_every_combination() {
    let app = TestApp::start().await;
    let body = json!({
        "template": {"modelIdentifier": "flux-test", "prompt": "{{product.name}} from the {{angle}}", "customId": "{{product.sku}}-{{angle}}",
            "inputImages": ["{{product.image}}"]},
        "matrix": {
            "product": [{"name": "a boot", "sku": "b", "image": "https://example.com/b.png"},
                {"name": "a hat", "sku": "h", "image": "https://example.com/h.png"}],
            "angle": ["front", "side", "back"],
        },
    });
    let answer = post(&app, "", &body).await;
    assert_eq!(answer.status, 202, "{:?}", answer.body);
    let names: Vec<_> = answer.json()["tasks"].as_array().unwrap().iter().map(|task| task["customId"].clone()).collect();
    assert_eq!(names, ["b-front", "h-front", "b-side", "h-side", "b-back", "h-back"]);
    let rows = json!({"template": {"modelIdentifier": "flux-test"}, "rows": [{"prompt": "x", "parameters": {"seed": 7}}, {"prompt": "y"}]});
    let rows = post(&app, "", &rows).await.json();
    let first = app.get(&format!("/api/external/generation/{}", rows["tasks"][0]["id"].as_str().unwrap())).await.json();
    assert_eq!((&first["prompt"], &first["parameters"]["seed"]), (&json!("x"), &json!(7)));
}

#[actix_web::test]
async fn everything_wrong_is_answered_with_index_and_pointer_and_nothing_is_created() {
    let app = TestApp::start().await;
    let mut requests = images(4);
    requests[1]["prompt"] = json!(5);
    requests[2]["parameters"] = json!({"sed": 1});
    requests[3]["customId"] = json!("n0");
    let answer = post(&app, "", &json!({"requests": requests, "options": {"maxConcurrency": 0}})).await;
    let body = answer.problem(422, "INVALID_PARAMETERS");
    let expected = [
        ("#/options/maxConcurrency", "out_of_range"),
        ("#/requests/1/prompt", "wrong_type"),
        ("#/requests/2/parameters/sed", "unknown_parameter"),
        ("#/requests/3/customId", "duplicate_custom_id"),
    ];
    assert_eq!(errors(&body), expected.map(|(pointer, code)| (pointer.to_owned(), code.to_owned())));
    assert_eq!((&body["errors"][1]["index"], &body["details"]["errorCount"]), (&json!(1), &json!(4)));
    assert!(body["errors"][3]["detail"].as_str().unwrap().contains("by request 0 and by request 3"), "{body}");
    assert_eq!(visible(&app).await, 0);
}

#[actix_web::test]
async fn errors_of_a_template_point_at_the_row_or_at_the_template() {
    let app = TestApp::start().await;
    let template = json!({"modelIdentifier": "flux-test", "prompt": "a {{thing}}", "parameters": {"seed": -1}});
    let body = json!({"template": template, "rows": [{"thing": "x"}, {"thng": "y"}, {"thing": "z", "userId": 3}]});
    let problem = post(&app, "", &body).await.problem(422, "INVALID_PARAMETERS");
    let expected = [
        ("#/template/parameters/seed", "out_of_range"),
        ("#/rows/1", "required"),
        ("#/rows/1/thng", "unknown_member"),
        ("#/rows/2/userId", "wrong_type"),
    ];
    assert_eq!(errors(&problem), expected.map(|(pointer, code)| (pointer.to_owned(), code.to_owned())));
}

#[actix_web::test]
async fn a_body_is_one_of_three_forms_within_the_limits() {
    let app = TestApp::with(|config| config.batches.max_requests = 3).await;
    for (body, code) in [
        (json!({}), "required"),
        (json!({"requests": []}), "empty"),
        (json!({"requests": images(1), "rows": []}), "required"),
        (json!({"requests": images(4)}), "too_many"),
        (json!({"matrix": {"prompt": ["a", "b"], "userId": ["c", "d"]}}), "too_many"),
        (json!({"requests": {}}), "wrong_type"),
        (json!([]), "wrong_type"),
    ] {
        let problem = post(&app, "", &body).await.problem(422, "INVALID_PARAMETERS");
        assert_eq!(errors(&problem)[0].1, code, "{body}");
    }
    let request = TestRequest::post().uri(PATH).insert_header(("content-type", "text/csv")).set_payload("a");
    app.send(with_key(request, &app.client)).await.problem(415, "UNSUPPORTED_MEDIA_TYPE");
    let request = TestRequest::post().uri(PATH).insert_header(("content-type", "application/json")).set_payload("{");
    app.send(with_key(request, &app.client)).await.problem(400, "INVALID_REQUEST");
    assert_eq!(visible(&app).await, 0);
}

#[actix_web::test]
async fn with_skip_the_others_are_created_and_the_skipped_ones_told() {
    let app = TestApp::start().await;
    let mut requests = images(4);
    requests[1]["prompt"] = json!("");
    requests[2]["dependsOn"] = json!(["n1"]);
    let body = post(&app, "", &json!({"requests": requests, "options": {"onInvalid": "skip"}})).await;
    assert_eq!(body.status, 202, "{:?}", body.body);
    let body = body.json();
    assert_eq!((&body["totalTasks"], &body["skippedTasks"]), (&json!(2), &json!(2)));
    let indexes: Vec<_> = body["tasks"].as_array().unwrap().iter().map(|task| task["index"].clone()).collect();
    assert_eq!(indexes, [0, 3], "requests keep their numbers");
    let skipped: Vec<_> =
        body["skipped"].as_array().unwrap().iter().map(|skipped| (&skipped["customId"], &skipped["errors"][0]["code"])).collect();
    assert_eq!(skipped, [(&json!("n1"), &json!("empty")), (&json!("n2"), &json!("dependency_refused"))]);
    let none = post(&app, "?onInvalid=skip", &json!({"requests": [{}]})).await;
    none.problem(422, "INVALID_PARAMETERS");
}

#[actix_web::test]
async fn a_dry_run_answers_requests_costs_and_time_and_creates_nothing() {
    let app = TestApp::start().await;
    let video = json!({"modelIdentifier": "flux-test", "prompt": "p", "customId": "v", "inputImages": [{"$result": "n0"}],
        "onUnconfirmed": "resubmit"});
    let body = json!({"requests": [image("n0"), video], "options": {"dryRun": true, "maxConcurrency": 1}});
    let answer = post(&app, "", &body).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    let dry = answer.json();
    assert_eq!((&dry["dryRun"], &dry["totalTasks"]), (&json!(true), &json!(2)));
    assert_eq!(dry["requests"][0]["parameters"], json!({"size_or_ratio": "1024x1024"}), "defaults are visible");
    assert_eq!(dry["requests"][1]["inputImages"], json!([{"$result": "n0", "index": 0}]));
    let estimate = &dry["estimate"];
    assert_eq!(
        (&estimate["low"], &estimate["expected"], &estimate["high"]),
        (&json!("0.080000"), &json!("0.080000"), &json!("0.120000"))
    );
    assert_eq!((&dry["expectedDurationSeconds"], &dry["durationBasis"]), (&json!(30), &json!("assumed")));
    assert_eq!(visible(&app).await, 0);
    let again = post(&app, "", &json!({"requests": dry["requests"]})).await;
    assert_eq!(again.status, 202, "what a dry run answers can be sent: {:?}", again.body);
    post(&app, "?dryRun=true", &json!({"requests": [{"prompt": "x"}]})).await.problem(422, "INVALID_PARAMETERS");
}

#[actix_web::test]
async fn an_image_of_one_task_goes_into_another_and_impossible_wishes_are_refused() {
    let app = TestApp::start().await;
    let second =
        json!({"modelIdentifier": "flux-test", "prompt": "p", "customId": "b", "inputImages": [{"$result": "a", "index": 0}]});
    let made = post(&app, "", &json!({"requests": [second, image("a")]})).await.json();
    let shown = app.get(&format!("/api/external/generation/{}", made["tasks"][0]["id"].as_str().unwrap())).await.json();
    let source = made["tasks"][1]["id"].as_str().unwrap();
    assert_eq!((&shown["stage"], &shown["inputImages"][0]), (&json!("waiting"), &json!(format!("result:{source}/0"))));
    let batch = row(&app, made["batchId"].as_str().unwrap()).await;
    assert_eq!((batch.counts.total, batch.counts.waiting()), (2, 2));
    let cycle = json!([{"customId": "a", "dependsOn": ["b"], "modelIdentifier": "flux-test", "prompt": "p"},
        {"customId": "b", "dependsOn": ["a"], "modelIdentifier": "flux-test", "prompt": "p"}]);
    let problem = post(&app, "", &json!({"requests": cycle})).await.problem(422, "INVALID_PARAMETERS");
    assert!(problem["detail"].as_str().unwrap().contains("a → b → a"), "{problem}");
    let mut unknown = image("a");
    unknown["dependsOn"] = json!(["nobody"]);
    let problem = post(&app, "", &json!({"requests": [unknown]})).await.problem(422, "INVALID_PARAMETERS");
    assert_eq!(errors(&problem), [("#/requests/0/dependsOn/0".to_owned(), "unknown_custom_id".to_owned())]);
}

#[actix_web::test]
async fn a_batch_that_would_pass_a_daily_limit_is_refused_whole() {
    let app = TestApp::distrustful().await;
    let project = app.store.keys().project_by_name("default").await.unwrap().unwrap();
    let limit = longtake::domain::money::Micros::parse("0.10");
    assert!(app.store.keys().limit_project(project.id, limit).await.unwrap());
    post(&app, "", &json!({"requests": images(3)})).await.problem(402, "SPEND_LIMIT_REACHED");
    assert_eq!(visible(&app).await, 0);
    assert_eq!(post(&app, "", &json!({"requests": images(2)})).await.status, 202);
    post(&app, "", &json!({"requests": images(1)})).await.problem(402, "SPEND_LIMIT_REACHED");
}

#[actix_web::test]
async fn a_full_or_draining_service_takes_no_batch() {
    let full = TestApp::with(|config| config.server.max_unfinished = 0).await;
    post(&full, "", &json!({"requests": images(1)})).await.problem(503, "SERVICE_UNAVAILABLE");
    let app = TestApp::start().await;
    let off = json!({"requests": [{"modelIdentifier": "kling-test", "prompt": "x"}]});
    let problem = post(&app, "", &off).await.problem(503, "SERVICE_UNAVAILABLE");
    assert!(problem["detail"].as_str().unwrap().starts_with("provider kling is disabled"), "{problem}");
    app.api.draining.cancel();
    post(&app, "", &json!({"requests": images(1)})).await.problem(503, "SERVICE_UNAVAILABLE");
}
