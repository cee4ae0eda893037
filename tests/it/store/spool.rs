//! The evidence spool with both databases: away, back, killed, merged by hand.

use std::{
    fs,
    path::{Path, PathBuf},
};

use longtake::{
    domain::{
        attempt::AttemptState,
        id::{AttemptId, NodeId},
    },
    store::{
        EvidenceVerdict, Kept, Spool, Store, StoreError,
        spool::{Merged, Receipt, merge_folder},
    },
};

use super::bed::{Bed, NOW, attempt, born, intent, journal, learned};

super::on_both! {
    evidence_survives_a_database_that_is_away_and_is_there_once_when_it_is_back;
    what_a_killed_process_left_is_merged_before_the_store_is_open;
    a_database_that_stays_away_leaves_the_file_as_it_is;
    a_webhooks_receipt_finds_its_owner_and_one_without_is_set_aside;
    a_dead_hosts_folder_is_merged_by_hand_and_a_living_ones_left_alone;
    a_task_of_another_attempt_is_a_conflict_and_is_kept;
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(folder.join("spool")).map(|all| all.map(|one| one.unwrap().path()).collect()).unwrap_or_default();
    files.sort();
    files
}

async fn rows(bed: &Bed) -> i64 {
    bed.number("SELECT count(*) FROM submit_evidence").await
}

async fn merged(store: &Store, spool: &Spool) -> Merged {
    loop {
        match spool.merge(&journal(store), &store.reads()).await {
            // It is bounded, and goes on where it was.
            Err(StoreError::Timeout) => {}
            merged => return merged.unwrap(),
        }
    }
}

async fn evidence_survives_a_database_that_is_away_and_is_there_once_when_it_is_back(bed: &Bed) {
    let store = bed.open().await;
    let (journal, spool) = (journal(&store), store.spool());
    let generation = born(&journal).await;
    let (one, two) = (attempt(&generation, 1), attempt(&generation, 2));
    let kept = spool.keep(&journal, &learned(&one, "t-1")).await.unwrap();
    assert_eq!((kept, spool.waiting()), (Kept::Written(EvidenceVerdict::Recorded), 0));
    let away = bed.cut_off().await;
    assert_eq!(spool.keep(&journal, &learned(&two, "t-2")).await.unwrap(), Kept::Spooled);
    assert_eq!((spool.waiting(), files(bed.folder.path()).len()), (1, 1));
    away.end().await;
    let merged = merged(&store, &spool).await;
    // What was handed in before it was spooled may have been written after all.
    assert_eq!((merged.files, merged.recorded + merged.known), (1, 1));
    assert_eq!(merged.attempts, [two.id]);
    assert_eq!((spool.waiting(), files(bed.folder.path()).len(), rows(bed).await), (0, 0, 2));
    assert_eq!(store.reads().evidence(two.id).await.unwrap()[0].handle, learned(&two, "t-2").handle);
    store.close().await;
}

async fn what_a_killed_process_left_is_merged_before_the_store_is_open(bed: &Bed) {
    let store = bed.open().await;
    let generation = born(&journal(&store)).await;
    let left = attempt(&generation, 1);
    let dead = Spool::at(bed.folder.path(), NodeId::fresh());
    for task in ["t-1", "t-2", "t-1"] {
        dead.put(Receipt::of(&learned(&left, task))).await.unwrap();
    }
    store.close().await;
    // As long as its process lives its file is its own.
    let store = bed.open_again().await;
    assert_eq!((rows(bed).await, files(bed.folder.path()).len()), (0, 1));
    store.close().await;
    drop(dead);
    let torn = files(bed.folder.path()).remove(0);
    let mut bytes = fs::read(&torn).unwrap();
    let first = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    bytes.extend_from_within(..first / 2);
    fs::write(&torn, bytes).unwrap();
    let store = bed.open_again().await;
    assert_eq!((rows(bed).await, files(bed.folder.path()).len()), (2, 0), "the torn line cost nothing");
    store.close().await;
}

