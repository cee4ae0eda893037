//! What the SDK's errors mean for us. Texts carry S3's code and message, never the request: it may hold a signature.

use std::error::Error;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::storage::StorageError;

/// Longest text taken over from a server.
const MAX_TEXT: usize = 300;

/// Reads an error of a call about `what`.
pub(super) fn read<E>(error: &SdkError<E, HttpResponse>, what: &str) -> StorageError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let Some(response) = error.raw_response() else {
        return unanswered(error);
    };
    let status = response.status().as_u16();
    let code = error.code().unwrap_or_default();
    let text = short(&format!("HTTP {status} {code} {}", error.message().unwrap_or_default()));
    match (status, code) {
        (404, "NoSuchBucket") => StorageError::Invalid(text),
        (404, _) => StorageError::NotFound(what.to_owned()),
        (401 | 403, _) => StorageError::Denied(text),
        // S3's 400 for a body that came too slowly.
        (_, "RequestTimeout") | (408 | 409 | 429, _) => StorageError::Unavailable(text),
        (400..=499, _) => StorageError::Invalid(text),
        (_, _) => StorageError::Unavailable(text),
    }
}

fn unanswered<E>(error: &SdkError<E, HttpResponse>) -> StorageError
where
    E: Error + 'static,
{
    let text = deepest(error);
    if matches!(error, SdkError::ConstructionFailure(_)) { StorageError::Invalid(text) } else { StorageError::Unavailable(text) }
}

/// The innermost cause: the outer ones say only that there is an inner one.
pub(super) fn deepest(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    short(&cause.to_string())
}

fn short(text: &str) -> String {
    text.trim().chars().take(MAX_TEXT).collect()
}
