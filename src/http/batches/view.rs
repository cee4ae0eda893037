//! From the rows of a batch to what clients see. Pure.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::{
    domain::{
        batch::{Batch, BatchStatus},
        effects,
        record::Generation,
        time::Timestamp,
    },
    http::{
        batches::{
            dto::{AcceptedTask, BatchCost, BatchItem, BatchView, EstimateView, ModelShare, OptionsView, ResultLine, TaskView},
            urls::BatchUrls,
        },
        view::{self, Places},
    },
    intake::batch::estimate::Estimate,
    store::Loaded,
};

/// Soonest and latest second at which asking again is worth it.
const ASK_AGAIN: (u64, u64) = (2, 60);

/// What lists show.
#[must_use]
pub fn item(batch: &Batch, base: &str) -> BatchItem {
    let counts = batch.counts;
    BatchItem {
        batch_id: batch.id,
        name: batch.name.clone(),
        status: batch.status().as_str(),
        total_tasks: counts.total,
        completed_tasks: counts.completed,
        failed_tasks: counts.failed,
        cancelled_tasks: counts.cancelled,
        running_tasks: counts.running,
        waiting_tasks: counts.waiting(),
        progress: batch.progress(),
        cost: BatchCost { spent: batch.spent, charged: batch.charged, budget: batch.options.budget, currency: "USD" },
        cancel_requested: batch.cancel.is_some(),
        created_at: batch.created_at,
        updated_at: batch.updated_at,
        completed_at: batch.completed_at,
        urls: BatchUrls::of(base, batch.id),
    }
}

/// A batch with a page of its tasks.
#[must_use]
pub fn full(
    batch: &Batch,
    base: &str,
    (tasks, next_cursor): (Vec<TaskView>, Option<String>),
    (eta, why): (Option<Timestamp>, Option<String>),
) -> BatchView {
    let options = &batch.options;
    BatchView {
        summary: item(batch, base),
        eta,
        why,
        options: OptionsView {
            parallel: options.parallel,
            max_concurrency: options.max_concurrency,
            stop_on_error: options.stop_on_error,
            priority: options.priority,
            deadline: options.deadline,
            on_unconfirmed: options.on_unconfirmed,
            webhook_url: options.webhook_url.clone(),
        },
        metadata: batch.metadata.clone(),
        tasks,
        has_more: next_cursor.is_some(),
        next_cursor,
    }
}

/// What a batch waits for, as far as its row says.
#[must_use]
pub fn why(batch: &Batch) -> Option<String> {
    let sentence = match batch.status() {
        BatchStatus::Completed | BatchStatus::Cancelled | BatchStatus::PartialFailed | BatchStatus::Failed => return None,
        BatchStatus::Cancelling => "cancelling was asked for; what is at the providers is resolved first".to_owned(),
        BatchStatus::Paused if batch.paused_at.is_some() => {
            "it is paused; nothing new is submitted until it is resumed".to_owned()
        }
        BatchStatus::Paused => {
            let budget = batch.options.budget.unwrap_or_default();
            let (spent, budget) = (batch.spent.decimal(), budget.decimal());
            format!("{spent} of its budget of {budget} USD are spent, too much for what waits; resume it with a larger one")
        }
        BatchStatus::Processing if batch.retry.is_some() => "what failed is being tried again".to_owned(),
        BatchStatus::Processing if batch.stopped_at.is_some() => {
            "a task failed; what is paid finishes, the rest is cancelled".to_owned()
        }
        BatchStatus::Processing => {
            let most = if batch.options.parallel { batch.options.max_concurrency } else { 1 };
            format!("{} of at most {most} tasks at a time are under way, {} wait", batch.places, batch.counts.waiting())
        }
    };
    Some(sentence)
}

/// In how many seconds the client should ask again; none once it has ended.
#[must_use]
pub fn retry_after(batch: &Batch, eta: Option<Timestamp>, now: Timestamp) -> Option<u64> {
    let ended = batch.completed_at.is_some() && batch.retry.is_none();
    // A twentieth of what is left: the counts have moved on by then, and the end is not missed by more than that.
    let left = eta.map_or(Duration::ZERO, |eta| eta.since(now) / 20);
    (!ended).then(|| left.as_secs().clamp(ASK_AGAIN.0, ASK_AGAIN.1))
}

