//! `/v1/videos`: OpenAI's shape over any video model of the catalogue. A video is a generation under the same id.

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::{
        StatusCode,
        header::{HeaderName, LOCATION},
    },
    web::{Data, Json, Path, Payload},
};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{
    ErrorBody, ask, form, list,
    making::{self, Route},
    video::{self, Asked, Video},
};
use crate::{
    config::storage::StorageKind,
    domain::{
        error::ErrorCode,
        id::GenerationId,
        record::{AssetState, GenerationRequest, Kind},
    },
    http::{
        ANSWER_TIME, Api, accepting::Accepted, auth::Caller, edge::RequestId, idempotency::REPLAYED, media, problem::Problem,
        view,
    },
    intake::accept::{self, CancelWish},
    store::{Birth, Loaded},
};

/// What an idempotency key is used for here.
const ROUTE: &str = "v1 videos";
/// After how many milliseconds the packages' own poll asks again.
const POLL_AFTER: HeaderName = HeaderName::from_static("openai-poll-after-ms");
/// The package keeps to the first answer's interval to the end: a long one would make every video late.
const LONGEST_POLL_S: u64 = 5;

/// Makes a video.
///
/// In OpenAI's shape, as JSON or as a form with a file `input_reference`. `model` is a video model of the catalogue; `seconds`, `size` and
/// `quality` are mapped onto its parameters, what does not fit is refused. `parameters` takes the model's own.
#[utoipa::path(
    post, path = "/v1/videos", operation_id = "openaiCreateVideo", tag = "openai", request_body(content = super::NewVideo),
    params(("Idempotency-Key" = Option<String>, Header, description = "Up to 255 characters of your own that no other request has.")),
    responses(
        (status = 200, description = "Accepted.", body = Video),
        (status = "default", description = "What is wrong.", body = ErrorBody),
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
    let members = form::members(&request, payload, &api.config.server).await?;
    let route = Route { name: ROUTE, shape: ask::VIDEO, longest: ANSWER_TIME };
    let made = making::make(&api, caller, (&request, request_id), members, route).await?;
    match made {
        Accepted::Now(birth) => {
            let Birth { generation, request, .. } = *birth;
            let loaded = Loaded { generation, attempts: Vec::new(), assets: Vec::new() };
            Ok(answer(&api, &loaded, &request, HttpResponse::Ok()))
        }
        Accepted::Before(id) => {
            let (loaded, request) = load(&api, caller, id).await?;
            let born = Loaded { generation: loaded.generation.as_born(), attempts: Vec::new(), assets: Vec::new() };
            let mut response = HttpResponse::Ok();
            response.insert_header(REPLAYED);
            Ok(answer(&api, &born, &request, response))
        }
    }
}

fn answer(api: &Api, loaded: &Loaded, request: &GenerationRequest, mut response: HttpResponseBuilder) -> HttpResponse {
    let live = api.live.view(loaded.generation.id);
    let expected = api.times.of(&loaded.generation.model);
    if let Some(seconds) = view::retry_after(loaded, expected.as_deref(), api.clock.now()) {
        response.insert_header((POLL_AFTER, seconds.min(LONGEST_POLL_S).saturating_mul(1_000).to_string()));
    }
    let asked = Asked { prompt: &request.prompt, parameters: &request.parameters };
    response.json(video::object(loaded, Some(asked), live.progress))
}

/// Shows a video.
#[utoipa::path(
    get, path = "/v1/videos/{id}", operation_id = "openaiGetVideo", tag = "openai",
    params(("id" = String, Path, description = "Id of the video.")),
    responses(
        (status = 200, description = "As it stands.", body = Video),
        (status = "default", description = "What is wrong.", body = ErrorBody),
    ),
    security(("key" = []))
)]
pub async fn show(api: Data<Api>, caller: Caller, id: Path<String>) -> Result<HttpResponse, Problem> {
    let (loaded, request) = load(&api, caller, parse(&id)?).await?;
    Ok(answer(&api, &loaded, &request, HttpResponse::Ok()))
}

/// Lists videos.
///
/// Without prompts, newest first unless `order=asc`; `after` is the last id of the page before.
#[utoipa::path(
    get, path = "/v1/videos", operation_id = "openaiListVideos", tag = "openai", params(list::Parameters),
    responses(
        (status = 200, description = "A page.", body = list::VideoList),
        (status = "default", description = "What is wrong.", body = ErrorBody),
    ),
    security(("key" = []))
)]
pub async fn list(api: Data<Api>, caller: Caller, request: HttpRequest) -> Result<Json<list::VideoList>, Problem> {
    let query = list::parse(request.query_string()).map_err(Problem::invalid)?;
    let reads = api.reads.clone();
    let page = api.hop(async move { list::page(&reads, caller.project, &query).await }).await?;
    Ok(Json(list::answer(page, |id| api.live.view(id).progress)))
}

/// The answer to a deletion (PyPI `openai` 3.54, `types/video_delete_response.py`).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiVideoDeleted)]
pub struct Deleted {
    #[schema(value_type = String)]
    id: GenerationId,
    /// Always `video.deleted`.
    object: &'static str,
    /// Always true.
    deleted: bool,
}

