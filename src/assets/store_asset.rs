//! One asset on its way, and what its arrival or loss makes of the rows.

use std::{sync::Arc, time::Duration};

use tokio::sync::Notify;
use tracing::Instrument as _;
use url::Url;

use crate::{
    assets::{
        fetch::Downloader,
        transfer::{Source, StoredAsset, TransferFault, TransferPlan, transfer},
    },
    clock::Clock,
    config::Config,
    domain::{
        attempt::{AttemptEvent, AttemptState},
        error::{ErrorCode, Failure},
        id::AssetId,
        output::OutputSource,
        record::{Asset, AssetState, Attempt},
        retry::RetryPolicy,
        settle::Ending,
        time::Timestamp,
    },
    net::guard::check_url,
    observe::Live,
    providers::{
        adapter::{Context, Polled},
        executor::Executor,
        registry::{Provider, Registry},
    },
    storage::{Storage, key::Names},
    store::{
        Journal, Loaded, Reads, StoreError, Transition, Videos,
        change::{Change, End, Start, commit},
    },
    wake::Wakes,
};

/// What transfers need.
#[derive(Clone)]
pub struct Assets {
    /// Rows.
    pub reads: Reads,
    /// Writes.
    pub journal: Journal,
    /// What was deleted below `/v1`.
    pub videos: Videos,
    /// Providers, for their prefixes and rules.
    pub registry: Arc<Registry>,
    /// Asks for a fresh address.
    pub executor: Executor,
    /// The user's storage.
    pub storage: Storage,
    /// What results are named in it.
    pub names: Names,
    /// Live views.
    pub live: Live,
    /// Time.
    pub clock: Clock,
    /// The neighbouring stages.
    pub wakes: Wakes,
    /// `[assets]`.
    pub config: Arc<Config>,
    /// A transfer ended: its place is free.
    pub freed: Arc<Notify>,
}

/// What became of an asset.
#[derive(Debug, Clone, PartialEq)]
pub enum Settled {
    /// It is in the storage.
    Stored(StoredAsset),
    /// It never will be.
    Lost(Failure),
}

impl Assets {
    /// Moves one asset and commits what became of it; tries again for as long as the provider keeps it.
    pub async fn store(self, asset: Asset) {
        let freed = Arc::clone(&self.freed);
        self.move_one(asset).await;
        freed.notify_one();
    }

    /// A late result of a video that was deleted is moved, too, since it is paid; noted first as one to erase, it goes from there.
    async fn move_one(&self, asset: Asset) {
        let Ok(Some(loaded)) = self.reads.load(asset.generation).await else { return };
        // Who found it may have read before an earlier transfer was committed: moved again, its file would belong to no row.
        if !loaded.assets.iter().any(|row| row.id == asset.id && row.state == AssetState::Pending) {
            return;
        }
        let Some(attempt) = loaded.attempts.iter().find(|attempt| attempt.id == asset.attempt).cloned() else { return };
        if loaded.generation.state().terminal()
            && let Err(error) = self.videos.unpurged(asset.generation).await
        {
            tracing::warn!(asset.id = %asset.id, error = %error, "a late result waits for the database");
            return;
        }
        let span = tracing::info_span!(
            "store", generation.id = %asset.generation, provider = %attempt.provider, request.id = %loaded.generation.request_id
        );
        let settled = self.settle(&asset, &attempt).instrument(span).await;
        if let Settled::Lost(failure) = &settled {
            tracing::error!(
                generation.id = %asset.generation, asset.id = %asset.id, code = failure.code.as_str(), "a paid result is lost"
            );
        }
        if let Err(error) = self.record(&asset, &attempt, settled).await {
            // The row still says pending: the sweep moves it again, and replaces this object.
            tracing::warn!(asset.id = %asset.id, error = %error, "a stored result is not committed; it is moved again");
        }
    }

    async fn settle(&self, asset: &Asset, attempt: &Attempt) -> Settled {
        match self.until_settled(asset, attempt).await {
            Settled::Lost(failure) if failure.code == ErrorCode::OutputExpired => match self.fresh(asset, attempt).await {
                Some(moved) => self.until_settled(&moved, attempt).await,
                None => Settled::Lost(failure),
            },
            settled @ (Settled::Stored(_) | Settled::Lost(_)) => settled,
        }
    }

