//! Replicate's error tables: answers to a create, and the `error` texts of predictions that failed.

use crate::{
    domain::error::ErrorCode::{
        self, AuthenticationFailed, ContentFiltered, InvalidRequest, ProviderError, QuotaExceeded, RateLimited, TaskFailed,
    },
    providers::adapter::{
        Then::{self, Final, Throttled, Unclear},
        table::{Row, Table},
    },
};

const RECORDED: &str = "recorded traffic of replicate-python 1.0.7";
const DOCS: &str = "Replicate documentation, HTTP API reference";
const POLICY: &str = "replicate JS client 1.4.0: a POST is sent again on 429 only, never on 5xx";
const CODES: &str = "Replicate documentation, prediction error codes";
const THREADS: &str = "public issue threads: text of failed predictions";

const fn status(status: u16, error: ErrorCode, then: Then, means: &'static str, source: &'static str) -> Row {
    Row { status, code: None, text: None, error, then, means, source }
}

/// Answers to a create.
pub const TABLE: Table = Table {
    provider: "replicate",
    rows: &[
        status(400, InvalidRequest, Final, "the request is invalid", DOCS),
        status(401, AuthenticationFailed, Final, "the token is missing or wrong", RECORDED),
        status(402, QuotaExceeded, Final, "the account has not enough credit, or its spend limit is reached", DOCS),
        status(403, AuthenticationFailed, Final, "the token may not do this", DOCS),
        status(404, InvalidRequest, Final, "there is no such model or version", RECORDED),
        status(422, InvalidRequest, Final, "the version or the input is invalid", DOCS),
        status(429, RateLimited, Throttled, "requests come too fast", POLICY),
        status(500, ProviderError, Unclear, "it had an internal error", POLICY),
        status(502, ProviderError, Unclear, "its gateway failed", POLICY),
        status(503, ProviderError, Unclear, "it is unavailable", POLICY),
        status(504, ProviderError, Unclear, "its gateway had a timeout", POLICY),
    ],
};

const fn reason(text: &'static str, error: ErrorCode, means: &'static str, source: &'static str) -> Row {
    Row { status: 200, code: None, text: Some(text), error, then: Final, means, source }
}

/// Texts of failed predictions. A further try is a new paid prediction, so none follows by itself, also where the
/// documentation says "retry" (PA, E1000).
pub const FAILURES: Table = Table {
    provider: "replicate",
    rows: &[
        reason("e1001", TaskFailed, "the model ran out of memory", CODES),
        reason("e4875", InvalidRequest, "the webhook URL is empty", CODES),
        reason("nsfw", ContentFiltered, "the model's safety check refused it", THREADS),
        reason("flagged", ContentFiltered, "the model's safety check refused it", THREADS),
        reason("sensitive", ContentFiltered, "the model's safety check refused it", THREADS),
        reason("e1000", ProviderError, "the prediction failed for an unknown reason; another try would be paid again", CODES),
        reason("code: pa", ProviderError, "the prediction was interrupted; another try would be paid again", THREADS),
    ],
};
