//! Pollo's error tables. Its codes are words (tRPC); no table of numbers is published.

use crate::{
    domain::error::ErrorCode::{
        self, AuthenticationFailed, ContentFiltered, InvalidRequest, ProviderError, QuotaExceeded, RateLimited,
    },
    providers::adapter::{
        Then::{self, Final, Throttled, Unclear},
        table::{Row, Table},
    },
};

const CLIENTS: &str = "published Pollo adapters: billing errors are known by the word credit alone";
const DOCS: &str = "Pollo documentation and published clients: tRPC error bodies";
const ASSUMED: &str = "not documented; an explicit 429 refuses before anything runs, so back off";
const AMBIGUOUS: &str = "published clients: a 5xx may have been accepted and billed, and nothing finds it";

const fn code(status: u16, code: &'static str, error: ErrorCode, then: Then, means: &'static str) -> Row {
    Row { status, code: Some(code), text: None, error, then, means, source: DOCS }
}

const fn status(status: u16, error: ErrorCode, then: Then, means: &'static str) -> Row {
    Row { status, code: None, text: None, error, then, means, source: DOCS }
}

/// Answers to a submit.
pub const TABLE: Table = Table {
    provider: "pollo",
    rows: &[
        // Before all else: a server error that names credit is still one whose outcome is unknown.
        code(500, "INTERNAL_SERVER_ERROR", ProviderError, Unclear, "it had an internal error"),
        code(504, "TIMEOUT", ProviderError, Unclear, "it had an internal timeout"),
        Row {
            status: 400,
            code: None,
            text: Some("credit"),
            error: QuotaExceeded,
            then: Final,
            means: "the account has not enough credit",
            source: CLIENTS,
        },
        code(401, "UNAUTHORIZED", AuthenticationFailed, Final, "the key is wrong"),
        code(403, "FORBIDDEN", AuthenticationFailed, Final, "the key may not do this"),
        code(400, "BAD_REQUEST", InvalidRequest, Final, "the request is invalid"),
        code(404, "NOT_FOUND", InvalidRequest, Final, "there is no such model"),
        Row { source: ASSUMED, ..code(429, "TOO_MANY_REQUESTS", RateLimited, Throttled, "requests come too fast") },
        status(401, AuthenticationFailed, Final, "the key is wrong"),
        status(403, AuthenticationFailed, Final, "the key may not do this"),
        status(400, InvalidRequest, Final, "the request is invalid"),
        status(404, InvalidRequest, Final, "there is no such model"),
        Row { source: ASSUMED, ..status(429, RateLimited, Throttled, "requests come too fast") },
        Row { source: AMBIGUOUS, ..status(500, ProviderError, Unclear, "it had an internal error") },
    ],
};

const fn reason(text: &'static str) -> Row {
    Row {
        status: 200,
        code: None,
        text: Some(text),
        error: ContentFiltered,
        then: Final,
        means: "its moderation refused it",
        source: "failMsg is free text; words of moderation are our reading",
    }
}

/// Reasons of a failed generation. A refund on failure is not established, so none is paid again by itself.
pub const FAILURES: Table = Table {
    provider: "pollo",
    rows: &[reason("nsfw"), reason("sensitive"), reason("moderat"), reason("policy"), reason("violat"), reason("prohibited")],
};
