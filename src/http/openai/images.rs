//! `POST /v1/images/generations`: OpenAI's shape over any image model of the catalogue, waiting inside a limit. Past it the generation
//! runs on, and the same request, by its key or as the package's own retry, waits for it again.

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{HeaderName, HeaderValue},
    web::{Data, Payload},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    ErrorBody, NewImage, ask, form,
    making::{self, Route},
    video::unix,
};
use crate::{
    domain::{
        error::{ErrorCode, Failure},
        generation::GenerationState,
        id::GenerationId,
        record::{Asset, AssetState, Generation},
        time::Timestamp,
    },
    http::{Api, accepting::Accepted, auth::Caller, edge::RequestId, idempotency::REPLAYED, problem::Problem},
    providers::schema::FieldError,
    store::{Loaded, Ring},
};

/// What an idempotency key is used for here.
const ROUTE: &str = "v1 images";
/// Bytes of one answer in base64 at most: ten ordinary images of 8 MB. More are fetched by their URLs.
const MOST_INLINE: i64 = 80 * 1024 * 1024;
/// Tells the packages that sending again leads to nothing.
const NO_RETRY: (HeaderName, HeaderValue) = (HeaderName::from_static("x-should-retry"), HeaderValue::from_static("false"));

/// How results are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Inline,
    Url,
    /// The client did not say: old programs read the one, new ones the other.
    Both,
}

/// What was made (PyPI `openai` 3.54, `types/images_response.py`).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiImages)]
pub struct Images {
    /// Unix seconds.
    created: i64,
    /// The images.
    data: Vec<ImageObject>,
    /// `png`, `jpeg` or `webp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    output_format: Option<&'static str>,
    /// `WIDTHxHEIGHT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<String>,
}

