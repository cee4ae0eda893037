//! `/api/external/generation…`: thin handlers. Another project's id answers like one that does not exist.

use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{ETAG, LOCATION, RETRY_AFTER},
    web::{Data, Json, Path, Payload},
};

use crate::{
    config::storage::StorageKind,
    domain::{
        error::ErrorCode,
        id::{AssetId, GenerationId},
        record::{AssetState, Kind},
        time::Timestamp,
    },
    http::{
        Api,
        auth::Caller,
        body,
        dto::{GenerationList, GenerationView, HistoryItem, HistoryList, NewGeneration},
        edge::RequestId,
        etag, listing,
        problem::{Problem, ProblemBody},
        view::{self, Shown},
    },
    intake::{
        accept::{self, CancelWish},
        ask,
        command::{self, Refusal, Standing},
    },
    storage::Storage,
    store::{Birth, Loaded},
};

/// Submits a generation.
///
/// Everything is checked before anything is spent. The answer comes once the generation is stored: from then on it reaches a
/// visible end, whatever crashes.
#[utoipa::path(
    post, path = "/api/external/generation", operation_id = "createGeneration", tag = "generations", request_body = NewGeneration,
    responses(
        (status = 202, description = "Accepted.", body = GenerationView, headers(
            ("Location" = String, description = "Where to ask for it."),
            ("Retry-After" = u64, description = "Seconds until asking is worth it."))),
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
    let (ask, errors) = ask::read(body);
    let standing = Standing {
        project: caller.project,
        key: caller.key,
        request_id: request_id.0,
        now: api.clock.now(),
        queue_deadline: Duration::from_secs(api.config.dispatch.queue_deadline_s),
        shard: rand::random(),
        limits: caller.limits,
        on_unconfirmed: api.config.dispatch.on_unconfirmed,
    };
    let birth = command::birth(ask, errors, &api.catalogue, &api.registry, standing).map_err(refused)?;
    let loaded = Loaded { generation: birth.generation.clone(), attempts: Vec::new(), assets: Vec::new() };
    let born = birth.request.clone();
    commit(&api, birth).await?;
    tracing::info!(generation.id = %loaded.generation.id, model = %loaded.generation.model, "generation accepted");
    let shown = shown(&api, loaded, born, BTreeMap::new());
    let wait = view::retry_after(&shown.loaded.generation, &shown.live, shown.now).unwrap_or(1);
    let view = view::full(shown, api.base_url());
    Ok(HttpResponse::Accepted().insert_header((LOCATION, view.urls.this.as_str())).insert_header((RETRY_AFTER, wait)).json(view))
}

fn refused(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Invalid(errors) => Problem::invalid(errors),
        Refusal::Unavailable(why) => Problem::new(ErrorCode::ServiceUnavailable, why),
    }
}

/// Committed and hinted at in one task that nobody cancels.
async fn commit(api: &Api, birth: Birth) -> Result<(), Problem> {
    if api.draining.load(Ordering::SeqCst) {
        return Err(Problem::unavailable("the service is shutting down; nothing new is taken"));
    }
    let (room, cap, reads) = (api.room.clone(), api.config.server.max_unfinished, api.reads.clone());
    let (journal, wake) = (api.journal.clone(), api.dispatch_wake.clone());
    api.hop(async move {
        match room.below(cap, &reads).await {
            Ok(true) => accept::accept(&journal, &wake, birth).await.map_err(Problem::from),
            Ok(false) => Err(Problem::unavailable(format!("{cap} generations are unfinished; no more are taken"))),
            Err(error) => {
                tracing::warn!(error = &*error as &dyn std::error::Error, "unfinished generations cannot be counted");
                Err(Problem::unavailable("the database does not answer"))
            }
        }
    })
    .await
}

