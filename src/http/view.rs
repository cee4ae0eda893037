//! From rows to what clients see: pure functions of the rows, the live view and the time.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    domain::{
        attempt::{AttemptState, Outcome},
        effects,
        error::{ErrorCode, Failure},
        generation::GenerationState,
        id::{AssetId, GenerationId},
        record::{Asset, AssetState, Attempt, Generation, GenerationRequest},
        schedule::expectation::Expectation,
        time::Timestamp,
    },
    http::dto::{AttemptView, CostView, FailureView, GenerationView, ListItem, MissingView, ResultView, Status, UrlsView},
    observe::LiveView,
    store::Loaded,
};

/// All that a full view is made of.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The rows.
    pub loaded: Loaded,
    /// The cold part.
    pub request: GenerationRequest,
    /// What the owner knows beyond the rows.
    pub live: LiveView,
    /// Where stored assets are reached, and until when.
    pub urls: Places,
    /// A running attempt older than this is overdue.
    pub overdue_after: Duration,
    /// Now.
    pub now: Timestamp,
}

/// The public status.
#[must_use]
pub fn status(generation: &Generation, attempts: &[Attempt]) -> Status {
    match generation.state() {
        GenerationState::Waiting | GenerationState::Preparing => Status::Pending,
        GenerationState::Queued if attempts.is_empty() && !generation.tried() => Status::Pending,
        GenerationState::Queued | GenerationState::Active => Status::Processing,
        GenerationState::Completed => Status::Success,
        GenerationState::Failed => Status::Failed,
        GenerationState::Cancelled => Status::Cancelled,
    }
}

/// The inner word: the generation's own, or that of its leading open attempt (the one furthest along).
#[must_use]
pub fn stage(generation: &Generation, attempts: &[Attempt], overdue_after: Duration, now: Timestamp) -> &'static str {
    let state = generation.state();
    if state.terminal() {
        return state.as_str();
    }
    let leading = leading(attempts);
    if generation.cancel_requested_at.is_some() && leading.is_none_or(|attempt| attempt.state != AttemptState::Storing) {
        return "cancelling";
    }
    match leading {
        None => state.as_str(),
        Some(attempt) if overdue(attempt, overdue_after, now) => "overdue",
        Some(attempt) => attempt.state.as_str(),
    }
}

fn leading(attempts: &[Attempt]) -> Option<&Attempt> {
    attempts.iter().filter(|attempt| !attempt.state.ended()).max_by_key(|attempt| attempt.state.number())
}

fn overdue(attempt: &Attempt, after: Duration, now: Timestamp) -> bool {
    attempt.state == AttemptState::Running && attempt.submitted_at.is_some_and(|at| at.plus(after) <= now)
}

/// What a generation waits for, as far as its rows say; the owner's own words come first.
fn why(shown: &Shown, stage: &str) -> Option<String> {
    let generation = &shown.loaded.generation;
    if generation.state().terminal() {
        return None;
    }
    let provider = &generation.provider;
    let by_rows = || match stage {
        "waiting" => "waits for the generation it depends on".to_owned(),
        "preparing" => "its input images are being made fit".to_owned(),
        "queued" if generation.progress.not_before > shown.now => {
            format!("the next try is due at {}", generation.progress.not_before.rfc3339())
        }
        "queued" => format!("waits for its turn at {provider}"),
        "submitting" => format!("is being submitted to {provider}"),
        "unconfirmed" => format!("{provider} gave no clear answer; whether it accepted is being found out"),
        "overdue" => format!("{provider} takes longer than usual; it is still asked"),
        "storing" => "its results are being stored".to_owned(),
        "cancelling" => "cancelling was asked for; what is at the provider is resolved first".to_owned(),
        _ => format!("{provider} is working on it"),
    };
    Some(shown.live.why.clone().unwrap_or_else(by_rows))
}

/// In how many seconds the client should ask again, 1 to 60; none once it has ended. Of a task that runs, half of those that ran so
/// long have ended by then, where that is `expected` of its model. Else there is nothing to go by but its age: most refusals show
/// within two seconds, and what has taken minutes may take more.
#[must_use]
pub fn retry_after(loaded: &Loaded, expected: Option<&Expectation>, now: Timestamp) -> Option<u64> {
    let generation = &loaded.generation;
    let running = leading(&loaded.attempts).filter(|attempt| attempt.state == AttemptState::Running);
    let since = running.and_then(|attempt| attempt.submitted_at);
    let left = since.and_then(|at| expected?.left(now.since(at)));
    let held_back = generation.progress.not_before.since(now);
    let by_age = (now.since(generation.created_at) / 10).clamp(Duration::from_secs(2), LONGEST_HINT);
    let hint = left.unwrap_or(by_age).max(if running.is_none() { held_back } else { Duration::ZERO });
    let seconds = hint.min(LONGEST_HINT).as_millis().div_ceil(1000).max(1);
    (!generation.state().terminal()).then(|| u64::try_from(seconds).unwrap_or(1))
}

