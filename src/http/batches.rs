//! `/api/external/generation/batch…`: thin handlers. Another project's id answers like one that does not exist.

pub mod csv;
pub mod dto;
pub mod pages;
pub mod query;
pub mod results;
pub mod upload;
pub mod urls;
pub mod view;
mod why;

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{ACCEPT, ETAG, RETRY_AFTER},
    web::{Data, Json, Path, Payload},
};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    domain::{
        batch::{Batch, CancelMode, CancelWish, RetryWish},
        error::ErrorCode,
        forecast,
        id::BatchId,
        money::Micros,
        time::Timestamp,
    },
    http::{
        Api,
        auth::Caller,
        body,
        edge::RequestId,
        generations::look,
        problem::{Problem, ProblemBody},
        wait::{self, Look},
    },
    intake::{ask, batch::options},
    providers::schema::FieldError,
    store::{Noted, StoreError},
};
use dto::{AcceptedView, BatchList, BatchView, CancelBody, DryRunView, NewBatch, ResultList, ResumeBody, RetryBody, TaskList};
use query::{PageParameters, Query, ResultParameters, TaskParameters, accepted};

/// Submits a batch.
///
/// As JSON (`requests`; or `template` with `rows`; or `matrix`), at most 1,000 requests; or as lines (`application/x-ndjson`), at most
/// 50,000, one request each, the options in the query or in a first line `{"options": …}` (which may also hold a `template`: then every
/// line is a row). Everything is checked before anything is created, and all or nothing of it becomes visible. With an
/// `Idempotency-Key` the request may be sent again: for two days it is answered as it was, and makes nothing.
#[utoipa::path(
    post, path = "/api/external/generation/batch", operation_id = "createBatch", tag = "batches",
    params(("dryRun" = Option<bool>, Query,
        description = "Checks everything and creates nothing. Every other option may stand in the query, too."),
        ("Idempotency-Key" = Option<String>, Header, description = "Up to 255 characters of your own that no other request has.")),
    request_body(content((NewBatch = "application/json"), (String = "application/x-ndjson"))),
    responses(
        (status = 202, description = "Accepted.", body = AcceptedView, headers(
            ("Location" = String, description = "Where to ask for it."),
            ("Idempotency-Replayed" = Option<bool>, description = "`true`: an equal request with this key was accepted before."),
            ("Retry-After" = u64, description = "Seconds until asking is worth it."))),
        (status = 200, description = "What it would be (`dryRun`).", body = DryRunView),
        (status = "default", description = "What is wrong; each error with its request, line and pointer.",
            body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub async fn create(
    api: Data<Api>,
    caller: Caller,
    request_id: RequestId,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    upload::answer(&api, (caller, request_id), &request, payload).await
}

/// Lists batches.
///
/// Newest first.
#[utoipa::path(
    get, path = "/api/external/generation/batch", operation_id = "listBatches", tag = "batches", params(PageParameters),
    responses(
        (status = 200, description = "A page.", body = BatchList),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub async fn list(api: Data<Api>, caller: Caller, request: HttpRequest) -> Result<Json<BatchList>, Problem> {
    let query = Query::read(request.query_string(), &[], caller.project, "batches").map_err(Problem::invalid)?;
    let (reads, project, limit) = (api.reads.clone(), caller.project, query.page());
    let before = query.after.map(|place| BatchId(Uuid::from_u128(place)));
    let mut batches = api.hop(async move { reads.batches(project, before, limit.saturating_add(1)).await }).await?;
    let more = batches.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    batches.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let last = batches.last().filter(|_| more);
    let next_cursor = last.map(|batch| query.cursor(batch.id.0.as_u128(), project, "batches"));
    let data = batches.iter().map(|batch| view::item(batch, api.base_url())).collect();
    Ok(Json(BatchList { data, has_more: more, next_cursor }))
}

/// Shows a batch.
///
/// Counts are exact at any moment. Ask again after `Retry-After`, with `If-None-Match`: 304 means that nothing changed. With
/// `Prefer: wait=N` the answer comes when it has ended, or, together with `If-None-Match`, as soon as anything differs; after N seconds
/// at the latest.
#[utoipa::path(
    get, path = "/api/external/generation/batch/{id}", operation_id = "getBatch", tag = "batches",
    params(("id" = String, Path, description = "Id of the batch."), PageParameters,
        ("If-None-Match" = Option<String>, Header, description = "The ETag of the last answer."),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: wait up to N seconds (at most 60) for news.")),
    responses(
        (status = 200, description = "As it stands, with the first tasks.", body = BatchView, headers(
            ("ETag" = String, description = "Weak; changes with what is stored."),
            ("Preference-Applied" = String, description = "`wait=N`, where it was waited."),
            ("Retry-After" = u64, description = "Until it has ended: seconds until asking is worth it."))),
        (status = 304, description = "Nothing changed."),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub async fn show(api: Data<Api>, caller: Caller, id: Path<String>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let parsed = parse(&id)?;
    let query = Query::read(request.query_string(), &[], caller.project, &pages::tasks_of(parsed)).map_err(Problem::invalid)?;
    let look = async || {
        let batch = find(&api, caller, &id).await?;
        let tag = view::tag(&batch, query.page(), look::period(&api, api.clock.now()));
        let ended = batch.completed_at.is_some() && batch.retry.is_none();
        Ok(Look { seen: batch, tag, ended })
    };
    let (now, granted) = wait::until(&api, &request, parsed.0, look).await?;
    let (mut response, unchanged) = now.begin(&request, granted);
    if !unchanged {
        return shown(&api, &now.seen, &query, response).await;
    }
    let expected = eta(&api, &now.seen, None, api.clock.now()).await;
    if let Some(seconds) = view::retry_after(&now.seen, expected, api.clock.now()) {
        response.insert_header((RETRY_AFTER, seconds));
    }
    Ok(response.finish())
}

/// Lists the tasks of a batch.
///
/// In the order of the requests, each as its newest generation stands.
#[utoipa::path(
    get, path = "/api/external/generation/batch/{id}/tasks", operation_id = "listBatchTasks", tag = "batches",
    params(("id" = String, Path, description = "Id of the batch."), TaskParameters),
    responses(
        (status = 200, description = "A page.", body = TaskList),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub async fn tasks(api: Data<Api>, caller: Caller, id: Path<String>, request: HttpRequest) -> Result<Json<TaskList>, Problem> {
    let batch = find(&api, caller, &id).await?;
    let of = pages::tasks_of(batch.id);
    let query = Query::read(request.query_string(), &["status"], caller.project, &of).map_err(Problem::invalid)?;
    let page = pages::tasks(&api, &batch, &query, query.page()).await?;
    Ok(Json(TaskList { data: page.tasks, has_more: page.next.is_some(), next_cursor: page.next }))
}

/// Reads what has ended.
///
/// One line for each task that has ended, in the order of the ends, also while the batch runs. Each carries the cursor behind it. A task
/// that is tried again leaves, and comes back when it ends again. As CSV (RFC 4180) an apostrophe stands before what a spreadsheet would
/// run as a formula, and the line of names only where no cursor was given; with `bom=true` a byte order mark before it.
#[utoipa::path(
    get, path = "/api/external/generation/batch/{id}/results", operation_id = "getBatchResults", tag = "batches",
    params(("id" = String, Path, description = "Id of the batch."), ResultParameters),
    responses(
        (status = 200, description = "What has ended, in the form asked for.", content(
            (ResultList = "application/json"), (String = "application/x-ndjson"), (String = "text/csv"))),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub async fn results(api: Data<Api>, caller: Caller, id: Path<String>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let batch = find(&api, caller, &id).await?;
    let of = pages::results_of(batch.id);
    let query = Query::read(request.query_string(), &["format", "bom"], caller.project, &of).map_err(Problem::invalid)?;
    let header = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = query.format.unwrap_or_else(|| accepted(header));
    results::answer(api, (batch.id, caller.project), &query, format).await
}

/// Cancels a batch.
///
/// What is not submitted yet never will be. With `all` also what the providers have is cancelled, where it can be. Repeatable; `all` may
/// follow `queued`.
#[utoipa::path(
    post, path = "/api/external/generation/batch/{id}/cancel", operation_id = "cancelBatch", tag = "batches",
    params(("id" = String, Path, description = "Id of the batch.")), request_body = Option<CancelBody>,
    responses(
        (status = 202, description = "Noted; this is how it stands.", body = BatchView),
        (status = 200, description = "It was so before, or has ended; nothing changes.", body = BatchView),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub async fn cancel(
    api: Data<Api>,
    caller: Caller,
    id: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let mut members = members(&api, &request, payload, &["mode"]).await?;
    let mode = match members.remove("mode") {
        None => CancelMode::Queued,
        Some(word) => word.as_str().and_then(CancelMode::of_word).ok_or_else(|| wrong("mode", "must be queued or all"))?,
    };
    let (journal, at) = (api.journal.clone(), api.clock.now());
    note(&api, caller, &id, async move |id, project| journal.cancel_batch(id, project, CancelWish { at, mode }).await).await
}

/// Pauses a batch.
///
/// Nothing new of it is submitted until it is resumed; what is under way goes on.
#[utoipa::path(
    post, path = "/api/external/generation/batch/{id}/pause", operation_id = "pauseBatch", tag = "batches",
    params(("id" = String, Path, description = "Id of the batch.")),
    responses(
        (status = 202, description = "Noted; this is how it stands.", body = BatchView),
        (status = 200, description = "It was so before, or has ended; nothing changes.", body = BatchView),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub async fn pause(api: Data<Api>, caller: Caller, id: Path<String>) -> Result<HttpResponse, Problem> {
    let (journal, at) = (api.journal.clone(), api.clock.now());
    note(&api, caller, &id, async move |id, project| journal.pause_batch(id, project, at).await).await
}

/// Resumes a batch.
///
/// After a pause; or, with a new `budget`, after the old one was reached.
#[utoipa::path(
    post, path = "/api/external/generation/batch/{id}/resume", operation_id = "resumeBatch", tag = "batches",
    params(("id" = String, Path, description = "Id of the batch.")), request_body = Option<ResumeBody>,
    responses(
        (status = 202, description = "Noted; this is how it stands.", body = BatchView),
        (status = 200, description = "It was so before, or has ended; nothing changes.", body = BatchView),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub async fn resume(
    api: Data<Api>,
    caller: Caller,
    id: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let members = members(&api, &request, payload, &["budget"]).await?;
    let mut errors = Vec::new();
    let budget: Option<Micros> = members.get("budget").and_then(|value| options::budget("/budget", value, &mut errors));
    if !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    let (journal, at) = (api.journal.clone(), api.clock.now());
    note(&api, caller, &id, async move |id, project| journal.resume_batch(id, project, budget, at).await).await
}

/// Tries again what failed.
///
/// Each failed task becomes a new generation with the same `customId` (`retryOf`), and the batch goes on. A result that came after the
/// failure is used before anything is paid again. What may have been paid already (SUBMISSION_UNCONFIRMED) is tried only with `force`.
#[utoipa::path(
    post, path = "/api/external/generation/batch/{id}/retry-failed", operation_id = "retryFailedOfBatch", tag = "batches",
    params(("id" = String, Path, description = "Id of the batch.")), request_body = Option<RetryBody>,
    responses(
        (status = 202, description = "Noted; this is how it stands.", body = BatchView),
        (status = 200, description = "Nothing failed, or it is being cancelled; nothing changes.", body = BatchView),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub async fn retry_failed(
    api: Data<Api>,
    caller: Caller,
    id: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let members = members(&api, &request, payload, &["force"]).await?;
    let forced = match members.get("force") {
        None => false,
        Some(flag) => flag.as_bool().ok_or_else(|| wrong("force", "must be true or false"))?,
    };
    let (journal, wish) = (api.journal.clone(), RetryWish { at: api.clock.now(), forced, key: caller.key });
    note(&api, caller, &id, async move |id, project| journal.retry_batch(id, project, wish).await).await
}

/// The members of a small body that may be missing; null counts as not given.
async fn members(api: &Api, request: &HttpRequest, payload: Payload, known: &[&str]) -> Result<Map<String, Value>, Problem> {
    let body = body::optional_json(request, payload, &api.config.server).await?;
    let Some(body) = body else { return Ok(Map::new()) };
    let Value::Object(mut given) = body else { return Err(Problem::invalid(vec![ask::wrong_type("", "an object", &body)])) };
    given.retain(|_, value| !value.is_null());
    let unknown: Vec<FieldError> = given
        .keys()
        .filter(|name| !known.contains(&name.as_str()))
        .map(|name| ask::unknown_member(&format!("/{}", ask::escaped(name)), name, "this request", known))
        .collect();
    if unknown.is_empty() { Ok(given) } else { Err(Problem::invalid(unknown)) }
}

fn wrong(member: &str, detail: &str) -> Problem {
    Problem::invalid(vec![ask::field(&format!("/{member}"), "not_one_of", detail)])
}

/// Notes a wish and shows how the batch stands then.
async fn note<F>(
    api: &Api,
    caller: Caller,
    id: &str,
    wish: impl FnOnce(BatchId, crate::domain::id::ProjectId) -> F + Send + 'static,
) -> Result<HttpResponse, Problem>
where
    F: Future<Output = Result<Noted, StoreError>> + Send + 'static,
{
    let parsed = parse(id)?;
    let project = caller.project;
    let response = match api.hop(async move { wish(parsed, project).await }).await? {
        Noted::Unknown => return Err(unknown(parsed)),
        Noted::Unchanged => HttpResponse::Ok(),
        Noted::Changed => {
            // What is to be ended, submitted or tried again is its owner's to find.
            api.dispatch_wake.everywhere();
            api.cancel_wake.everywhere();
            HttpResponse::Accepted()
        }
    };
    let batch = find(api, caller, id).await?;
    shown(api, &batch, &Query::default(), response).await
}

/// The batch with a page of its tasks, as an answer.
async fn shown(
    api: &Api,
    batch: &Batch,
    query: &Query,
    mut response: actix_web::HttpResponseBuilder,
) -> Result<HttpResponse, Problem> {
    let page = pages::tasks(api, batch, query, query.page()).await?;
    let now = api.clock.now();
    let eta = eta(api, batch, page.tasks.first().map(|task| &*task.model_identifier), now).await;
    let why = why::of(api, batch, now).await;
    let view = view::full(batch, api.base_url(), (page.tasks, page.next), (eta, why));
    response.insert_header((ETAG, view::tag(batch, query.page(), look::period(api, now))));
    if let Some(seconds) = view::retry_after(batch, view.eta, now) {
        response.insert_header((RETRY_AFTER, seconds));
    }
    Ok(response.json(view))
}

/// When it will have ended, as far as the ends of its lines, or of others of that model, tell.
async fn eta(api: &Api, batch: &Batch, model: Option<&str>, now: Timestamp) -> Option<Timestamp> {
    let (reads, id) = (api.reads.clone(), batch.id);
    let pace = api.hop(async move { reads.pace(id).await }).await.ok().flatten();
    let typical = model.and_then(|model| api.times.of(model)).and_then(|expected| expected.left(Duration::ZERO));
    forecast::end(batch, pace, typical, now)
}

/// Reads the id of a path.
///
/// # Errors
/// `NOT_FOUND`.
pub fn parse(id: &str) -> Result<BatchId, Problem> {
    id.parse().map_err(|_| Problem::new(ErrorCode::NotFound, "an id has the form batch_ and 32 hexadecimal digits"))
}

fn unknown(id: BatchId) -> Problem {
    Problem::new(ErrorCode::NotFound, format!("there is no batch {id}"))
}

/// The caller's batch of that id.
///
/// # Errors
/// `NOT_FOUND`, also for another project's.
pub async fn find(api: &Api, caller: Caller, id: &str) -> Result<Batch, Problem> {
    let id = parse(id)?;
    let (reads, project) = (api.reads.clone(), caller.project);
    let found = api.hop(async move { reads.batch(id, project).await }).await?;
    found.ok_or_else(|| unknown(id))
}
