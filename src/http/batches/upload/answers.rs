//! What a batch is answered with: as it was accepted, or as it would be.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use actix_web::{
    HttpResponse,
    http::header::{LOCATION, RETRY_AFTER},
};
use serde_json::{Value, json};

use super::usize_of;
use crate::{
    domain::{
        batch::{Batch, Counts},
        id::BatchId,
        record::Generation,
    },
    http::{
        Api,
        auth::Caller,
        batches::{
            dto::{AcceptedTask, AcceptedView, DryRunView},
            pages::tasks_of,
            query::Query,
            urls::BatchUrls,
            view,
        },
        dto::Status,
        idempotency::REPLAYED,
        problem::Problem,
        view::without_bytes,
    },
    intake::batch::{
        estimate::Estimate,
        judge::{Accepted, Taken},
    },
    store::StoreError,
};

/// Tasks that an answer holds.
const SHOWN: u64 = 1_000;

/// A batch that was created.
pub(super) fn created(api: &Api, batch: &Batch, accepted: Accepted, tasks: Vec<AcceptedTask>) -> HttpResponse {
    let more = usize_of(accepted.total) > tasks.len();
    let last = tasks.last().filter(|_| more).map(|task| task.index);
    let next_cursor = last.map(|index| Query::default().cursor(index.into(), batch.project, &tasks_of(batch.id)));
    let view = AcceptedView {
        batch_id: batch.id,
        status: batch.status().as_str(),
        total_tasks: accepted.total,
        tasks,
        next_cursor,
        has_more: more,
        skipped_tasks: accepted.left_out,
        skipped: accepted.skipped,
        estimate: view::estimate(&accepted.estimate),
        created_at: batch.created_at,
        urls: BatchUrls::of(api.base_url(), batch.id),
    };
    let wait = view::retry_after(batch, None, api.clock.now()).unwrap_or(1);
    HttpResponse::Accepted().insert_header((LOCATION, view.urls.this.as_str())).insert_header((RETRY_AFTER, wait)).json(view)
}

/// A batch that the same request has created before: the answer that it was given then. What was skipped is found once more in the
/// request, which is the same.
///
/// # Errors
/// `NOT_FOUND` when the batch is gone meanwhile; as every read.
pub(super) async fn again(api: &Api, caller: Caller, id: BatchId, judged: Option<Accepted>) -> Result<HttpResponse, Problem> {
    let (reads, project) = (api.reads.clone(), caller.project);
    let found = api.hop(async move {
        let Some(batch) = reads.batch(id, project).await? else { return Ok(None) };
        Ok::<_, StoreError>(Some((batch, reads.lines(id, &[], None, SHOWN).await?)))
    });
    let (batch, lines) = found.await?.ok_or_else(|| super::super::unknown(id))?;
    let as_born = |line: &Generation| AcceptedTask {
        id: line.retry_of.unwrap_or(line.id),
        status: Status::Pending,
        ..view::accepted(line)
    };
    let tasks = lines.iter().map(as_born).collect();
    let nothing = || Accepted { total: 0, gone: HashSet::new(), left_out: 0, skipped: Vec::new(), estimate: Estimate::default() };
    let accepted = Accepted { total: batch.counts.total, ..judged.unwrap_or_else(nothing) };
    let mut response = created(api, &as_accepted(batch), accepted, tasks);
    let (name, value) = REPLAYED;
    response.headers_mut().insert(name, value);
    Ok(response)
}

/// As it was when it became visible.
fn as_accepted(mut batch: Batch) -> Batch {
    batch.counts = Counts { total: batch.counts.total, ..Counts::NONE };
    (batch.paused_at, batch.cancel, batch.retry) = (None, None, None);
    (batch.stopped_at, batch.over_budget_at, batch.completed_at) = (None, None, None);
    batch
}

/// What a batch would be.
pub(super) fn dry(api: &Api, at_once: u16, accepted: Accepted, requests: Vec<Value>) -> HttpResponse {
    // What half of all tasks took lately, as the poller has learned it.
    let typical = |model: &Arc<str>| Some((model.to_string(), api.times.of(model)?.left(Duration::ZERO)?));
    let known: HashMap<String, Duration> = accepted.estimate.models.keys().filter_map(typical).collect();
    let span = accepted.estimate.span(at_once, &known);
    HttpResponse::Ok().json(DryRunView {
        dry_run: true,
        total_tasks: accepted.total,
        skipped_tasks: accepted.left_out,
        skipped: accepted.skipped,
        requests,
        estimate: view::estimate(&accepted.estimate),
        expected_duration_seconds: span.time.as_secs(),
        duration_basis: if span.measured { "measured" } else { "assumed" },
    })
}

/// A request as it would be taken, in the form in which it can be sent.
pub(super) fn expanded(taken: &Taken) -> Value {
    let (generation, request) = (&taken.birth.generation, &taken.birth.request);
    let mut images: Vec<Value> = request.input_images.iter().cloned().map(without_bytes).map(Value::from).collect();
    for reference in &taken.references {
        if let Some(image) = images.get_mut(reference.place) {
            *image = json!({"$result": reference.custom_id, "index": reference.index});
        }
    }
    let mut shown = json!({
        "customId": taken.custom_id,
        "modelIdentifier": generation.model,
        "prompt": request.prompt,
        "inputImages": images,
        "numberOfOutputs": request.number_of_outputs,
        "parameters": request.parameters,
        "dependsOn": taken.depends_on,
        "priority": generation.priority,
        "onUnconfirmed": generation.on_unconfirmed,
        "userId": request.user_id,
        "metadata": request.metadata,
        "webhookUrl": request.webhook_url,
    });
    if let Some(members) = shown.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    shown
}
