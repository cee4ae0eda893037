//! Idempotency keys over real HTTP, on both databases: at once, and with the process killed between.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use serde_json::{Value, json};

use super::{BOUND, Bed, LOOK, Server};

/// One answer: an id, told to come back, or none.
enum Told {
    Made { id: String, replayed: bool },
    Wait,
    Nothing,
}

async fn post(bed: &Bed, server: &Server, key: &str) -> Told {
    let url = format!("{}/api/external/generation", server.url);
    let body = json!({ "modelIdentifier": "kling-2.6", "prompt": format!("a dam, {key}") });
    let request = bed.http.post(url).bearer_auth(&bed.key).header("idempotency-key", key).json(&body);
    let Ok(reply) = request.send().await else { return Told::Nothing };
    let (status, replayed) = (reply.status().as_u16(), reply.headers().contains_key("idempotency-replayed"));
    let Ok(answer) = reply.json::<Value>().await else { return Told::Nothing };
    match status {
        202 => Told::Made { id: answer["id"].as_str().unwrap().to_owned(), replayed },
        409 => Told::Wait,
        _ => panic!("{status}: {answer}"),
    }
}

/// Sends again until there is an id, as a client does.
async fn insist(bed: &Bed, server: &Server, key: &str) -> (String, bool) {
    let asking = async {
        loop {
            match post(bed, server, key).await {
                Told::Made { id, replayed } => return (id, replayed),
                Told::Wait => tokio::time::sleep(LOOK).await,
                Told::Nothing => panic!("the server is gone"),
            }
        }
    };
    tokio::time::timeout(BOUND, asking).await.expect("an answer in the end")
}

async fn listed(bed: &Bed, server: &Server) -> usize {
    let url = format!("{}/api/external/generation?limit=100", server.url);
    let page: Value = bed.http.get(url).bearer_auth(&bed.key).send().await.unwrap().json().await.unwrap();
    assert_eq!(page["hasMore"], false);
    page["data"].as_array().unwrap().len()
}

async fn two_hundred_at_once(bed: &Bed) {
    let server = bed.serve();
    let answers = join_all((0..200).map(|_| insist(bed, &server, "the same"))).await;
    let ids: BTreeSet<_> = answers.iter().map(|(id, _)| id).collect();
    assert_eq!((ids.len(), listed(bed, &server).await), (1, 1));
    assert_eq!(answers.iter().filter(|(_, replayed)| !replayed).count(), 1, "one made it, all others were told of it");
    let id = answers[0].0.clone();
    assert_eq!(bed.ended(&server, &id).await["status"], "SUCCESS");
    assert_eq!(bed.ledger().await.len(), 1, "one submit, one bill");
}

async fn killed_between(bed: &Bed) {
    let mut server = bed.serve();
    let mut keys = Vec::new();
    let mut known = BTreeMap::new();
    // Killed before an answer, after the first one, in the middle.
    for (round, answers) in [0, 1, 6].into_iter().enumerate() {
        let fresh: Vec<String> = (0..12).map(|n| format!("{round}-{n}")).collect();
        let mut posts: FuturesUnordered<_> =
            fresh.iter().map(|key| async { (key.clone(), post(bed, &server, key).await) }).collect();
        for _ in 0..answers {
            let Some((key, Told::Made { id, .. })) = posts.next().await else { panic!("no answer before the kill") };
            known.insert(key, id);
        }
        if answers == 0 {
            // Sent, and whatever becomes of it.
            let _ = tokio::time::timeout(LOOK, posts.next()).await;
        }
        let pid = server.child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
        while let Some((key, told)) = posts.next().await {
            if let Told::Made { id, .. } = told {
                known.insert(key, id);
            }
        }
        drop(posts);
        server = bed.serve();
        keys.extend(fresh);
        for key in &keys {
            let (id, _) = insist(bed, &server, key).await;
            assert_eq!(*known.entry(key.clone()).or_insert_with(|| id.clone()), id, "what was answered is answered again");
        }
    }
    let ids: BTreeSet<_> = known.values().collect();
    assert_eq!((ids.len(), listed(bed, &server).await), (keys.len(), keys.len()));
}

#[actix_web::test]
async fn two_hundred_equal_requests_at_once_make_one_generation() {
    two_hundred_at_once(&Bed::new()).await;
}

#[actix_web::test]
async fn two_hundred_equal_requests_at_once_make_one_generation_on_postgresql() {
    let Some(database) = crate::store::bed::Bed::postgres().await else { return };
    two_hundred_at_once(&Bed::with(vec![("LONGTAKE__STORE__URL", database.config.url.clone())])).await;
    database.drop_all().await;
}

#[actix_web::test]
async fn a_kill_between_loses_and_doubles_nothing() {
    killed_between(&Bed::new()).await;
}

#[actix_web::test]
async fn a_kill_between_loses_and_doubles_nothing_on_postgresql() {
    let Some(database) = crate::store::bed::Bed::postgres().await else { return };
    killed_between(&Bed::with(vec![("LONGTAKE__STORE__URL", database.config.url.clone())])).await;
    database.drop_all().await;
}
