//! Reads JSON bodies: type, size, time, encoding and depth are judged before anything is parsed.

use std::time::Duration;

use actix_web::{
    HttpRequest,
    error::PayloadError,
    http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE},
    web::{BytesMut, Payload},
};
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::{config::server::ServerConfig, domain::error::ErrorCode, http::problem::Problem, intake::json as text};

/// Reads a JSON body within the configured limits.
///
/// # Errors
/// `UNSUPPORTED_MEDIA_TYPE`, `PAYLOAD_TOO_LARGE`, or `INVALID_REQUEST` with the position of what cannot be read.
pub async fn json(request: &HttpRequest, payload: Payload, limits: &ServerConfig) -> Result<Value, Problem> {
    check_type(request)?;
    let bytes = raw(request, payload, (limits.max_body_bytes, Duration::from_secs(limits.body_timeout_s))).await?;
    parse(&bytes, limits.max_json_depth)
}

/// Reads a JSON body that may be missing.
///
/// # Errors
/// As [`json()`].
pub async fn optional_json(request: &HttpRequest, payload: Payload, limits: &ServerConfig) -> Result<Option<Value>, Problem> {
    let bytes = raw(request, payload, (limits.max_body_bytes, Duration::from_secs(limits.body_timeout_s))).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    check_type(request)?;
    parse(&bytes, limits.max_json_depth).map(Some)
}

/// In which form a body comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One JSON text.
    Json,
    /// One JSON text a line.
    Lines,
}

/// The form that the headers announce.
///
/// # Errors
/// `UNSUPPORTED_MEDIA_TYPE`.
pub fn form(request: &HttpRequest) -> Result<Form, Problem> {
    const LINES: [&str; 4] = ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"];
    match essence(request)? {
        Some(essence) if LINES.contains(&essence.as_str()) => Ok(Form::Lines),
        Some(essence) if is_json(&essence) => Ok(Form::Json),
        Some(_) | None => Err(unsupported("send `Content-Type: application/json` or `application/x-ndjson`")),
    }
}

fn check_type(request: &HttpRequest) -> Result<(), Problem> {
    match essence(request)? {
        None => Err(unsupported("send `Content-Type: application/json`")),
        Some(essence) if is_json(&essence) => Ok(()),
        Some(_) => Err(unsupported("only `application/json` is read here")),
    }
}

fn is_json(essence: &str) -> bool {
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// The media type without its parameters, in lower case; none when there is none.
fn essence(request: &HttpRequest) -> Result<Option<String>, Problem> {
    let header = |name| request.headers().get(name).map(|value| value.to_str().unwrap_or_default().to_ascii_lowercase());
    if header(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(unsupported("compressed bodies are not read here"));
    }
    Ok(header(CONTENT_TYPE).map(|full| full.split(';').next().unwrap_or_default().trim().to_owned()))
}

fn unsupported(detail: &str) -> Problem {
    Problem::new(ErrorCode::UnsupportedMediaType, detail)
}

/// Reads a body as it is, of at most so many bytes and within so long.
///
/// # Errors
/// `PAYLOAD_TOO_LARGE`, or `INVALID_REQUEST` when it breaks off or does not arrive in time.
pub async fn raw(
    request: &HttpRequest,
    mut payload: Payload,
    (largest, longest): (usize, Duration),
) -> Result<BytesMut, Problem> {
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > largest) {
        return Err(too_large(largest));
    }
    let all = async {
        let mut body = BytesMut::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|error| broken(&error))?;
            if body.len().saturating_add(chunk.len()) > largest {
                return Err(too_large(largest));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    };
    match tokio::time::timeout(longest, all).await {
        Ok(body) => body,
        Err(_) => Err(Problem::new(ErrorCode::InvalidRequest, "the body did not arrive in time")),
    }
}

fn too_large(largest: usize) -> Problem {
    Problem::new(ErrorCode::PayloadTooLarge, format!("a body has at most {largest} bytes"))
        .with_details(json!({"maxBytes": largest}))
}

/// The client is gone or its chunks are malformed: nobody may read the answer, so it is not worth a louder word.
pub(super) fn broken(error: &PayloadError) -> Problem {
    tracing::debug!(error = error as &dyn std::error::Error, "a body broke off");
    Problem::new(ErrorCode::InvalidRequest, "the body broke off before its end")
}

/// Parses a whole body.
///
/// # Errors
/// `INVALID_REQUEST`: it is empty, or what [`text::parse`] says.
pub fn parse(bytes: &[u8], max_depth: usize) -> Result<Value, Problem> {
    if bytes.is_empty() {
        return Err(Problem::new(ErrorCode::InvalidRequest, "the body is empty; send a JSON object"));
    }
    text::parse(bytes, max_depth).map_err(|unreadable| {
        Problem::new(ErrorCode::InvalidRequest, format!("the body {}", unreadable.detail)).with_details(unreadable.place)
    })
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::domain::error::ErrorCode;

    #[test]
    fn a_body_that_cannot_be_read_says_why() {
        for (bytes, words) in
            [(&b""[..], "the body is empty"), (b"{\"a\": 1,\n }", "the body is not valid JSON at line 2, column 2")]
        {
            let problem = parse(bytes, 32).unwrap_err();
            assert_eq!(problem.code(), ErrorCode::InvalidRequest);
            assert!(problem.to_string().contains(words), "{problem}");
        }
    }
}
