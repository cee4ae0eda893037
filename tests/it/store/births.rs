//! Births and cancel wishes.

use longtake::{
    domain::id::{GenerationId, ProjectId},
    store::StoreError,
};

use super::bed::{Bed, NOW, birth, born, generation, intent, journal, nudge, request};

super::on_both! {
    a_birth_is_visible_once_it_is_answered;
    a_birth_that_exists_fails_alone_in_its_batch;
    a_cancel_wish_is_written_once_and_only_for_the_right_project;
    a_terminal_generation_takes_no_cancel_wish;
    every_answer_of_500_concurrent_callers_is_true;
}

async fn a_birth_is_visible_once_it_is_answered(bed: &Bed) {
    let store = bed.open().await;
    let generation = born(&journal(&store)).await;
    assert_eq!(store.reads().generation(generation.id).await.unwrap(), Some(generation.clone()));
    assert_eq!(store.reads().request(generation.id).await.unwrap(), Some(request()));
    assert_eq!(store.reads().generation(GenerationId::fresh()).await.unwrap(), None);
    assert_eq!(store.reads().history(generation.id).await.unwrap(), []);
    store.close().await;
}

async fn a_birth_that_exists_fails_alone_in_its_batch(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let first = born(&journal).await;
    // All at once, so that they share a batch with the bad one in their middle.
    let mut births: Vec<_> = (0..40).map(|_| generation(first.project)).collect();
    births[17].id = first.id;
    let answers = futures_util::future::join_all(births.iter().map(|row| journal.birth(birth(row)))).await;
    for (at, answer) in answers.iter().enumerate() {
        assert_eq!(matches!(answer, Err(StoreError::Conflict { .. })), at == 17, "{at}: {answer:?}");
        assert_eq!(answer.is_ok(), at != 17);
    }
    assert_eq!(bed.number("SELECT count(*) FROM generations").await, 40);
    assert_eq!(bed.number("SELECT count(*) FROM generation_payloads").await, 40);
    store.close().await;
}

async fn a_cancel_wish_is_written_once_and_only_for_the_right_project(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let generation = born(&journal).await;
    assert_eq!(journal.request_cancel(generation.id, ProjectId::fresh(), NOW).await.unwrap(), None);
    assert_eq!(store.reads().generation(generation.id).await.unwrap().unwrap().cancel_requested_at, None);
    for later in [0, 5] {
        let at = NOW.plus(std::time::Duration::from_secs(later));
        assert_eq!(journal.request_cancel(generation.id, generation.project, at).await.unwrap(), Some(()));
    }
    let found = store.reads().generation(generation.id).await.unwrap().unwrap();
    assert_eq!((found.cancel_requested_at, found.version), (Some(NOW), 0));
    assert_eq!(store.reads().cancel_wanted(10).await.unwrap(), [generation.id]);
    // A transition made from a row that was loaded before the wish neither loses nor wipes it out.
    assert_eq!(journal.transition(nudge(&generation, 5)).await.unwrap(), longtake::store::Verdict::Won);
    assert_eq!(store.reads().generation(generation.id).await.unwrap().unwrap().cancel_requested_at, Some(NOW));
    store.close().await;
}

async fn a_terminal_generation_takes_no_cancel_wish(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let generation = born(&journal).await;
    let mut entry = nudge(&generation, 0);
    if let Some(row) = entry.generation.as_mut() {
        row.progress.state = longtake::domain::generation::GenerationState::Failed;
        row.ended_at = Some(NOW);
    }
    journal.transition(entry).await.unwrap();
    assert_eq!(journal.request_cancel(generation.id, generation.project, NOW).await.unwrap(), Some(()));
    assert_eq!(store.reads().generation(generation.id).await.unwrap().unwrap().cancel_requested_at, None);
    assert_eq!(store.reads().cancel_wanted(10).await.unwrap(), []);
    store.close().await;
}

async fn every_answer_of_500_concurrent_callers_is_true(bed: &Bed) {
    let store = bed.open().await;
    let shared = journal(&store);
    let generations: Vec<_> =
        futures_util::future::join_all((0..500).map(|_| async { born(&shared).await })).await.into_iter().collect();
    assert_eq!(bed.number("SELECT count(*) FROM generations").await, 500);
    assert!(shared.counts().commits < 500, "births share commits: {:?}", shared.counts());
    // Two callers each try the same change: exactly one wins, and what is stored says which.
    let twice = generations.iter().flat_map(|row| [(row, 1), (row, 2)]);
    let verdicts = futures_util::future::join_all(twice.map(|(row, n)| {
        let (mut entry, attempt) = intent(row, 1);
        entry.new_attempts[0].attempt.n = n;
        let shared = &shared;
        async move { (row.id, attempt.id, shared.transition(entry).await.unwrap()) }
    }))
    .await;
    let won: Vec<_> = verdicts.iter().filter(|(.., verdict)| *verdict == longtake::store::Verdict::Won).collect();
    assert_eq!(won.len(), 500);
    let ids: Vec<_> = generations.iter().map(|row| row.id).collect();
    let loaded = store.reads().loads(&ids).await.unwrap();
    assert_eq!(loaded.iter().map(|row| row.generation.id).collect::<Vec<_>>(), ids);
    for (generation, attempt, _) in won {
        let found = loaded.iter().find(|row| row.generation.id == *generation).unwrap();
        assert_eq!(found.generation.version, 1);
        assert_eq!(found.attempts.iter().map(|row| row.id).collect::<Vec<_>>(), [*attempt]);
    }
    assert_eq!(bed.number("SELECT count(*) FROM history").await, 500);
    let counts = shared.counts();
    assert_eq!((counts.births, counts.transitions, counts.lost), (500, 500, 500));
    store.close().await;
}
