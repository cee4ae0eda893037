//! `longtake batch …` by the real binary: a file is submitted once however often the command is run, whatever ends in between, and its
//! results lie in a folder.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    BOUND, Bed, LOOK, Server,
    cli::{command, lines, run, told},
};

fn line(name: &str, prompt: &str) -> Value {
    json!({ "customId": name, "modelIdentifier": "flux-2-pro", "prompt": prompt })
}

/// Writes a file of lines; its path.
fn file(bed: &Bed, name: &str, requests: &[Value]) -> String {
    write(bed, name, &requests.iter().map(|request| format!("{request}\n")).collect::<String>())
}

fn write(bed: &Bed, name: &str, text: &str) -> String {
    let path = bed.folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// The one object on standard output.
fn object(output: &std::process::Output) -> Value {
    let mut all = lines(output);
    assert_eq!(all.len(), 1, "{output:?}");
    all.remove(0)
}

async fn get(bed: &Bed, server: &Server, rest: &str) -> Value {
    let url = format!("{}/api/external/generation/batch{rest}", server.url);
    bed.http.get(url).bearer_auth(&bed.key).send().await.unwrap().json().await.unwrap()
}

async fn until(bed: &Bed, server: &Server, id: &str, what: &str, done: impl Fn(&Value) -> bool) {
    let start = Instant::now();
    loop {
        let shown = get(bed, server, &format!("/{id}")).await;
        if done(&shown) {
            return;
        }
        assert!(start.elapsed() < BOUND, "{id} never was {what}: {shown}");
        tokio::time::sleep(LOOK).await;
    }
}

/// A command under way, and the first line that it says.
fn started(mut command: Command) -> (Child, BufReader<std::process::ChildStderr>, String) {
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut first = String::new();
    stderr.read_line(&mut first).unwrap();
    (child, stderr, first)
}

/// Its code, standard output and what it still said, once it is over.
async fn over(mut child: Child, mut stderr: impl std::io::Read + Send + 'static) -> (Option<i32>, String, String) {
    // Read on, so that it never waits for its reader.
    let reading = std::thread::spawn(move || {
        let mut rest = String::new();
        stderr.read_to_string(&mut rest).unwrap();
        rest
    });
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(start.elapsed() < 2 * BOUND, "the command does not end");
        tokio::time::sleep(LOOK).await;
    };
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    (status.code(), out, reading.join().unwrap())
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

fn digest(path: &Path) -> String {
    Sha256::digest(std::fs::read(path).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[actix_web::test]
async fn lines_are_submitted_once_waited_for_and_their_results_lie_in_a_folder() {
    let bed = Bed::new();
    let server = bed.serve();
    let path = file(&bed, "lines.jsonl", &[line("one", "a boat"), line("two/../x", "a mill"), line("three", "a dam")]);
    let arguments = ["batch", "submit", &path, "--name", "mine", "--out", "results", "--json"];
    let done = run(&bed, &server, &arguments);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let batch = object(&done);
    let counts = (&batch["status"], &batch["name"], &batch["completedTasks"]);
    assert_eq!(counts, (&json!("COMPLETED"), &json!("mine"), &json!(3)));
    let folder = bed.folder.path().join("results");
    let list = std::fs::read_to_string(folder.join("results.jsonl")).unwrap();
    let listed: Vec<Value> = list.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((listed.len(), files(&folder).len()), (3, 4), "a file each, and the list; nothing half done");
    for task in &listed {
        let name = task["customId"].as_str().unwrap();
        let stem = if name.contains('/') { format!("two_.._x-{}", task["id"].as_str().unwrap()) } else { name.to_owned() };
        let extension = task["results"][0]["url"].as_str().unwrap().rsplit('.').next().unwrap();
        let path = folder.join(format!("{stem}-0.{extension}"));
        assert_eq!(task["results"][0]["sha256"], digest(&path).as_str(), "{}", path.display());
    }
    // Once more: the same batch, nothing submitted, nothing fetched, nothing listed twice. As standard input, too.
    let media = || files(&folder).into_iter().filter(|path| !path.ends_with("results.jsonl"));
    let written = || media().map(|path| path.metadata().unwrap().modified().unwrap()).collect::<Vec<_>>();
    let before = written();
    assert_eq!(object(&run(&bed, &server, &arguments))["batchId"], batch["batchId"]);
    assert_eq!((written(), std::fs::read_to_string(folder.join("results.jsonl")).unwrap()), (before, list));
    let mut piped = command(&bed, &server, &["batch", "submit", "-", "--name", "mine", "--no-wait", "--json"]);
    let mut child = piped.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(object(&child.wait_with_output().unwrap())["batchId"], batch["batchId"]);
    assert_eq!(bed.ledger().await.len(), 3);
    // Another word, or other options, are another submit.
    let anew = object(&run(&bed, &server, &["batch", "submit", &path, "--run", "again", "--no-wait", "--json"]));
    assert_ne!(anew["batchId"], batch["batchId"]);
}

#[actix_web::test]
async fn a_table_is_submitted_row_by_row() {
    let bed = Bed::new();
    let server = bed.serve();
    let text = "customId;modelIdentifier;prompt;numberOfOutputs;parameters.seed\r\na;flux-2-pro;\"a boat; red\";2;7\r\nb;flux-2-pro;a mill;;\r\n";
    let path = write(&bed, "table.CSV", text);
    let done = run(&bed, &server, &["batch", "submit", &path, "--json"]);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let first = object(&done)["tasks"][0]["id"].as_str().unwrap().to_owned();
    let shown = bed.show(&server, &first).await;
    assert_eq!((&shown["prompt"], &shown["parameters"]["seed"]), (&json!("a boat; red"), &json!(7)), "{shown}");
    assert_eq!(bed.ledger().await.len(), 3);
}

#[actix_web::test]
async fn wrong_lines_are_named_and_nothing_or_the_rest_is_submitted() {
    let bed = Bed::new();
    let server = bed.serve();
    let mut requests: Vec<_> = (0..8).map(|i| line(&format!("n{i}"), "a boat")).collect();
    requests[3]["prompt"] = json!("");
    requests[6]["customId"] = json!("n1");
    let path = file(&bed, "lines.jsonl", &requests);
    let refused = run(&bed, &server, &["batch", "submit", &path]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(1), 0), "{said}");
    assert!(said.contains("line 4: #/prompt: ") && said.contains("line 7: #/customId: "), "{said}");
    let dry = run(&bed, &server, &["batch", "submit", &path, "--on-invalid", "skip", "--dry-run"]);
    assert!(dry.status.success() && told(&dry).1.contains("6 requests would be submitted, 2 left out"), "{dry:?}");
    assert_eq!(get(&bed, &server, "").await["data"], json!([]));
    let some = run(&bed, &server, &["batch", "submit", &path, "--on-invalid", "skip", "--json"]);
    let said = String::from_utf8_lossy(&some.stderr).into_owned();
    assert_eq!((some.status.code(), &object(&some)["completedTasks"]), (Some(2), &json!(6)), "what was left out did not succeed");
    assert!(said.contains("line 4 is left out: #/prompt: "), "{said}");
    assert_eq!(bed.ledger().await.len(), 6);
}

#[actix_web::test]
async fn exit_codes_say_how_it_went() {
    let bed = Bed::new();
    let server = bed.serve();
    let good = file(&bed, "good.jsonl", &[line("a", "a boat")]);
    let some = file(&bed, "some.jsonl", &[line("a", "a boat"), line("b", "b [[sim fail=moderated]]")]);
    let none = file(&bed, "none.jsonl", &[line("b", "b [[sim fail=moderated]]")]);
    let slow = file(&bed, "slow.jsonl", &[line("c", "c [[sim slow=60000]]")]);
    let submit = |path: &str, more: &[&str]| run(&bed, &server, &[&["batch", "submit", path][..], more].concat()).status.code();
    assert_eq!((submit(&good, &[]), submit(&some, &[]), submit(&none, &[])), (Some(0), Some(2), Some(3)));
    assert_eq!(submit(&slow, &["--timeout", "1s"]), Some(124));
    let empty = write(&bed, "empty.jsonl", "\n \n");
    let torn = write(&bed, "torn.csv", "prompt\n\"a\n");
    for wrong in [empty.as_str(), &torn, "no-such-file.jsonl"] {
        assert_eq!(submit(wrong, &[]), Some(1), "{wrong}");
    }
    for wrong in [&["watch", "batch_0123"][..], &["results", "../../admin"], &["pause"], &["cancel", "batch_1", "--mode", "some"]]
    {
        let output = run(&bed, &server, &[&["batch"][..], wrong].concat());
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{wrong:?}: {output:?}");
    }
    let keyless = command(&bed, &server, &["batch", "submit", &good]).env("LONGTAKE_KEY", "lt_no_such_key").output().unwrap();
    assert_eq!(keyless.status.code(), Some(4), "{keyless:?}");
    let url = server.url.clone();
    server.kill();
    let mut away = bed.command();
    away.args(["batch", "submit", &good, "--url", &url, "--retry-for", "0s"]).env("LONGTAKE_KEY", &bed.key);
    assert_eq!(away.output().unwrap().status.code(), Some(5));
}

#[actix_web::test]
async fn the_first_interrupt_detaches_and_says_how_to_come_back() {
    let bed = Bed::new();
    let server = bed.serve();
    let requests = ["a", "b", "c"].map(|name| line(name, &format!("{name} [[sim slow=8000]]")));
    let path = file(&bed, "lines.jsonl", &requests);
    let arguments = ["batch", "submit", &path, "--out", "results"];
    let (child, stderr, first) = started(command(&bed, &server, &arguments));
    // Its first line names the batch: from there on it is submitted.
    let id = first.split(':').next().unwrap().to_owned();
    assert!(id.starts_with("batch_") && first.contains("3 of 3 requests"), "{first}");
    until(&bed, &server, &id, "running", |batch| batch["runningTasks"] == 3).await;
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let (code, out, said) = over(child, stderr).await;
    assert_eq!((code, out.as_str()), (Some(130), ""), "{said}");
    assert!(said.contains(&format!("To come back: longtake batch watch {id} --out results")), "{said}");
    assert_eq!(run(&bed, &server, &["batch", "watch", &id, "--out", "results"]).status.code(), Some(0));
    let folder = bed.folder.path().join("results");
    assert_eq!(files(&folder).len(), 4);
    let again = run(&bed, &server, &[&arguments[..], &["--json"]].concat());
    assert_eq!((again.status.code(), object(&again)["batchId"].as_str()), (Some(0), Some(id.as_str())));
    assert_eq!((files(&folder).len(), bed.ledger().await.len()), (4, 3));
}

/// The service is killed under a command that waits, and while lines arrive.
async fn killed_meanwhile(bed: &Bed) {
    let server = bed.serve();
    let address = server.url.trim_start_matches("http://").to_owned();
    let again = || bed.serve_with(&[("LONGTAKE__SERVER__BIND", &address)]);
    // Of a provider that can be asked what became of a submit, wherever the kill finds it.
    let clip =
        |name: &str| json!({ "customId": name, "modelIdentifier": "kling-2.6", "prompt": format!("{name} [[sim slow=8000]]") });
    let requests = ["a", "b", "c", "d"].map(clip);
    let path = file(bed, "lines.jsonl", &requests);
    let arguments = ["batch", "submit", &path, "--out", "results", "--json"];
    let (child, stderr, first) = started(command(bed, &server, &arguments));
    let id = first.split(':').next().unwrap().to_owned();
    until(bed, &server, &id, "running", |batch| batch["runningTasks"] == 3).await;
    server.kill();
    let mut server = again();
    let (code, out, said) = over(child, stderr).await;
    assert_eq!(code, Some(0), "{out} {said}");
    assert_eq!(files(&bed.folder.path().join("results")).len(), 5);
    assert_eq!(object(&run(bed, &server, &arguments))["batchId"].as_str(), Some(id.as_str()));
    let paid: Vec<_> = bed.ledger().await;
    assert_eq!(paid.len(), 4, "{paid:?}");
    // One at a time, a minute each: what is asked here is how many there are, not what becomes of them.
    let many: Vec<_> = (0..2_500).map(|i| line(&format!("n{i}"), "many [[sim slow=60000]]")).collect();
    let path = file(bed, "many.jsonl", &many);
    for wait in [20, 120, 400] {
        let mut submitting = command(bed, &server, &["batch", "submit", &path, "--no-wait", "--max-concurrency", "1"]);
        let child = submitting.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // Wherever it is by then: not arrived, loading, visible, answered.
        tokio::time::sleep(Duration::from_millis(wait)).await;
        server.kill();
        server = again();
        let (code, out, said) = over(child, std::io::empty()).await;
        assert_eq!(code, Some(0), "{out} {said}");
    }
    let all = get(bed, &server, "").await["data"].clone();
    let totals: Vec<_> = all.as_array().unwrap().iter().map(|batch| batch["totalTasks"].as_u64().unwrap()).collect();
    assert_eq!(totals, [2_500, 4], "one batch, whole, of however many tries");
}

#[actix_web::test]
async fn a_kill_of_the_service_in_between_submits_nothing_twice() {
    killed_meanwhile(&Bed::new()).await;
}

#[actix_web::test]
async fn a_kill_of_the_service_in_between_submits_nothing_twice_on_postgresql() {
    let Some(database) = crate::store::bed::Bed::postgres().await else { return };
    killed_meanwhile(&Bed::with(vec![("LONGTAKE__STORE__URL", database.config.url.clone())])).await;
    database.drop_all().await;
}

#[actix_web::test]
async fn a_batch_is_paused_resumed_cancelled_and_read_by_its_id() {
    let bed = Bed::new();
    let server = bed.serve();
    let requests: Vec<_> = (0..5).map(|i| line(&format!("n{i}"), "slow [[sim slow=3000]]")).collect();
    let path = file(&bed, "lines.jsonl", &requests);
    let submitted = run(&bed, &server, &["batch", "submit", &path, "--sequential", "--no-wait"]);
    let id = told(&submitted).1.trim().to_owned();
    assert!(submitted.status.success() && id.starts_with("batch_"), "{submitted:?}");
    let act = |arguments: &[&str]| told(&run(&bed, &server, &[&["batch", arguments[0], &id][..], &arguments[1..]].concat()));
    let (code, said) = act(&["pause"]);
    assert!(code == Some(0) && said.starts_with(&format!("{id}  PAUSED")), "{said}");
    until(&bed, &server, &id, "at rest", |batch| batch["runningTasks"] == 0).await;
    assert_eq!(act(&["watch", "--timeout", "1s"]).0, Some(124));
    let (code, said) = act(&["resume", "--json"]);
    let resumed: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &resumed["status"]), (Some(0), &json!("PROCESSING")));
    until(&bed, &server, &id, "further", |batch| batch["completedTasks"].as_u64() >= Some(1)).await;
    let (code, said) = act(&["cancel", "--json"]);
    let cancelled: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &cancelled["cancelRequested"]), (Some(0), &json!(true)));
    assert_eq!(act(&["watch", "--json"]).0, Some(2), "some succeeded");
    let (_, csv) = act(&["results", "--format", "csv"]);
    assert!(csv.starts_with("customId,id,index,") && csv.lines().count() == 6, "{csv}");
    let ended: Vec<Value> = act(&["results"]).1.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let behind = act(&["results", "--cursor", ended[1]["cursor"].as_str().unwrap()]).1;
    assert_eq!((ended.len(), behind.lines().count()), (5, 3));
    let (code, said) = act(&["results", "--out", "later"]);
    let fetched = files(&bed.folder.path().join("later")).len();
    assert!(code == Some(0) && said.starts_with(&format!("{} files in ", fetched - 1)), "{said}");
}

