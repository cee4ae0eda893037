//! `GET /files/{provider}/{task}-{n}.{ext}`: the outputs, with ranges, ETag, the provider's own way of expiring, and the
//! download faults (`truncate`, `type`, `bytes`, `expire`). Open to all, as the providers' signed or unsigned URLs are.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::{BoxBody, SizedStream};
use actix_web::http::{Method, StatusCode, header};
use actix_web::web::{self, Bytes};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::{StreamExt as _, stream};
use sha2::{Digest as _, Sha256};

use super::state::Sim;
use super::tasks::{End, Phase, Task};
use super::{Provider, clock};

/// Writes a SHA-256 in hexadecimal.
pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Writes bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().map_or('0', char::from);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Serves one output.
pub(super) async fn serve(request: &HttpRequest, path: &str, sim: &Arc<Sim>) -> HttpResponse {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return HttpResponse::MethodNotAllowed().finish();
    }
    let Some((task, name)) = locate(path, sim, request.method()) else { return HttpResponse::NotFound().body("not found") };
    if task.expired(clock::now_ms()) || task.stale(request.query_string()) {
        return gone(task.provider);
    }
    if task.faults.html {
        return HttpResponse::Ok().content_type("text/html; charset=utf-8").body("<html><body>Just a moment...</body></html>");
    }
    match render(sim, &task, name).await {
        Some(bytes) => answer(request, &task, bytes),
        None => HttpResponse::InternalServerError().body("the output cannot be made"),
    }
}

/// Makes the bytes: in place when they are tiny, else on a thread of its own, since a large picture takes a second.
async fn render(sim: &Arc<Sim>, task: &Task, name: String) -> Option<Bytes> {
    if sim.config.tiny_outputs {
        return sim.studio.render(&task.media, &name).ok().map(Bytes::from);
    }
    let (sim, media) = (Arc::clone(sim), task.media.clone());
    let made = web::block(move || sim.studio.render(&media, &name)).await;
    made.ok()?.ok().map(Bytes::from)
}

/// Finds the task of a path like `kling/123-0.mp4`, counts the download, and names the output.
fn locate(path: &str, sim: &Sim, method: &Method) -> Option<(Task, String)> {
    let (provider, file) = path.split_once('/')?;
    let provider = Provider::named(provider)?;
    let (name, extension) = file.rsplit_once('.')?;
    let (id, index) = name.rsplit_once('-')?;
    let index: u32 = index.parse().ok()?;
    let mut inner = sim.lock();
    let task = inner.tasks.by_id(provider, id)?;
    let ready = task.phase(clock::now_ms()) == Phase::Ended(End::Succeeded);
    if !ready || index >= task.outputs || extension != task.media.extension() {
        return None;
    }
    if *method == Method::GET {
        task.downloads = task.downloads.saturating_add(1);
    }
    Some((task.clone(), name.to_owned()))
}

/// Answers an output whose time is over: signed URLs are refused, unsigned files are missing.
fn gone(provider: Provider) -> HttpResponse {
    let status = match provider {
        Provider::Flux | Provider::Kling => StatusCode::FORBIDDEN,
        Provider::Replicate | Provider::Pollo => StatusCode::NOT_FOUND,
        Provider::Tuzi => StatusCode::GONE,
    };
    HttpResponse::build(status).content_type("application/xml").body("<Error><Code>AccessDenied</Code></Error>")
}

fn answer(request: &HttpRequest, task: &Task, bytes: Bytes) -> HttpResponse {
    let etag = format!("\"{}\"", sha256_hex(&bytes).get(..32).unwrap_or_default());
    let header_of = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    if header_of(header::IF_NONE_MATCH).is_some_and(|given| given.split(',').any(|one| one.trim() == etag)) {
        return HttpResponse::NotModified().insert_header((header::ETAG, etag)).finish();
    }
    let whole = bytes.len();
    // A range for another version of the file must give the whole of this one.
    let range = header_of(header::RANGE).filter(|_| header_of(header::IF_RANGE).is_none_or(|given| given == etag));
    let part = match range.map(|text| wanted(text, whole)) {
        None | Some(Wanted::Whole) => None,
        Some(Wanted::Part(part)) => Some(part),
        Some(Wanted::Outside) => {
            return HttpResponse::RangeNotSatisfiable()
                .insert_header((header::CONTENT_RANGE, format!("bytes */{whole}")))
                .finish();
        }
    };
    let mut response = HttpResponse::build(if part.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK });
    let kind = task.faults.content_type.clone().unwrap_or_else(|| task.media.content_type().to_owned());
    response.insert_header((header::CONTENT_TYPE, kind));
    response.insert_header((header::ETAG, etag)).insert_header((header::ACCEPT_RANGES, "bytes"));
    if let Some(part) = &part {
        response.insert_header((header::CONTENT_RANGE, format!("bytes {}-{}/{whole}", part.start, part.end - 1)));
    }
    let body = part.map_or_else(|| bytes.clone(), |part| bytes.slice(part));
    if task.faults.truncate > 0 && task.downloads <= task.faults.truncate && request.method() == Method::GET {
        return response.body(cut_short(body));
    }
    response.body(body)
}

/// A body that promises its whole length, gives half of it and then breaks the connection.
fn cut_short(body: Bytes) -> BoxBody {
    let half = body.slice(..body.len() / 2);
    let broken = io::Error::new(io::ErrorKind::ConnectionReset, "cut short by directive");
    let end = stream::once(async move {
        // A body that breaks at once takes the unsent headers with it; waiting lets the first half reach the socket.
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(broken)
    });
    let parts = stream::once(async move { Ok(half) }).chain(end);
    BoxBody::new(SizedStream::new(body.len() as u64, Box::pin(parts)))
}

#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// No range, or one in a form that may be ignored.
    Whole,
    Part(Range<usize>),
    Outside,
}

/// Reads one byte range (RFC 9110, section 14.1.2); several ranges at once are answered with the whole.
fn wanted(text: &str, whole: usize) -> Wanted {
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else { return Wanted::Whole };
    let (start, end) = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(start), Ok(end)) if start <= end => (start, end.saturating_add(1).min(whole)),
        (Ok(start), Err(_)) if last.is_empty() => (start, whole),
        (Err(_), Ok(count)) if first.is_empty() => (whole.saturating_sub(count), whole),
        (Ok(_) | Err(_), Ok(_) | Err(_)) => return Wanted::Whole,
    };
    if start >= end { Wanted::Outside } else { Wanted::Part(start..end) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_follow_the_rfc() {
        assert_eq!(wanted("bytes=0-9", 100), Wanted::Part(0..10));
        assert_eq!(wanted("bytes=90-", 100), Wanted::Part(90..100));
        assert_eq!(wanted("bytes=-5", 100), Wanted::Part(95..100));
        assert_eq!(wanted("bytes=50-500", 100), Wanted::Part(50..100));
        assert_eq!(wanted("bytes=100-", 100), Wanted::Outside);
        assert_eq!(wanted("bytes=1-2,5-6", 100), Wanted::Whole);
        assert_eq!(wanted("lines=1-2", 100), Wanted::Whole);
    }
}