/// One task of a page: its newest generation, with its files once it has ended.
#[must_use]
pub fn task(generation: &Generation, loaded: Option<&Loaded>, places: &Places) -> TaskView {
    let files = loaded.map(|loaded| view::files(loaded, places)).unwrap_or_default();
    let charged = loaded.map(|loaded| effects::standing(&loaded.generation, &loaded.attempts).charged);
    let place = generation.batch.as_ref();
    TaskView {
        id: generation.id,
        custom_id: place.and_then(|place| place.custom_id.as_deref()).map(str::to_owned),
        index: place.map_or(0, |place| place.index),
        status: view::status(generation, &[]),
        model_identifier: generation.model.to_string(),
        results: files.results,
        missing: files.missing,
        error: generation.failure.as_ref().filter(|_| generation.state().terminal()).map(Into::into),
        charged: charged.unwrap_or_default(),
        retry_of: generation.retry_of,
        created_at: generation.created_at,
        ended_at: generation.ended_at,
    }
}

/// A task that was just accepted.
#[must_use]
pub fn accepted(generation: &Generation) -> AcceptedTask {
    let place = generation.batch.as_ref();
    AcceptedTask {
        id: generation.id,
        custom_id: place.and_then(|place| place.custom_id.as_deref()).map(str::to_owned),
        index: place.map_or(0, |place| place.index),
        status: view::status(generation, &[]),
    }
}

/// An estimate.
#[must_use]
pub fn estimate(estimate: &Estimate) -> EstimateView {
    let shares = estimate.models.iter().map(|(model, share)| ModelShare {
        model_identifier: model.to_string(),
        tasks: share.generations,
        outputs: share.outputs,
        expected: share.cost,
    });
    EstimateView {
        low: estimate.cost.low,
        expected: estimate.cost.expected,
        high: estimate.cost.high,
        currency: "USD",
        outputs: estimate.outputs,
        unpriced_tasks: estimate.unpriced,
        models: shares.collect(),
    }
}

/// A weak tag (RFC 9110 §8.8.3) over all that a status answer shows of the rows: the version covers counts and money, beside it stand
/// the wishes, which leave it as it is; then the page, and the period of result URLs that lapse. Expected times are left out.
#[must_use]
pub fn tag(batch: &Batch, page: u64, period: i64) -> String {
    let Batch { version, paused_at, cancel, retry, over_budget_at, stopped_at, options, .. } = batch;
    let mut hash = Sha256::new();
    hash.update(format!("{}:{version}:{paused_at:?}:{cancel:?}:{retry:?}", batch.id));
    hash.update(format!(":{over_budget_at:?}:{stopped_at:?}:{:?}:{page}:{period}", options.budget));
    let digest: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("W/\"{digest}\"")
}

/// The header line of results as CSV.
pub const COLUMNS: [&str; 13] = [
    "customId",
    "id",
    "index",
    "status",
    "modelIdentifier",
    "outputs",
    "urls",
    "errorCode",
    "errorMessage",
    "charged",
    "createdAt",
    "endedAt",
    "cursor",
];

/// A line of results as CSV; several URLs stand in one field with a space between.
#[must_use]
pub fn columns(line: &ResultLine) -> [String; 13] {
    let task = &line.task;
    let urls: Vec<&str> = task.results.iter().map(|result| result.url.as_str()).collect();
    let error = task.error.as_ref();
    [
        task.custom_id.clone().unwrap_or_default(),
        task.id.to_string(),
        task.index.to_string(),
        task.status.as_str().to_owned(),
        task.model_identifier.clone(),
        task.results.len().to_string(),
        urls.join(" "),
        error.map(|error| error.code.as_str().to_owned()).unwrap_or_default(),
        error.map(|error| error.message.clone()).unwrap_or_default(),
        task.charged.decimal(),
        task.created_at.rfc3339(),
        task.ended_at.map(Timestamp::rfc3339).unwrap_or_default(),
        line.cursor.clone(),
    ]
}
