//! The bodies of batches. Members are only ever added; enumerations are open: clients must bear new words.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    domain::{
        id::{BatchId, GenerationId},
        money::Micros,
        time::Timestamp,
        unconfirmed::OnUnconfirmed,
    },
    http::{
        batches::urls::BatchUrls,
        dto::{FailureView, FieldErrorBody, MissingView, NewGeneration, OnUnconfirmedWord, PriorityBody, ResultView, Status},
    },
    intake::batch::findings::Skipped,
};

/// What `POST /api/external/generation/batch` takes as JSON: `requests`; or `template` with `rows`; or `matrix`, with or without a
/// `template`. At most 1,000 requests; more as lines (`application/x-ndjson`).
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "documents the body; intake::batch::document reads it, to report everything wrong at once")]
pub struct NewBatch {
    /// One by one.
    #[schema(required = false, max_items = 1000)]
    requests: Vec<NewLine>,
    /// A request in whose texts `{{name}}` stands for a row's value.
    #[schema(required = false, value_type = Object)]
    template: Map<String, Value>,
    /// One request each: values for the template's placeholders, or members that replace the template's.
    #[schema(required = false, value_type = Vec<Object>)]
    rows: Vec<Value>,
    /// Axes, each with its values: one request for every combination, as a row.
    #[schema(required = false, value_type = Object)]
    matrix: Map<String, Value>,
    /// What holds for all of it.
    #[schema(required = false)]
    options: NewBatchOptions,
}

/// One request of a batch, or one line of a body of lines.
#[derive(Debug, ToSchema)]
#[schema(as = NewBatchLine)]
#[expect(dead_code, reason = "documents the body; intake::batch::line reads it")]
pub struct NewLine {
    /// As for a single generation; `inputImages` may also hold `{"$result": customId, "index": 0}`: an image that another request of
    /// this batch makes.
    #[serde(flatten)]
    #[schema(inline)]
    request: NewGeneration,
    /// Your name of it, once in a batch: 1 to 128 characters.
    #[schema(required = false, max_length = 128)]
    #[serde(rename = "customId")]
    custom_id: String,
    /// Requests of this batch that must succeed first, by their `customId`.
    #[schema(required = false, max_items = 20)]
    #[serde(rename = "dependsOn")]
    depends_on: Vec<String>,
}

/// What holds for all of a batch.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "documents the body; intake::batch::options reads it")]
pub struct NewBatchOptions {
    /// False: one after the other, in order.
    #[schema(required = false, default = true)]
    parallel: bool,
    /// Submits under way at a time.
    #[schema(required = false, minimum = 1, maximum = 1000, default = 3)]
    max_concurrency: u16,
    /// Whether the first failure cancels all that was not submitted by then.
    #[schema(required = false, default = false)]
    stop_on_error: bool,
    /// Of requests that name none.
    #[schema(required = false, value_type = PriorityBody, default = 5)]
    priority: u8,
    /// RFC 3339, at most 30 days ahead: what is not submitted by then ends CANCELLED.
    #[schema(required = false, format = DateTime)]
    deadline: String,
    /// What all submits together may cost: `"25.00 USD"`, or a whole number of micro-units. When it does not suffice for what waits,
    /// the batch is PAUSED.
    #[schema(required = false, value_type = String, example = "25.00 USD")]
    budget: String,
    /// `reject` creates nothing when any request is wrong; `skip` creates the others.
    #[schema(required = false, value_type = String, default = "reject")]
    on_invalid: String,
    /// Of requests that name none.
    #[schema(required = false, value_type = OnUnconfirmedWord)]
    on_unconfirmed: String,
    /// Whom to tell of the batch: an http(s) URL.
    #[schema(required = false, max_length = 2048)]
    webhook_url: String,
    /// Your name of it.
    #[schema(required = false, max_length = 200)]
    name: String,
    /// Your own notes: at most 50 members and 16 KiB.
    #[schema(required = false, value_type = Object)]
    metadata: Map<String, Value>,
    /// Checks everything and creates nothing.
    #[schema(required = false, default = false)]
    dry_run: bool,
}

/// A batch as it was accepted.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AcceptedBatch)]
pub struct AcceptedView {
    /// Id.
    #[schema(value_type = String, example = "batch_01930000000070008000000000000000")]
    pub batch_id: BatchId,
    /// Where it stands.
    #[schema(value_type = BatchStatusWord)]
    pub status: &'static str,
    /// Requests that were taken.
    pub total_tasks: u32,
    /// The first 1,000 of them, in order.
    pub tasks: Vec<AcceptedTask>,
    /// Where the list of tasks goes on: `cursor` of `urls.tasks`; null at the end.
    pub next_cursor: Option<String>,
    /// Whether there are more than 1,000.
    pub has_more: bool,
    /// Requests that were left out (`onInvalid` = `skip`).
    pub skipped_tasks: u32,
    /// The first 100 of them, each with all that is wrong.
    #[schema(value_type = Vec<SkippedBody>)]
    pub skipped: Vec<Skipped>,
    /// What it will cost.
    pub estimate: EstimateView,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Where to go on.
    pub urls: BatchUrls,
}

