//! `GET /media/{key}`: objects of the disk storage (and of memory, in tests), with ranges and validators. The key is the
//! secret that lets in; there is no listing. Objects at S3 have URLs of their own and are not found here.

use actix_files::NamedFile;
use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method, StatusCode,
        header::{CACHE_CONTROL, CONTENT_RANGE, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS},
    },
    web,
};

use crate::{media::inspect, storage::Storage};

/// What every object is sent with. Results are strangers' bytes on our origin: no sniffing, no scripts. A key never changes
/// its content, so it may be kept for good, but not by shared caches.
const HEADERS: [(HeaderName, HeaderValue); 3] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox")),
    (CACHE_CONTROL, HeaderValue::from_static("private, max-age=31536000, immutable")),
];

/// Why no object is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MediaRefusal {
    /// No such object, or not here.
    #[error("nothing is here")]
    NotFound,
    /// Only GET and HEAD.
    #[error("only GET and HEAD are allowed here")]
    Method,
}

/// Sends the object whose key is the path parameter `key`, to be routed as `/media/{key:.*}` for every method.
///
/// # Errors
/// [`MediaRefusal`], to be turned into a problem document.
pub async fn media(request: HttpRequest, storage: web::Data<Storage>) -> Result<HttpResponse, MediaRefusal> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Err(MediaRefusal::Method);
    }
    let key = request.match_info().query("key").to_owned();
    send(&request, &storage, &key).await
}

/// Sends an object.
///
/// # Errors
/// When it is not here.
pub async fn send(request: &HttpRequest, storage: &Storage, key: &str) -> Result<HttpResponse, MediaRefusal> {
    let content_type = key.rsplit_once('.').and_then(|(_, ext)| inspect::mime_of_extension(ext)).ok_or(MediaRefusal::NotFound)?;
    let mut response = match storage {
        Storage::Disk(_) => {
            let path = storage.disk_path(key).ok_or(MediaRefusal::NotFound)?;
            let file = NamedFile::open_async(path).await.map_err(|_| MediaRefusal::NotFound)?;
            if !file.metadata().is_file() {
                return Err(MediaRefusal::NotFound);
            }
            let mime = content_type.parse().map_err(|_| MediaRefusal::NotFound)?;
            file.set_content_type(mime).into_response(request)
        }
        Storage::Memory(memory) => {
            let stored = memory.object(key).map_err(|_| MediaRefusal::NotFound)?;
            HttpResponse::Ok().content_type(content_type).body(stored.bytes)
        }
        Storage::S3(_) => return Err(MediaRefusal::NotFound),
    };
    // actix-files answers 200 to a range that happens to be the whole file, beside a Content-Range that only a 206 may carry.
    if response.status() == StatusCode::OK && response.headers().contains_key(CONTENT_RANGE) {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}
