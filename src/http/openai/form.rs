//! Bodies below `/v1`: JSON, or the form that OpenAI's packages send where a file may be part of it. Both end as the same members.

use std::time::Duration;

use actix_web::{HttpRequest, http::header::CONTENT_TYPE, web::Payload};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::stream;
use multer::Multipart;
use serde_json::{Map, Value};

use crate::{
    config::server::ServerConfig,
    domain::error::ErrorCode,
    http::{body, problem::Problem},
    media::inspect,
};

/// Parts of a form at most: the requests have two dozen members.
const MOST_PARTS: usize = 64;

/// Reads the members of a request.
///
/// # Errors
/// What [`body`] finds wrong with a body; `INVALID_REQUEST` for a form that cannot be read, or a body that is no object.
pub async fn members(request: &HttpRequest, payload: Payload, limits: &ServerConfig) -> Result<Map<String, Value>, Problem> {
    let given = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if let Ok(boundary) = multer::parse_boundary(given) {
        let longest = Duration::from_secs(limits.body_timeout_s);
        let bytes = body::raw(request, payload, (limits.max_body_bytes, longest)).await?.freeze();
        return form(Multipart::new(stream::iter([Ok::<_, std::io::Error>(bytes)]), boundary)).await;
    }
    match body::json(request, payload, limits).await? {
        Value::Object(members) => Ok(members),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(unreadable("send a JSON object"))
        }
    }
}

fn unreadable(detail: &str) -> Problem {
    Problem::new(ErrorCode::InvalidRequest, detail)
}

async fn form(mut form: Multipart<'_>) -> Result<Map<String, Value>, Problem> {
    let broken = |error: multer::Error| unreadable(&format!("the form cannot be read: {error}"));
    let mut members = Map::new();
    let mut parts = 0_usize;
    while let Some(part) = form.next_field().await.map_err(broken)? {
        parts = parts.saturating_add(1);
        if parts > MOST_PARTS {
            return Err(unreadable("the form has too many parts"));
        }
        let Some(name) = part.name().map(str::to_owned) else { return Err(unreadable("a part of the form has no name")) };
        let file = part.file_name().is_some();
        let bytes = part.bytes().await.map_err(broken)?;
        let value = if file { image(&name, &bytes)? } else { text(&name, &bytes)? };
        if !put(&mut members, &name, value) {
            return Err(unreadable(&format!("the form gives `{}` twice", shown(&name))));
        }
    }
    Ok(members)
}

fn shown(name: &str) -> String {
    name.chars().take(64).collect()
}

fn text(name: &str, bytes: &[u8]) -> Result<Value, Problem> {
    let text = std::str::from_utf8(bytes);
    text.map(Value::from).map_err(|_| unreadable(&format!("`{}` in the form is not UTF-8", shown(name))))
}

/// A file as a `data:` URL. Its bytes say what it is: names and types are whatever the client's package made of them.
fn image(name: &str, bytes: &[u8]) -> Result<Value, Problem> {
    match inspect::sniff(bytes) {
        Some(media) if ["image/png", "image/jpeg", "image/webp"].contains(&media.mime) => {
            Ok(format!("data:{};base64,{}", media.mime, STANDARD.encode(bytes)).into())
        }
        Some(_) | None => Err(unreadable(&format!("the file `{}` is neither PNG, JPEG nor WebP", shown(name)))),
    }
}

/// `a[b]` is the member `b` of the object `a`; false when it is there already.
fn put(members: &mut Map<String, Value>, name: &str, value: Value) -> bool {
    let inner = name.strip_suffix(']').and_then(|name| name.split_once('['));
    let Some((outer, inner)) = inner else { return members.insert(name.to_owned(), value).is_none() };
    match members.entry(outer).or_insert_with(|| Value::Object(Map::new())) {
        Value::Object(object) => object.insert(inner.to_owned(), value).is_none(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use actix_web::{FromRequest as _, test::TestRequest};
    use serde_json::json;

    use super::*;

    async fn read(content_type: &str, body: impl Into<actix_web::web::Bytes>) -> Result<Value, String> {
        let request = TestRequest::post().insert_header((CONTENT_TYPE, content_type)).set_payload(body);
        let (request, mut payload) = request.to_http_parts();
        let payload = Payload::from_request(&request, &mut payload).await.unwrap();
        members(&request, payload, &ServerConfig::default()).await.map(Value::Object).map_err(|problem| problem.to_string())
    }

    fn part(head: &str, body: &[u8]) -> Vec<u8> {
        [b"--b\r\nContent-Disposition: form-data; ", head.as_bytes(), b"\r\n\r\n", body, b"\r\n"].concat()
    }

    #[actix_web::test]
    async fn a_form_is_read_with_its_file_and_its_nested_members() {
        let png = b"\x89PNG\r\n\x1a\nrest";
        let form = [
            part("name=\"prompt\"", "ein Damm, grün".as_bytes()),
            part("name=\"seconds\"", b"4"),
            part("name=\"parameters[mode]\"", b"pro"),
            part("name=\"input_reference\"; filename=\"a\"\r\nContent-Type: application/octet-stream", png),
            b"--b--\r\n".to_vec(),
        ]
        .concat();
        let found = read("multipart/form-data; boundary=b", form).await.unwrap();
        let expected = json!({"prompt": "ein Damm, grün", "seconds": "4", "parameters": {"mode": "pro"},
            "input_reference": format!("data:image/png;base64,{}", STANDARD.encode(png))});
        assert_eq!(found, expected);
    }

    #[actix_web::test]
    async fn what_cannot_be_read_is_refused() {
        let twice = [part("name=\"a\"", b"1"), part("name=\"a\"", b"2"), b"--b--\r\n".to_vec()].concat();
        let file = [part("name=\"a\"; filename=\"a\"", b"GIF89a..."), b"--b--\r\n".to_vec()].concat();
        let many: Vec<u8> = (0..70).flat_map(|n| part(&format!("name=\"{n}\""), b"1")).collect();
        for (body, words) in [
            (twice, "twice"),
            (file, "neither PNG"),
            (many, "too many parts"),
            (part("name=\"a\"", b"1"), "cannot be read"),
            (part("name=\"a\"", b"\xff\xfe"), "cannot be read"),
        ] {
            let refused = read("multipart/form-data; boundary=b", body).await.unwrap_err();
            assert!(refused.starts_with("INVALID_REQUEST") && refused.contains(words), "{refused}");
        }
        assert!(read("application/json", "[]").await.unwrap_err().contains("JSON object"));
        assert!(read("text/plain", "x").await.unwrap_err().starts_with("UNSUPPORTED_MEDIA_TYPE"));
    }
}
