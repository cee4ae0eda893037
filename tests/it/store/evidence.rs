//! Evidence: recorded, known, in conflict.

use longtake::store::EvidenceVerdict;

use super::bed::{Bed, attempt, born, journal, learned};

super::on_both! {
    evidence_is_recorded_once_and_a_second_claimant_is_a_conflict;
    equal_evidence_at_the_same_time_is_recorded_once;
    a_synchronous_provider_without_ids_never_conflicts;
}

async fn evidence_is_recorded_once_and_a_second_claimant_is_a_conflict(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let generation = born(&journal).await;
    let (one, two) = (attempt(&generation, 1), attempt(&generation, 2));
    assert_eq!(journal.evidence(learned(&one, "t-1")).await.unwrap(), EvidenceVerdict::Recorded);
    assert_eq!(journal.evidence(learned(&one, "t-1")).await.unwrap(), EvidenceVerdict::Known);
    assert_eq!(journal.evidence(learned(&two, "t-1")).await.unwrap(), EvidenceVerdict::Conflict);
    // A second task of one attempt is new evidence; whoever reads it sees two.
    assert_eq!(journal.evidence(learned(&one, "t-2")).await.unwrap(), EvidenceVerdict::Recorded);
    // The same number at another account is another task.
    let mut elsewhere = learned(&two, "t-1");
    elsewhere.account = "kling/spare".to_owned();
    assert_eq!(journal.evidence(elsewhere).await.unwrap(), EvidenceVerdict::Recorded);
    let rows = store.reads().evidence(one.id).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.handle.task_id.as_str()).collect::<Vec<_>>(), ["t-1", "t-2"]);
    assert_eq!(rows[0].handle, learned(&one, "t-1").handle);
    // What conflicts is kept as evidence all the same.
    assert_eq!(store.reads().evidence(two.id).await.unwrap().len(), 2);
    assert_eq!(journal.counts().evidence, 3);
    store.close().await;
}

async fn equal_evidence_at_the_same_time_is_recorded_once(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let generation = born(&journal).await;
    let (one, two) = (attempt(&generation, 1), attempt(&generation, 2));
    let calls = (0..60).map(|at| journal.evidence(learned(if at % 3 == 0 { &two } else { &one }, "t-1")));
    let verdicts: Vec<_> = futures_util::future::join_all(calls).await.into_iter().map(Result::unwrap).collect();
    let count = |wanted| verdicts.iter().filter(|verdict| **verdict == wanted).count();
    assert_eq!(count(EvidenceVerdict::Recorded), 1);
    assert!([20, 40].contains(&count(EvidenceVerdict::Conflict)), "{verdicts:?}");
    assert_eq!(bed.number("SELECT count(*) FROM submit_evidence").await, 2);
    assert_eq!(bed.number("SELECT count(*) FROM provider_tasks").await, 1);
    store.close().await;
}

async fn a_synchronous_provider_without_ids_never_conflicts(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let generation = born(&journal).await;
    for n in [1, 2] {
        assert_eq!(journal.evidence(learned(&attempt(&generation, n), "")).await.unwrap(), EvidenceVerdict::Recorded);
    }
    assert_eq!(bed.number("SELECT count(*) FROM provider_tasks").await, 0);
    store.close().await;
}
