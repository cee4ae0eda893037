//! The document, its page and the pages that problems' `type` names: all served from the binary, nothing from a CDN.

use std::sync::{Arc, LazyLock};

use actix_web::{
    HttpResponse,
    http::header::{CONTENT_SECURITY_POLICY, ETAG, LOCATION},
    web::Path,
};
use utoipa_swagger_ui::Config;

use crate::{
    domain::error::{ErrorCode, RetryClass},
    http::{
        openapi,
        problem::{Problem, slug},
    },
};

/// Nothing but ourselves; Swagger UI sets styles and draws its icons inline.
const PAGE_POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'";
/// A plain page.
const PLAIN_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

static SWAGGER: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| Arc::new(Config::from("/openapi.json")));
static DOCUMENT: LazyLock<String> = LazyLock::new(openapi::text);

/// The OpenAPI document.
#[utoipa::path(get, path = "/openapi.json", operation_id = "getOpenapi", tag = "documents",
    responses((status = 200, description = "OpenAPI 3.1.", body = Object)), security(()))]
pub async fn document() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(DOCUMENT.as_str())
}

/// Leads to the documentation page.
#[utoipa::path(get, path = "/docs", operation_id = "redirectToDocs", tag = "documents",
    responses((status = 308, description = "To `/docs/`.")), security(()))]
pub async fn to_page() -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((LOCATION, "/docs/")).finish()
}

/// The documentation page and its parts.
#[utoipa::path(get, path = "/docs/{tail}", operation_id = "getDocs", tag = "documents",
    params(("tail" = String, Path, description = "Empty for the page itself.")),
    responses((status = 200, description = "HTML, script, style or image.")), security(()))]
pub async fn page(tail: Path<String>) -> Result<HttpResponse, Problem> {
    let file = utoipa_swagger_ui::serve(&tail, Arc::clone(&SWAGGER)).map_err(|error| {
        tracing::error!(error = &*error, "the documentation page cannot be made");
        Problem::new(ErrorCode::InternalError, "the documentation page cannot be made")
    })?;
    let file = file.ok_or_else(|| Problem::new(ErrorCode::NotFound, "the documentation has no such part"))?;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_SECURITY_POLICY, PAGE_POLICY))
        .content_type(file.content_type)
        .body(file.bytes.into_owned()))
}

/// Explains a kind of problem.
#[utoipa::path(get, path = "/errors/{slug}", operation_id = "explainError", tag = "documents",
    params(("slug" = String, Path, description = "Such as `invalid-parameters`.")),
    responses((status = 200, description = "A page.", body = String, content_type = "text/html")), security(()))]
pub async fn error_page(wanted: Path<String>) -> Result<HttpResponse, Problem> {
    let code = ErrorCode::ALL.iter().copied().find(|code| slug(*code) == *wanted);
    let code = code.ok_or_else(|| Problem::new(ErrorCode::NotFound, "there is no such kind of problem"))?;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_SECURITY_POLICY, PLAIN_POLICY))
        .insert_header((ETAG, format!("\"{}\"", env!("CARGO_PKG_VERSION"))))
        .content_type("text/html; charset=utf-8")
        .body(explained(code)))
}

fn explained(code: ErrorCode) -> String {
    let (name, title, status) = (code.as_str(), code.title(), code.http_status());
    let retry = match code.retry() {
        RetryClass::Never => "The same request will be refused again. Change it first.",
        RetryClass::Later => {
            "The same request may succeed later. Wait as long as Retry-After says, or grow the wait from try to try."
        }
        RetryClass::Operator => "Somebody should look first: trying again may pay twice.",
    };
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{name}</title>\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem}}</style></head>\
         <body><h1>{title}</h1><p><code>{name}</code>, HTTP status {status} where it answers a request.</p>\
         <p>{meaning}</p><p>{retry}</p>\
         <p>A problem document (RFC 9457) names this page as its <code>type</code>. <code>detail</code> says what happened, \
         <code>errors</code> each wrong value with its place, <code>instance</code> the id of the request: tell it to who \
         operates the service.</p><p><a href=\"/docs/\">Documentation</a></p></body></html>\n",
        meaning = meaning(code),
    )
}

/// One sentence more than the title.
const fn meaning(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::InvalidRequest => "The request cannot be read at all, or a provider refused it for the form of its content.",
        ErrorCode::InvalidParameters => {
            "The request was read, but a value is missing, unknown, of the wrong type or out of range."
        }
        ErrorCode::AuthenticationFailed => {
            "No valid key was given in the Authorization header. On a generation: the provider refused the operator's credential."
        }
        ErrorCode::PermissionDenied => "The key is valid, but its scope does not allow this.",
        ErrorCode::NotFound => "There is nothing at this path or of this id, or it belongs to another project.",
        ErrorCode::MethodNotAllowed => "The path exists; the Allow header names the methods that it takes.",
        ErrorCode::Conflict => "The state it is in does not allow this.",
        ErrorCode::RequestInFlight => {
            "A request with this Idempotency-Key is being carried out. Sent again after Retry-After, it is given that one's answer."
        }
        ErrorCode::IdempotencyKeyReused => {
            "The Idempotency-Key was used within the last two days for a request with another body. A new request needs a new key."
        }
        ErrorCode::PayloadTooLarge => "The body has more bytes than the operator allows.",
        ErrorCode::UnsupportedMediaType => "Bodies are read as uncompressed application/json only.",
        ErrorCode::SpendLimitReached => "A spending limit of the project or the key would be passed.",
        ErrorCode::QuotaExceeded => "The operator's account at the provider is out of money or units.",
        ErrorCode::RateLimited => "More requests came than are allowed in this time, here or at the provider.",
        ErrorCode::ServiceUnavailable => {
            "The service cannot take this now: it shuts down, is full, its database does not answer, or the provider is disabled."
        }
        ErrorCode::ContentFiltered => "The provider's moderation refused the prompt, an input image or the result.",
        ErrorCode::ProviderError => "The provider answered with a fault of its own.",
        ErrorCode::ProviderUnavailable => "No connection to the provider could be made.",
        ErrorCode::ProviderTimeout => "The provider was reached but did not answer in time.",
        ErrorCode::InternalError => "A fault of this service. It is logged under the request's id.",
        ErrorCode::S3UploadFailed => "The provider made the result, but it could not be moved to the configured storage.",
        ErrorCode::TaskTimeout => "The provider did not finish within the time given, nor within the late window behind it.",
        ErrorCode::TaskFailed => "The provider accepted the generation and reported that it failed.",
        ErrorCode::TaskCancelled => "The client asked to cancel it before anything was delivered.",
        ErrorCode::DependencyFailed => "A generation that this one depends on did not succeed.",
        ErrorCode::SubmissionUnconfirmed => {
            "Whether the provider accepted the submit could not be found out. It was not repeated, because that might pay twice."
        }
        ErrorCode::OutputExpired => "The provider finished, but its result was gone before it could be fetched.",
    }
}
