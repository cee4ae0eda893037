//! What a finished attempt leaves: the rows of its files, in the commit that enters `storing`.

use std::time::Duration;

use crate::{
    domain::{
        attempt::AttemptEvent,
        id::AssetId,
        output::{Output, OutputSource},
        record::{Asset, AssetState, Attempt},
        time::{Timestamp, millis},
    },
    store::{
        Loaded,
        change::{Change, End, Illegal},
    },
};

/// What the provider made.
#[derive(Debug, Clone)]
pub struct Finished<'a> {
    /// The files; inline ones are staged in the storage already, under the key beside them.
    pub outputs: &'a [(Output, Option<String>)],
    /// Hand out the provider's own URLs instead of storing.
    pub link: bool,
    /// How the attempt ends when there is nothing to store.
    pub delivered: End<'a>,
}

impl Change {
    /// Enters `storing` with the files' rows; where all are handed out as links the attempt is delivered at once.
    ///
    /// # Errors
    /// [`Illegal`] when a machine has no such edge.
    pub fn finish(&mut self, loaded: &Loaded, attempt: &mut Attempt, finished: &Finished<'_>) -> Result<(), Illegal> {
        attempt.charged = true;
        let assets = rows(attempt, finished, self.at());
        let linked = assets.iter().all(|asset| asset.state == AssetState::Linked);
        self.new_assets(assets);
        self.attempt(attempt, AttemptEvent::Finished, "the provider finished it")?;
        if linked { self.end(loaded, attempt, &finished.delivered) } else { Ok(()) }
    }
}

/// More files than asked for are kept too: they are paid.
fn rows(attempt: &Attempt, finished: &Finished<'_>, now: Timestamp) -> Vec<Asset> {
    let with_index = (attempt.first_output..).zip(finished.outputs);
    with_index.map(|(idx, (output, staged))| row(attempt, finished.link, (idx, output, staged.clone()), now)).collect()
}

fn row(attempt: &Attempt, link: bool, (idx, output, staged_key): (u16, &Output, Option<String>), now: Timestamp) -> Asset {
    let source_url = match &output.source {
        OutputSource::Url(url) => Some(url.clone()),
        OutputSource::Inline(_) => None,
    };
    // Inline bytes are always stored: there is no URL to hand out.
    let state = if link && source_url.is_some() { AssetState::Linked } else { AssetState::Pending };
    Asset {
        id: AssetId::fresh(),
        generation: attempt.generation,
        attempt: attempt.id,
        idx,
        shard: attempt.shard,
        version: 0,
        state,
        kind: output.kind,
        expires_at: source_url.is_some().then(|| now.plus(output.lifetime)),
        source_url,
        staged_key,
        storage_key: None,
        content_type: None,
        width: None,
        height: None,
        duration_ms: output.duration_seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).map(millis),
        bytes: None,
        sha256: None,
        failure: None,
    }
}
