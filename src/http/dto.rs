//! The bodies that clients see. Members are only ever added; enumerations are open: clients must bear new words.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::domain::{
    error::{ErrorCode, Failure, FailureDetails},
    id::GenerationId,
    money::Micros,
    record::Kind,
    time::Timestamp,
    unconfirmed::OnUnconfirmed,
};

/// What `POST /api/external/generation` takes. `input_images` and `number_of_outputs` are accepted spellings too.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "documents the body; intake::ask reads it, to report everything wrong at once")]
pub struct NewGeneration {
    /// A model of `GET /api/external/models`.
    #[schema(example = "flux-pro-1.1")]
    model_identifier: String,
    /// What to make; white space around it is dropped. 1 to 2,000 characters, or the model's own limit.
    #[schema(min_length = 1)]
    prompt: String,
    /// http(s) URLs, or `data:image/(png|jpeg|jpg|webp);base64,…`; the model says which and how many.
    #[schema(required = false, max_items = 100)]
    input_images: Vec<String>,
    /// How many outputs.
    #[schema(required = false, minimum = 1, maximum = 10, default = 1)]
    number_of_outputs: u16,
    /// The model's own parameters.
    #[schema(required = false, value_type = Object)]
    parameters: Map<String, Value>,
    /// Your own user, kept as it is.
    #[schema(required = false, max_length = 256)]
    user_id: Option<String>,
    /// Your own notes, kept as they are: at most 50 members and 16 KiB.
    #[schema(required = false, value_type = Object)]
    metadata: Option<Map<String, Value>>,
    /// What follows when nobody can say whether the provider accepted the submit: `fail` ends it with SUBMISSION_UNCONFIRMED,
    /// `hold` keeps it for an operator, `resubmit` submits once more and may pay twice. Default: as the service is configured.
    #[schema(required = false, value_type = OnUnconfirmedWord)]
    on_unconfirmed: Option<String>,
    /// 1 (most urgent) to 10, or `urgent` (1), `high` (3), `normal` (5), `low` (7), `background` (10).
    #[schema(required = false, value_type = PriorityBody, default = 5)]
    priority: Option<u8>,
    /// Whom to tell of its end: an http(s) URL of at most 2,048 bytes, without a password.
    #[schema(required = false, max_length = 2048)]
    webhook_url: Option<String>,
}

/// A priority: by number, or by word.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Priority)]
#[serde(untagged)]
pub enum PriorityBody {
    /// 1 (most urgent) to 10.
    Number(u8),
    /// `urgent` (1), `high` (3), `normal` (5), `low` (7), `background` (10).
    Word(String),
}

/// Where a generation stands, in the words that clients know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// Nothing was submitted yet.
    Pending,
    /// Submitted at least once.
    Processing,
    /// Ended: at least one output was delivered.
    Success,
    /// Ended: no output was delivered.
    Failed,
    /// Ended: the client cancelled before anything was delivered.
    Cancelled,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Processing, Self::Success, Self::Failed, Self::Cancelled];

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Processing => "PROCESSING",
            Self::Success => "SUCCESS",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }
}