/// One request that was taken.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AcceptedTask {
    /// Its generation.
    #[schema(value_type = String)]
    pub id: GenerationId,
    /// Your name of it.
    pub custom_id: Option<String>,
    /// Which of the requests, from 0.
    pub index: u32,
    /// Where it stands.
    pub status: Status,
}

/// A request that was left out.
#[derive(Debug, ToSchema)]
#[schema(as = SkippedTask, rename_all = "camelCase")]
#[expect(dead_code, reason = "documents intake::batch::findings::Skipped")]
pub struct SkippedBody {
    /// Which of the requests, from 0.
    index: u32,
    /// Which line, from 1, where it came as lines.
    line: Option<u32>,
    /// Your name of it, where it could be read.
    custom_id: Option<String>,
    /// All that is wrong with it.
    errors: Vec<FieldErrorBody>,
}

/// What a batch would be (`dryRun`). Nothing was created.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DryRun)]
pub struct DryRunView {
    /// Always true.
    pub dry_run: bool,
    /// Requests that would be taken.
    pub total_tasks: u32,
    /// Requests that would be left out.
    pub skipped_tasks: u32,
    /// The first 100 of them.
    #[schema(value_type = Vec<SkippedBody>)]
    pub skipped: Vec<Skipped>,
    /// The first 1,000 requests as they would be taken: expanded, with all defaults. The bytes of `data:` URLs are left out.
    #[schema(value_type = Vec<Object>)]
    pub requests: Vec<Value>,
    /// What it would cost.
    pub estimate: EstimateView,
    /// How long it would take, in seconds, from its first submit on; waiting behind other work is not in it.
    pub expected_duration_seconds: u64,
    /// `measured` by what ended here lately, or partly `assumed` by what each model makes.
    pub duration_basis: &'static str,
}

/// What a batch will cost, as decimal text.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Estimate)]
pub struct EstimateView {
    /// The cheapest of what the requests leave to the provider.
    #[schema(value_type = String, example = "4.000000")]
    pub low: Micros,
    /// By the catalogue, every output made once.
    #[schema(value_type = String, example = "4.000000")]
    pub expected: Micros,
    /// The dearest of what the requests leave open, and each submit paid as often as `onUnconfirmed` = `resubmit` may.
    #[schema(value_type = String, example = "8.000000")]
    pub high: Micros,
    /// Of all amounts.
    #[schema(example = "USD")]
    pub currency: &'static str,
    /// Outputs of all.
    pub outputs: u64,
    /// Requests for models without a price in the catalogue: they count as nothing.
    pub unpriced_tasks: u64,
    /// By model.
    pub models: Vec<ModelShare>,
}

/// What falls to one model.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelShare {
    /// The model.
    pub model_identifier: String,
    /// Requests.
    pub tasks: u64,
    /// Outputs.
    pub outputs: u64,
    /// Expected cost.
    #[schema(value_type = String)]
    pub expected: Micros,
}

/// `PROCESSING`, `PAUSED`, `CANCELLING`; at the end `COMPLETED` (all succeeded), `PARTIAL_FAILED` (some did), `FAILED` (none did),
/// `CANCELLED` (the client cancelled).
#[derive(Debug, ToSchema)]
#[schema(as = BatchStatus, rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BatchStatusWord {
    /// Its tasks wait or are under way.
    Processing,
    /// Nothing new is submitted.
    Paused,
    /// A cancel is being carried out.
    Cancelling,
    /// All succeeded.
    Completed,
    /// The client cancelled.
    Cancelled,
    /// Some succeeded.
    PartialFailed,
    /// None succeeded.
    Failed,
}

/// A batch.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Batch)]
pub struct BatchView {
    /// What lists show, too.
    #[serde(flatten)]
    pub summary: BatchItem,
    /// When the last task is expected to end.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub eta: Option<Timestamp>,
    /// One sentence about what it waits for; null once it has ended.
    pub why: Option<String>,
    /// What holds for all of it.
    pub options: OptionsView,
    /// Your own notes.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Map<String, Value>>,
    /// The first tasks, in order.
    pub tasks: Vec<TaskView>,
    /// Where the list of tasks goes on: `cursor` of `urls.tasks`; null at the end.
    pub next_cursor: Option<String>,
    /// Whether there are more.
    pub has_more: bool,
}

/// One batch of a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = BatchListItem)]
pub struct BatchItem {
    /// Id.
    #[schema(value_type = String, example = "batch_01930000000070008000000000000000")]
    pub batch_id: BatchId,
    /// Your name of it.
    pub name: Option<String>,
    /// Where it stands.
    #[schema(value_type = BatchStatusWord)]
    pub status: &'static str,
    /// All tasks.
    pub total_tasks: u32,
    /// Those that succeeded.
    pub completed_tasks: u32,
    /// Those that failed.
    pub failed_tasks: u32,
    /// Those that were cancelled.
    pub cancelled_tasks: u32,
    /// Those under way.
    pub running_tasks: u32,
    /// Those of which nothing was submitted yet.
    pub waiting_tasks: u32,
    /// Ended ones of all, in per cent.
    #[schema(minimum = 0, maximum = 100)]
    pub progress: u8,
    /// Money so far.
    pub cost: BatchCost,
    /// Whether cancelling was asked for.
    pub cancel_requested: bool,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Last change.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// When its last task ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub completed_at: Option<Timestamp>,
    /// Where to go on.
    pub urls: BatchUrls,
}

