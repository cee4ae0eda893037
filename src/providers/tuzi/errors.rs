//! Tuzi's error table: OpenAI's error object, with the codes of the relay software it resembles (new-api).

use serde_json::Value;

use crate::{
    domain::error::ErrorCode::{
        self, AuthenticationFailed, ContentFiltered, InvalidRequest, ProviderError, QuotaExceeded, RateLimited,
    },
    providers::adapter::{
        Reply,
        Then::{self, Final, Throttled, Unclear},
        pick,
        table::{Row, Said, Table},
    },
};

const CLIENTS: &str = "published Tuzi clients: OpenAI style errors {error: {message, type, code}}";
const RELAY: &str = "new-api: the relay's own error codes and texts";
const OPENAI: &str = "OpenAI API reference, error codes, which the relay passes on";
const LOST: &str = "published Tuzi clients: a failed answer does not stop or refund the job behind it";

const fn code(status: u16, code: &'static str, error: ErrorCode, means: &'static str, source: &'static str) -> Row {
    Row { status, code: Some(code), text: None, error, then: Final, means, source }
}

const fn text(text: &'static str, error: ErrorCode, means: &'static str, source: &'static str) -> Row {
    Row { status: 400, code: None, text: Some(text), error, then: Final, means, source }
}

const fn status(status: u16, error: ErrorCode, then: Then, means: &'static str, source: &'static str) -> Row {
    Row { status, code: None, text: None, error, then, means, source }
}

/// Explicit refusals of a submit; the callers let nothing else reach it. Failed tasks are read by it too.
pub const TABLE: Table = Table {
    provider: "tuzi",
    rows: &[
        code(403, "insufficient_user_quota", QuotaExceeded, "the account has no quota left", RELAY),
        code(429, "insufficient_quota", QuotaExceeded, "the account is out of money", OPENAI),
        code(400, "content_policy_violation", ContentFiltered, "the moderation refused it", OPENAI),
        code(400, "moderation_blocked", ContentFiltered, "the moderation refused it", OPENAI),
        code(401, "invalid_api_key", AuthenticationFailed, "the key is wrong", OPENAI),
        code(404, "model_not_found", InvalidRequest, "there is no such model", OPENAI),
        text("quota", QuotaExceeded, "the account has no quota left", RELAY),
        text("insufficient balance", QuotaExceeded, "the account has no balance", RELAY),
        text("content policy", ContentFiltered, "the moderation refused it", OPENAI),
        text("moderat", ContentFiltered, "the moderation refused it", OPENAI),
        text("nsfw", ContentFiltered, "the moderation refused it", OPENAI),
        text("sensitive", ContentFiltered, "the moderation refused it", OPENAI),
        status(400, InvalidRequest, Final, "the request is invalid", CLIENTS),
        status(401, AuthenticationFailed, Final, "the key is wrong", CLIENTS),
        status(402, QuotaExceeded, Final, "the account has no balance", CLIENTS),
        status(403, AuthenticationFailed, Final, "the key may not do this", CLIENTS),
        status(404, InvalidRequest, Final, "there is no such model or path", CLIENTS),
        // The wrapper style (`/async/v1/…`) is retired and says so.
        status(410, InvalidRequest, Final, "this style of call is retired", CLIENTS),
        status(422, InvalidRequest, Final, "a field has an invalid value", CLIENTS),
        status(429, RateLimited, Throttled, "requests come too fast", RELAY),
        status(500, ProviderError, Unclear, "it failed; the job may run on", LOST),
        status(502, ProviderError, Unclear, "its gateway failed; the job may run on", LOST),
        status(503, ProviderError, Unclear, "it is unavailable; the job may run on", LOST),
        status(504, ProviderError, Unclear, "its gateway had a timeout; the job may run on", LOST),
    ],
};

/// What an answer says.
pub fn said(reply: &Reply, body: &Value) -> Said {
    let code = pick::code(body, &["error", "code"]).or_else(|| pick::code(body, &["code"]));
    Said::of(reply).saying(code, pick::complaint(body).as_deref())
}

/// Whether an answer refuses so clearly that nothing can be running: a client error with an error object.
pub fn explicit(reply: &Reply, body: &Value) -> bool {
    let status = reply.status.as_u16();
    let stopped_waiting = status == 408 || status == 499;
    reply.status.is_client_error() && !stopped_waiting && body.is_object() && pick::complaint(body).is_some()
}
