//! A generation as OpenAI's video object. Pure.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::size;
use crate::{
    domain::{
        error::ErrorCode,
        generation::GenerationState,
        id::GenerationId,
        record::{Asset, AssetState, Generation},
        time::Timestamp,
    },
    http::{dto::Status, view},
    store::Loaded,
};

/// A video (PyPI `openai` 3.54, `types/video.py`).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiVideo)]
pub struct Video {
    /// The generation's id.
    #[schema(value_type = String)]
    pub id: GenerationId,
    /// Always `video`.
    pub object: &'static str,
    /// `queued`, `in_progress`, `completed` or `failed`.
    pub status: &'static str,
    /// 0 to 100.
    pub progress: u8,
    /// The model.
    pub model: String,
    /// Unix seconds.
    pub created_at: i64,
    /// Unix seconds.
    pub completed_at: Option<i64>,
    /// When the content can no longer be fetched; null when it stays. Unix seconds.
    pub expires_at: Option<i64>,
    /// The prompt; null in lists.
    pub prompt: Option<String>,
    /// Length in seconds, as text; `0` where the model decides and has not yet.
    pub seconds: String,
    /// `WIDTHxHEIGHT`; `auto` where the model decides and has not yet.
    pub size: String,
    /// Always null.
    pub remixed_from_video_id: Option<String>,
    /// Why it failed.
    pub error: Option<VideoError>,
}

/// Why a video failed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiVideoError)]
pub struct VideoError {
    /// A code of ours in small letters; `moderation_blocked` for moderation.
    pub code: String,
    /// One sentence.
    pub message: String,
}

/// What is asked for, as far as a view of it was read.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The prompt.
    pub prompt: &'a str,
    /// The model's parameters.
    pub parameters: &'a Map<String, Value>,
}

/// The file of a video.
#[must_use]
pub fn file(loaded: &Loaded) -> Option<&Asset> {
    let there = |asset: &&Asset| match asset.state {
        AssetState::Stored => asset.storage_key.is_some(),
        AssetState::Linked => asset.source_url.is_some(),
        AssetState::Pending | AssetState::Failed | AssetState::Deleted => false,
    };
    let completed = loaded.generation.state() == GenerationState::Completed;
    loaded.assets.iter().find(there).filter(|_| completed)
}

/// The object. `progress` is what its owner knows.
#[must_use]
pub fn object(loaded: &Loaded, asked: Option<Asked<'_>>, progress: Option<u8>) -> Video {
    let (generation, file) = (&loaded.generation, file(loaded));
    let (status, progress) = status(generation, loaded, progress);
    let parameters = asked.map(|asked| asked.parameters);
    Video {
        id: generation.id,
        object: "video",
        status,
        progress,
        model: generation.model.to_string(),
        created_at: unix(generation.created_at),
        completed_at: generation.ended_at.filter(|_| status == COMPLETED).map(unix),
        expires_at: file.filter(|asset| asset.state == AssetState::Linked).and_then(|asset| asset.expires_at).map(unix),
        prompt: asked.map(|asked| asked.prompt.to_owned()),
        seconds: seconds(file, parameters).unwrap_or_else(|| "0".to_owned()),
        size: pixels(file).or_else(|| size::of_parameters(parameters?)).unwrap_or_else(|| "auto".to_owned()),
        remixed_from_video_id: None,
        error: error(generation),
    }
}

const COMPLETED: &str = "completed";

fn status(generation: &Generation, loaded: &Loaded, progress: Option<u8>) -> (&'static str, u8) {
    match view::status(generation, &loaded.attempts) {
        Status::Pending => ("queued", 0),
        // Finished is said with the result only.
        Status::Processing => ("in_progress", progress.unwrap_or(0).min(99)),
        Status::Success => (COMPLETED, 100),
        Status::Failed | Status::Cancelled => ("failed", 0),
    }
}

/// Unix seconds.
#[must_use]
pub const fn unix(at: Timestamp) -> i64 {
    at.0.div_euclid(1_000)
}

/// What was asked for goes first: a clip of 5 seconds may measure 5.04.
fn seconds(file: Option<&Asset>, parameters: Option<&Map<String, Value>>) -> Option<String> {
    let asked = parameters.and_then(|parameters| parameters.get("duration")).and_then(Value::as_i64);
    let measured = || file.and_then(|asset| asset.duration_ms).map(|ms| ms.saturating_add(500).div_euclid(1_000));
    asked.or_else(measured).map(|seconds| seconds.to_string())
}

fn pixels(file: Option<&Asset>) -> Option<String> {
    let file = file?;
    Some(format!("{}x{}", file.width?, file.height?))
}

fn error(generation: &Generation) -> Option<VideoError> {
    match generation.state() {
        GenerationState::Failed | GenerationState::Cancelled => {}
        GenerationState::Waiting
        | GenerationState::Preparing
        | GenerationState::Queued
        | GenerationState::Active
        | GenerationState::Completed => return None,
    }
    let cancelled = || VideoError { code: "task_cancelled".to_owned(), message: "it was cancelled".to_owned() };
    let failure = generation.failure.as_ref();
    Some(failure.map_or_else(cancelled, |failure| VideoError { code: word(failure.code), message: failure.message.clone() }))
}

fn word(code: ErrorCode) -> String {
    if code == ErrorCode::ContentFiltered { "moderation_blocked".to_owned() } else { code.as_str().to_ascii_lowercase() }
}
