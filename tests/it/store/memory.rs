//! The memory of recent rows: what it answers is what the database holds.

use longtake::{
    assets::{
        store_asset::{Settled, decide},
        transfer::StoredAsset,
    },
    config::{providers::RetryConfig, store::StoreConfig},
    domain::{
        attempt::AttemptState,
        id::NodeId,
        record::{Asset, Kind},
    },
    store::{Loaded, Remembered, Store, Transition, Verdict},
};

use super::bed::{Bed, NOW, asset, born, intent, journal, nudge};

super::on_both! {
    memory_and_database_say_the_same_after_every_commit;
    two_files_that_arrive_at_once_end_their_attempt;
}

async fn remembering(bed: &Bed) -> Store {
    let config = StoreConfig { recent: 64, ..bed.config.clone() };
    let runtime = tokio::runtime::Handle::current();
    Store::open(&config, bed.folder.path(), NodeId::fresh(), Bed::clock(), &runtime).await.unwrap()
}

async fn memory_and_database_say_the_same_after_every_commit(bed: &Bed) {
    let (store, beside) = (remembering(bed).await, bed.open_beside().await);
    let journal = journal(&store);
    let generation = born(&journal).await;
    let same = async || {
        let known = store.reads().load(generation.id).await.unwrap();
        assert_eq!(known, beside.reads().load(generation.id).await.unwrap());
        known.unwrap()
    };
    assert!(matches!(store.reads().remembered(generation.id), Remembered::Row(_)));
    assert_eq!(store.reads().request(generation.id).await.unwrap(), beside.reads().request(generation.id).await.unwrap());
    same().await;
    let (entry, attempt) = intent(&generation, 1);
    assert_eq!(journal.transition(entry).await.unwrap(), Verdict::Won);
    let loaded = same().await;
    assert_eq!(store.reads().attempt(attempt.id).await.unwrap(), Some(attempt.clone()));
    // A transition that loses takes it out: what is kept may be what made it lose.
    assert_eq!(journal.transition(nudge(&generation, 5)).await.unwrap(), Verdict::Lost);
    assert!(matches!(store.reads().remembered(generation.id), Remembered::Nothing));
    assert_eq!(journal.transition(nudge(&loaded.generation, 5)).await.unwrap(), Verdict::Won);
    same().await;
    let other = born(&journal).await;
    journal.request_cancel(other.id, other.project, NOW).await.unwrap();
    assert!(matches!(store.reads().remembered(other.id), Remembered::Nothing));
    let cancelled = store.reads().generation(other.id).await.unwrap().unwrap();
    assert_eq!(cancelled.cancel_requested_at, Some(NOW));
    beside.close().await;
    store.close().await;
}

async fn two_files_that_arrive_at_once_end_their_attempt(bed: &Bed) {
    let store = remembering(bed).await;
    let journal = journal(&store);
    let generation = born(&journal).await;
    let (entry, mut attempt) = intent(&generation, 1);
    journal.transition(entry).await.unwrap();
    let loaded = store.reads().load(generation.id).await.unwrap().unwrap();
    attempt.state = AttemptState::Storing;
    let files = [asset(&attempt, 0), asset(&attempt, 1)];
    let finished = Transition { attempts: vec![attempt], new_assets: files.to_vec(), ..Transition::of(&loaded.generation) };
    assert_eq!(journal.transition(finished).await.unwrap(), Verdict::Won);
    // Both transfers look before either has committed.
    let seen = store.reads().load(generation.id).await.unwrap().unwrap();
    let [first, second] = files.map(|file| stored(&seen, &file));
    assert_eq!(journal.transition(first).await.unwrap(), Verdict::Won);
    assert_eq!(journal.transition(second).await.unwrap(), Verdict::Lost, "it does not know of the first");
    let seen = store.reads().load(generation.id).await.unwrap().unwrap();
    let last = seen.assets.iter().find(|asset| asset.idx == 1).unwrap().clone();
    assert_eq!(journal.transition(stored(&seen, &last)).await.unwrap(), Verdict::Won);
    let loaded = store.reads().load(generation.id).await.unwrap().unwrap();
    assert!(loaded.attempts[0].state.ended(), "{:?}", loaded.attempts[0].state);
    store.close().await;
}

fn stored(seen: &Loaded, file: &Asset) -> Transition {
    let settled = Settled::Stored(StoredAsset {
        storage_key: format!("kling/{}", file.idx),
        kind: Kind::Video,
        content_type: "video/mp4".to_owned(),
        width: None,
        height: None,
        duration_ms: None,
        bytes: 9,
        sha256: "ab".repeat(32),
    });
    decide(seen, file.id, &settled, (&RetryConfig::default().policy(), NOW)).unwrap()
}
