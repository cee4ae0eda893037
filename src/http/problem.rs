//! Problem documents (RFC 9457): the only form in which an error leaves the service.

use std::{fmt, sync::Arc};

use actix_web::{
    HttpResponse, ResponseError,
    http::{
        StatusCode,
        header::{HeaderName, HeaderValue},
    },
};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{
    domain::{
        error::{ErrorCode, Level, RetryClass},
        limits::OverLimit,
    },
    http::{media::MediaRefusal, openai::error as openai},
    intake::batch::{LineError, findings::Findings},
    providers::schema::FieldError,
    store::StoreError,
};

/// What a wait of unknown length is announced as, in seconds: long enough to spare us, short enough to go on soon.
const SHORT_WAIT_S: u64 = 2;

/// What is wrong, before it becomes a response. Boxed: it rides in every `Result`.
#[derive(Debug, Clone)]
pub struct Problem(Box<Facts>);

#[derive(Debug, Clone)]
struct Facts {
    code: ErrorCode,
    status: StatusCode,
    detail: String,
    errors: Vec<LineError>,
    details: Option<Value>,
    retry_after_s: Option<u64>,
    headers: Vec<(HeaderName, HeaderValue)>,
    instance: Option<Arc<str>>,
    form: Form,
}

/// How it leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Problem,
    /// Below `/v1`.
    OpenAi,
}

/// A problem document (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody<'a> {
    /// Path of the page that explains this kind of problem.
    #[serde(rename = "type")]
    #[schema(example = "/errors/invalid-parameters")]
    kind: String,
    /// The same for every problem of this type.
    title: &'static str,
    /// The HTTP status.
    #[schema(value_type = u16)]
    status: u16,
    /// What is wrong here.
    detail: &'a str,
    /// The request id: tell it to who operates the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
    /// A stable word such as `INVALID_PARAMETERS`. New ones may be added.
    code: &'static str,
    /// Whether the same request may succeed later.
    retryable: bool,
    /// Each thing wrong with the request.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(value_type = Vec<crate::http::dto::FieldErrorBody>, required = false)]
    errors: &'a [LineError],
    /// Further facts, by kind of problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    details: Option<&'a Value>,
}

