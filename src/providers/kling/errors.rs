//! Kling's error table. HTTP 429 alone says nothing: four of its six codes are permanent.

use crate::{
    domain::error::ErrorCode::{
        AuthenticationFailed, ContentFiltered, InvalidRequest, ProviderError, QuotaExceeded, RateLimited,
    },
    providers::adapter::{
        Then::{self, Final, RetryUnbilled, Throttled, Unclear},
        table::{Row, Table},
    },
};

const DOCS: &str = "Kling API reference, error codes (copy of 2026-09-20)";
const SEEN: &str = "Kling API reference, error codes; also seen live, 2026-09";
const PROBE: &str = "live probe of 2026-09: a second create with the same external_task_id";
const RELAY: &str = "new-api relay/channel/task/kling/adaptor.go: Kling's code is lost, its text remains";
const GATEWAY: &str = "new-api: the relay's own limits, OpenAI style";

const fn row(status: u16, code: &'static str, error: crate::domain::error::ErrorCode, then: Then, means: &'static str) -> Row {
    Row { status, code: Some(code), text: None, error, then, means, source: DOCS }
}

const fn seen(row: Row) -> Row {
    Row { source: SEEN, ..row }
}

const fn with_text(row: Row, text: &'static str, source: &'static str) -> Row {
    Row { text: Some(text), source, ..row }
}

const EXISTS: Row =
    row(400, "1201", InvalidRequest, Unclear, "it has a task with our external_task_id already: an earlier send arrived");

/// Answers to a submit.
pub const TABLE: Table = Table {
    provider: "kling",
    rows: &[
        row(401, "1000", AuthenticationFailed, Final, "the authentication failed"),
        row(401, "1001", AuthenticationFailed, Final, "the authorization is empty"),
        seen(row(401, "1002", AuthenticationFailed, Final, "the authorization is invalid; newer paths take API keys only")),
        // Explicit and before anything was created; the next try signs a new token.
        row(401, "1003", AuthenticationFailed, RetryUnbilled, "the token is not valid yet: check this machine's clock"),
        row(401, "1004", AuthenticationFailed, RetryUnbilled, "the token expired: check this machine's clock"),
        row(429, "1100", AuthenticationFailed, Final, "the account is in an abnormal state"),
        row(429, "1101", QuotaExceeded, Final, "the account is in arrears"),
        seen(row(429, "1102", QuotaExceeded, Final, "the resource pack is used up or expired")),
        row(403, "1103", AuthenticationFailed, Final, "the account has no right to this resource or model"),
        row(400, "1200", InvalidRequest, Final, "the parameters are invalid"),
        with_text(EXISTS, "already exist", PROBE),
        with_text(EXISTS, "duplicate", PROBE),
        seen(row(400, "1201", InvalidRequest, Final, "a parameter has an invalid value")),
        row(404, "1202", InvalidRequest, Final, "the method is invalid"),
        row(404, "1203", InvalidRequest, Final, "the resource or model does not exist"),
        row(400, "1300", ContentFiltered, Final, "a policy of the platform was triggered"),
        row(400, "1301", ContentFiltered, Final, "its content security was triggered"),
        row(429, "1302", RateLimited, Throttled, "requests come too fast"),
        seen(row(429, "1303", RateLimited, Throttled, "more tasks run than the resource pack allows")),
        row(429, "1304", AuthenticationFailed, Final, "this address is not on the account's IP whitelist"),
        // 5000 and 5002 may hide a created task: the lookup by external id decides.
        row(500, "5000", ProviderError, Unclear, "it had an internal error"),
        row(503, "5001", ProviderError, RetryUnbilled, "it is unavailable for maintenance"),
        row(504, "5002", ProviderError, Unclear, "it had an internal timeout"),
    ],
};

const fn text(status: u16, text: &'static str, error: crate::domain::error::ErrorCode, then: Then, means: &'static str) -> Row {
    Row { status, code: None, text: Some(text), error, then, means, source: RELAY }
}

/// Answers of a relay to a submit, where none of Kling's codes came through.
pub const RELAY_TABLE: Table = Table {
    provider: "kling relay",
    rows: &[
        text(400, "parallel task over resource pack", RateLimited, Throttled, "more tasks run than the resource pack allows"),
        text(400, "account balance not enough", QuotaExceeded, Final, "the account behind it has no balance"),
        text(400, "resource pack", QuotaExceeded, Final, "the resource pack behind it is used up or expired"),
        text(403, "quota", QuotaExceeded, Final, "the account at the relay has no quota left"),
        text(402, "balance", QuotaExceeded, Final, "the account at the relay has no balance"),
        text(400, "already exist", InvalidRequest, Unclear, "it has a task with our external_task_id already"),
        text(400, "content security", ContentFiltered, Final, "content security was triggered"),
        text(400, "risk control", ContentFiltered, Final, "the platform's risk control refused it"),
        Row {
            status: 429,
            code: None,
            text: None,
            error: RateLimited,
            then: Throttled,
            means: "requests come too fast",
            source: GATEWAY,
        },
    ],
};

const fn reason(text: &'static str, means: &'static str) -> Row {
    Row { status: 200, code: None, text: Some(text), error: ContentFiltered, then: Final, means, source: REASONS }
}

const REASONS: &str = "reasons are free text (new-api pull request 2532); words of moderation are our reading";

/// Reasons of a failed task. Whether a failure is charged is not known, so none may be paid again by itself.
pub const FAILURES: Table = Table {
    provider: "kling",
    rows: &[
        reason("risk control", "the platform's risk control refused it"),
        reason("content security", "its content security refused it"),
        reason("sensitive", "its moderation refused it"),
        reason("moderat", "its moderation refused it"),
        reason("policy", "a policy of the platform refused it"),
        reason("nsfw", "its moderation refused it"),
    ],
};
