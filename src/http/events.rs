//! `…/events`: what happens, as it happens, as server-sent events (WHATWG HTML §9.2). Ids stand in the order of commits; a client that
//! comes back with `Last-Event-ID` (or `?after=`) gets what it missed, once and in order.

mod frame;
mod room;
mod stream;

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method,
        header::{CONTENT_TYPE, HeaderName},
    },
    web::{Data, Path},
};
use futures_util::stream::unfold;
use url::form_urlencoded;

use crate::{
    domain::{batch::Batch, event::EventId, id::GenerationId, time::Timestamp},
    http::{
        Api,
        auth::Caller,
        batches,
        generations::{parse, unknown},
        problem::{Problem, ProblemBody},
    },
    providers::schema::FieldError,
    store::{Following, Topic},
};
use stream::{Begin, Place, Stream, last_end};

pub use room::Rooms;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Longest wait for the reader of the outbox to begin, which it does within moments of the start.
const BEGINNING: Duration = Duration::from_secs(5);

/// Tells what happens in the project.
///
/// Server-sent events, from now on or behind `Last-Event-ID`: `id`, `event` (such as `generation.completed`) and `data`, one line of
/// JSON (`type`, `timestamp`, `data` with id and status). A comment every 15 seconds keeps the connection alive. An event `gap` says
/// that what came before its id is no longer kept. The stream is closed now and then: come back with the last id.
#[utoipa::path(
    get, path = "/api/external/events", operation_id = "streamEvents", tag = "events",
    params(
        ("Last-Event-ID" = Option<String>, Header, description = "The last id that was seen, `evt_…`."),
        ("after" = Option<String>, Query, description = "The same, for those who cannot set the header.")),
    responses(
        (status = 200, description = "The stream.", body = String, content_type = "text/event-stream"),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub async fn of_project(api: Data<Api>, caller: Caller, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let after = after(&request)?;
    let room = api.streams.enter(caller.project)?;
    let following = follow(&api, Topic::Project(caller.project)).await?;
    let place = match after {
        None => Place::At(following.head),
        Some(after) => Place::resumed(after, &following),
    };
    let begin = Begin { place, ends_from: EventId::START };
    Ok(answer(&request, Stream::open(api, following, begin, room)))
}

/// Tells what happens to a generation.
///
/// Server-sent events, from its beginning or behind `Last-Event-ID`, as of the project. After the event that ends it comes a last
/// one, `end`, and the stream is closed; who comes back after that gets 204, which ends an `EventSource`.
#[utoipa::path(
    get, path = "/api/external/generation/{id}/events", operation_id = "streamGenerationEvents", tag = "events",
    params(("id" = String, Path, description = "Id of the generation."),
        ("Last-Event-ID" = Option<String>, Header, description = "The last id that was seen, `evt_…`."),
        ("after" = Option<String>, Query, description = "The same, for those who cannot set the header.")),
    responses(
        (status = 200, description = "The stream.", body = String, content_type = "text/event-stream"),
        (status = 204, description = "It has ended, and the last event was seen."),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub async fn of_generation(
    api: Data<Api>,
    caller: Caller,
    id: Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let id = parse(&id)?;
    let after = after(&request)?;
    let room = api.streams.enter(caller.project)?;
    // Before the look at the row: an end that it does not show yet arrives.
    let following = follow(&api, Topic::Generation(id)).await?;
    let subject = subject(&api, caller, id).await?;
    // It ends once.
    let end = if subject.ended_at.is_some() { last_end(&api, following.topic()).await? } else { None };
    match Begin::of(&following, after, subject, end) {
        Some(begin) => Ok(answer(&request, Stream::open(api, following, begin, room))),
        None => Ok(HttpResponse::NoContent().finish()),
    }
}

/// Tells what happens to a batch and its generations.
///
/// Server-sent events, as of a generation; the event that ends the batch is the last but one.
#[utoipa::path(
    get, path = "/api/external/generation/batch/{id}/events", operation_id = "streamBatchEvents", tag = "events",
    params(("id" = String, Path, description = "Id of the batch."),
        ("Last-Event-ID" = Option<String>, Header, description = "The last id that was seen, `evt_…`."),
        ("after" = Option<String>, Query, description = "The same, for those who cannot set the header.")),
    responses(
        (status = 200, description = "The stream.", body = String, content_type = "text/event-stream"),
        (status = 204, description = "It has ended, and the last event was seen."),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub async fn of_batch(api: Data<Api>, caller: Caller, id: Path<String>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let known = batches::parse(&id)?;
    let after = after(&request)?;
    let room = api.streams.enter(caller.project)?;
    let following = follow(&api, Topic::Batch(known)).await?;
    let mut subject = Subject::of_batch(&batches::find(&api, caller, &id).await?);
    let mut end = last_end(&api, following.topic()).await?;
    // What goes on behind an end is a later try, if it still does when that end has been seen.
    while subject.ended_at.is_none() && end.is_some() {
        subject = Subject::of_batch(&batches::find(&api, caller, &id).await?);
        if subject.ended_at.is_none() {
            break;
        }
        end = last_end(&api, following.topic()).await?;
    }
    match Begin::of(&following, after, subject, end) {
        Some(begin) => Ok(answer(&request, Stream::open(api, following, begin, room))),
        None => Ok(HttpResponse::NoContent().finish()),
    }
}

/// Of what a stream tells that ends with it.
#[derive(Debug, Clone, Copy)]
struct Subject {
    since: Timestamp,
    ended_at: Option<Timestamp>,
}

impl Subject {
    /// A batch that is to be retried goes on.
    fn of_batch(batch: &Batch) -> Self {
        Self { since: batch.created_at, ended_at: batch.completed_at.filter(|_| batch.retry.is_none()) }
    }
}

async fn subject(api: &Api, caller: Caller, id: GenerationId) -> Result<Subject, Problem> {
    let reads = api.reads.clone();
    let found = api.hop(async move { reads.generation(id).await }).await?;
    let row = found.filter(|row| row.project == caller.project).ok_or_else(|| unknown(id))?;
    Ok(Subject { since: row.created_at, ended_at: row.ended_at.filter(|_| row.state().terminal()) })
}

async fn follow(api: &Api, topic: Topic) -> Result<Following, Problem> {
    let following = tokio::time::timeout(BEGINNING, api.feed.follow(topic)).await;
    following.map_err(|_| Problem::unavailable("events are not read yet"))
}

/// The last id that the client has seen. The header is the newer: an `EventSource` that comes back sends both.
fn after(request: &HttpRequest) -> Result<Option<EventId>, Problem> {
    let header = request.headers().get(LAST_EVENT_ID).map(|value| value.to_str().unwrap_or_default().to_owned());
    let mut query = form_urlencoded::parse(request.query_string().as_bytes());
    let given = header.filter(|id| !id.is_empty()).or_else(|| Some(query.find(|(name, _)| name == "after")?.1.into_owned()));
    given.map(|id| id.parse()).transpose().map_err(|error: crate::domain::event::NotAnEvent| {
        let pointer = "?after".to_owned();
        Problem::invalid(vec![FieldError { pointer, code: "invalid_id", detail: error.to_string() }])
    })
}

fn answer(request: &HttpRequest, stream: Stream) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    // What stands between must not collect the lines: nginx heeds this one.
    response.insert_header((CONTENT_TYPE, "text/event-stream")).insert_header(("X-Accel-Buffering", "no"));
    if request.method() == Method::HEAD {
        return response.finish();
    }
    response.streaming(unfold(stream, |mut stream| async {
        let frame = stream.next().await?;
        Some((Ok::<_, std::convert::Infallible>(frame), stream))
    }))
}
