//! The uploader. Woken by finished attempts and by a slow sweep; moves results into the storage, earliest expiry first. If it dies, its
//! transfers go on, and pending assets without one are found in the rows. The files of deleted videos go on its sweeps.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use actix::{Actor, AsyncContext, Context, WrapFuture};

use crate::{
    assets::store_asset::Assets,
    domain::{
        id::AssetId,
        record::{Asset, AssetState},
        time::Timestamp,
    },
    flights::Flights,
    observe::ChildContext,
    store::StoreError,
    wake::Woken,
};

/// Rows a page.
const PAGE: u64 = 500;

/// How often the rows are looked through for pending assets without a transfer.
const SWEEP: Duration = Duration::from_secs(2);

/// Deleted videos a sweep.
const ERASED: u64 = 100;

/// Assets that wait for a place; past it the sweep finds the rest.
const BACKLOG: usize = 10_000;

/// The actor.
pub struct Uploader {
    assets: Assets,
    flights: Arc<Flights<AssetId>>,
    child: ChildContext,
}

impl Uploader {
    /// An uploader without memory.
    #[must_use]
    pub const fn new(assets: Assets, flights: Arc<Flights<AssetId>>, child: ChildContext) -> Self {
        Self { assets, flights, child }
    }
}

impl Actor for Uploader {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.child.started();
        let rounds = Rounds {
            assets: self.assets.clone(),
            flights: Arc::clone(&self.flights),
            child: self.child.clone(),
            backlog: BTreeMap::new(),
        };
        ctx.spawn(rounds.run().into_actor(self));
    }
}

struct Rounds {
    assets: Assets,
    flights: Arc<Flights<AssetId>>,
    child: ChildContext,
    /// By expiry: what the provider drops first goes first.
    backlog: BTreeMap<(Timestamp, AssetId), Asset>,
}

impl Rounds {
    async fn run(mut self) {
        let mut sweep_at = self.assets.clock.now();
        loop {
            self.child.beat().await;
            self.child.pulse.works_since(self.flights.oldest_since());
            let woken = tokio::select! {
                () = self.assets.clock.sleep_until(sweep_at) => None,
                () = self.assets.freed.notified() => Some(Woken { ids: HashSet::new(), everywhere: false }),
                () = self.child.beat_due() => continue,
                woken = self.assets.wakes.assets.next() => Some(woken),
            };
            if self.child.lifeline.check().is_err() {
                return;
            }
            let sweep = woken.as_ref().is_none_or(|woken| woken.everywhere);
            if let Err(error) = self.collect(woken, sweep).await {
                tracing::warn!(error = %error, "pending assets could not be read; the sweep finds them");
            }
            self.start();
            if sweep {
                sweep_at = self.assets.clock.now().plus(SWEEP);
                if let Err(error) = self.erase().await {
                    tracing::warn!(error = %error, "deleted videos could not be read; the sweep finds them");
                }
            }
        }
    }

    async fn collect(&mut self, woken: Option<Woken<crate::domain::id::AttemptId>>, sweep: bool) -> Result<(), StoreError> {
        for id in woken.into_iter().flat_map(|woken| woken.ids) {
            let Some(attempt) = self.assets.reads.attempt(id).await? else { continue };
            let Some(loaded) = self.assets.reads.load(attempt.generation).await? else { continue };
            self.take_in(loaded.assets.into_iter().filter(|asset| asset.attempt == id));
        }
        let mut after = None;
        while sweep && self.backlog.len() < BACKLOG {
            let page = self.assets.reads.pending_assets(after, PAGE).await?;
            after = page.last().map(|asset| asset.id);
            let last = u64::try_from(page.len()).unwrap_or(PAGE) < PAGE;
            self.take_in(page);
            if last {
                break;
            }
        }
        Ok(())
    }

    /// Starts what erases the files of deleted videos, in places that no transfer wants.
    async fn erase(&self) -> Result<(), StoreError> {
        for id in self.assets.reads.videos_to_purge(ERASED).await? {
            let place = AssetId(id.0);
            if self.flights.len() >= self.assets.config.assets.concurrency {
                return Ok(());
            }
            if !self.flights.contains(&place) {
                let _ = self.flights.start(place, &self.child.sockets, self.assets.clone().erase(id));
            }
        }
        Ok(())
    }

    fn take_in(&mut self, assets: impl IntoIterator<Item = Asset>) {
        for asset in assets {
            if asset.state == AssetState::Pending && !self.flights.contains(&asset.id) {
                let expiry = asset.expires_at.unwrap_or(Timestamp(i64::MAX));
                self.backlog.insert((expiry, asset.id), asset);
            }
        }
    }

    fn start(&mut self) {
        while self.flights.len() < self.assets.config.assets.concurrency {
            let Some(((_, id), asset)) = self.backlog.pop_first() else { return };
            let _ = self.flights.start(id, &self.child.sockets, self.assets.clone().store(asset));
        }
    }
}
