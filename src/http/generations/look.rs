//! One generation as its answers show it: first the hot rows, which decide whether there is anything to tell; then, where there is,
//! what the client asked for and where results are reached.

use std::{sync::Arc, time::Duration};

use crate::{
    config::storage::StorageKind,
    domain::{
        error::ErrorCode,
        id::{AssetId, GenerationId},
        record::{AssetState, GenerationRequest, Kind},
        time::Timestamp,
    },
    http::{
        Api,
        auth::Caller,
        etag,
        generations::why,
        problem::Problem,
        view::{self, Places, Shown},
        wait::Look,
    },
    storage::Storage,
    store::Loaded,
};

/// The answer to an id that the caller's project does not have.
pub fn unknown(id: GenerationId) -> Problem {
    Problem::new(ErrorCode::NotFound, format!("there is no generation {id}"))
}

/// Looks at the hot rows.
pub async fn look(api: &Api, caller: Caller, id: GenerationId) -> Result<Look<Loaded>, Problem> {
    let reads = api.reads.clone();
    let found = api.hop(async move { reads.load(id).await }).await?;
    let loaded = found.filter(|loaded| loaded.generation.project == caller.project).ok_or_else(|| unknown(id))?;
    let (tag, ended) = (tag(api, &loaded), loaded.generation.state().terminal());
    Ok(Look { seen: loaded, tag, ended })
}

/// Adds what only a full answer shows.
pub async fn whole(api: &Api, loaded: Loaded) -> Result<Shown, Problem> {
    let (reads, storage, registry) = (api.reads.clone(), api.storage.clone(), Arc::clone(&api.registry));
    let (base, lapses, now) = (api.base_url().to_owned(), lapses(api), api.clock.now());
    let (loaded, request, urls, why) = api
        .hop(async move {
            let request = reads.request(loaded.generation.id).await?;
            let urls = places(&storage, &loaded, &base, lapses.map(|span| now.plus(span))).await?;
            // Nothing that an answer depends on: without a database the rows' own words do.
            let why = why::of(&reads, &registry, &loaded.generation, now).await.unwrap_or_default();
            Ok::<_, Problem>((loaded, request, urls, why))
        })
        .await?;
    let request = request.ok_or_else(|| Problem::new(ErrorCode::InternalError, "the stored request is missing"))?;
    let mut shown = shown(api, loaded, request, urls);
    shown.live.why = why.or(shown.live.why);
    Ok(shown)
}

/// Puts together what is known.
pub fn shown(api: &Api, loaded: Loaded, request: GenerationRequest, urls: Places) -> Shown {
    let live = api.live.view(loaded.generation.id);
    let overdue_after = overdue_after(api, &loaded);
    Shown { loaded, request, live, urls, overdue_after, now: api.clock.now() }
}

/// In how many seconds the client should ask again; none once it has ended.
pub fn retry_after(api: &Api, loaded: &Loaded) -> Option<u64> {
    let expected = api.times.of(&loaded.generation.model);
    view::retry_after(loaded, expected.as_deref(), api.clock.now())
}

/// Only results of an ended generation are shown.
fn files(loaded: &Loaded) -> impl Iterator<Item = (AssetId, &String)> {
    let ended = loaded.generation.state().terminal();
    let stored = loaded.assets.iter().filter(move |asset| ended && asset.state == AssetState::Stored);
    stored.filter_map(|asset| Some((asset.id, asset.storage_key.as_ref()?)))
}

/// Where the stored files are reached.
pub async fn places(storage: &Storage, loaded: &Loaded, base: &str, until: Option<Timestamp>) -> Result<Places, Problem> {
    let mut places = Places::new();
    for (id, key) in files(loaded) {
        let url = storage.url(key, base).await.map_err(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, asset.id = %id, "no URL for a stored result");
            Problem::unavailable("the storage does not answer")
        })?;
        places.insert(id, (url, until));
    }
    Ok(places)
}

/// How long the URLs of stored results work; none when they do not lapse.
pub fn lapses(api: &Api) -> Option<Duration> {
    let storage = &api.config.storage;
    (storage.kind == StorageKind::S3 && storage.public_url.is_none()).then(|| Duration::from_secs(storage.presign_s))
}

fn overdue_after(api: &Api, loaded: &Loaded) -> Duration {
    let polling = &api.config.polling;
    let by_model = api.catalogue.model(&loaded.generation.model).and_then(|model| model.max_duration_s);
    Duration::from_secs(by_model.unwrap_or(match loaded.generation.kind {
        Kind::Image => polling.max_image_s,
        Kind::Video => polling.max_video_s,
    }))
}

/// URLs that lapse change the tag twice within their life, so that no 304 leaves a client with a dead one.
fn tag(api: &Api, loaded: &Loaded) -> String {
    let now = api.clock.now();
    let stage = view::stage(&loaded.generation, &loaded.attempts, overdue_after(api, loaded), now);
    let period = if files(loaded).next().is_some() { period(api, now) } else { 0 };
    etag::of(loaded, stage, period)
}

/// Which half of the life of URLs that lapse it is; 0 where they do not.
pub fn period(api: &Api, now: Timestamp) -> i64 {
    let half = lapses(api).map(|span| crate::domain::time::millis(span / 2)).filter(|half| *half > 0);
    half.map_or(0, |half| now.0 / half)
}