/// Money of a batch, as decimal text.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchCost {
    /// Of its submits: charged, promised and not billed yet, or at risk.
    #[schema(value_type = String, example = "1.200000")]
    pub spent: Micros,
    /// The charged part of it.
    #[schema(value_type = String, example = "0.900000")]
    pub charged: Micros,
    /// What it may spend.
    #[schema(value_type = Option<String>, example = "25.000000")]
    pub budget: Option<Micros>,
    /// Of all amounts.
    #[schema(example = "USD")]
    pub currency: &'static str,
}

/// What holds for all of a batch.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = BatchOptions)]
pub struct OptionsView {
    /// Whether several run at a time.
    pub parallel: bool,
    /// Submits under way at a time.
    pub max_concurrency: u16,
    /// Whether the first failure cancels the rest.
    pub stop_on_error: bool,
    /// 1 (most urgent) to 10.
    pub priority: u8,
    /// What is not submitted by then ends CANCELLED.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub deadline: Option<Timestamp>,
    /// The policy for all, where you chose one.
    #[schema(value_type = Option<OnUnconfirmedWord>)]
    pub on_unconfirmed: Option<OnUnconfirmed>,
    /// Whom to tell of it.
    pub webhook_url: Option<String>,
}

/// A page of batches, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchList {
    /// The page.
    pub data: Vec<BatchItem>,
    /// Give it as `cursor` for the next page; null at the end.
    pub next_cursor: Option<String>,
    /// Whether a next page may hold more.
    pub has_more: bool,
}

/// One task of a batch: its newest generation.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = BatchTask)]
pub struct TaskView {
    /// Its generation; `GET /api/external/generation/{id}` shows everything about it.
    #[schema(value_type = String)]
    pub id: GenerationId,
    /// Your name of it.
    pub custom_id: Option<String>,
    /// Which of the requests, from 0.
    pub index: u32,
    /// Where it stands.
    pub status: Status,
    /// The model.
    pub model_identifier: String,
    /// What was delivered; empty until it has ended.
    pub results: Vec<ResultView>,
    /// Outputs of a partial success that were not delivered.
    pub missing: Vec<MissingView>,
    /// Why it did not succeed.
    pub error: Option<FailureView>,
    /// As far as known.
    #[schema(value_type = String, example = "0.040000")]
    pub charged: Micros,
    /// The failed generation whose place it took.
    #[schema(value_type = Option<String>)]
    pub retry_of: Option<GenerationId>,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
}

/// A page of tasks, in the order of the requests.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskList {
    /// The page.
    pub data: Vec<TaskView>,
    /// Give it as `cursor` for the next page; null at the end.
    pub next_cursor: Option<String>,
    /// Whether a next page may hold more.
    pub has_more: bool,
}

/// One task that has ended.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = BatchResult)]
pub struct ResultLine {
    /// The task.
    #[serde(flatten)]
    pub task: TaskView,
    /// Give it as `cursor` to go on behind this line.
    pub cursor: String,
}

/// Tasks that have ended, in the order of their ends.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResultList {
    /// The page.
    pub data: Vec<ResultLine>,
    /// Give it as `cursor` to go on: for the next page, or later for what ends until then. Null before the first end.
    pub next_cursor: Option<String>,
    /// Whether more have ended already.
    pub has_more: bool,
}

/// What `…/cancel` takes.
#[derive(Debug, ToSchema)]
#[schema(as = CancelBatch)]
#[expect(dead_code, reason = "documents the body")]
pub struct CancelBody {
    /// `queued` (default): what is not submitted ends CANCELLED, what is paid finishes. `all`: what the provider has is cancelled, too,
    /// where it can be.
    #[schema(required = false, value_type = String, default = "queued")]
    mode: String,
}

/// What `…/resume` takes.
#[derive(Debug, ToSchema)]
#[schema(as = ResumeBatch)]
#[expect(dead_code, reason = "documents the body")]
pub struct ResumeBody {
    /// A new budget for the whole batch, what is spent included: `"40.00 USD"`, or micro-units.
    #[schema(required = false, value_type = String, example = "40.00 USD")]
    budget: String,
}

/// What `…/retry-failed` takes.
#[derive(Debug, ToSchema)]
#[schema(as = RetryBatch)]
#[expect(dead_code, reason = "documents the body")]
pub struct RetryBody {
    /// Also tries what ended SUBMISSION_UNCONFIRMED or without a found-out end: it may have been paid already.
    #[schema(required = false, default = false)]
    force: bool,
}
