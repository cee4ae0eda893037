//! Streams of events: nothing is missed, nothing comes twice, however often a stream is cut; and each ends when it should.

use std::{future::poll_fn, pin::Pin, sync::Arc, time::Duration};

use actix::Actor as _;
use actix_web::{
    App,
    body::{BoxBody, MessageBody as _},
    dev::Service as _,
    http::StatusCode,
    test::{TestRequest, init_service},
};
use futures_util::future::join;
use longtake::{
    domain::{
        event::EventId,
        id::GenerationId,
        record::{Event, Generation},
    },
    http::configure,
    lifeline::Lifeline,
    notify::notifier::Notifier,
    observe::{ChildContext, Pulse},
    store::{Feed, Gone, Transition, Verdict},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{
    app::{TestApp, with_key},
    generations::{accepted, end},
    webhooks::notifying,
};
use crate::store::bed::Bed;

super::on_both! {
    a_stream_that_is_cut_a_thousand_times_tells_every_event_once_and_in_order;
    a_generations_stream_begins_at_its_beginning_and_ends_with_it;
    what_is_no_longer_kept_is_said_once;
    what_is_older_than_what_is_kept_is_deleted_and_who_resumes_there_is_told;
    an_end_that_is_no_longer_kept_is_told_all_the_same;
    a_silent_stream_says_that_it_lives_costs_no_query_and_ends_at_a_shutdown;
    streams_are_closed_now_and_then_so_that_keys_are_asked_anew;
}

const BOUND: Duration = Duration::from_secs(60);
const PROJECT: &str = "/api/external/events";

/// An app whose outbox is read.
pub async fn app(bed: &Bed) -> TestApp {
    let app = TestApp::on(bed).await;
    read_by_its_notifier(&app);
    app
}

pub fn read_by_its_notifier(app: &TestApp) {
    let child = ChildContext {
        name: "notifier".to_owned(),
        pulse: Arc::new(Pulse::default()),
        lifeline: Lifeline::default(),
        clock: app.api.clock.clone(),
        sockets: tokio::runtime::Handle::current(),
        beat: Duration::from_millis(500),
    };
    Notifier::new(notifying(app), child).start();
}

pub struct Stream {
    pub status: StatusCode,
    body: BoxBody,
}

impl Stream {
    pub async fn open(app: &TestApp, path: &str, last: Option<&str>) -> Self {
        let api = app.api.clone();
        let service = init_service(App::new().configure(move |config| configure(config, api))).await;
        let request = with_key(TestRequest::get().uri(path), &app.client);
        let request = last.into_iter().fold(request, |request, id| request.insert_header(("last-event-id", id.to_owned())));
        let response = service.call(request.to_request()).await.unwrap().into_parts().1;
        Self { status: response.status(), body: response.into_body() }
    }

    /// The next piece; none at the end.
    pub async fn piece(&mut self) -> Option<String> {
        let next = poll_fn(|context| Pin::new(&mut self.body).poll_next(context));
        let piece = tokio::time::timeout(BOUND, next).await.expect("something comes")?;
        Some(String::from_utf8(piece.unwrap_or_else(|_| panic!("no body")).to_vec()).unwrap())
    }

    /// The next event, as its id and kind.
    pub async fn event(&mut self) -> Option<(String, String)> {
        loop {
            let piece = self.piece().await?;
            let field = |name: &str| piece.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
            if let Some(kind) = field("event:") {
                return Some((field("id:").unwrap_or_default(), kind));
            }
        }
    }

    pub async fn rest(&mut self) -> Vec<(String, String)> {
        let mut events = Vec::new();
        while let Some(event) = self.event().await {
            events.push(event);
        }
        events
    }
}

fn of(id: &str) -> String {
    format!("/api/external/generation/{id}/events")
}

/// Commits an event about it.
async fn tell(app: &TestApp, id: &str, kind: &'static str) {
    let id: GenerationId = id.parse().unwrap();
    let row: Generation = app.store.reads().generation(id).await.unwrap().unwrap();
    let event = Event { generation: id, batch: None, project: row.project, kind, at: app.api.clock.now() };
    let entry = Transition { generation: Some(row.clone()), events: vec![event], ..Transition::of(&row) };
    assert_eq!(app.store.journal(&Lifeline::default()).transition(entry).await.unwrap(), Verdict::Won);
}

/// Ends it, with the event that says so.
pub async fn finish(app: &TestApp, id: &str) {
    end(app, id).await;
    tell(app, id, "generation.failed").await;
}

async fn a_stream_that_is_cut_a_thousand_times_tells_every_event_once_and_in_order(bed: &Bed) {
    const CUTS: u32 = 1_000;
    let app = app(bed).await;
    let ids = [accepted(&app).await, accepted(&app).await];
    let first = Stream::open(&app, PROJECT, None).await;
    drop(first);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let writing = async {
        let mut stopped = std::pin::pin!(stopped);
        let mut written = 0;
        while futures_util::poll!(stopped.as_mut()).is_pending() {
            tell(&app, &ids[written % 2], "generation.queued").await;
            written += 1;
        }
        finish(&app, &ids[0]).await;
        written + 1
    };
    let reading = async {
        let mut dice = StdRng::seed_from_u64(7);
        let mut seen: Vec<String> = Vec::new();
        for _ in 0..CUTS {
            let start = EventId::START.to_string();
            let last = seen.last().unwrap_or(&start).clone();
            let mut stream = Stream::open(&app, PROJECT, Some(&last)).await;
            for _ in 0..dice.random_range(0..5) {
                seen.push(stream.event().await.unwrap().0);
            }
            if dice.random_bool(0.5) {
                // Cut inside an event: the client has not seen it.
                stream.piece().await.unwrap();
            }
        }
        drop(stop);
        let mut stream = Stream::open(&app, PROJECT, Some(seen.last().unwrap())).await;
        loop {
            let (id, kind) = stream.event().await.unwrap();
            seen.push(id);
            if kind == "generation.failed" {
                return seen;
            }
        }
    };
    let (written, seen) = join(writing, reading).await;
    let mut stored = Vec::new();
    let mut after = EventId::START;
    loop {
        let page = app.store.reads().outbox(after, 1_000).await.unwrap();
        let Some(last) = page.events.last() else { break };
        after = last.id;
        stored.extend(page.events.iter().map(|event| event.id.to_string()));
    }
    assert_eq!((stored.len(), seen.len()), (written, written));
    assert_eq!(seen, stored);
}

async fn a_generations_stream_begins_at_its_beginning_and_ends_with_it(bed: &Bed) {
    let app = app(bed).await;
    let (id, other) = (accepted(&app).await, accepted(&app).await);
    tell(&app, &id, "generation.processing").await;
    tell(&app, &other, "generation.processing").await;
    let mut stream = Stream::open(&app, &of(&id), None).await;
    assert_eq!(stream.event().await.unwrap().1, "generation.processing");
    finish(&app, &id).await;
    let rest = stream.rest().await;
    assert_eq!(rest.iter().map(|(_, kind)| kind.as_str()).collect::<Vec<_>>(), ["generation.failed", "end"]);
    assert_eq!(rest[1].0, "", "the one before stays the last that was seen");
    let last = rest[0].0.clone();
    assert_eq!(Stream::open(&app, &of(&id), Some(&last)).await.status, StatusCode::NO_CONTENT, "nothing more comes");
    let after = format!("{}?after={last}", of(&id));
    assert_eq!(Stream::open(&app, &after, None).await.status, StatusCode::NO_CONTENT);
    let mut again = Stream::open(&app, &of(&id), None).await;
    assert_eq!(again.rest().await.len(), 3, "who was not there hears all of it");
    assert_eq!(app.api.streams.taken(), 0, "what has ended holds no place");
}

async fn what_is_no_longer_kept_is_said_once(bed: &Bed) {
    let app = TestApp::on(bed).await;
    let (id, at) = (accepted(&app).await, app.api.clock.now());
    finish(&app, &id).await;
    let feed: Feed = app.store.feed();
    let gone = EventId { txid: 0, seq: 40 };
    feed.begin(EventId { txid: 0, seq: 50 });
    feed.gone(Gone { last: gone, at: at.plus(Duration::from_secs(9)) });
    let old = EventId { txid: 0, seq: 3 }.to_string();
    let mut stream = Stream::open(&app, PROJECT, Some(&old)).await;
    assert_eq!(stream.event().await.unwrap(), (gone.to_string(), "gap".to_owned()));
    app.api.draining.cancel();
    assert_eq!(stream.rest().await, []);
    let unknown = EventId { txid: 0, seq: 900 }.to_string();
    let mut stream = Stream::open(&app, PROJECT, Some(&unknown)).await;
    assert_eq!(stream.event().await.unwrap().1, "gap", "of another database");
    let known = Stream::open(&app, PROJECT, Some(&gone.to_string())).await.rest().await;
    assert_eq!(known, [], "nothing is lost to this one");
}

async fn what_is_older_than_what_is_kept_is_deleted_and_who_resumes_there_is_told(bed: &Bed) {
    let app = TestApp::on(bed).await;
    let (gone, lives) = (accepted(&app).await, accepted(&app).await);
    tell(&app, &lives, "generation.processing").await;
    app.clock.advance(Duration::from_secs(1));
    finish(&app, &gone).await;
    let old = app.store.reads().outbox(EventId::START, 100).await.unwrap().events;
    app.clock.advance(Duration::from_secs(31 * 86_400));
    tell(&app, &lives, "generation.queued").await;
    read_by_its_notifier(&app);
    let start = std::time::Instant::now();
    while bed.number("SELECT count(*) FROM events").await > 1 {
        assert!(start.elapsed() < BOUND, "what is old stays");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (first, last) = (old[0].id.to_string(), old[old.len() - 1].id.to_string());
    let mut stream = Stream::open(&app, PROJECT, Some(&first)).await;
    assert_eq!(stream.event().await.unwrap(), (last.clone(), "gap".to_owned()));
    assert_eq!(stream.event().await.unwrap().1, "generation.queued");
    assert_eq!(Stream::open(&app, PROJECT, Some(&last)).await.event().await.unwrap().1, "generation.queued", "said once");
    let mut stream = Stream::open(&app, &of(&lives), None).await;
    assert_eq!(stream.event().await.unwrap().1, "gap", "from its beginning something is missing");
    assert_eq!(stream.event().await.unwrap().1, "generation.queued");
    let told = Stream::open(&app, &of(&gone), None).await.rest().await;
    assert_eq!(told.iter().map(|(_, kind)| kind.as_str()).collect::<Vec<_>>(), ["gap", "end"]);
    assert_eq!(Stream::open(&app, &of(&gone), Some(&last)).await.status, StatusCode::NO_CONTENT);
}

async fn an_end_that_is_no_longer_kept_is_told_all_the_same(bed: &Bed) {
    let app = TestApp::on(bed).await;
    let id = accepted(&app).await;
    end(&app, &id).await;
    let feed = app.store.feed();
    let gone = Gone { last: EventId { txid: 0, seq: 40 }, at: app.api.clock.now().plus(Duration::from_secs(9)) };
    feed.begin(gone.last);
    feed.gone(gone);
    let told = Stream::open(&app, &of(&id), None).await.rest().await;
    assert_eq!(told.iter().map(|(_, kind)| kind.as_str()).collect::<Vec<_>>(), ["gap", "end"]);
    assert_eq!(Stream::open(&app, &of(&id), Some(&told[0].0)).await.status, StatusCode::NO_CONTENT);
}

async fn a_silent_stream_says_that_it_lives_costs_no_query_and_ends_at_a_shutdown(bed: &Bed) {
    let app = TestApp::on_with(bed, |config| config.notify.heartbeat_ms = 10).await;
    app.store.feed().begin(EventId::START);
    let id = accepted(&app).await;
    let mut stream = Stream::open(&app, PROJECT, None).await;
    let mut own = Stream::open(&app, &of(&id), None).await;
    assert_eq!(stream.piece().await.unwrap(), "retry: 2000\n\n");
    own.piece().await.unwrap();
    let asked = app.api.reads.asked();
    for _ in 0..5 {
        assert_eq!((stream.piece().await.unwrap(), own.piece().await.unwrap()), (":\n\n".to_owned(), ":\n\n".to_owned()));
    }
    assert_eq!(app.api.reads.asked(), asked);
    app.api.draining.cancel();
    let (last, end) = (stream.piece().await.unwrap(), stream.piece().await);
    assert!(last.starts_with(": the service is shutting down") && end.is_none(), "{last}");
}

async fn streams_are_closed_now_and_then_so_that_keys_are_asked_anew(bed: &Bed) {
    let app = TestApp::on_with(bed, |config| config.notify.stream_s = 1).await;
    app.store.feed().begin(EventId::START);
    assert_eq!(Stream::open(&app, PROJECT, None).await.rest().await, []);
}

#[actix_web::test]
async fn who_may_not_see_it_or_gives_a_wrong_id_or_finds_no_room_gets_a_problem() {
    let app = TestApp::with(|config| config.notify.max_streams_per_project = 0).await;
    app.store.feed().begin(EventId::START);
    let id = accepted(&app).await;
    let get = |path: &str| TestRequest::get().uri(path);
    app.send(with_key(get(&of(&id)), &app.client)).await.problem(429, "RATE_LIMITED");
    app.get(&format!("{PROJECT}?after=17")).await.problem(422, "INVALID_PARAMETERS");
    app.send(get(PROJECT)).await.problem(401, "AUTHENTICATION_FAILED");
    let app = TestApp::start().await;
    app.store.feed().begin(EventId::START);
    let id = accepted(&app).await;
    app.send(with_key(get(&of(&id)), &app.stranger)).await.problem(404, "NOT_FOUND");
    app.get(&of(&GenerationId::fresh().to_string())).await.problem(404, "NOT_FOUND");
    let head = TestRequest::default().method(actix_web::http::Method::HEAD).uri(PROJECT);
    assert_eq!(app.send(with_key(head, &app.client)).await.header("content-type"), "text/event-stream");
    assert_eq!(app.api.streams.taken(), 0, "who was refused holds no place");
}
