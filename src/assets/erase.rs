//! Files of what was deleted below `/v1`. That it was deleted is committed by then; here the objects go, then the rows say so. After a
//! crash in between the object is gone already, which no storage minds, and the rows are told once more.

use crate::{
    assets::store_asset::Assets,
    domain::{
        error::{ErrorCode, Failure},
        id::GenerationId,
        record::{Asset, AssetState},
        time::Timestamp,
    },
    storage::StorageError,
    store::{
        Loaded, StoreError, Transition,
        change::{Change, Start, commit},
    },
};

/// Why something is left; the sweep comes again.
#[derive(Debug, thiserror::Error)]
enum Left {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Assets {
    /// Erases the files of a generation, once nothing more is on its way.
    pub async fn erase(self, id: GenerationId) {
        match self.erased(id).await {
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(generation.id = %id, error = %error, "files of a deleted video are left; it is tried again")
            }
        }
        self.freed.notify_one();
    }

    async fn erased(&self, id: GenerationId) -> Result<(), Left> {
        let Some(loaded) = self.reads.load(id).await? else { return Ok(self.videos.purged(id, self.clock.now()).await?) };
        if !at_rest(&loaded) {
            return Ok(());
        }
        // A line that was tried again may have taken a late file over: it is that one's by now.
        let own = loaded.assets.iter().filter(|asset| there(asset) && loaded.generation.replaced_by.is_none());
        for key in own.filter_map(|asset| asset.storage_key.as_ref()) {
            self.storage.delete(key).await?;
        }
        commit(&self.reads, &self.journal, Start::Known(Box::new(loaded)), |loaded| decide(loaded, self.clock.now())).await?;
        self.videos.purged(id, self.clock.now()).await?;
        tracing::info!(generation.id = %id, "files of a deleted video are gone");
        Ok(())
    }
}

/// Whether no file is still to come.
fn at_rest(loaded: &Loaded) -> bool {
    loaded.generation.state().terminal()
        && loaded.attempts.iter().all(|attempt| attempt.state.ended())
        && loaded.assets.iter().all(|asset| asset.state != AssetState::Pending)
}

/// Whether clients are shown it. A provider's own URL cannot be taken back, but it is shown no longer.
const fn there(asset: &Asset) -> bool {
    matches!(asset.state, AssetState::Stored | AssetState::Linked)
}

/// The transition; none when nothing is there (any more).
fn decide(loaded: &Loaded, now: Timestamp) -> Option<Transition> {
    let mut change = Change::of(&loaded.generation, now);
    let gone: Vec<Asset> = loaded.assets.iter().filter(|asset| there(asset)).cloned().collect();
    if gone.is_empty() || !at_rest(loaded) {
        return None;
    }
    for asset in gone {
        let failure = Some(Failure::new(ErrorCode::NotFound, "its file was deleted on request"));
        change.asset(Asset { state: AssetState::Deleted, storage_key: None, source_url: None, failure, ..asset });
    }
    Some(change.entry())
}