    /// The same output under another address: a further poll may bring a freshly signed one.
    async fn fresh(&self, asset: &Asset, attempt: &Attempt) -> Option<Asset> {
        let provider = self.registry.provider(&attempt.provider)?;
        let account = provider.account(&attempt.account)?;
        let handle = attempt.handle.clone()?;
        let context = Context::of(attempt, &handle);
        let call = provider.adapter.poll(&context).ok()?;
        let reply = self.executor.ask(provider, account, &attempt.endpoint, call).await.ok()?;
        let Polled::Done { outputs, .. } = provider.adapter.read_poll(&context, &reply) else { return None };
        let output = outputs.into_iter().nth(usize::from(asset.idx.saturating_sub(attempt.first_output)))?;
        let OutputSource::Url(url) = output.source else { return None };
        let moved = asset.source_url.as_ref().is_some_and(|old| *old != url);
        let expires_at = Some(self.clock.now().plus(output.lifetime));
        moved.then(|| Asset { source_url: Some(url), expires_at, ..asset.clone() })
    }

    async fn until_settled(&self, asset: &Asset, attempt: &Attempt) -> Settled {
        let policy = self.patience();
        let give_up = give_up_at(asset, attempt, Duration::from_secs(self.config.assets.give_up_s));
        for tries in 1u16.. {
            let fault = match self.transfer(asset, attempt).await {
                Ok(stored) => return Settled::Stored(stored),
                Err(fault) => fault,
            };
            let (code, words) = match fault {
                TransferFault::Expired(words) => return Settled::Lost(Failure::new(ErrorCode::OutputExpired, words)),
                TransferFault::Unacceptable(words) => return Settled::Lost(Failure::new(ErrorCode::ProviderError, words)),
                TransferFault::Transient(words) => (ErrorCode::OutputExpired, words),
                TransferFault::Storage(words) => (ErrorCode::S3UploadFailed, words),
            };
            let wait = policy.delay(tries, rand::random(), None);
            let now = self.clock.now();
            if now.plus(wait) >= give_up {
                return Settled::Lost(Failure::new(code, words));
            }
            tracing::warn!(asset.id = %asset.id, tries, reason = %words, "a result could not be moved yet");
            self.live.update(asset.generation, |view| view.why = Some(format!("storing the result: {words}")));
            self.clock.sleep(wait).await;
        }
        Settled::Lost(Failure::new(ErrorCode::S3UploadFailed, "given up"))
    }

    fn patience(&self) -> RetryPolicy {
        RetryPolicy {
            max_attempts: u16::MAX,
            initial_delay: Duration::from_millis(self.config.assets.retry_delay_ms),
            multiplier: 2.0,
            max_delay: Duration::from_millis(self.config.assets.max_retry_delay_ms),
            jitter: true,
        }
    }

    async fn transfer(&self, asset: &Asset, attempt: &Attempt) -> Result<StoredAsset, TransferFault> {
        let provider = self.registry.provider(&attempt.provider);
        let source = match (&asset.staged_key, &asset.source_url) {
            (Some(key), _) => Source::Staged(key),
            (None, Some(url)) => Source::Url(url),
            (None, None) => return Err(TransferFault::Unacceptable("the provider named no place for it".to_owned())),
        };
        let Some(provider) = provider else {
            return Err(TransferFault::Transient("its provider is not configured any more".to_owned()));
        };
        let stem = self.names.stem(&prefix(provider, attempt), asset.generation, (asset.id, asset.idx));
        let plan = TransferPlan::new(source, &stem, asset.kind, &self.config.assets);
        let download = &provider.clients.download;
        let guard = |url: &Url| check_url(url, download.allow()).map_err(|refused| refused.to_string());
        let downloader = Downloader { client: download.client(), guard: &guard };
        transfer(downloader, &self.storage, &self.config.assets, plan).await
    }

