//! `/api/external/generation…`: thin handlers. Another project's id answers like one that does not exist.

pub mod look;
pub mod why;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{ETAG, LOCATION, RETRY_AFTER},
    web::{Data, Json, Path, Payload},
};

use crate::{
    domain::{claim::Fingerprint, error::ErrorCode, id::GenerationId},
    http::{
        Api,
        accepting::{self, Accepted},
        auth::Caller,
        body,
        dto::{GenerationList, GenerationView, HistoryItem, HistoryList, NewGeneration},
        edge::RequestId,
        idempotency::{self, Begun, REPLAYED},
        listing,
        problem::{Problem, ProblemBody},
        view::{self, Places, Shown},
        wait,
    },
    intake::{
        accept::{self, CancelWish},
        ask,
    },
    observe::LiveView,
    store::{Birth, Loaded},
};
use look::{look, retry_after, shown, whole};

pub use look::unknown;

/// What an idempotency key is used for here.
const ROUTE: &str = "generation";

/// Submits a generation.
///
/// Everything is checked before anything is spent. The answer comes once the generation is stored: from then on it reaches a
/// visible end, whatever crashes. With `Prefer: wait=N` it comes when that end is reached, after N seconds at the latest, and is a
/// 202 all the same: `status` says how it stands. With an `Idempotency-Key` the request may be sent again: for two days it is
/// answered as it was, and makes nothing.
#[utoipa::path(
    post, path = "/api/external/generation", operation_id = "createGeneration", tag = "generations", request_body = NewGeneration,
    params(("Prefer" = Option<String>, Header, description = "`wait=N`: wait up to N seconds (at most 60) for its end."),
        ("Idempotency-Key" = Option<String>, Header, description = "Up to 255 characters of your own that no other request has.")),
    responses(
        (status = 202, description = "Accepted.", body = GenerationView, headers(
            ("Location" = String, description = "Where to ask for it."),
            ("Preference-Applied" = String, description = "`wait=N`, where it was waited."),
            ("Idempotency-Replayed" = Option<bool>, description = "`true`: an equal request with this key was accepted before."),
            ("Retry-After" = u64, description = "Until it has ended: seconds until asking is worth it."))),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
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
    let body = body::json(&request, payload, &api.config.server).await?;
    let same = (ROUTE, Fingerprint::of_json(&body));
    let accepted = match idempotency::begin(&api, caller, request.headers(), same).await? {
        Begun::Before(subject) => Accepted::before(&subject)?,
        Begun::New(ticket) => accepting::accept(&api, caller, request_id, ask::read(body), ticket).await?,
    };
    let (id, born) = match accepted {
        Accepted::Now(birth) => {
            let Birth { generation, request, .. } = *birth;
            let loaded = Loaded { generation, attempts: Vec::new(), assets: Vec::new() };
            (loaded.generation.id, Some((loaded, request)))
        }
        Accepted::Before(id) => (id, None),
    };
    let mut response = HttpResponse::Accepted();
    let replayed = born.is_none();
    if replayed {
        response.insert_header(REPLAYED);
    }
    let shown = match born {
        _ if wait::wanted(&request) => {
            let (reached, granted) = wait::until(&api, &request, id.0, async || look(&api, caller, id).await).await?;
            granted.tell(&mut response);
            whole(&api, reached.seen).await?
        }
        Some((loaded, request)) => shown(&api, loaded, request, Places::new()),
        None => as_born(whole(&api, look(&api, caller, id).await?.seen).await?),
    };
    if let Some(seconds) = retry_after(&api, &shown.loaded) {
        response.insert_header((RETRY_AFTER, seconds));
    }
    let view = view::full(shown, api.base_url());
    Ok(response.insert_header((LOCATION, view.urls.this.as_str())).json(view))
}

/// As it was when it was accepted: a repeated request is given the answer that it was given then.
fn as_born(shown: Shown) -> Shown {
    let generation = shown.loaded.generation.as_born();
    let now = generation.created_at;
    let loaded = Loaded { generation, attempts: Vec::new(), assets: Vec::new() };
    Shown { loaded, live: LiveView::default(), urls: Places::new(), now, ..shown }
}