/// Shows a generation.
///
/// Ask again after `Retry-After`, with `If-None-Match`: 304 means that nothing changed.
#[utoipa::path(
    get, path = "/api/external/generation/{id}", operation_id = "getGeneration", tag = "generations",
    params(("id" = String, Path, description = "Id of the generation."),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of the last answer.")),
    responses(
        (status = 200, description = "As it stands.", body = GenerationView, headers(
            ("ETag" = String, description = "Weak; changes with what is stored."),
            ("Retry-After" = u64, description = "Until it has ended: seconds until asking is worth it."))),
        (status = 304, description = "Nothing changed."),
        (status = "default", description = "What is wrong.", body = ProblemBody<'static>, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub async fn show(api: Data<Api>, caller: Caller, id: Path<String>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let id = parse(&id)?;
    let shown = load(&api, caller, id).await?;
    let tag = tag(&api, &shown);
    let wait = view::retry_after(&shown.loaded.generation, &shown.live, shown.now);
    let unchanged = etag::held(request.headers(), &tag);
    let mut response = if unchanged { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response.insert_header((ETAG, tag));
    if let Some(seconds) = wait {
        response.insert_header((RETRY_AFTER, seconds));
    }
    Ok(if unchanged { response.finish() } else { response.json(view::full(shown, api.base_url())) })
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
    let (journal, reads, wake) = (api.journal.clone(), api.reads.clone(), api.cancel_wake.clone());
    let (project, now) = (caller.project, api.clock.now());
    let wish = api.hop(async move { accept::cancel((&journal, &reads), &wake, id, project, now).await }).await?;
    let mut response = match wish {
        CancelWish::Unknown => return Err(unknown(id)),
        CancelWish::Ended => HttpResponse::Ok(),
        CancelWish::Noted => HttpResponse::Accepted(),
    };
    let shown = load(&api, caller, id).await?;
    if let Some(seconds) = view::retry_after(&shown.loaded.generation, &shown.live, shown.now) {
        response.insert_header((RETRY_AFTER, seconds));
    }
    Ok(response.insert_header((ETAG, tag(&api, &shown))).json(view::full(shown, api.base_url())))
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

fn parse(id: &str) -> Result<GenerationId, Problem> {
    id.parse().map_err(|_| Problem::new(ErrorCode::NotFound, "an id has the form gen_ and 32 hexadecimal digits"))
}

fn unknown(id: GenerationId) -> Problem {
    Problem::new(ErrorCode::NotFound, format!("there is no generation {id}"))
}

async fn load(api: &Api, caller: Caller, id: GenerationId) -> Result<Shown, Problem> {
    let (reads, storage) = (api.reads.clone(), api.storage.clone());
    let (base, lapses, now) = (api.base_url().to_owned(), lapses(api), api.clock.now());
    let found = api
        .hop(async move {
            let Some(loaded) = reads.load(id).await?.filter(|loaded| loaded.generation.project == caller.project) else {
                return Err(unknown(id));
            };
            let request = reads.request(id).await?;
            let urls = places(&storage, &loaded, &base, lapses.map(|span| now.plus(span))).await?;
            Ok((loaded, request, urls))
        })
        .await?;
    let (loaded, Some(request), urls) = found else {
        return Err(Problem::new(ErrorCode::InternalError, "the stored request is missing"));
    };
    Ok(shown(api, loaded, request, urls))
}

type Places = BTreeMap<AssetId, (String, Option<Timestamp>)>;

/// Where the stored files are reached; only results of an ended generation are shown.
async fn places(storage: &Storage, loaded: &Loaded, base: &str, until: Option<Timestamp>) -> Result<Places, Problem> {
    let mut places = Places::new();
    if !loaded.generation.state().terminal() {
        return Ok(places);
    }
    for asset in loaded.assets.iter().filter(|asset| asset.state == AssetState::Stored) {
        let Some(key) = &asset.storage_key else { continue };
        let url = storage.url(key, base).await.map_err(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, asset.id = %asset.id, "no URL for a stored result");
            Problem::unavailable("the storage does not answer")
        })?;
        places.insert(asset.id, (url, until));
    }
    Ok(places)
}

/// How long the URLs of stored results work; none when they do not lapse.
fn lapses(api: &Api) -> Option<Duration> {
    let storage = &api.config.storage;
    (storage.kind == StorageKind::S3 && storage.public_url.is_none()).then(|| Duration::from_secs(storage.presign_s))
}

fn shown(api: &Api, loaded: Loaded, request: crate::domain::record::GenerationRequest, urls: Places) -> Shown {
    let live = api.live.view(loaded.generation.id);
    let polling = &api.config.polling;
    let by_model = api.catalogue.model(&loaded.generation.model).and_then(|model| model.max_duration_s);
    let seconds = by_model.unwrap_or(match loaded.generation.kind {
        Kind::Image => polling.max_image_s,
        Kind::Video => polling.max_video_s,
    });
    Shown { loaded, request, live, urls, overdue_after: Duration::from_secs(seconds), now: api.clock.now() }
}

/// URLs that lapse change the tag twice within their life, so that no 304 leaves a client with a dead one.
fn tag(api: &Api, shown: &Shown) -> String {
    let generation = &shown.loaded.generation;
    let stage = view::stage(generation, &shown.loaded.attempts, shown.overdue_after, shown.now);
    let half = lapses(api).map(|span| crate::domain::time::millis(span / 2)).filter(|half| *half > 0);
    let period = half.filter(|_| !shown.urls.is_empty()).map_or(0, |half| shown.now.0 / half);
    etag::of(&shown.loaded, stage, period)
}