/// Nobody is told to stay away for longer than a wait for news may last.
const LONGEST_HINT: Duration = Duration::from_secs(60);

/// Ready-made URLs.
#[must_use]
pub fn urls(base: &str, id: GenerationId) -> UrlsView {
    let this = format!("{base}/api/external/generation/{id}");
    let below = |name: &str| format!("{this}/{name}");
    UrlsView { cancel: below("cancel"), history: below("history"), events: below("events"), this }
}

/// One line of a list.
#[must_use]
pub fn item(generation: &Generation, base: &str) -> ListItem {
    let ended = generation.state().terminal();
    ListItem {
        id: generation.id,
        status: status(generation, &[]),
        provider: generation.provider.to_string(),
        model_identifier: generation.model.to_string(),
        kind: generation.kind,
        number_of_outputs: generation.outputs,
        error: generation.failure.as_ref().filter(|_| ended).map(Into::into),
        cancel_requested: generation.cancel_requested_at.is_some(),
        created_at: generation.created_at,
        updated_at: generation.updated_at,
        ended_at: generation.ended_at,
        urls: urls(base, generation.id),
    }
}

/// The full view.
#[must_use]
pub fn full(shown: Shown, base: &str) -> GenerationView {
    let Loaded { generation, attempts, .. } = &shown.loaded;
    let stage = stage(generation, attempts, shown.overdue_after, shown.now);
    let ended = generation.state().terminal();
    let files = files(&shown.loaded, &shown.urls);
    GenerationView {
        id: generation.id,
        status: status(generation, attempts),
        stage,
        why: why(&shown, stage),
        progress: shown.live.progress.filter(|_| !ended),
        provider: generation.provider.to_string(),
        model_identifier: generation.model.to_string(),
        kind: generation.kind,
        results: files.results,
        missing: files.missing,
        late_results: files.late,
        error: generation.failure.as_ref().filter(|_| ended).map(Into::into),
        cost: cost(generation, attempts),
        attempts: attempts.iter().map(attempt_view).collect(),
        cancel_requested: generation.cancel_requested_at.is_some(),
        on_unconfirmed: generation.on_unconfirmed,
        priority: generation.priority,
        webhook_url: shown.request.webhook_url,
        request_id: generation.request_id.to_string(),
        created_at: generation.created_at,
        updated_at: generation.updated_at,
        ended_at: generation.ended_at,
        urls: urls(base, generation.id),
        prompt: shown.request.prompt,
        input_images: shown.request.input_images.into_iter().map(without_bytes).collect(),
        number_of_outputs: shown.request.number_of_outputs,
        parameters: shown.request.parameters,
        user_id: shown.request.user_id,
        metadata: shown.request.metadata,
    }
}

/// What became of a generation's outputs; empty until it has ended.
#[derive(Debug, Default)]
pub struct Files {
    /// Delivered.
    pub results: Vec<ResultView>,
    /// Not delivered, of a partial success.
    pub missing: Vec<MissingView>,
    /// Delivered after the end.
    pub late: Vec<ResultView>,
}

/// Where stored assets are reached, and until when.
pub type Places = BTreeMap<AssetId, (String, Option<Timestamp>)>;

/// What became of a generation's outputs.
#[must_use]
pub fn files(loaded: &Loaded, urls: &Places) -> Files {
    let Loaded { generation, attempts, assets } = loaded;
    if !generation.state().terminal() {
        return Files::default();
    }
    let (late, results): (Vec<_>, Vec<_>) = delivered(assets, urls).partition(|asset| is_late(generation, attempts, asset));
    let missing = if generation.state() == GenerationState::Completed { missing(loaded, &results) } else { Vec::new() };
    let views = |assets: Vec<&Asset>| assets.into_iter().filter_map(|asset| result(asset, urls)).collect();
    Files { results: views(results), missing, late: views(late) }
}

