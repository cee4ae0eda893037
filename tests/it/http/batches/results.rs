//! Showing a batch, its tasks and what has ended, in every form.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

use actix_web::test::TestRequest;
use serde_json::{Value, json};

use super::{
    super::app::{Answer, TestApp, with_key},
    PATH, accepted, deliver, fail, get, ids, image, images, submit,
};
use crate::store::bed::Bed;

super::super::on_both! {
    counts_follow_every_task_and_the_end_is_told_by_one_word;
    an_unchanged_batch_costs_no_body;
    tasks_are_paged_in_order_and_filtered_by_status;
    results_are_read_while_it_runs_and_go_on_from_a_cursor;
    as_csv_nothing_becomes_a_formula;
    many_results_are_streamed_in_pieces;
    another_projects_batch_does_not_exist;
}

async fn counts_follow_every_task_and_the_end_is_told_by_one_word(bed: &Bed) {
    let app = TestApp::on(bed).await;
    let id = accepted(&app, &images(3), json!({})).await;
    let tasks = ids(&app, &id).await;
    submit(&app, tasks[0]).await;
    let shown = get(&app, &format!("/{id}")).await.json();
    assert_eq!((&shown["runningTasks"], &shown["waitingTasks"]), (&json!(1), &json!(2)));
    assert_eq!(shown["why"], "1 of at most 3 tasks at a time are under way, 2 wait; the next: place 1 of 2 at flux");
    fail(&app, tasks[1], "too late").await;
    deliver(&app, tasks[2], "https://cdn.example.com/2.png").await;
    let shown = get(&app, &format!("/{id}")).await.json();
    assert_eq!((&shown["completedTasks"], &shown["failedTasks"], &shown["progress"]), (&json!(1), &json!(1), &json!(66)));
    assert_eq!((&shown["status"], &shown["completedAt"]), (&json!("PROCESSING"), &json!(null)));
    let done = &shown["tasks"][2];
    assert_eq!((&done["status"], &done["results"][0]["url"]), (&json!("SUCCESS"), &json!("https://cdn.example.com/2.png")));
    assert_eq!(shown["tasks"][1]["error"]["code"], "TASK_TIMEOUT");
    let whole = accepted(&app, &images(1), json!({})).await;
    deliver(&app, ids(&app, &whole).await[0], "https://cdn.example.com/a.png").await;
    let answer = get(&app, &format!("/{whole}")).await;
    let shown = answer.json();
    assert_eq!((&shown["status"], &shown["progress"], &shown["why"]), (&json!("COMPLETED"), &json!(100), &json!(null)));
    assert!(shown["completedAt"].is_string());
    assert_eq!(answer.header("retry-after"), "");
    let list = get(&app, "?limit=1").await.json();
    assert_eq!((&list["data"][0]["batchId"], &list["hasMore"]), (&json!(whole), &json!(true)));
    let next = get(&app, &format!("?limit=1&cursor={}", list["nextCursor"].as_str().unwrap())).await.json();
    assert_eq!((&next["data"][0]["batchId"], &next["hasMore"]), (&json!(id), &json!(false)));
}

async fn an_unchanged_batch_costs_no_body(bed: &Bed) {
    let app = TestApp::on(bed).await;
    let id = accepted(&app, &images(2), json!({})).await;
    let first = get(&app, &format!("/{id}")).await;
    assert!(first.header("etag").starts_with("W/\"") && first.header("retry-after") == "2");
    let held = first.header("etag").to_owned();
    let again = async || {
        let request = TestRequest::get().uri(&format!("{PATH}/{id}")).insert_header(("if-none-match", held.clone()));
        app.send(with_key(request, &app.client)).await
    };
    let same = again().await;
    assert_eq!((same.status.as_u16(), same.body.len(), same.header("retry-after")), (304, 0, "2"));
    submit(&app, ids(&app, &id).await[0]).await;
    assert_eq!(again().await.status, 200);
}

