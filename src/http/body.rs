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

use crate::{config::server::ServerConfig, domain::error::ErrorCode, http::problem::Problem};

/// Reads a JSON body within the configured limits.
///
/// # Errors
/// `UNSUPPORTED_MEDIA_TYPE`, `PAYLOAD_TOO_LARGE`, or `INVALID_REQUEST` with the position of what cannot be read.
pub async fn json(request: &HttpRequest, payload: Payload, limits: &ServerConfig) -> Result<Value, Problem> {
    check_type(request)?;
    let bytes = raw(request, payload, (limits.max_body_bytes, Duration::from_secs(limits.body_timeout_s))).await?;
    parse(&bytes, limits.max_json_depth)
}

fn check_type(request: &HttpRequest) -> Result<(), Problem> {
    let refuse = |detail: &str| Err(Problem::new(ErrorCode::UnsupportedMediaType, detail));
    let header = |name| request.headers().get(name).map(|value| value.to_str().unwrap_or_default().to_ascii_lowercase());
    if header(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return refuse("compressed bodies are not read here");
    }
    let Some(full) = header(CONTENT_TYPE) else {
        return refuse("send `Content-Type: application/json`");
    };
    let essence = full.split(';').next().unwrap_or_default().trim();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        return Ok(());
    }
    refuse("only `application/json` is read here")
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
fn broken(error: &PayloadError) -> Problem {
    tracing::debug!(error = error as &dyn std::error::Error, "a body broke off");
    Problem::new(ErrorCode::InvalidRequest, "the body broke off before its end")
}

/// Parses a whole body.
///
/// # Errors
/// `INVALID_REQUEST`: bad UTF-8, nesting above `max_depth`, or broken JSON, each with its position.
pub fn parse(bytes: &[u8], max_depth: usize) -> Result<Value, Problem> {
    let refuse = |detail: String| Problem::new(ErrorCode::InvalidRequest, detail);
    if bytes.is_empty() {
        return Err(refuse("the body is empty; send a JSON object".to_owned()));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        refuse(format!("the body is not UTF-8 from byte {at} on")).with_details(json!({"byte": at}))
    })?;
    if let Some(at) = too_deep(text, max_depth) {
        let detail = format!("the body nests deeper than {max_depth} levels at byte {at}");
        return Err(refuse(detail).with_details(json!({"byte": at, "maxDepth": max_depth})));
    }
    serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let detail = format!("the body is not valid JSON at line {line}, column {column}");
        refuse(detail).with_details(json!({"line": line, "column": column}))
    })
}

/// The byte at which brackets nest deeper than allowed. Counts outside of strings; what is no JSON at all is the parser's.
fn too_deep(text: &str, max_depth: usize) -> Option<usize> {
    let (mut depth, mut within_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        if within_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => within_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => within_string = true,
            b'[' | b'{' => depth = depth.saturating_add(1),
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > max_depth {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{parse, too_deep};
    use crate::domain::error::ErrorCode;

    #[test]
    fn nesting_is_counted_outside_of_strings_only() {
        assert_eq!(too_deep(r#"{"a":["[[[[","\"[[["]}"#, 2), None);
        assert_eq!(too_deep("[[[]]]", 2), Some(2));
        assert_eq!(too_deep("[][][]", 1), None);
    }

    #[test]
    fn a_body_nested_a_million_times_is_refused_without_recursion() {
        let problem = parse("[".repeat(1_000_000).as_bytes(), 32).unwrap_err();
        assert_eq!(problem.code(), ErrorCode::InvalidRequest);
    }

    #[test]
    fn what_cannot_be_read_says_where() {
        for (bytes, words) in [
            (&b"{\"a\": \xff}"[..], "from byte 6 on"),
            (b"{\"a\": 1,\n }", "line 2, column 2"),
            (b"", "empty"),
            (b"{} {}", "line 1, column 4"),
            (b"{\"a\": 1e999}", "line 1"),
        ] {
            let problem = parse(bytes, 32).unwrap_err();
            assert!(problem.to_string().contains(words), "{problem}");
        }
    }
}
