//! The stream of a batch, and the webhook of its end.

use actix_web::http::StatusCode;
use serde_json::json;

use super::{
    super::{
        app::TestApp,
        events::{self, Stream, read_by_its_notifier},
    },
    PATH, accepted, command, deliver, fail, ids, images,
};
use crate::store::bed::Bed;

super::super::on_both! {
    a_stream_tells_of_the_batch_and_its_lines_from_any_place_on_and_ends_with_it;
    a_batch_that_is_tried_again_does_not_end_with_its_first_end;
    a_new_batch_and_every_wish_ring_for_who_reads_the_events;
}

fn path(id: &str) -> String {
    format!("{PATH}/{id}/events")
}

fn kinds(events: &[(String, String)]) -> Vec<&str> {
    events.iter().map(|(_, kind)| kind.as_str()).collect()
}

async fn a_stream_tells_of_the_batch_and_its_lines_from_any_place_on_and_ends_with_it(bed: &Bed) {
    let app = events::app(bed).await;
    let (id, other) = (accepted(&app, &images(2), json!({})).await, accepted(&app, &images(1), json!({})).await);
    let tasks = ids(&app, &id).await;
    let mut live = Stream::open(&app, &path(&id), None).await;
    assert_eq!(live.event().await.unwrap().1, "batch.created");
    deliver(&app, tasks[0], "https://cdn.example.com/a.png").await;
    command(&app, &other, "pause", None).await;
    command(&app, &id, "pause", None).await;
    command(&app, &id, "resume", None).await;
    fail(&app, tasks[1], "too late").await;
    live.rest().await;
    let told = Stream::open(&app, &path(&id), None).await.rest().await;
    let expected = [
        "batch.created",
        "generation.processing",
        "generation.completed",
        "batch.paused",
        "batch.processing",
        "generation.failed",
        "batch.partial_failed",
        "end",
    ];
    assert_eq!(kinds(&told), expected);
    let own = &told[..told.len() - 1];
    for (place, (last, _)) in own.iter().enumerate() {
        let mut again = Stream::open(&app, &path(&id), Some(last)).await;
        if place + 1 == own.len() {
            assert_eq!(again.status, StatusCode::NO_CONTENT, "nothing more comes");
        } else {
            assert_eq!(again.rest().await, told[place + 1..]);
        }
    }
}

async fn a_batch_that_is_tried_again_does_not_end_with_its_first_end(bed: &Bed) {
    let app = TestApp::on_with(bed, |config| config.notify.heartbeat_ms = 10).await;
    read_by_its_notifier(&app);
    let id = accepted(&app, &images(1), json!({})).await;
    fail(&app, ids(&app, &id).await[0], "too late").await;
    let ended = Stream::open(&app, &path(&id), None).await.rest().await;
    assert_eq!(kinds(&ended)[1..], ["generation.failed", "batch.failed", "end"]);
    assert_eq!(Stream::open(&app, &path(&id), Some(&ended[2].0)).await.status, StatusCode::NO_CONTENT);
    assert_eq!(command(&app, &id, "retry-failed", None).await.status, 202);
    let behind = Stream::open(&app, &path(&id), Some(&ended[2].0)).await;
    assert_eq!(behind.status, StatusCode::OK, "more will come");
    let mut whole = Stream::open(&app, &path(&id), None).await;
    let mut seen = Vec::new();
    while seen.last().is_none_or(|kind| kind != "batch.failed") {
        seen.push(whole.event().await.unwrap().1);
    }
    let next = whole.piece().await.unwrap();
    assert!(!next.contains("event: end"), "{next}");
}

async fn a_new_batch_and_every_wish_ring_for_who_reads_the_events(bed: &Bed) {
    let app = TestApp::on(bed).await;
    let watch = app.store.watch();
    let rung = || watch.outbox().take().is_some();
    assert!(!rung());
    let id = accepted(&app, &images(1), json!({})).await;
    assert!(rung(), "nobody waits for a sweep");
    for what in ["pause", "resume", "cancel"] {
        assert_eq!(command(&app, &id, what, None).await.status, 202);
        assert!(rung(), "{what}");
    }
}
