//! What a generation waits for before it is submitted, found out when somebody asks: with fifty thousand in line, nobody keeps a
//! sentence for each.

use crate::{
    domain::{
        batch::{Batch, Category, Held},
        generation::GenerationState,
        record::Generation,
        time::Timestamp,
    },
    providers::registry::Registry,
    store::{Reads, StoreError, reads::queue::FARTHEST},
};

/// The sentence; none where the rows say enough.
pub async fn of(reads: &Reads, registry: &Registry, row: &Generation, now: Timestamp) -> Result<Option<String>, StoreError> {
    match row.state() {
        GenerationState::Waiting => depends(reads, row).await,
        GenerationState::Queued if row.progress.not_before <= now && row.cancel_requested_at.is_none() => {
            queued(reads, registry, row, now).await
        }
        GenerationState::Preparing
        | GenerationState::Queued
        | GenerationState::Active
        | GenerationState::Completed
        | GenerationState::Failed
        | GenerationState::Cancelled => Ok(None),
    }
}

async fn depends(reads: &Reads, row: &Generation) -> Result<Option<String>, StoreError> {
    let needs = reads.dependencies(&[row.id]).await?.remove(&row.id).unwrap_or_default();
    let open = needs.iter().find(|need| !need.state().terminal());
    Ok(open.map(|need| format!("depends on {}", need.id)))
}

async fn queued(reads: &Reads, registry: &Registry, row: &Generation, now: Timestamp) -> Result<Option<String>, StoreError> {
    let Some(provider) = registry.provider(&row.provider) else { return Ok(None) };
    if let Some(disabled) = &provider.disabled {
        return Ok(Some(format!("{} is disabled: {disabled}", provider.name)));
    }
    let batch = match &row.batch {
        Some(place) => reads.batch_by_id(place.id).await?,
        None => None,
    };
    if let Some(Err(held)) = batch.as_ref().map(|batch| batch.admits(Category::of(row), row.call_price, now)) {
        return Ok(batch.map(|batch| held_back(&batch, held)));
    }
    let place = reads.place(row, now).await?;
    Ok(Some(place.sentence(&provider.name, provider.room(now).err().as_deref(), FARTHEST)))
}

fn held_back(batch: &Batch, held: Held) -> String {
    match held {
        Held::Concurrency => format!("batch: {} of {} in flight", batch.places, batch.concurrency()),
        Held::Budget => "the budget of its batch is reached".to_owned(),
        Held::Loading | Held::Cancelled | Held::Stopped | Held::Deadline | Held::Paused | Held::Order => held.to_string(),
    }
}