    async fn record(&self, asset: &Asset, attempt: &Attempt, settled: Settled) -> Result<(), StoreError> {
        let policy =
            self.registry.provider(&attempt.provider).map_or_else(|| self.patience(), |provider| provider.policy.clone());
        let now = self.clock.now();
        let decided = |loaded: &Loaded| decide(loaded, asset.id, &settled, (&policy, now));
        let after = commit(&self.reads, &self.journal, Start::Load(asset.generation), decided).await?;
        if let Some(staged) = &asset.staged_key
            && after.is_some()
            && let Err(error) = self.storage.delete(staged).await
        {
            tracing::warn!(asset.id = %asset.id, error = %error, "a staged file stays behind");
        }
        if after.is_some_and(|loaded| loaded.generation.state().terminal()) {
            self.live.forget(asset.generation);
        }
        self.wakes.dispatch.one(asset.generation);
        Ok(())
    }
}

fn prefix(provider: &Provider, attempt: &Attempt) -> String {
    provider.config.s3_path_prefix.clone().unwrap_or_else(|| attempt.provider.to_string())
}

/// Moving is given up when the provider drops it, or after the patience, whichever is earlier.
fn give_up_at(asset: &Asset, attempt: &Attempt, patience: Duration) -> Timestamp {
    let patience = attempt.updated_at.plus(patience);
    asset.expires_at.map_or(patience, |expiry| expiry.min(patience))
}

/// The transition for what became of an asset; none when it was settled already.
#[must_use]
pub fn decide(loaded: &Loaded, id: AssetId, settled: &Settled, (policy, now): (&RetryPolicy, Timestamp)) -> Option<Transition> {
    let mut asset = loaded.assets.iter().find(|asset| asset.id == id)?.clone();
    let mut attempt = loaded.attempts.iter().find(|attempt| attempt.id == asset.attempt)?.clone();
    if asset.state != AssetState::Pending || attempt.state != AttemptState::Storing {
        return None;
    }
    match settled {
        Settled::Stored(stored) => {
            asset.state = AssetState::Stored;
            asset.storage_key = Some(stored.storage_key.clone());
            asset.content_type = Some(stored.content_type.clone());
            asset.kind = stored.kind;
            asset.width = stored.width;
            asset.height = stored.height;
            asset.duration_ms = stored.duration_ms.or(asset.duration_ms);
            asset.bytes = Some(stored.bytes);
            asset.sha256 = Some(stored.sha256.clone());
        }
        Settled::Lost(failure) => {
            asset.state = AssetState::Failed;
            asset.failure = Some(failure.clone());
        }
    }
    let mut change = Change::of(&loaded.generation, now);
    let state_of = |other: &Asset| if other.id == id { asset.state } else { other.state };
    let siblings: Vec<_> = loaded.assets.iter().filter(|other| other.attempt == attempt.id).map(state_of).collect();
    change.asset(asset.clone());
    if siblings.contains(&AssetState::Pending) {
        // Of two that arrive at once the later one must see the earlier, or neither ends the attempt.
        change.hold(&attempt);
        return Some(change.entry());
    }
    let delivered = siblings.iter().any(|state| matches!(state, AssetState::Stored | AssetState::Linked));
    let end = ending(delivered, &asset, policy);
    change.end(loaded, &mut attempt, &end).ok()?;
    Some(change.entry())
}

fn ending<'a>(delivered: bool, last: &Asset, policy: &'a RetryPolicy) -> End<'a> {
    let plain = End {
        event: AttemptEvent::Stored,
        ending: Ending::Delivered,
        failure: None,
        shown: None,
        policy,
        unit: 0.5,
        reason: "every output is stored",
    };
    if delivered {
        return plain;
    }
    let expired = last.failure.as_ref().is_some_and(|failure| failure.code == ErrorCode::OutputExpired);
    let event = if expired { AttemptEvent::OutputsExpired } else { AttemptEvent::Failed };
    // Paid and lost: another submit would be paid again, which only the client may decide.
    End { event, ending: Ending::Final, failure: last.failure.clone(), reason: "no output could be stored", ..plain }
}
