//! Every error code the service speaks, and the one table that says what each means.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::time::Timestamp;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal, $title:literal, $retry:ident, $level:ident;)+) => {
        /// What went wrong, in one word that clients may match on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum ErrorCode {$(
            $(#[$doc])*
            #[serde(rename = $text)]
            $name,
        )+}

        impl ErrorCode {
            /// Every code, in the table's order.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The word on the wire and in the store.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {$(Self::$name => $text),+}
            }

            /// The HTTP status when the code answers a request.
            #[must_use]
            pub const fn http_status(self) -> u16 {
                match self {$(Self::$name => $status),+}
            }

            /// The title of the problem document (RFC 9457 §3.1.3).
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self {$(Self::$name => $title),+}
            }

            /// Who may try again.
            #[must_use]
            pub const fn retry(self) -> RetryClass {
                match self {$(Self::$name => RetryClass::$retry),+}
            }

            /// How loudly it is logged.
            #[must_use]
            pub const fn level(self) -> Level {
                match self {$(Self::$name => Level::$level),+}
            }
        }
    };
}

codes! {
    /// The request cannot be read, or a provider refused it for its content's form.
    InvalidRequest = "INVALID_REQUEST", 400, "The request cannot be understood", Never, Info;
    /// A value is out of its range; `errors[]` names each.
    InvalidParameters = "INVALID_PARAMETERS", 422, "A parameter has a wrong value", Never, Info;
    /// No valid key was given, or a provider refused ours.
    AuthenticationFailed = "AUTHENTICATION_FAILED", 401, "The key is missing or wrong", Never, Warn;
    /// The key is valid but may not do this.
    PermissionDenied = "PERMISSION_DENIED", 403, "The key may not do this", Never, Info;
    /// Nothing is there, or it belongs to another project.
    NotFound = "NOT_FOUND", 404, "Nothing is here", Never, Debug;
    /// The path exists, the method does not.
    MethodNotAllowed = "METHOD_NOT_ALLOWED", 405, "The method is not allowed here", Never, Debug;
    /// The state it is in does not allow it.
    Conflict = "CONFLICT", 409, "The present state does not allow this", Never, Info;
    /// The same request, by its idempotency key, is being carried out.
    RequestInFlight = "REQUEST_IN_FLIGHT", 409, "The same request is being carried out", Later, Info;
    /// The idempotency key was used for a request with another body.
    IdempotencyKeyReused = "IDEMPOTENCY_KEY_REUSED", 422, "The idempotency key belongs to another request", Never, Info;
    /// The body is larger than the limit.
    PayloadTooLarge = "PAYLOAD_TOO_LARGE", 413, "The body is too large", Never, Info;
    /// The body is of a type that is not read here.
    UnsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE", 415, "The body's type is not read here", Never, Info;
    /// A spending limit of the project or key would be passed.
    SpendLimitReached = "SPEND_LIMIT_REACHED", 402, "A spending limit is reached", Later, Info;
    /// The account at the provider is out of money or units.
    QuotaExceeded = "QUOTA_EXCEEDED", 402, "The provider's quota is used up", Later, Error;
    /// Too many requests, here or at the provider.
    RateLimited = "RATE_LIMITED", 429, "Too many requests", Later, Info;
    /// The service cannot take it now.
    ServiceUnavailable = "SERVICE_UNAVAILABLE", 503, "The service cannot take this now", Later, Warn;
    /// The provider's moderation refused the input or the output.
    ContentFiltered = "CONTENT_FILTERED", 422, "The provider's moderation refused it", Never, Info;
    /// The provider failed.
    ProviderError = "PROVIDER_ERROR", 502, "The provider failed", Later, Warn;
    /// The provider cannot be reached.
    ProviderUnavailable = "PROVIDER_UNAVAILABLE", 503, "The provider cannot be reached", Later, Warn;
    /// The provider did not answer in time.
    ProviderTimeout = "PROVIDER_TIMEOUT", 504, "The provider did not answer in time", Later, Warn;
    /// A fault of our own.
    InternalError = "INTERNAL_ERROR", 500, "Something went wrong here", Later, Error;
    /// The result could not be moved to the configured storage.
    S3UploadFailed = "S3_UPLOAD_FAILED", 502, "The result could not be stored", Later, Error;
    /// The provider did not finish within the late window.
    TaskTimeout = "TASK_TIMEOUT", 504, "The generation took too long", Later, Warn;
    /// The provider says the generation failed.
    TaskFailed = "TASK_FAILED", 502, "The generation failed at the provider", Later, Info;
    /// The client cancelled it.
    TaskCancelled = "TASK_CANCELLED", 409, "The generation was cancelled", Never, Info;
    /// A generation it depends on did not succeed.
    DependencyFailed = "DEPENDENCY_FAILED", 424, "A generation it depends on failed", Never, Info;
    /// Whether the provider accepted the submit could not be found out.
    SubmissionUnconfirmed = "SUBMISSION_UNCONFIRMED", 502, "Whether the provider has it is unknown", Operator, Error;
    /// The result was gone before it could be fetched.
    OutputExpired = "OUTPUT_EXPIRED", 410, "The result expired at the provider", Later, Error;
}

/// Who may try again, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryClass {
    /// The same request will be refused again.
    Never,
    /// The same request may succeed later.
    Later,
    /// Only after somebody looked: trying again may pay twice.
    Operator,
}

/// How loudly a code is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Ordinary misuse.
    Debug,
    /// Ordinary refusals.
    Info,
    /// Something outside is wrong.
    Warn,
    /// Somebody should look.
    Error,
}

/// What a provider said, kept for the client and the operator.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailureDetails {
    /// HTTP status of the provider's answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub http_status: Option<u16>,
    /// The provider's own code, as text.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub provider_code: Option<String>,
    /// The provider's own words, cut to 500 characters.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub provider_message: Option<String>,
    /// The instant before which the provider wants no further request.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_after: Option<Timestamp>,
    /// The attempt's own code, where the generation ended with another one (SUBMISSION_UNCONFIRMED).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cause: Option<ErrorCode>,
}

/// Why an attempt or a generation did not succeed, as stored and shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The code.
    pub code: ErrorCode,
    /// One sentence for people.
    pub message: String,
    /// What the provider said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<FailureDetails>,
}

/// Longest text of a provider that we keep, in characters: enough for any documented message, too short to flood a mail.
const PROVIDER_TEXT: usize = 500;

impl Failure {
    /// A failure of our own, without a provider's words.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: None }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn retryable(&self) -> bool {
        self.code.retry() == RetryClass::Later
    }
}

/// Cuts a provider's text to what we keep.
#[must_use]
pub fn provider_text(text: &str) -> String {
    text.chars().take(PROVIDER_TEXT).collect()
}

/// What a Retry-After style hint asks for, at most: a provider's typo must not park a generation for a year.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);
