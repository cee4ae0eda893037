//! The form in which errors leave below `/v1`: OpenAI's, since the clients there read no other. Pure.
//!
//! Statuses are chosen so that OpenAI's packages raise the class that a program expects, and send again only what may succeed later
//! (they retry 408, 409, 429 and everything from 500 on, unless `x-should-retry` says no; PyPI `openai` 3.54, `_base_client.py`).

use serde_json::{Map, Value, json};

use crate::{
    domain::error::{ErrorCode, RetryClass},
    providers::schema::FieldError,
};

/// What is wrong, as the problem document knows it.
#[derive(Debug, Clone)]
pub struct Wrong<'a> {
    /// The code.
    pub code: ErrorCode,
    /// The status it would have elsewhere.
    pub status: u16,
    /// One sentence.
    pub detail: &'a str,
    /// Each wrong value.
    pub errors: Vec<&'a FieldError>,
    /// Further facts; `type`, `param` and `code` among them take the place of ours, all others are added.
    pub details: Option<&'a Value>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Value,
    /// Whether a client that sends again by itself may do so; none leaves it to the status.
    pub retry: Option<bool>,
}

/// Turns a problem into OpenAI's form.
#[must_use]
pub fn answer(wrong: Wrong<'_>) -> Answer {
    let (kind, word) = words(wrong.code);
    let first = wrong.errors.first();
    let mut error = Map::new();
    error.insert("message".to_owned(), message(&wrong).into());
    error.insert("type".to_owned(), kind.into());
    error.insert("param".to_owned(), first.map(|error| param(&error.pointer)).into());
    error.insert("code".to_owned(), first.map_or(word, |error| error.code).into());
    for (name, value) in wrong.details.and_then(Value::as_object).into_iter().flatten() {
        error.insert(name.clone(), value.clone());
    }
    Answer { status: status(&wrong), body: json!({ "error": error }), retry: retry(wrong.code) }
}

fn message(wrong: &Wrong<'_>) -> String {
    match wrong.errors.as_slice() {
        [] | [_] => wrong.detail.to_owned(),
        several => several.iter().map(|error| error.detail.as_str()).collect::<Vec<_>>().join("; "),
    }
}

/// The client's own name of what is wrong: pointers are ours.
fn param(pointer: &str) -> String {
    pointer.trim_start_matches(['#', '/', '?']).to_owned()
}

const fn status(wrong: &Wrong<'_>) -> u16 {
    match wrong.code {
        // What these clients call a bad request.
        ErrorCode::InvalidParameters | ErrorCode::ContentFiltered => 400,
        // What they call a spent quota.
        ErrorCode::SpendLimitReached => 429,
        ErrorCode::InvalidRequest
        | ErrorCode::AuthenticationFailed
        | ErrorCode::PermissionDenied
        | ErrorCode::NotFound
        | ErrorCode::MethodNotAllowed
        | ErrorCode::Conflict
        | ErrorCode::RequestInFlight
        | ErrorCode::IdempotencyKeyReused
        | ErrorCode::PayloadTooLarge
        | ErrorCode::UnsupportedMediaType
        | ErrorCode::QuotaExceeded
        | ErrorCode::RateLimited
        | ErrorCode::ServiceUnavailable
        | ErrorCode::ProviderError
        | ErrorCode::ProviderUnavailable
        | ErrorCode::ProviderTimeout
        | ErrorCode::InternalError
        | ErrorCode::S3UploadFailed
        | ErrorCode::TaskTimeout
        | ErrorCode::TaskFailed
        | ErrorCode::TaskCancelled
        | ErrorCode::DependencyFailed
        | ErrorCode::SubmissionUnconfirmed
        | ErrorCode::OutputExpired => wrong.status,
    }
}

