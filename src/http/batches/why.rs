//! What a batch waits for: what its own row says and, where it could have more under way, what holds back the next of its lines.

use std::sync::Arc;

use super::view;
use crate::{
    domain::{
        batch::{Batch, BatchStatus},
        time::Timestamp,
    },
    http::{Api, generations::why, problem::Problem},
    store::StoreError,
};

/// The sentence; none once it has ended.
pub async fn of(api: &Api, batch: &Batch, now: Timestamp) -> Option<String> {
    let own = view::why(batch)?;
    let free = batch.status() == BatchStatus::Processing
        && batch.retry.is_none()
        && batch.stopped_at.is_none()
        && batch.places < batch.concurrency()
        && batch.counts.waiting() > 0;
    if !free {
        return Some(own);
    }
    // Nothing that an answer depends on: without a database the row's own words do.
    match next(api, batch, now).await.unwrap_or_default() {
        Some(next) => Some(format!("{own}; the next: {next}")),
        None => Some(own),
    }
}

/// What the next of its lines waits for.
async fn next(api: &Api, batch: &Batch, now: Timestamp) -> Result<Option<String>, Problem> {
    let (reads, registry, live, id) = (api.reads.clone(), Arc::clone(&api.registry), api.live.clone(), batch.id);
    api.hop(async move {
        let Some(line) = reads.next_line(id).await? else { return Ok(None) };
        let why = why::of(&reads, &registry, &line, now).await?;
        Ok::<_, StoreError>(why.or(live.view(line.id).why))
    })
    .await
}