/// A generation with everything about it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Generation)]
pub struct GenerationView {
    /// Id.
    #[schema(value_type = String, example = "gen_01930000000070008000000000000000")]
    pub id: GenerationId,
    /// Where it stands.
    pub status: Status,
    /// The inner word: `waiting`, `preparing`, `queued`, `submitting`, `unconfirmed`, `running`, `overdue`, `storing`,
    /// `cancelling`, `completed`, `failed`, `cancelled`. New ones may be added.
    pub stage: &'static str,
    /// One sentence about what it waits for; null once it has ended.
    pub why: Option<String>,
    /// 0 to 100, where the provider says so.
    #[schema(minimum = 0, maximum = 100)]
    pub progress: Option<u8>,
    /// Provider section.
    pub provider: String,
    /// The model.
    pub model_identifier: String,
    /// What it makes.
    #[schema(value_type = KindWord)]
    pub kind: Kind,
    /// What was delivered; empty until it has ended.
    pub results: Vec<ResultView>,
    /// Outputs of a partial success that were not delivered.
    pub missing: Vec<MissingView>,
    /// Results that came after the end; the status stays.
    pub late_results: Vec<ResultView>,
    /// Why it did not succeed.
    pub error: Option<FailureView>,
    /// Money.
    pub cost: CostView,
    /// The prompt, as accepted.
    pub prompt: String,
    /// Input images, as accepted; the bytes of `data:` URLs are left out.
    pub input_images: Vec<String>,
    /// Outputs asked for.
    pub number_of_outputs: u16,
    /// The model's parameters with defaults applied.
    #[schema(value_type = Object)]
    pub parameters: Map<String, Value>,
    /// Your own user.
    pub user_id: Option<String>,
    /// Your own notes.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Map<String, Value>>,
    /// Each submit to the provider, in order.
    pub attempts: Vec<AttemptView>,
    /// Whether cancelling was asked for.
    pub cancel_requested: bool,
    /// What follows when nobody can say whether the provider accepted a submit.
    #[schema(value_type = OnUnconfirmedWord)]
    pub on_unconfirmed: OnUnconfirmed,
    /// 1 (most urgent) to 10.
    #[schema(minimum = 1, maximum = 10)]
    pub priority: u8,
    /// Whom to tell of its end.
    pub webhook_url: Option<String>,
    /// The request that made it.
    pub request_id: String,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Last change.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// Where to go on.
    pub urls: UrlsView,
}

/// `image` or `video`.
#[derive(Debug, Clone, Copy, ToSchema)]
#[schema(as = Kind, rename_all = "lowercase")]
pub enum KindWord {
    /// Still images.
    Image,
    /// Video clips.
    Video,
}

/// What follows when nobody can say whether the provider accepted a submit.
#[derive(Debug, ToSchema)]
#[schema(as = OnUnconfirmed, rename_all = "lowercase")]
pub enum OnUnconfirmedWord {
    /// It fails with SUBMISSION_UNCONFIRMED.
    Fail,
    /// It waits for an operator.
    Hold,
    /// It is submitted once more and may be paid twice.
    Resubmit,
}

/// One file of a result.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GenerationResult)]
pub struct ResultView {
    /// Which of the outputs, from 0.
    pub index: u16,
    /// What it is.
    #[serde(rename = "type")]
    #[schema(value_type = KindWord)]
    pub kind: Kind,
    /// Where it is.
    pub url: String,
    /// MIME type.
    pub content_type: Option<String>,
    /// Pixels.
    pub width: Option<i32>,
    /// Pixels.
    pub height: Option<i32>,
    /// Length of a video.
    pub duration_seconds: Option<f64>,
    /// Size.
    pub bytes: Option<i64>,
    /// SHA-256 of the content, hexadecimal.
    pub sha256: Option<String>,
    /// When the URL stops working; absent when it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
}

/// An output that was not delivered.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MissingResult)]
pub struct MissingView {
    /// Which of the outputs, from 0.
    pub index: u16,
    /// Why.
    pub error: FailureView,
}

/// Why something did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Failure)]
pub struct FailureView {
    /// A stable word such as `CONTENT_FILTERED`. New ones may be added.
    #[schema(value_type = String)]
    pub code: ErrorCode,
    /// One sentence.
    pub message: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// What the provider said.
    #[schema(value_type = Option<FailureDetailsBody>)]
    pub details: Option<FailureDetails>,
}

/// What the provider said.
#[derive(Debug, ToSchema)]
#[schema(as = FailureDetails, rename_all = "camelCase")]
#[expect(dead_code, reason = "documents domain::error::FailureDetails, which knows nothing of documents")]
pub struct FailureDetailsBody {
    /// HTTP status of the provider's answer.
    http_status: Option<u16>,
    /// The provider's own code.
    provider_code: Option<String>,
    /// The provider's own words, cut to 500 characters.
    provider_message: Option<String>,
    /// The instant before which the provider wants no further request.
    #[schema(format = DateTime)]
    retry_after: Option<String>,
    /// The attempt's own code, where the generation ended with another one.
    cause: Option<String>,
}