impl Problem {
    /// A problem with the status of its code.
    #[must_use]
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self(Box::new(Facts {
            code,
            status: StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            detail: detail.into(),
            errors: Vec::new(),
            details: None,
            retry_after_s: None,
            headers: Vec::new(),
            instance: None,
            form: Form::Problem,
        }))
    }

    /// Values that are wrong, each with its place.
    #[must_use]
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [only] => only.detail.clone(),
            several => format!("{} values are wrong; `errors` names each", several.len()),
        };
        let mut problem = Self::new(ErrorCode::InvalidParameters, detail);
        problem.0.errors = errors.into_iter().map(LineError::from).collect();
        problem
    }

    /// What is wrong with a batch: as much of it as an answer holds, and how much there is.
    #[must_use]
    pub fn invalid_batch(findings: Findings) -> Self {
        let total = findings.total();
        let errors = findings.named();
        let named = errors.len();
        let detail = match errors.as_slice() {
            [only] if total == 1 => only.error.detail.clone(),
            _ if u64::try_from(named) == Ok(total) => {
                format!("{total} values are wrong; `errors` names each; nothing was created")
            }
            _ => format!("{total} values are wrong; `errors` names the first {named}; nothing was created"),
        };
        let mut problem = Self::new(ErrorCode::InvalidParameters, detail);
        problem.0.errors = errors;
        problem.with_details(json!({"errorCount": total, "named": named}))
    }

    /// Not now; with a hint when to come back.
    #[must_use]
    pub fn unavailable(detail: impl Into<String>) -> Self {
        let mut problem = Self::new(ErrorCode::ServiceUnavailable, detail);
        problem.0.retry_after_s = Some(SHORT_WAIT_S);
        problem
    }

    /// For an answer that somebody else refused with a status of its own; nothing of its body is kept.
    #[must_use]
    pub fn of_status(status: StatusCode) -> Self {
        let same = |code: &&ErrorCode| code.http_status() == status.as_u16();
        let code = match status.as_u16() {
            // Several codes share these.
            422 => ErrorCode::InvalidParameters,
            503 => ErrorCode::ServiceUnavailable,
            _ if status.is_server_error() => ErrorCode::InternalError,
            _ => ErrorCode::ALL.iter().find(same).copied().unwrap_or(ErrorCode::InvalidRequest),
        };
        let mut problem = Self::new(code, status.canonical_reason().unwrap_or("the request was refused"));
        problem.0.status = status;
        problem
    }

    /// Adds further facts.
    #[must_use]
    pub fn with_details(mut self, details: Value) -> Self {
        self.0.details = Some(details);
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// Changes what is said of each wrong value.
    #[must_use]
    pub fn with_errors(mut self, change: impl Fn(&mut FieldError)) -> Self {
        self.0.errors.iter_mut().for_each(|line| change(&mut line.error));
        self
    }

    /// Lets it leave as OpenAI's clients read it.
    #[must_use]
    pub fn as_openai(mut self) -> Self {
        self.0.form = Form::OpenAi;
        self
    }

    /// Names the request.
    #[must_use]
    pub fn with_instance(mut self, request_id: Arc<str>) -> Self {
        self.0.instance = Some(request_id);
        self
    }

    /// Its code.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        self.0.code
    }

    fn body(&self) -> ProblemBody<'_> {
        ProblemBody {
            kind: format!("/errors/{}", slug(self.0.code)),
            title: self.0.code.title(),
            status: self.0.status.as_u16(),
            detail: &self.0.detail,
            instance: self.0.instance.as_deref(),
            code: self.0.code.as_str(),
            retryable: self.0.code.retry() == RetryClass::Later,
            errors: &self.0.errors,
            details: self.0.details.as_ref(),
        }
    }

    fn openai(&self) -> (StatusCode, openai::Answer) {
        let answer = openai::answer(openai::Wrong {
            code: self.0.code,
            status: self.0.status.as_u16(),
            detail: &self.0.detail,
            errors: self.0.errors.iter().map(|line| &line.error).collect(),
            details: self.0.details.as_ref(),
        });
        (StatusCode::from_u16(answer.status).unwrap_or(self.0.status), answer)
    }

    fn log(&self) {
        let (code, status) = (self.0.code.as_str(), self.0.status.as_u16());
        // What is said of a wrong value may quote it, and a value may be a prompt: only the kinds of errors are logged.
        let kinds: Vec<&str> = self.0.errors.iter().map(|error| error.error.code).collect();
        let detail = if kinds.is_empty() { self.0.detail.clone() } else { kinds.join(", ") };
        match self.0.code.level() {
            Level::Debug => tracing::debug!(code, status, detail, "request refused"),
            Level::Info => tracing::info!(code, status, detail, "request refused"),
            Level::Warn => tracing::warn!(code, status, detail, "request refused"),
            Level::Error => tracing::error!(code, status, detail, "request failed"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code.as_str(), self.0.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        match self.0.form {
            Form::Problem => self.0.status,
            Form::OpenAi => self.openai().0,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        let body = match self.0.form {
            Form::Problem => {
                response.content_type("application/problem+json");
                serde_json::to_vec(&self.body())
            }
            Form::OpenAi => {
                let (_, answer) = self.openai();
                response.content_type("application/json");
                if let Some(retry) = answer.retry {
                    response.insert_header(("x-should-retry", retry.to_string()));
                }
                serde_json::to_vec(&answer.body)
            }
        };
        if let Some(seconds) = self.0.retry_after_s {
            response.insert_header(("Retry-After", seconds.to_string()));
        }
        for (name, value) in &self.0.headers {
            response.insert_header((name.clone(), value.clone()));
        }
        response.body(body.unwrap_or_default())
    }
}

/// Writes the log line of a problem once, where it leaves.
pub(crate) fn log(problem: &Problem) {
    problem.log();
}

/// The last part of a code's page: `INVALID_PARAMETERS` is explained at `/errors/invalid-parameters`.
#[must_use]
pub fn slug(code: ErrorCode) -> String {
    code.as_str().to_ascii_lowercase().replace('_', "-")
}

impl From<MediaRefusal> for Problem {
    fn from(refusal: MediaRefusal) -> Self {
        match refusal {
            MediaRefusal::NotFound => Self::new(ErrorCode::NotFound, "there is no such file"),
            MediaRefusal::Method => Self::new(ErrorCode::MethodNotAllowed, "only GET and HEAD are taken here"),
        }
    }
}

impl From<OverLimit> for Problem {
    fn from(over: OverLimit) -> Self {
        let scope = if over.target.key.is_some() { "key" } else { "project" };
        Self::new(ErrorCode::SpendLimitReached, over.to_string()).with_details(json!({
            "limitOf": scope, "limit": over.limit, "spent": over.spent, "asked": over.asked, "currency": "USD",
            "resetsAt": over.resets_at(),
        }))
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if let StoreError::OverLimit(over) = error {
            return over.into();
        }
        if let StoreError::Claimed(before) = &error {
            return Self::new(ErrorCode::Conflict, format!("the same request has made {}", before.subject));
        }
        tracing::warn!(error = &error as &dyn std::error::Error, "the store failed a request");
        if matches!(error, StoreError::Corrupt { .. }) {
            return Self::new(ErrorCode::InternalError, "a stored row cannot be read");
        }
        Self::unavailable("the database is not available: it does not answer, or cannot write")
    }
}
