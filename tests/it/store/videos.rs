//! What is deleted below `/v1`, and whether its files are gone.

use longtake::{
    domain::record::{Asset, AssetState},
    store::{Transition, Verdict},
};

use super::bed::{Bed, NOW, asset, born, intent, journal};

super::on_both! {
    a_deleted_video_counts_as_erased_only_when_no_file_is_left_or_to_come;
}

async fn a_deleted_video_counts_as_erased_only_when_no_file_is_left_or_to_come(bed: &Bed) {
    let store = bed.open().await;
    let (journal, videos, reads) = (journal(&store), store.videos(), store.reads());
    let generation = born(&journal).await;
    videos.hide(generation.id, generation.project, NOW).await.unwrap();
    let (entry, attempt) = intent(&generation, 1);
    let file = asset(&attempt, 1);
    let found = Transition { new_assets: vec![Asset { state: AssetState::Pending, ..file.clone() }], ..entry };
    assert_eq!(journal.transition(found).await.unwrap(), Verdict::Won);
    // It was seen without the file, which came since.
    videos.purged(generation.id, NOW).await.unwrap();
    assert_eq!(reads.videos_to_purge(9).await.unwrap(), [generation.id], "a file is to come");
    for (version, state) in (0..).zip([AssetState::Stored, AssetState::Linked, AssetState::Failed]) {
        let row = Asset { version, state, ..file.clone() };
        let moved = Transition { assets: vec![row], ..Transition::of(&generation) };
        assert_eq!(journal.transition(moved).await.unwrap(), Verdict::Won);
        videos.purged(generation.id, NOW).await.unwrap();
        let left = reads.videos_to_purge(9).await.unwrap().len();
        assert_eq!(left, usize::from(state != AssetState::Failed), "{state:?}");
    }
    store.close().await;
}