async fn a_database_that_stays_away_leaves_the_file_as_it_is(bed: &Bed) {
    let store = bed.open().await;
    let generation = born(&journal(&store)).await;
    let spool = store.spool();
    spool.put(Receipt::of(&learned(&attempt(&generation, 1), "t-1"))).await.unwrap();
    bed.meddle("ALTER TABLE submit_evidence RENAME TO hidden").await;
    let refused = spool.merge(&journal(&store), &store.reads()).await;
    // A table that is gone is told apart from an entry that is wrong only by a human: the file is kept either way.
    match refused {
        Err(StoreError::Unavailable { .. } | StoreError::Timeout) => assert_eq!(files(bed.folder.path()).len(), 1),
        other => assert_eq!((other.unwrap().refused, files(bed.folder.path()).len()), (1, 1)),
    }
    bed.meddle("ALTER TABLE hidden RENAME TO submit_evidence").await;
    store.close().await;
}

async fn a_webhooks_receipt_finds_its_owner_and_one_without_is_set_aside(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let (entry, known) = intent(&born(&journal).await, 1);
    journal.transition(entry).await.unwrap();
    assert_eq!(known.state, AttemptState::Submitting);
    let receipt = |attempt: AttemptId, task: &str| Receipt {
        attempt,
        owner: None,
        source: "webhook".to_owned(),
        ..Receipt::of(&learned(&known, task))
    };
    let spool = store.spool();
    spool.put(receipt(AttemptId::fresh(), "t-0")).await.unwrap();
    spool.put(receipt(known.id, "t-1")).await.unwrap();
    let merged = merged(&store, &spool).await;
    assert_eq!((merged.recorded, merged.refused, spool.waiting()), (1, 1, 0));
    let row = store.reads().evidence(known.id).await.unwrap().remove(0);
    assert_eq!((row.source.as_str(), row.account.as_str(), row.at), ("webhook", "kling/main", NOW));
    assert_eq!(row.generation, known.generation);
    let left = files(bed.folder.path());
    assert_eq!((left.len(), left[0].extension().unwrap().to_str()), (1, Some("aside")));
    store.close().await;
}

async fn a_dead_hosts_folder_is_merged_by_hand_and_a_living_ones_left_alone(bed: &Bed) {
    let store = bed.open().await;
    let generation = born(&journal(&store)).await;
    let host = tempfile::tempdir().unwrap();
    let (dead, living) = (Spool::at(host.path(), NodeId::fresh()), Spool::at(host.path(), NodeId::fresh()));
    dead.put(Receipt::of(&learned(&attempt(&generation, 1), "t-1"))).await.unwrap();
    dead.put(Receipt::of(&learned(&attempt(&generation, 2), "t-2"))).await.unwrap();
    living.put(Receipt::of(&learned(&attempt(&generation, 3), "t-3"))).await.unwrap();
    drop(dead);
    let file = files(host.path()).into_iter().find(|path| fs::read_to_string(path).unwrap().contains("t-1")).unwrap();
    let damaged = fs::read_to_string(&file).unwrap().replacen("t-1", "t-9", 1);
    fs::write(&file, damaged).unwrap();
    let beside = bed.open_beside().await;
    let merged = merge_folder(host.path(), (&journal(&beside), &beside.reads())).await.unwrap();
    assert_eq!((merged.files, merged.recorded, merged.damaged, merged.in_use), (1, 1, 1, 1));
    assert_eq!(rows(bed).await, 1);
    // The folder itself may be named, too; what was set aside is not looked at again.
    let again = merge_folder(&host.path().join("spool"), (&journal(&beside), &beside.reads())).await.unwrap();
    assert_eq!((again.files, again.in_use), (0, 1));
    beside.close().await;
    store.close().await;
}

async fn a_task_of_another_attempt_is_a_conflict_and_is_kept(bed: &Bed) {
    let store = bed.open().await;
    let generation = born(&journal(&store)).await;
    let (first, second) = (attempt(&generation, 1), attempt(&generation, 2));
    let spool = store.spool();
    spool.keep(&journal(&store), &learned(&first, "t-1")).await.unwrap();
    spool.put(Receipt::of(&learned(&second, "t-1"))).await.unwrap();
    let merged = merged(&store, &spool).await;
    assert_eq!((merged.conflicts, merged.recorded, files(bed.folder.path()).len()), (1, 0, 0));
    assert_eq!(store.reads().evidence(second.id).await.unwrap().len(), 1);
    store.close().await;
}