/// Type and code. Codes that OpenAI has are spelled as there, all others as ours in small letters.
const fn words(code: ErrorCode) -> (&'static str, &'static str) {
    const REQUEST: &str = "invalid_request_error";
    const SERVER: &str = "server_error";
    match code {
        ErrorCode::InvalidRequest => (REQUEST, "invalid_request"),
        ErrorCode::InvalidParameters => (REQUEST, "invalid_value"),
        ErrorCode::AuthenticationFailed => (REQUEST, "invalid_api_key"),
        ErrorCode::PermissionDenied => (REQUEST, "permission_denied"),
        ErrorCode::NotFound => (REQUEST, "not_found"),
        ErrorCode::MethodNotAllowed => (REQUEST, "method_not_allowed"),
        ErrorCode::Conflict => (REQUEST, "conflict"),
        ErrorCode::RequestInFlight => (REQUEST, "request_in_flight"),
        ErrorCode::IdempotencyKeyReused => (REQUEST, "idempotency_key_reused"),
        ErrorCode::PayloadTooLarge => (REQUEST, "payload_too_large"),
        ErrorCode::UnsupportedMediaType => (REQUEST, "unsupported_media_type"),
        ErrorCode::ContentFiltered => ("image_generation_user_error", "moderation_blocked"),
        ErrorCode::SpendLimitReached => ("insufficient_quota", "insufficient_quota"),
        ErrorCode::RateLimited => ("requests", "rate_limit_exceeded"),
        ErrorCode::ServiceUnavailable => ("service_unavailable_error", "server_is_overloaded"),
        ErrorCode::QuotaExceeded => (SERVER, "quota_exceeded"),
        ErrorCode::ProviderError => (SERVER, "provider_error"),
        ErrorCode::ProviderUnavailable => (SERVER, "provider_unavailable"),
        ErrorCode::ProviderTimeout => (SERVER, "provider_timeout"),
        ErrorCode::InternalError => (SERVER, "internal_error"),
        ErrorCode::S3UploadFailed => (SERVER, "s3_upload_failed"),
        ErrorCode::TaskTimeout => (SERVER, "task_timeout"),
        ErrorCode::TaskFailed => (SERVER, "task_failed"),
        ErrorCode::TaskCancelled => (REQUEST, "task_cancelled"),
        ErrorCode::DependencyFailed => (SERVER, "dependency_failed"),
        ErrorCode::SubmissionUnconfirmed => (SERVER, "submission_unconfirmed"),
        ErrorCode::OutputExpired => (SERVER, "output_expired"),
    }
}

/// Statuses that these clients send again although it leads to nothing.
const fn retry(code: ErrorCode) -> Option<bool> {
    match (code, code.retry()) {
        (ErrorCode::SpendLimitReached | ErrorCode::TaskCancelled, _) | (_, RetryClass::Operator) => Some(false),
        (_, RetryClass::Never | RetryClass::Later) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(code: ErrorCode) -> Wrong<'static> {
        Wrong { code, status: code.http_status(), detail: "it is so", errors: Vec::new(), details: None }
    }

    #[test]
    fn every_code_has_a_status_a_type_and_a_code_of_its_own() {
        let answers: Vec<Answer> = ErrorCode::ALL.iter().map(|code| answer(wrong(*code))).collect();
        let words: std::collections::BTreeSet<_> =
            answers.iter().map(|answer| answer.body["error"]["code"].to_string()).collect();
        assert_eq!(words.len(), ErrorCode::ALL.len());
        assert!(answers.iter().all(|answer| answer.status >= 400 && answer.body["error"]["param"].is_null()));
    }

    #[test]
    fn several_wrong_values_are_one_message_under_the_first_ones_name() {
        let field =
            |pointer: &str, code, detail: &str| FieldError { pointer: pointer.to_owned(), code, detail: detail.to_owned() };
        let errors = [field("#/seconds", "not_one_of", "seconds is 5 or 10"), field("#/size", "not_one_of", "size is 16:9")];
        let found = answer(Wrong { errors: errors.iter().collect(), ..wrong(ErrorCode::InvalidParameters) });
        let expected = json!({"error": {"message": "seconds is 5 or 10; size is 16:9", "type": "invalid_request_error",
            "param": "seconds", "code": "not_one_of"}});
        assert_eq!((found.status, found.body, found.retry), (400, expected, None));
    }

    #[test]
    fn further_facts_are_added_and_may_say_more_exactly_what_is_wrong() {
        let details = json!({"param": "model", "code": "model_not_found", "generation_id": "gen_1"});
        let error = answer(Wrong { details: Some(&details), ..wrong(ErrorCode::NotFound) }).body["error"].clone();
        assert_eq!((&error["param"], &error["code"]), (&json!("model"), &json!("model_not_found")));
        assert_eq!((&error["generation_id"], &error["type"]), (&json!("gen_1"), &json!("invalid_request_error")));
    }

    #[test]
    fn a_spent_limit_is_not_asked_again() {
        let spent = answer(wrong(ErrorCode::SpendLimitReached));
        assert_eq!((spent.status, spent.retry), (429, Some(false)));
        assert_eq!(spent.body["error"]["type"], "insufficient_quota");
    }
}