/// Shows a generation.
///
/// Ask again after `Retry-After`, with `If-None-Match`: 304 means that nothing changed. With `Prefer: wait=N` the answer comes when
/// it has ended, or, together with `If-None-Match`, as soon as anything differs; after N seconds at the latest.
#[utoipa::path(
    get, path = "/api/external/generation/{id}", operation_id = "getGeneration", tag = "generations",
    params(("id" = String, Path, description = "Id of the generation."),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of the last answer."),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: wait up to N seconds (at most 60) for news.")),
    responses(
        (status = 200, description = "As it stands.", body = GenerationView, headers(
            ("ETag" = String, description = "Weak; changes with what is stored."),
            ("Preference-Applied" = String, description = "`wait=N`, where it was waited."),
            ("Retry-After" = u64, description = "Until it has ended: seconds until asking is worth it."))),
        (status = 304, description = "Nothing changed."),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub async fn show(api: Data<Api>, caller: Caller, id: Path<String>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let id = parse(&id)?;
    let (now, granted) = wait::until(&api, &request, id.0, async || look(&api, caller, id).await).await?;
    let (mut response, unchanged) = now.begin(&request, granted);
    if let Some(seconds) = retry_after(&api, &now.seen) {
        response.insert_header((RETRY_AFTER, seconds));
    }
    if unchanged {
        return Ok(response.finish());
    }
    Ok(response.json(view::full(whole(&api, now.seen).await?, api.base_url())))
}

/// Lists generations.
///
/// Newest first, without prompts and parameters.
#[utoipa::path(
    get, path = "/api/external/generation", operation_id = "listGenerations", tag = "generations", params(listing::Parameters),
    responses(
        (status = 200, description = "A page.", body = GenerationList),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub async fn list(api: Data<Api>, caller: Caller, request: HttpRequest) -> Result<Json<GenerationList>, Problem> {
    let query = listing::parse(request.query_string(), caller.project).map_err(Problem::invalid)?;
    let (reads, project, wanted) = (api.reads.clone(), caller.project, query.clone());
    let page = api.hop(async move { listing::page(&reads, project, &wanted).await }).await?;
    Ok(Json(listing::answer(&page, &query, project, api.base_url())))
}

/// Cancels a generation.
///
/// What is not submitted yet never will be. What the provider has is cancelled where it can be; where it cannot, the paid
/// result is delivered with `cancelRequested`. Repeatable.
#[utoipa::path(
    post, path = "/api/external/generation/{id}/cancel", operation_id = "cancelGeneration", tag = "generations",
    params(("id" = String, Path, description = "Id of the generation.")),
    responses(
        (status = 202, description = "Noted; this is how it stands.", body = GenerationView),
        (status = 200, description = "It has ended; nothing changes.", body = GenerationView),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub async fn cancel(api: Data<Api>, caller: Caller, id: Path<String>) -> Result<HttpResponse, Problem> {
    wish_to_cancel(api, caller, id).await
}

/// Cancels a generation.
///
/// The same as `POST …/cancel`; nothing is erased.
#[utoipa::path(
    delete, path = "/api/external/generation/{id}", operation_id = "deleteGeneration", tag = "generations",
    params(("id" = String, Path, description = "Id of the generation.")),
    responses(
        (status = 202, description = "Noted; this is how it stands.", body = GenerationView),
        (status = 200, description = "It has ended; nothing changes.", body = GenerationView),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub async fn delete(api: Data<Api>, caller: Caller, id: Path<String>) -> Result<HttpResponse, Problem> {
    wish_to_cancel(api, caller, id).await
}

async fn wish_to_cancel(api: Data<Api>, caller: Caller, id: Path<String>) -> Result<HttpResponse, Problem> {
    let id = parse(&id)?;
    let (journal, reads) = (api.journal.clone(), api.reads.clone());
    let (running, queued) = (api.cancel_wake.clone(), api.dispatch_wake.clone());
    let (project, now) = (caller.project, api.clock.now());
    let wish = api.hop(async move { accept::cancel((&journal, &reads), [&running, &queued], id, project, now).await }).await?;
    let mut response = match wish {
        CancelWish::Unknown => return Err(unknown(id)),
        CancelWish::Ended => HttpResponse::Ok(),
        CancelWish::Noted => HttpResponse::Accepted(),
    };
    let now = look(&api, caller, id).await?;
    if let Some(seconds) = retry_after(&api, &now.seen) {
        response.insert_header((RETRY_AFTER, seconds));
    }
    response.insert_header((ETAG, now.tag));
    Ok(response.json(view::full(whole(&api, now.seen).await?, api.base_url())))
}

/// Shows what happened to a generation.
#[utoipa::path(
    get, path = "/api/external/generation/{id}/history", operation_id = "getGenerationHistory", tag = "generations",
    params(("id" = String, Path, description = "Id of the generation.")),
    responses(
        (status = 200, description = "Every step, oldest first.", body = HistoryList),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub async fn history(api: Data<Api>, caller: Caller, id: Path<String>) -> Result<Json<HistoryList>, Problem> {
    let id = parse(&id)?;
    let reads = api.reads.clone();
    let found = api.hop(async move { Ok::<_, Problem>((reads.generation(id).await?, reads.history(id).await?)) }).await?;
    let (Some(generation), steps) = found else { return Err(unknown(id)) };
    if generation.project != caller.project {
        return Err(unknown(id));
    }
    let birth = HistoryItem {
        attempt: 0,
        from: None,
        to: generation.born_state.as_str().to_owned(),
        reason: "accepted".to_owned(),
        at: generation.created_at,
    };
    let steps = steps.into_iter().map(|row| HistoryItem {
        attempt: row.attempt,
        from: Some(row.from.to_string()),
        to: row.to.to_string(),
        reason: row.reason,
        at: row.at,
    });
    Ok(Json(HistoryList { data: std::iter::once(birth).chain(steps).collect() }))
}

/// Reads the id of a path.
///
/// # Errors
/// `NOT_FOUND`.
pub fn parse(id: &str) -> Result<GenerationId, Problem> {
    id.parse().map_err(|_| Problem::new(ErrorCode::NotFound, "an id has the form gen_ and 32 hexadecimal digits"))
}
