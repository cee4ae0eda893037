//! Somebody meddles with the tables under a running server: what is written meanwhile fails, and what comes after works.

use std::time::Duration;

use longtake::{
    domain::id::ProjectId,
    store::{Journal, Verdict},
};

use super::bed::{Bed, attempt, birth, born, generation, intent, journal, learned, nudge};

super::on_both! {
    a_table_that_vanishes_and_comes_back_leaves_the_journal_working;
}

/// Everything that is written: births, intents, transitions, evidence. Whether all of it was.
async fn everything(journal: &Journal) -> bool {
    let generation = generation(ProjectId::fresh());
    if journal.birth(birth(&generation)).await.is_err() {
        return false;
    }
    let (entry, attempt) = intent(&generation, 1);
    let mut written = matches!(journal.transition(entry).await, Ok(Verdict::Won));
    let mut after = generation.clone();
    after.version += 1;
    written &= journal.evidence(learned(&attempt, &attempt.id.to_string())).await.is_ok();
    written && matches!(journal.transition(nudge(&after, 5)).await, Ok(Verdict::Won | Verdict::Lost))
}

async fn a_table_that_vanishes_and_comes_back_leaves_the_journal_working(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    // Twice: the second time every statement is a prepared one.
    assert!(everything(&journal).await && everything(&journal).await);
    let standing = born(&journal).await;
    let tables = ["generations", "attempts", "history", "submit_evidence", "ledger", "spend_days"];
    for table in tables.iter().chain(&tables) {
        bed.meddle(&format!("ALTER TABLE {table} RENAME TO hidden")).await;
        // Some of it may fail, none of it may hang, and nothing may be left locked.
        for _ in 0..3 {
            everything(&journal).await;
            let _ = journal.transition(nudge(&standing, 1)).await;
            let _ = journal.evidence(learned(&attempt(&standing, 1), "t-1")).await;
        }
        bed.meddle(&format!("ALTER TABLE hidden RENAME TO {table}")).await;
        let works = async {
            while !everything(&journal).await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        // Less than a writer waits for an answer that never comes.
        let works = tokio::time::timeout(Duration::from_secs(10), works).await;
        assert!(works.is_ok(), "after {table} was away the journal does not write any more");
    }
    store.close().await;
}
