//! BFL's error tables. Its documents disagree about error bodies and no real one is recorded, so the HTTP status alone decides.

use crate::{
    domain::error::ErrorCode::{
        self, AuthenticationFailed, ContentFiltered, InvalidRequest, ProviderError, QuotaExceeded, RateLimited, TaskFailed,
    },
    providers::adapter::{
        Then::{self, Final, Throttled, Unclear},
        table::{Row, Table},
    },
};

const DOCS: &str = "BFL documentation, errors; OpenAPI";
const POST: &str = "BFL documentation, errors: server side; a POST may have been accepted";
const WORDS: &str = "BFL OpenAPI, StatusResponse";

const fn status(status: u16, error: ErrorCode, then: Then, means: &'static str) -> Row {
    Row { status, code: None, text: None, error, then, means, source: DOCS }
}

const fn server(code: u16, means: &'static str) -> Row {
    Row { source: POST, ..status(code, ProviderError, Unclear, means) }
}

/// Answers to a submit.
pub const TABLE: Table = Table {
    provider: "flux",
    rows: &[
        status(400, InvalidRequest, Final, "the request is invalid"),
        status(401, AuthenticationFailed, Final, "the key is wrong"),
        status(402, QuotaExceeded, Final, "the account is out of credits"),
        status(403, AuthenticationFailed, Final, "the key is wrong or may not do this"),
        status(404, InvalidRequest, Final, "there is no such model"),
        status(422, InvalidRequest, Final, "a field has an invalid value"),
        // 24 active tasks, 6 for flux-kontext-max: goes on when one of ours ends.
        status(429, RateLimited, Throttled, "more tasks are active than the account may have"),
        server(500, "it had an internal error"),
        server(502, "its gateway failed"),
        server(503, "it is unavailable"),
    ],
};

const fn word(code: &'static str, error: ErrorCode, means: &'static str) -> Row {
    Row { status: 200, code: Some(code), text: None, error, then: Final, means, source: WORDS }
}

const fn reason(text: &'static str) -> Row {
    Row {
        status: 200,
        code: None,
        text: Some(text),
        error: ContentFiltered,
        then: Final,
        means: "its moderation refused it",
        source: "BFL skills, webhook example: error content_policy_violation",
    }
}

/// Final status words. Whether a moderated or failed task is refunded is not established: no further try by itself.
pub const FAILURES: Table = Table {
    provider: "flux",
    rows: &[
        word("Request Moderated", ContentFiltered, "its moderation refused the request"),
        word("Content Moderated", ContentFiltered, "its moderation refused the result; another seed may pass"),
        reason("content policy"),
        reason("content_policy"),
        word("Error", TaskFailed, "the generation failed there"),
        word("Failed", TaskFailed, "the generation failed there"),
    ],
};