/// Deletes a video.
///
/// It is gone below `/v1` at once, and its file is deleted from the storage moments later; one that has not ended is cancelled where that can
/// be, and its file deleted when it comes. Repeatable. What stays, for the books, is the generation's record (prompt, parameters, cost) below
/// `/api/external/generation`, without the file; and where results are not stored here, the provider's own copy until it expires.
#[utoipa::path(
    delete, path = "/v1/videos/{id}", operation_id = "openaiDeleteVideo", tag = "openai",
    params(("id" = String, Path, description = "Id of the video.")),
    responses(
        (status = 200, description = "It is gone.", body = Deleted),
        (status = "default", description = "What is wrong.", body = ErrorBody),
    ),
    security(("key" = []))
)]
pub async fn delete(api: Data<Api>, caller: Caller, id: Path<String>) -> Result<Json<Deleted>, Problem> {
    let id = parse(&id)?;
    let reads = api.reads.clone();
    // Also one that was deleted before: the answer to that may have been lost.
    let own = api.hop(async move { reads.generation(id).await });
    let own = own.await?.is_some_and(|row| row.project == caller.project && row.kind == Kind::Video);
    if !own {
        return Err(unknown(&id.to_string()));
    }
    let (journal, reads, videos) = (api.journal.clone(), api.reads.clone(), api.videos.clone());
    let (running, queued) = (api.cancel_wake.clone(), api.dispatch_wake.clone());
    let (project, now) = (caller.project, api.clock.now());
    api.hop(async move {
        let wish = accept::cancel((&journal, &reads), [&running, &queued], id, project, now).await?;
        videos.hide(id, project, now).await?;
        tracing::info!(generation.id = %id, cancelling = wish == CancelWish::Noted, "video deleted");
        Ok::<_, Problem>(())
    })
    .await?;
    Ok(Json(Deleted { id, object: "video.deleted", deleted: true }))
}

/// The file of a video.
///
/// With ranges. Where results lie in a bucket, or at the provider, the answer is a redirect there.
#[utoipa::path(
    get, path = "/v1/videos/{id}/content", operation_id = "openaiGetVideoContent", tag = "openai",
    params(("id" = String, Path, description = "Id of the video."),
        ("variant" = Option<String>, Query, description = "`video`; there is nothing else here.")),
    responses(
        (status = 200, description = "The file."),
        (status = 206, description = "A part of it."),
        (status = 302, description = "It is elsewhere."),
        (status = "default", description = "What is wrong.", body = ErrorBody),
    ),
    security(("key" = []))
)]
pub async fn content(api: Data<Api>, caller: Caller, id: Path<String>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let variant = list::variant(request.query_string());
    if let Some(other) = variant.filter(|variant| variant != "video") {
        let shown: String = other.chars().take(32).collect();
        let detail = format!("there is no variant `{shown}` here, only `video`");
        return Err(Problem::new(ErrorCode::InvalidParameters, detail).with_details(json!({"param": "variant"})));
    }
    let (loaded, _) = load(&api, caller, parse(&id)?).await?;
    let Some(file) = video::file(&loaded) else {
        let status = view::status(&loaded.generation, &loaded.attempts).as_str();
        let detail = format!("the video has no content: it is {status}");
        return Err(Problem::new(ErrorCode::NotFound, detail).with_details(json!({"code": "video_not_ready"})));
    };
    let elsewhere = |url: &str| HttpResponse::build(StatusCode::FOUND).insert_header((LOCATION, url)).finish();
    match (&file.storage_key, &file.source_url) {
        (Some(key), _) if file.state == AssetState::Stored => {
            if api.config.storage.kind != StorageKind::S3 {
                return Ok(media::send(&request, &api.storage, key).await?);
            }
            let (storage, key) = (api.storage.clone(), key.clone());
            let url = api
                .hop(async move { storage.url(&key, "").await.map_err(|_| Problem::unavailable("the storage does not answer")) });
            Ok(elsewhere(&url.await?))
        }
        (_, Some(url)) => Ok(elsewhere(url)),
        (_, None) => Err(Problem::new(ErrorCode::InternalError, "the video's file has no place")),
    }
}

fn parse(id: &str) -> Result<GenerationId, Problem> {
    id.parse().map_err(|_| unknown(id))
}

fn unknown(id: &str) -> Problem {
    let shown: String = id.chars().take(64).collect();
    Problem::new(ErrorCode::NotFound, format!("there is no video {shown}"))
}

/// A video of the caller's project that was not deleted.
async fn load(api: &Api, caller: Caller, id: GenerationId) -> Result<(Loaded, GenerationRequest), Problem> {
    let reads = api.reads.clone();
    let found = api.hop(async move {
        let own = |loaded: &Loaded| loaded.generation.project == caller.project && loaded.generation.kind == Kind::Video;
        let Some(loaded) = reads.load(id).await?.filter(own) else { return Err(unknown(&id.to_string())) };
        if reads.video_hidden(id).await? {
            return Err(unknown(&id.to_string()));
        }
        let request = reads.request(id).await?;
        Ok((loaded, request))
    });
    match found.await? {
        (loaded, Some(request)) => Ok((loaded, request)),
        (_, None) => Err(Problem::new(ErrorCode::InternalError, "the stored request is missing")),
    }
}
