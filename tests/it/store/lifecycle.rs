//! Opening, locking, closing, ending without closing.

use longtake::store::{StoreError, Verdict};

use super::bed::{Bed, born, intent, journal, nudge};

super::on_both! {
    a_second_server_is_refused_until_the_first_one_closes;
    commands_work_before_during_and_after_a_server;
    what_was_acknowledged_survives_an_end_without_closing;
    a_new_node_declares_the_others_dead_and_claims_all_shards;
    a_closed_store_answers_what_it_took_and_refuses_the_rest;
}

async fn a_second_server_is_refused_until_the_first_one_closes(bed: &Bed) {
    let first = bed.open().await;
    assert!(matches!(bed.try_open().await, Err(StoreError::Locked { .. })));
    let generation = born(&journal(&first)).await;
    assert!(first.trust_window());
    first.close().await;
    let second = bed.open_again().await;
    assert_eq!(second.reads().generation(generation.id).await.unwrap(), Some(generation));
    second.close().await;
}

async fn commands_work_before_during_and_after_a_server(bed: &Bed) {
    let before = bed.open_beside().await;
    let project = before.keys().create_project("early").await.unwrap();
    before.close().await;
    let server = bed.open_again().await;
    let during = bed.open_beside().await;
    assert_eq!(during.keys().project_by_name("early").await.unwrap(), Some(project.clone()));
    during.close().await;
    server.close().await;
    let after = bed.open_beside().await;
    assert_eq!(after.keys().project_by_name("early").await.unwrap(), Some(project));
    after.close().await;
}

async fn what_was_acknowledged_survives_an_end_without_closing(bed: &Bed) {
    let store = bed.open().await;
    let generation = born(&journal(&store)).await;
    let (entry, attempt) = intent(&generation, 1);
    assert_eq!(journal(&store).transition(entry).await.unwrap(), Verdict::Won);
    drop(store);
    let store = bed.open_again().await;
    let loaded = store.reads().load(generation.id).await.unwrap().unwrap();
    assert_eq!((loaded.generation.version, loaded.attempts), (1, vec![attempt]));
    store.close().await;
}

async fn a_new_node_declares_the_others_dead_and_claims_all_shards(bed: &Bed) {
    bed.open().await.close().await;
    let store = bed.open_again().await;
    assert_eq!(bed.number("SELECT count(*) FROM nodes WHERE dead_at IS NULL").await, 1);
    assert_eq!(bed.number("SELECT count(*) FROM nodes WHERE dead_at IS NOT NULL").await, 1);
    let own = "SELECT count(*) FROM shards s JOIN nodes n ON n.id = s.owner WHERE n.dead_at IS NULL";
    assert_eq!(bed.number(own).await, 256);
    store.close().await;
}

async fn a_closed_store_answers_what_it_took_and_refuses_the_rest(bed: &Bed) {
    let store = bed.open().await;
    let writes = journal(&store);
    let generations = futures_util::future::join_all((0..50).map(|_| born(&writes))).await;
    let calls = futures_util::future::join_all(generations.iter().map(|row| writes.transition(nudge(row, 1))));
    let (answers, ()) = futures_util::join!(calls, store.close());
    let mut won = 0;
    for answer in answers {
        match answer {
            Ok(Verdict::Won) => won += 1,
            Err(StoreError::Closed) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(writes.ping().await, Err(StoreError::Closed)));
    assert_eq!(bed.number("SELECT count(*) FROM generations WHERE version = 1").await, won);
}