#[actix_web::test]
async fn what_failed_is_tried_again_and_a_stream_tells_the_whole_story() {
    let bed = Bed::new();
    let server = bed.serve();
    let requests = [line("good", "a boat"), line("bad", "a mill [[sim refuse=422 times=1]]")];
    let path = file(&bed, "lines.jsonl", &requests);
    let first = run(&bed, &server, &["batch", "submit", &path, "--json"]);
    assert_eq!(first.status.code(), Some(2), "{first:?}");
    let id = object(&first)["batchId"].as_str().unwrap().to_owned();
    let (code, said) = told(&run(&bed, &server, &["batch", "retry-failed", &id]));
    assert!(code == Some(0) && said.contains("PROCESSING"), "{said}");
    // As somebody who comes late: the end of the first try is not the end.
    let url = format!("{}/api/external/generation/batch/{id}/events", server.url);
    let story = bed.http.get(url).bearer_auth(&bed.key).send().await.unwrap().text().await.unwrap();
    let kinds: Vec<_> = story.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    let whole = kinds.iter().filter(|kind| kind.starts_with("batch.") || **kind == "end").copied().collect::<Vec<_>>();
    assert_eq!(whole, ["batch.created", "batch.partial_failed", "batch.processing", "batch.completed", "end"], "{story}");
    assert_eq!(run(&bed, &server, &["batch", "watch", &id, "--out", "results"]).status.code(), Some(0));
    assert_eq!(files(&bed.folder.path().join("results")).len(), 3);
    assert_eq!(bed.ledger().await.len(), 2);
}
