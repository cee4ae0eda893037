//! Loads: chunk by chunk, seen whole or not at all, promised only with the last commit.

use std::time::Duration;

use longtake::{
    domain::{
        batch::{BatchOptions, BatchStatus, Counts},
        generation::GenerationState,
        id::{GenerationId, ProjectId},
        limits::Limits,
        money::Micros,
    },
    store::{ListFilter, Load, StoreError, loads},
};

use super::{PRICE, line, loaded, loading, stored, telling};
use crate::store::bed::{Bed, NOW, birth, generation, journal};

crate::store::on_both! {
    a_batch_is_seen_whole_with_its_last_commit;
    a_load_that_ends_before_it_is_visible_leaves_nothing_that_anybody_sees;
    an_abandoned_load_is_swept_and_takes_no_further_line;
    limits_are_judged_for_the_sum_and_a_load_given_up_holds_nothing;
    lines_with_one_place_or_of_another_batch_are_refused;
    ten_thousand_lines_in_chunks_are_all_there;
}

async fn a_batch_is_seen_whole_with_its_last_commit(bed: &Bed) {
    let store = bed.open().await;
    let project = ProjectId::fresh();
    let options = BatchOptions { max_concurrency: 7, budget: Some(Micros(5)), ..BatchOptions::default() };
    let mut new = loading(project, options);
    (new.name, new.metadata) = (Some("spring".to_owned()), serde_json::from_str(r#"{"a":[1]}"#).unwrap());
    let mut load = Load::begin(&journal(&store), new.clone()).await.unwrap();
    let births: Vec<_> = (0..5).map(|index| line(&new, index)).collect();
    load.add(births[..2].to_vec(), NOW).await.unwrap();
    load.add(births[2..].to_vec(), NOW).await.unwrap();
    assert_eq!(store.reads().batch(new.id, project).await.unwrap(), None);
    assert_eq!(store.reads().list(project, &ListFilter::default(), None, 10).await.unwrap(), []);
    assert_eq!(bed.number("SELECT count(*) FROM spend_days").await, 0, "nothing is promised yet");
    assert_eq!(store.watch().outbox().take(), None, "nothing is told yet");
    let at = NOW.plus(Duration::from_secs(1));
    let batch = load.publish(Limits::default(), None, at).await.unwrap();
    assert_eq!(store.reads().batch(new.id, project).await.unwrap(), Some(batch.clone()));
    assert_eq!(store.reads().batch(new.id, ProjectId::fresh()).await.unwrap(), None);
    assert_eq!((batch.visible_at, batch.counts), (Some(at), Counts { total: 5, ..Counts::NONE }));
    assert_eq!(batch.status(), BatchStatus::Processing);
    let rows: Vec<_> = births.iter().map(|birth| birth.generation.clone()).collect();
    assert_eq!(store.reads().lines(batch.id, &[], None, 10).await.unwrap(), rows);
    assert_eq!(store.reads().lines(batch.id, &[], Some(2), 10).await.unwrap(), rows[3..]);
    assert_eq!(store.reads().batches(project, None, 10).await.unwrap(), std::slice::from_ref(&batch));
    assert_eq!(store.reads().batches(project, Some(batch.id), 10).await.unwrap(), []);
    assert_eq!(bed.number("SELECT CAST(sum(held) AS bigint) FROM spend_days").await, 5 * PRICE.0);
    assert_eq!(bed.number("SELECT CAST(sum(held) AS bigint) FROM ledger").await, 5 * PRICE.0);
    assert_eq!(bed.number("SELECT count(*) FROM events WHERE kind = 'batch.created' AND generation_id IS NULL").await, 1);
    assert!(store.watch().outbox().take().is_some(), "streams hear of it at once");
    store.close().await;
}

async fn a_load_that_ends_before_it_is_visible_leaves_nothing_that_anybody_sees(bed: &Bed) {
    let store = bed.open().await;
    let project = ProjectId::fresh();
    let mut load = Load::begin(&journal(&store), loading(project, BatchOptions::default())).await.unwrap();
    let id = load.batch().id;
    let lines = (0..3).map(|index| line(load.batch(), index));
    load.add(lines.map(telling).collect(), NOW).await.unwrap();
    assert_eq!(bed.number("SELECT count(*) FROM generation_webhooks").await, 3);
    drop((load, store));
    let store = bed.open_again().await;
    assert_eq!(store.reads().batch_by_id(id).await.unwrap(), None);
    assert_eq!(store.reads().batches(project, None, 10).await.unwrap(), []);
    assert_eq!(store.reads().open_batches(None, 10).await.unwrap(), []);
    assert_eq!(store.reads().list(project, &ListFilter::default(), None, 10).await.unwrap(), []);
    let late = NOW.plus(Duration::from_secs(86_400));
    assert_eq!(store.reads().queue_expired(late, 10).await.unwrap(), Vec::<GenerationId>::new());
    assert_eq!(loads::sweep(&store.reads(), &journal(&store), late, late).await.unwrap(), 3);
    let others = ["generation_webhooks", "spend_days", "events"];
    for table in ["batches", "generations", "generation_payloads", "ledger", "dependencies"].into_iter().chain(others) {
        assert_eq!(bed.number(&format!("SELECT count(*) FROM {table}")).await, 0, "{table}");
    }
    store.close().await;
}

async fn an_abandoned_load_is_swept_and_takes_no_further_line(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let mut old = Load::begin(&journal, loading(ProjectId::fresh(), BatchOptions::default())).await.unwrap();
    let mut young = Load::begin(&journal, loading(ProjectId::fresh(), BatchOptions::default())).await.unwrap();
    let first = vec![line(old.batch(), 0)];
    old.add(first, NOW).await.unwrap();
    let later = NOW.plus(Duration::from_secs(60));
    let lines = vec![line(young.batch(), 0)];
    young.add(lines, later).await.unwrap();
    assert_eq!(loads::sweep(&store.reads(), &journal, later, later).await.unwrap(), 1);
    let more = vec![line(old.batch(), 1)];
    assert!(matches!(old.add(more, later).await, Err(StoreError::Gone)));
    assert!(matches!(old.publish(Limits::default(), None, later).await, Err(StoreError::Gone)));
    let id = young.batch().id;
    young.publish(Limits::default(), None, later).await.unwrap();
    // What is visible is never swept, however old.
    let far = later.plus(Duration::from_secs(86_400));
    assert_eq!(loads::sweep(&store.reads(), &journal, far, far).await.unwrap(), 0);
    assert_eq!(stored(&store, id).await.counts.total, 1);
    assert_eq!(bed.number("SELECT count(*) FROM generations").await, 1);
    store.close().await;
}

async fn limits_are_judged_for_the_sum_and_a_load_given_up_holds_nothing(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let project = ProjectId::fresh();
    let limits = Limits { project: Some(Micros(PRICE.0 * 10)), key: None };
    let load = async |lines: u32| {
        let mut load = Load::begin(&journal, loading(project, BatchOptions::default())).await.unwrap();
        let births = (0..lines).map(|index| line(load.batch(), index)).collect();
        load.add(births, NOW).await.unwrap();
        load
    };
    load(6).await.discard(NOW).await.unwrap();
    assert_eq!(bed.number("SELECT count(*) FROM generations").await, 0);
    // Both are loaded before either is visible.
    let (first, second, third) = (load(6).await, load(5).await, load(4).await);
    first.publish(limits, None, NOW).await.unwrap();
    let refused = second.publish(limits, None, NOW).await.unwrap_err();
    let StoreError::OverLimit(over) = refused else { panic!("{refused:?}") };
    assert_eq!((over.spent, over.asked), (Micros(6 * PRICE.0), Micros(5 * PRICE.0)));
    third.publish(limits, None, NOW).await.unwrap();
    let mut one = birth(&generation(project));
    one.limits = limits;
    assert!(matches!(journal.birth(one).await, Err(StoreError::OverLimit(over)) if over.spent == Micros(10 * PRICE.0)));
    assert_eq!(bed.number("SELECT CAST(sum(held) AS bigint) FROM spend_days").await, 10 * PRICE.0);
    assert_eq!(store.reads().batches(project, None, 10).await.unwrap().len(), 2);
    store.close().await;
}

async fn lines_with_one_place_or_of_another_batch_are_refused(bed: &Bed) {
    let store = bed.open().await;
    let mut load = Load::begin(&journal(&store), loading(ProjectId::fresh(), BatchOptions::default())).await.unwrap();
    let other = loading(load.batch().project, BatchOptions::default());
    assert!(matches!(load.add(vec![line(&other, 0)], NOW).await, Err(StoreError::Unstorable { .. })));
    let mut astray = line(load.batch(), 0);
    astray.generation.shard = 18;
    assert!(matches!(load.add(vec![astray], NOW).await, Err(StoreError::Unstorable { .. })));
    let twice = vec![line(load.batch(), 3), line(load.batch(), 3)];
    assert!(matches!(load.add(twice, NOW).await, Err(StoreError::Conflict { .. })));
    assert_eq!(bed.number("SELECT count(*) FROM generations").await, 0);
    assert_eq!(load.batch().counts.total, 0);
    store.close().await;
}

async fn ten_thousand_lines_in_chunks_are_all_there(bed: &Bed) {
    let store = bed.open().await;
    let mut load = Load::begin(&journal(&store), loading(ProjectId::fresh(), BatchOptions::default())).await.unwrap();
    for chunk in 0..10 {
        let births = (0..1_000).map(|n| line(load.batch(), chunk * 1_000 + n)).collect();
        load.add(births, NOW).await.unwrap();
    }
    let batch = load.publish(Limits::default(), None, NOW).await.unwrap();
    assert_eq!(batch.counts, Counts { total: 10_000, ..Counts::NONE });
    let mut seen = Vec::new();
    loop {
        let after = seen.last().copied();
        let page = store.reads().lines(batch.id, &[], after, 1_000).await.unwrap();
        if page.is_empty() {
            break;
        }
        seen.extend(page.iter().map(|row| row.batch.as_ref().unwrap().index));
        assert!(page.iter().all(|row| row.state() == GenerationState::Queued));
    }
    assert_eq!(seen, (0..10_000).collect::<Vec<_>>());
    assert_eq!(bed.number("SELECT CAST(sum(held) AS bigint) FROM spend_days").await, 10_000 * PRICE.0);
    let (small, _) = loaded(&store, BatchOptions::default(), 1).await;
    assert_eq!(stored(&store, small.id).await, small);
    store.close().await;
}