async fn tasks_are_paged_in_order_and_filtered_by_status(bed: &Bed) {
    let app = TestApp::on(bed).await;
    let id = accepted(&app, &images(5), json!({})).await;
    let tasks = ids(&app, &id).await;
    fail(&app, tasks[3], "x").await;
    submit(&app, tasks[1]).await;
    let mut seen = Vec::new();
    let mut next = format!("/{id}/tasks?limit=2&status=PENDING");
    loop {
        let page = get(&app, &next).await.json();
        seen.extend(page["data"].as_array().unwrap().iter().map(|task| task["index"].as_u64().unwrap()));
        let Some(cursor) = page["nextCursor"].as_str() else { break };
        next = format!("/{id}/tasks?limit=2&status=PENDING&cursor={cursor}");
    }
    assert_eq!(seen, [0, 2, 4]);
    let failed = get(&app, &format!("/{id}/tasks?status=FAILED,PROCESSING")).await.json();
    let indexes: Vec<_> = failed["data"].as_array().unwrap().iter().map(|task| task["index"].as_u64().unwrap()).collect();
    assert_eq!(indexes, [1, 3]);
    get(&app, &format!("/{id}/tasks?status=OK")).await.problem(422, "INVALID_PARAMETERS");
}

fn lines(answer: &Answer) -> Vec<Value> {
    std::str::from_utf8(&answer.body).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn results_are_read_while_it_runs_and_go_on_from_a_cursor(bed: &Bed) {
    let app = TestApp::on(bed).await;
    let id = accepted(&app, &images(4), json!({})).await;
    let tasks = ids(&app, &id).await;
    let empty = get(&app, &format!("/{id}/results")).await.json();
    assert_eq!((&empty["data"], &empty["nextCursor"]), (&json!([]), &json!(null)));
    deliver(&app, tasks[2], "https://cdn.example.com/2.png").await;
    fail(&app, tasks[0], "x").await;
    let first = get(&app, &format!("/{id}/results?format=jsonl")).await;
    assert_eq!(first.header("content-type"), "application/x-ndjson");
    let first = lines(&first);
    let order: Vec<_> = first.iter().map(|line| (&line["customId"], &line["status"])).collect();
    assert_eq!(order, [(&json!("n2"), &json!("SUCCESS")), (&json!("n0"), &json!("FAILED"))], "in the order of the ends");
    deliver(&app, tasks[1], "https://cdn.example.com/1.png").await;
    let behind = first[1]["cursor"].as_str().unwrap();
    let rest = lines(&get(&app, &format!("/{id}/results?format=jsonl&cursor={behind}")).await);
    assert_eq!((rest.len(), &rest[0]["customId"]), (1, &json!("n1")));
    let page = get(&app, &format!("/{id}/results?limit=2")).await.json();
    assert_eq!((page["data"].as_array().unwrap().len(), &page["hasMore"]), (2, &json!(true)));
    assert_eq!(page["nextCursor"], first[1]["cursor"]);
    let last = get(&app, &format!("/{id}/results?cursor={}", rest[0]["cursor"].as_str().unwrap())).await.json();
    assert_eq!((&last["data"], &last["nextCursor"]), (&json!([]), &rest[0]["cursor"]), "the last cursor stays good");
}

async fn as_csv_nothing_becomes_a_formula(bed: &Bed) {
    let app = TestApp::on(bed).await;
    let names = ["=HYPERLINK(\"http://evil\",\"x\")", "a,b", "@SUM(1)", "plain"];
    let requests: Vec<Value> = names.iter().map(|name| image(name)).collect();
    let id = accepted(&app, &requests, json!({})).await;
    let tasks = ids(&app, &id).await;
    deliver(&app, tasks[0], "https://cdn.example.com/a.png?x=1,2").await;
    fail(&app, tasks[1], "-1+1 said \"no\"\r\nreally").await;
    for task in &tasks[2..] {
        fail(&app, *task, "x").await;
    }
    let request = TestRequest::get().uri(&format!("{PATH}/{id}/results")).insert_header(("accept", "text/csv"));
    let answer = app.send(with_key(request, &app.client)).await;
    assert_eq!(answer.header("content-type"), "text/csv; charset=utf-8");
    assert_eq!(answer.header("content-disposition"), format!("attachment; filename=\"{id}.csv\""));
    let text = std::str::from_utf8(&answer.body).unwrap();
    assert!(text.starts_with("customId,id,index,status,modelIdentifier,outputs,urls,errorCode,errorMessage,charged,"), "{text}");
    assert!(text.contains("\r\n\"'=HYPERLINK(\"\"http://evil\"\",\"\"x\"\")\",gen_"), "{text}");
    assert!(text.contains("\"https://cdn.example.com/a.png?x=1,2\""), "{text}");
    assert!(text.contains("\r\n\"a,b\",gen_") && text.contains("\"'-1+1 said \"\"no\"\"\r\nreally\""), "{text}");
    assert!(text.contains("\r\n\"'@SUM(1)\",gen_") && text.contains("\r\nplain,gen_") && text.ends_with("\r\n"), "{text}");
    let cursor = text.trim_end().rsplit(',').next().unwrap();
    let rest = get(&app, &format!("/{id}/results?format=csv&cursor={cursor}")).await;
    assert_eq!(rest.body, "", "no line of names behind a cursor: it can be appended");
    let marked = get(&app, &format!("/{id}/results?format=csv&bom=true")).await;
    assert_eq!(marked.body, format!("\u{feff}{text}"));
    get(&app, &format!("/{id}/results?format=csv&bom=7")).await.problem(422, "INVALID_PARAMETERS");
    let Ok(python) = std::env::var("LONGTAKE_TEST_PYTHON") else { return };
    let rows = read_by_python(&python, text);
    assert_eq!((rows.len(), rows.iter().all(|row| row.len() == rows[0].len())), (5, true));
    assert_eq!(
        (rows[1][0].as_str(), rows[1][6].as_str()),
        ("'=HYPERLINK(\"http://evil\",\"x\")", "https://cdn.example.com/a.png?x=1,2")
    );
    assert_eq!((rows[2][0].as_str(), rows[2][8].as_str()), ("a,b", "'-1+1 said \"no\"\r\nreally"));
}

/// What Python's `csv` makes of it, in its strict mode.
fn read_by_python(python: &str, text: &str) -> Vec<Vec<String>> {
    let script = "import csv, io, json, sys\nraw = sys.stdin.buffer.read().decode()\n\
        print(json.dumps(list(csv.reader(io.StringIO(raw, newline=''), strict=True))))";
    let mut child = Command::new(python).args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap()
}

async fn many_results_are_streamed_in_pieces(bed: &Bed) {
    let app = TestApp::on(bed).await;
    let id = accepted(&app, &images(450), json!({})).await;
    let mut path = format!("/{id}/tasks?limit=100");
    while !path.is_empty() {
        let page = get(&app, &path).await.json();
        for task in page["data"].as_array().unwrap() {
            fail(&app, task["id"].as_str().unwrap().parse().unwrap(), "x").await;
        }
        path = page["nextCursor"].as_str().map(|cursor| format!("/{id}/tasks?limit=100&cursor={cursor}")).unwrap_or_default();
    }
    let all = lines(&get(&app, &format!("/{id}/results?format=jsonl")).await);
    let mut names: Vec<_> = all.iter().map(|line| line["index"].as_u64().unwrap()).collect();
    names.dedup();
    assert_eq!(names, (0..450).collect::<Vec<_>>());
    let some = lines(&get(&app, &format!("/{id}/results?format=jsonl&limit=210")).await);
    assert_eq!(some.len(), 210);
    app.clock.advance(Duration::from_secs(1));
    assert_eq!(get(&app, &format!("/{id}")).await.json()["status"], "FAILED");
}

async fn another_projects_batch_does_not_exist(bed: &Bed) {
    let app = TestApp::on(bed).await;
    let id = accepted(&app, &images(1), json!({})).await;
    for (method, rest) in [
        ("GET", ""),
        ("GET", "/tasks"),
        ("GET", "/results"),
        ("POST", "/cancel"),
        ("POST", "/pause"),
        ("POST", "/resume"),
        ("POST", "/retry-failed"),
    ] {
        let request = TestRequest::with_uri(&format!("{PATH}/{id}{rest}")).method(method.parse().unwrap());
        app.send(with_key(request, &app.stranger)).await.problem(404, "NOT_FOUND");
    }
    let list = app.send(with_key(TestRequest::get().uri(PATH), &app.stranger)).await.json();
    assert_eq!(list["data"], json!([]));
    get(&app, "/batch_00000000000000000000000000000000").await.problem(404, "NOT_FOUND");
    get(&app, "/x").await.problem(404, "NOT_FOUND");
    assert_eq!(get(&app, &format!("/{id}")).await.json()["status"], "PROCESSING", "nothing was done to it");
}