/// One image.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiImage)]
pub struct ImageObject {
    /// The file.
    #[serde(skip_serializing_if = "Option::is_none")]
    b64_json: Option<String>,
    /// Where the file is.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

/// Makes images.
///
/// In OpenAI's shape; waits for the result, at most `openai.image_wait_s`. Past that the answer is 504 with `error.generation_id`; the
/// generation runs on, and the same `Idempotency-Key` waits for it again. `parameters` takes the model's own.
#[utoipa::path(
    post, path = "/v1/images/generations", operation_id = "openaiCreateImage", tag = "openai", request_body(content = NewImage),
    params(("Idempotency-Key" = Option<String>, Header, description = "Up to 255 characters of your own that no other request has.")),
    responses(
        (status = 200, description = "What was made.", body = Images),
        (status = 504, description = "Not yet; it runs on.", body = ErrorBody),
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
    let until = api.clock.now().plus(Duration::from_secs(api.config.openai.image_wait_s));
    let members = form::members(&request, payload, &api.config.server).await?;
    let wanted = wanted(members.get("response_format")).map_err(|error| Problem::invalid(vec![error]))?;
    let longest = Duration::from_secs(api.config.openai.image_wait_s);
    let made =
        making::make(&api, caller, (&request, request_id), members, Route { name: ROUTE, shape: ask::IMAGE, longest }).await?;
    let (id, before) = match made {
        Accepted::Now(birth) => (birth.generation.id, false),
        Accepted::Before(id) => (id, true),
    };
    let told = |problem: Problem| problem.with_details(json!({"generation_id": id}));
    if !ended(&api, id, until).await? {
        return Err(late(id, api.config.openai.image_wait_s));
    }
    let images = answer(&api, id, wanted).await.map_err(told)?;
    let mut response = HttpResponse::Ok();
    if before {
        response.insert_header(REPLAYED);
    }
    Ok(response.json(images))
}

fn wanted(given: Option<&Value>) -> Result<Form, FieldError> {
    match given.map(Value::as_str) {
        None => Ok(Form::Both),
        Some(Some("b64_json")) => Ok(Form::Inline),
        Some(Some("url")) => Ok(Form::Url),
        Some(_) if given == Some(&Value::Null) => Ok(Form::Both),
        Some(_) => {
            let detail = "`response_format` is b64_json or url".to_owned();
            Err(FieldError { pointer: "#/response_format".to_owned(), code: "not_one_of", detail })
        }
    }
}

fn late(id: GenerationId, waited: u64) -> Problem {
    let detail = format!(
        "{id} is not ready after {waited} seconds; it runs on: send the same request with the same Idempotency-Key, or ask \
         /api/external/generation/{id}"
    );
    Problem::new(ErrorCode::ProviderTimeout, detail)
        .with_details(json!({"generation_id": id, "code": "generation_running"}))
        .with_header(HeaderName::from_static("retry-after"), HeaderValue::from_static("1"))
}

/// Waits until a generation has ended, or until then; whether it has. Costs no query while nothing changes.
async fn ended(api: &Api, id: GenerationId, until: Timestamp) -> Result<bool, Problem> {
    // Before the first look: what is committed while it looks rings, too.
    let mut news = api.watch.on(id.0);
    let mut over = false;
    loop {
        let reads = api.reads.clone();
        let row = api.hop(async move { reads.generation(id).await }).await?;
        if over || row.as_ref().is_none_or(|row| row.state().terminal()) {
            return Ok(row.is_none_or(|row| row.state().terminal()));
        }
        tokio::select! {
            () = api.clock.sleep_until(until) => over = true,
            () = api.draining.cancelled() => over = true,
            () = news.heard(Ring::Ended) => {}
        }
    }
}

/// The answer of a generation that has ended.
async fn answer(api: &Api, id: GenerationId, wanted: Form) -> Result<Images, Problem> {
    let (reads, storage, base) = (api.reads.clone(), api.storage.clone(), api.base_url().to_owned());
    api.hop(async move {
        let loaded = reads.load(id).await?;
        let Some(loaded) = loaded else { return Err(Problem::new(ErrorCode::InternalError, "the generation is gone")) };
        if loaded.generation.state() != GenerationState::Completed {
            return Err(failed(&loaded.generation));
        }
        let files = files(&loaded);
        let size: i64 = files.iter().filter_map(|file| file.bytes).sum();
        let linked = files.iter().any(|file| file.state == AssetState::Linked);
        let inline = match wanted {
            Form::Inline if linked => return Err(by_url("the provider's own URLs are handed out here")),
            Form::Inline if size > MOST_INLINE => return Err(by_url("the images are too large for one answer")),
            Form::Inline => true,
            Form::Both => !linked && size <= MOST_INLINE,
            Form::Url => false,
        };
        let mut data = Vec::new();
        for file in &files {
            let away = |error| {
                tracing::warn!(error = &error as &dyn std::error::Error, asset.id = %file.id, "a stored result cannot be read");
                Problem::unavailable("the storage does not answer")
            };
            let (mut url, mut b64_json) = (file.source_url.clone().filter(|_| file.state == AssetState::Linked), None);
            if let Some(key) = file.storage_key.as_ref().filter(|_| file.state == AssetState::Stored) {
                if inline {
                    b64_json = Some(STANDARD.encode(storage.read(key).await.map_err(away)?));
                }
                url = Some(storage.url(key, &base).await.map_err(away)?);
            }
            data.push(ImageObject { b64_json, url: url.filter(|_| wanted != Form::Inline) });
        }
        Ok(Images {
            created: unix(loaded.generation.ended_at.unwrap_or(loaded.generation.created_at)),
            data,
            output_format: files.first().and_then(|file| format(file)),
            size: files.first().and_then(|file| Some(format!("{}x{}", file.width?, file.height?))),
        })
    })
    .await
}

fn files(loaded: &Loaded) -> Vec<&Asset> {
    loaded.assets.iter().filter(|asset| matches!(asset.state, AssetState::Stored | AssetState::Linked)).collect()
}

fn format(file: &Asset) -> Option<&'static str> {
    match file.content_type.as_deref() {
        Some("image/png") => Some("png"),
        Some("image/jpeg") => Some("jpeg"),
        Some("image/webp") => Some("webp"),
        Some(_) | None => None,
    }
}

fn by_url(why: &str) -> Problem {
    let errors = vec![FieldError {
        pointer: "#/response_format".to_owned(),
        code: "not_taken",
        detail: format!("{why}: ask for `response_format` url"),
    }];
    Problem::invalid(errors)
}

/// It has ended without a result: whatever sends again is told the same.
fn failed(generation: &Generation) -> Problem {
    let cancelled = || Failure::new(ErrorCode::TaskCancelled, "it was cancelled");
    let failure = generation.failure.clone().unwrap_or_else(cancelled);
    Problem::new(failure.code, failure.message).with_header(NO_RETRY.0, NO_RETRY.1)
}