/// Megabytes of base64 do not belong into every status answer; the media type tells what was given.
pub(super) fn without_bytes(image: String) -> String {
    match image.split_once(',') {
        Some((head, _)) if head.starts_with("data:") => format!("{head},…"),
        _ => image,
    }
}

fn delivered<'a>(assets: &'a [Asset], urls: &Places) -> impl Iterator<Item = &'a Asset> {
    assets.iter().filter(|asset| match asset.state {
        AssetState::Stored => urls.contains_key(&asset.id),
        AssetState::Linked => asset.source_url.is_some(),
        AssetState::Pending | AssetState::Failed | AssetState::Deleted => false,
    })
}

/// A result is late when the generation ended without success, or before the attempt that brought it; or when another attempt of the
/// same slot delivered before.
fn is_late(generation: &Generation, attempts: &[Attempt], asset: &Asset) -> bool {
    let attempt = attempts.iter().find(|attempt| attempt.id == asset.attempt);
    // A retry that took over what came late has its files, not its attempts.
    let after = attempt.is_some_and(|own| generation.ended_at.is_some_and(|end| own.ended_at.is_none_or(|at| at > end)));
    let first = |other: &Attempt, own: &Attempt| {
        let delivered = other.state == AttemptState::Ended(Outcome::Delivered);
        delivered && other.slot == own.slot && other.id != own.id && (other.ended_at, other.n) < (own.ended_at, own.n)
    };
    let second = attempt.is_some_and(|own| attempts.iter().any(|other| first(other, own)));
    generation.state() != GenerationState::Completed || after || second
}

fn result(asset: &Asset, urls: &Places) -> Option<ResultView> {
    let (url, expires_at) = match urls.get(&asset.id) {
        Some(place) => place.clone(),
        None => (asset.source_url.clone()?, asset.expires_at),
    };
    #[expect(clippy::cast_precision_loss, reason = "videos are far shorter than 2^52 milliseconds")]
    let duration_seconds = asset.duration_ms.map(|ms| ms as f64 / 1000.0);
    Some(ResultView {
        index: asset.idx,
        kind: asset.kind,
        url,
        content_type: asset.content_type.clone(),
        width: asset.width,
        height: asset.height,
        duration_seconds,
        bytes: asset.bytes,
        sha256: asset.sha256.clone(),
        expires_at,
    })
}

fn missing(loaded: &Loaded, results: &[&Asset]) -> Vec<MissingView> {
    let absent = |index: &u16| !results.iter().any(|asset| asset.idx == *index);
    (0..loaded.generation.outputs)
        .filter(absent)
        .map(|index| MissingView { index, error: missing_error(loaded, index) })
        .collect()
}

/// The nearest cause that is known: the file's, the newest attempt's for that output, the generation's.
fn missing_error(loaded: &Loaded, index: u16) -> FailureView {
    let file = loaded.assets.iter().filter(|asset| asset.idx == index).find_map(|asset| asset.failure.as_ref());
    let covers =
        |attempt: &&Attempt| (attempt.first_output..attempt.first_output.saturating_add(attempt.output_count)).contains(&index);
    let attempt = loaded.attempts.iter().filter(covers).rev().find_map(|attempt| attempt.failure.as_ref());
    let cause = file.or(attempt).or(loaded.generation.failure.as_ref());
    let unnamed = || FailureView::from(&Failure::new(ErrorCode::TaskFailed, "the provider made fewer outputs than asked for"));
    cause.map_or_else(unnamed, FailureView::from)
}

fn cost(generation: &Generation, attempts: &[Attempt]) -> CostView {
    let standing = effects::standing(generation, attempts);
    CostView {
        estimated: generation.call_price.times(generation.slots().len()),
        held: standing.held,
        charged: standing.charged,
        at_risk: standing.at_risk,
        currency: "USD",
    }
}

fn attempt_view(attempt: &Attempt) -> AttemptView {
    let task = attempt.handle.as_ref().map(|handle| handle.task_id.clone());
    let delivered = attempt.state == AttemptState::Ended(Outcome::Delivered);
    AttemptView {
        n: attempt.n,
        state: attempt.state.as_str(),
        provider: attempt.provider.to_string(),
        provider_task_id: task.filter(|id| !id.is_empty()),
        first_output: attempt.first_output,
        outputs: attempt.output_count,
        error: attempt.failure.as_ref().filter(|_| !delivered).map(Into::into),
        created_at: attempt.created_at,
        submitted_at: attempt.submitted_at,
        ended_at: attempt.ended_at,
    }
}

#[cfg(test)]
mod tests;
