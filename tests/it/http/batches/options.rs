//! Options, from the body, from the query and from the first line.

use longtake::domain::{money::Micros, time::Timestamp, unconfirmed::OnUnconfirmed};
use serde_json::json;

use super::{super::app::TestApp, accepted, errors, get, image, images, post, row, send, text, visible};

#[actix_web::test]
async fn every_option_is_stored_and_shown() {
    let app = TestApp::start().await;
    let options = json!({"parallel": false, "maxConcurrency": 7, "stopOnError": true, "priority": "high",
        "deadline": "2026-11-22T12:00:00Z", "budget": "25.50 USD", "onUnconfirmed": "hold",
        "webhookUrl": "https://example.com/hook", "name": "n", "metadata": {"a": [1]}});
    let id = accepted(&app, &images(2), options).await;
    let batch = row(&app, &id).await;
    let options = &batch.options;
    assert_eq!((options.parallel, options.max_concurrency, options.stop_on_error, options.priority), (false, 1, true, 3));
    assert_eq!((options.deadline, options.budget), (Timestamp::parse("2026-11-22T12:00:00Z"), Some(Micros(25_500_000))));
    assert_eq!((options.on_unconfirmed, batch.name.as_deref()), (Some(OnUnconfirmed::Hold), Some("n")));
    let shown = get(&app, &format!("/{id}")).await.json();
    assert_eq!(
        shown["options"],
        json!({"parallel": false, "maxConcurrency": 1, "stopOnError": true, "priority": 3,
            "deadline": "2026-11-22T12:00:00.000Z", "onUnconfirmed": "hold", "webhookUrl": "https://example.com/hook"})
    );
    assert_eq!((&shown["metadata"], &shown["cost"]["budget"]), (&json!({"a": [1]}), &json!("25.500000")));
    let task = shown["tasks"][0]["id"].as_str().unwrap();
    let task = app.get(&format!("/api/external/generation/{task}")).await.json();
    assert_eq!((&task["priority"], &task["onUnconfirmed"]), (&json!(3), &json!("hold")), "they hold for every task");
}

#[actix_web::test]
async fn options_may_stand_in_the_query_and_in_the_first_line() {
    let app = TestApp::start().await;
    let lines = [&[json!({"options": {"max_concurrency": 9, "budget": 5}})][..], &images(1)].concat();
    let by_line = send(&app, "?name=x", text(&lines)).await.json();
    let batch = row(&app, by_line["batchId"].as_str().unwrap()).await;
    assert_eq!((batch.options.max_concurrency, batch.options.budget, batch.name.as_deref()), (9, Some(Micros(5)), Some("x")));
    let by_query = send(&app, "?maxConcurrency=4&priority=urgent&metadata=%7B%22a%22%3A1%7D", text(&images(1))).await.json();
    let batch = row(&app, by_query["batchId"].as_str().unwrap()).await;
    assert_eq!((batch.options.max_concurrency, batch.options.priority), (4, 1));
    let wrong = [&[json!({"options": {"max_concurrency": 0}})][..], &images(1)].concat();
    let problem = send(&app, "?priority=11", text(&wrong)).await.problem(422, "INVALID_PARAMETERS");
    let expected = [("?priority", "not_one_of"), ("#/options/max_concurrency", "out_of_range")];
    assert_eq!(errors(&problem), expected.map(|(pointer, code)| (pointer.to_owned(), code.to_owned())));
    assert_eq!((&problem["errors"][0]["line"], &problem["errors"][1]["line"]), (&json!(null), &json!(1)));
}

#[actix_web::test]
async fn the_defaults_are_those_of_the_documentation() {
    let app = TestApp::start().await;
    let id = accepted(&app, &images(1), json!({})).await;
    let shown = get(&app, &format!("/{id}")).await.json();
    assert_eq!(
        shown["options"],
        json!({"parallel": true, "maxConcurrency": 3, "stopOnError": false, "priority": 5, "deadline": null,
            "onUnconfirmed": null, "webhookUrl": null})
    );
    let problem = post(&app, "?prority=3", &json!({"requests": images(1)})).await.problem(422, "INVALID_PARAMETERS");
    assert!(problem["detail"].as_str().unwrap().contains("did you mean `priority`?"), "{problem}");
}

#[actix_web::test]
async fn a_webhook_that_could_never_be_sent_is_refused_where_it_was_written() {
    let app = TestApp::start().await;
    let long = format!("https://example.com/{}", "x".repeat(2_048));
    for (url, code) in [
        ("http://example.com/hook", "not_allowed"),
        ("https://10.0.0.7/hook", "not_allowed"),
        ("https://[fe80::1]/hook", "not_allowed"),
        ("https://2130706433/hook", "not_allowed"),
        ("https://169.254.169.254/latest", "not_allowed"),
        ("https://metadata.google.internal/", "not_allowed"),
        ("ftp://example.com/hook", "invalid_url"),
        ("https://u:p@example.com/hook", "invalid_url"),
        ("hook", "invalid_url"),
        (&long, "invalid_url"),
    ] {
        let mut line = image("a");
        line["webhook_url"] = json!(url);
        let lines = [json!({"options": {"webhook_url": url}}), image("b"), line.clone()];
        let problem = send(&app, "", text(&lines)).await.problem(422, "INVALID_PARAMETERS");
        let expected = [("#/options/webhook_url", code), ("#/webhook_url", code)];
        assert_eq!(errors(&problem), expected.map(|(pointer, code)| (pointer.to_owned(), code.to_owned())), "{url}");
        assert_eq!((&problem["errors"][0]["line"], &problem["errors"][1]["line"]), (&json!(1), &json!(3)));
        let problem = post(&app, "", &json!({"requests": [image("b"), line.clone()]})).await.problem(422, "INVALID_PARAMETERS");
        assert_eq!(errors(&problem), [("#/requests/1/webhook_url".to_owned(), code.to_owned())]);
        line.as_object_mut().unwrap().remove("customId");
        let problem = app.post(&line).await.problem(422, "INVALID_PARAMETERS");
        assert_eq!(errors(&problem), [("#/webhook_url".to_owned(), code.to_owned())]);
    }
    assert_eq!(visible(&app).await, 0);
    let inside = TestApp::with(|config| config.notify.allow_private_hosts = vec!["10.0.0.7".to_owned()]).await;
    accepted(&inside, &images(1), json!({"webhookUrl": "https://10.0.0.7/hook"})).await;
}