impl From<&Failure> for FailureView {
    fn from(failure: &Failure) -> Self {
        Self {
            code: failure.code,
            message: failure.message.clone(),
            retryable: failure.retryable(),
            details: failure.details.clone(),
        }
    }
}

/// Money, as decimal text.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Cost)]
pub struct CostView {
    /// As estimated when it was accepted.
    #[schema(value_type = String, example = "0.040000")]
    pub estimated: Micros,
    /// Promised and not billed yet.
    #[schema(value_type = String, example = "0.000000")]
    pub held: Micros,
    /// As far as known: what the provider said, else the estimate of each billed submit.
    #[schema(value_type = String, example = "0.040000")]
    pub charged: Micros,
    /// Of submits whose outcome nobody could find out: possibly billed.
    #[schema(value_type = String, example = "0.000000")]
    pub at_risk: Micros,
    /// Of all amounts.
    #[schema(example = "USD")]
    pub currency: &'static str,
}

/// One submit to the provider.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Attempt)]
pub struct AttemptView {
    /// 1, 2, … within the generation.
    pub n: u16,
    /// `submitting`, `unconfirmed`, `running`, `storing`, `delivered`, `refused`, `never_sent`, `failed`, `cancelled`,
    /// `timed_out`, `expired`, `given_up`. New ones may be added.
    pub state: &'static str,
    /// Provider section.
    pub provider: String,
    /// The provider's own id of it, once known.
    pub provider_task_id: Option<String>,
    /// The first output that it makes, from 0.
    pub first_output: u16,
    /// How many outputs it makes.
    pub outputs: u16,
    /// Why it did not succeed.
    pub error: Option<FailureView>,
    /// When the decision to submit was recorded.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When the provider accepted it.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub submitted_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
}

/// Ready-made URLs.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GenerationUrls)]
pub struct UrlsView {
    /// GET: the generation.
    #[serde(rename = "self")]
    pub this: String,
    /// POST: cancels it.
    pub cancel: String,
    /// GET: what happened to it.
    pub history: String,
    /// GET: what happens to it, as it happens.
    pub events: String,
}

/// One generation of a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GenerationListItem)]
pub struct ListItem {
    /// Id.
    #[schema(value_type = String)]
    pub id: GenerationId,
    /// Where it stands.
    pub status: Status,
    /// Provider section.
    pub provider: String,
    /// The model.
    pub model_identifier: String,
    /// What it makes.
    #[schema(value_type = KindWord)]
    pub kind: Kind,
    /// Outputs asked for.
    pub number_of_outputs: u16,
    /// Why it did not succeed.
    pub error: Option<FailureView>,
    /// Whether cancelling was asked for.
    pub cancel_requested: bool,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Last change.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// Where to go on.
    pub urls: UrlsView,
}

/// A page of generations, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GenerationList {
    /// The page.
    pub data: Vec<ListItem>,
    /// Give it as `cursor` for the next page; null at the end.
    pub next_cursor: Option<String>,
    /// Whether a next page may hold more.
    pub has_more: bool,
}

/// What happened to a generation, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct HistoryList {
    /// The steps.
    pub data: Vec<HistoryItem>,
}

/// One step.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryItem {
    /// The attempt it speaks of; 0 for the generation itself.
    pub attempt: u16,
    /// State before; null at the birth.
    pub from: Option<String>,
    /// State after.
    pub to: String,
    /// Why.
    pub reason: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// One thing wrong with a request.
#[derive(Debug, ToSchema)]
#[schema(as = FieldError)]
#[expect(dead_code, reason = "documents providers::schema::FieldError, which knows nothing of documents")]
pub struct FieldErrorBody {
    /// A JSON pointer into the body, as a URI fragment (`#/parameters/duration`), or `?name` for a query parameter.
    pointer: String,
    /// A stable word such as `out_of_range`. New ones may be added.
    code: String,
    /// One sentence.
    detail: String,
    /// Which request of a batch, from 0.
    #[schema(required = false)]
    index: u32,
    /// Which line of a body of lines, from 1; the pointer then begins at that line.
    #[schema(required = false)]
    line: u32,
}
