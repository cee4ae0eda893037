//! Compare-and-set, guard, order, fence, lifeline.

use longtake::{
    domain::{
        attempt::AttemptState,
        error::{ErrorCode, Failure, FailureDetails},
        id::{AttemptId, GenerationId},
        money::Micros,
        record::{AssetState, Handle},
    },
    lifeline::Lifeline,
    store::{EvidenceVerdict, StoreError, Transition, Verdict},
};

use super::bed::{Bed, NOW, asset, attempt, born, event, intent, journal, learned, nudge};

super::on_both! {
    a_transition_from_a_stale_version_loses_and_writes_nothing;
    an_intent_loses_once_a_cancel_is_wished;
    an_intent_writes_attempt_payload_and_history_in_one;
    every_mutable_column_of_attempts_and_assets_is_kept;
    of_two_transitions_in_flight_one_wins_and_none_is_lost_silently;
    an_entry_that_contradicts_the_schema_fails_alone;
    rows_of_another_generation_are_refused;
    a_foreign_shard_is_lost;
    a_node_that_was_declared_dead_loses_every_transition_but_records_evidence;
    a_revoked_lifeline_is_refused;
    only_commits_that_wrote_are_counted;
}

async fn a_transition_from_a_stale_version_loses_and_writes_nothing(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let generation = born(&journal).await;
    assert_eq!(journal.transition(nudge(&generation, 1)).await.unwrap(), Verdict::Won);
    let (mut stale, new) = intent(&generation, 1);
    stale.events = vec![event(&generation, "generation.started")];
    assert_eq!(journal.transition(stale).await.unwrap(), Verdict::Lost);
    let loaded = store.reads().load(generation.id).await.unwrap().unwrap();
    assert_eq!((loaded.generation.version, loaded.attempts.len()), (1, 0));
    assert_eq!(loaded.generation.progress.not_before, NOW.plus(std::time::Duration::from_millis(1)));
    assert_eq!(store.reads().attempt_request(new.id).await.unwrap(), None);
    assert_eq!(store.reads().history(generation.id).await.unwrap().len(), 1);
    assert_eq!(bed.number("SELECT count(*) FROM events").await, 0);
    let unknown = super::bed::generation(generation.project);
    assert_eq!(journal.transition(nudge(&unknown, 1)).await.unwrap(), Verdict::Lost);
    store.close().await;
}

async fn an_intent_loses_once_a_cancel_is_wished(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let generation = born(&journal).await;
    journal.request_cancel(generation.id, generation.project, NOW).await.unwrap();
    assert_eq!(journal.transition(intent(&generation, 1).0).await.unwrap(), Verdict::Lost);
    assert_eq!(store.reads().load(generation.id).await.unwrap().unwrap().attempts, []);
    // Everything else goes on.
    assert_eq!(journal.transition(nudge(&generation, 1)).await.unwrap(), Verdict::Won);
    store.close().await;
}

async fn an_intent_writes_attempt_payload_and_history_in_one(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let generation = born(&journal).await;
    let (mut entry, new) = intent(&generation, 1);
    entry.events = vec![event(&generation, "generation.started")];
    assert_eq!(journal.transition(entry).await.unwrap(), Verdict::Won);
    let loaded = store.reads().load(generation.id).await.unwrap().unwrap();
    assert_eq!(loaded.attempts, std::slice::from_ref(&new));
    assert_eq!((loaded.generation.version, loaded.generation.slots().to_string().as_str()), (1, "ao"));
    assert_eq!(store.reads().attempt_request(new.id).await.unwrap(), Some(serde_json::json!({"url": "https://x", "n": 1})));
    assert_eq!(store.reads().attempt(new.id).await.unwrap(), Some(new));
    let history = store.reads().history(generation.id).await.unwrap();
    assert_eq!(history.len(), 1);
    assert_eq!((history[0].attempt, history[0].to.as_str()), (1, "submitting"));
    assert_eq!(bed.number("SELECT count(*) FROM events").await, 1);
    store.close().await;
}

async fn every_mutable_column_of_attempts_and_assets_is_kept(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let generation = born(&journal).await;
    let (entry, mut row) = intent(&generation, 1);
    journal.transition(entry).await.unwrap();
    row.state = AttemptState::Storing;
    row.handle = Some(Handle { task_id: "t-1".to_owned(), poll_url: None });
    row.submitted_at = Some(NOW);
    row.unconfirmed_since = Some(NOW);
    row.not_after = NOW.plus(std::time::Duration::from_secs(9));
    row.cost = Some(Micros(-3));
    row.charged = true;
    row.failure = Some(failure());
    let mut file = asset(&row, 1);
    let storing = Transition { attempts: vec![row.clone()], new_assets: vec![file.clone()], ..Transition::of(&generation) };
    assert_eq!(journal.transition(storing).await.unwrap(), Verdict::Won);
    row.version = 1;
    let loaded = store.reads().load(generation.id).await.unwrap().unwrap();
    // The generation's own version is untouched by a change of its attempt.
    assert_eq!(loaded.generation.version, 1);
    assert_eq!((loaded.attempts, loaded.assets), (vec![row], vec![file.clone()]));
    file.state = AssetState::Stored;
    file.storage_key = Some("kling/a.mp4".to_owned());
    file.content_type = Some("video/mp4".to_owned());
    (file.width, file.height) = (Some(1920), Some(1080));
    (file.duration_ms, file.bytes) = (Some(5_000), Some(5_000_000_000));
    file.sha256 = Some("00ff".to_owned());
    file.source_url = None;
    file.failure = Some(failure());
    let stored = Transition { assets: vec![file.clone()], ..Transition::of(&generation) };
    assert_eq!(journal.transition(stored.clone()).await.unwrap(), Verdict::Won);
    assert_eq!(journal.transition(stored).await.unwrap(), Verdict::Lost);
    file.version = 1;
    assert_eq!(store.reads().load(generation.id).await.unwrap().unwrap().assets, [file]);
    store.close().await;
}

fn failure() -> Failure {
    let details = FailureDetails { provider_message: Some("it's \"bad\"".to_owned()), ..FailureDetails::default() };
    Failure { details: Some(details), ..Failure::new(ErrorCode::TaskFailed, "the provider failed") }
}

async fn of_two_transitions_in_flight_one_wins_and_none_is_lost_silently(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let generation = born(&journal).await;
    let calls = (1..=20).map(|by| journal.transition(nudge(&generation, by)));
    let verdicts = futures_util::future::join_all(calls).await;
    let won: Vec<_> = verdicts.iter().map(|verdict| *verdict.as_ref().unwrap() == Verdict::Won).collect();
    assert_eq!(won.iter().filter(|won| **won).count(), 1);
    // Handed in by one task, so in order: the first one wins.
    assert!(won[0]);
    let found = store.reads().generation(generation.id).await.unwrap().unwrap();
    assert_eq!((found.version, found.progress.not_before), (1, NOW.plus(std::time::Duration::from_millis(1))));
    // A chain that is handed in at once, each from the version the one before leaves, wins as a whole.
    let chain = (1..=10).map(|version| {
        let mut row = generation.clone();
        row.version = version;
        journal.transition(nudge(&row, 100))
    });
    for verdict in futures_util::future::join_all(chain).await {
        assert_eq!(verdict.unwrap(), Verdict::Won);
    }
    assert_eq!(store.reads().generation(generation.id).await.unwrap().unwrap().version, 11);
    assert_eq!(store.reads().history(generation.id).await.unwrap().len(), 11);
    store.close().await;
}

async fn an_entry_that_contradicts_the_schema_fails_alone(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let generations = futures_util::future::join_all((0..30).map(|_| born(&journal))).await;
    let taken = intent(&generations[0], 1);
    journal.transition(taken.0).await.unwrap();
    let entries = generations.iter().skip(1).enumerate().map(|(at, row)| {
        let (mut entry, _) = intent(row, 1);
        if at == 11 {
            // An attempt with this id exists.
            entry.new_attempts[0].attempt.id = taken.1.id;
        }
        entry
    });
    let answers = futures_util::future::join_all(entries.map(|entry| journal.transition(entry))).await;
    for (at, answer) in answers.iter().enumerate() {
        match answer {
            Ok(Verdict::Won) => assert_ne!(at, 11),
            Err(StoreError::Conflict { .. }) => assert_eq!(at, 11),
            other => panic!("{at}: {other:?}"),
        }
    }
    assert_eq!(bed.number("SELECT count(*) FROM attempts").await, 29);
    assert_eq!(store.reads().generation(generations[12].id).await.unwrap().unwrap().version, 0);
    store.close().await;
}

async fn rows_of_another_generation_are_refused(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let (one, other) = (born(&journal).await, born(&journal).await);
    let mut entry = nudge(&one, 1);
    entry.attempts = vec![attempt(&other, 1)];
    assert!(matches!(journal.transition(entry).await, Err(StoreError::Unstorable { .. })));
    assert_eq!(store.reads().generation(one.id).await.unwrap().unwrap().version, 0);
    store.close().await;
}

async fn a_foreign_shard_is_lost(bed: &Bed) {
    let store = bed.open().await;
    let generation = born(&journal(&store)).await;
    let mut entry = nudge(&generation, 1);
    entry.shard = 18;
    assert_eq!(journal(&store).transition(entry).await.unwrap(), Verdict::Lost);
    // A command beside the server holds no shard at all.
    let beside = bed.open_beside().await;
    assert_eq!(journal(&beside).transition(nudge(&generation, 1)).await.unwrap(), Verdict::Lost);
    assert!(matches!(journal(&beside).ping().await, Err(StoreError::Fenced)));
    assert_eq!(journal(&store).transition(nudge(&generation, 1)).await.unwrap(), Verdict::Won);
    beside.close().await;
    store.close().await;
}

async fn a_node_that_was_declared_dead_loses_every_transition_but_records_evidence(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let generation = born(&journal).await;
    journal.ping().await.unwrap();
    bed.meddle("UPDATE nodes SET dead_at = 1").await;
    assert_eq!(journal.transition(nudge(&generation, 1)).await.unwrap(), Verdict::Lost);
    assert!(matches!(journal.ping().await, Err(StoreError::Fenced)));
    let late = attempt(&generation, 1);
    assert_eq!(journal.evidence(learned(&late, "t-1")).await.unwrap(), EvidenceVerdict::Recorded);
    assert_eq!(store.reads().evidence(late.id).await.unwrap().len(), 1);
    // Births and cancel wishes are facts too.
    born(&journal).await;
    assert_eq!(journal.request_cancel(generation.id, generation.project, NOW).await.unwrap(), Some(()));
    store.close().await;
}

async fn a_revoked_lifeline_is_refused(bed: &Bed) {
    let store = bed.open().await;
    let lifeline = Lifeline::default();
    let (revoked, other) = (store.journal(&lifeline), journal(&store));
    let generation = born(&revoked).await;
    lifeline.revoke();
    assert!(matches!(revoked.transition(nudge(&generation, 1)).await, Err(StoreError::Revoked)));
    assert!(matches!(revoked.evidence(learned(&attempt(&generation, 1), "t")).await, Err(StoreError::Revoked)));
    assert!(matches!(revoked.ping().await, Err(StoreError::Revoked)));
    assert_eq!(other.transition(nudge(&generation, 1)).await.unwrap(), Verdict::Won);
    store.close().await;
}

async fn only_commits_that_wrote_are_counted(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let generation = born(&journal).await;
    assert_eq!(journal.counts().commits, 1);
    journal.ping().await.unwrap();
    store.reads().generation(generation.id).await.unwrap();
    store.reads().attempt(AttemptId::fresh()).await.unwrap();
    store.reads().generation(GenerationId::fresh()).await.unwrap();
    let mut stale = generation.clone();
    stale.version = 5;
    assert_eq!(journal.transition(nudge(&stale, 1)).await.unwrap(), Verdict::Lost);
    assert_eq!(journal.counts().commits, 1);
    journal.transition(nudge(&generation, 1)).await.unwrap();
    assert_eq!(journal.counts().commits, 2);
    store.close().await;
}

/// Of young tables the planner knows nothing, and of a JSON text not how many keys are in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_commit_reads_a_whole_table_of_postgresql() {
    let Some(bed) = Bed::postgres().await else { return };
    let store = bed.open().await;
    let journal = journal(&store);
    for n in 0..30 {
        let (entry, attempt) = intent(&born(&journal).await, 1);
        assert_eq!(journal.transition(entry).await.unwrap(), Verdict::Won);
        assert_eq!(journal.evidence(learned(&attempt, &format!("t-{n}"))).await.unwrap(), EvidenceVerdict::Recorded);
    }
    // A session hands in its counts when it ends.
    store.close().await;
    let counts = |what: &str, of: &str| format!("SELECT sum({what})::bigint FROM pg_stat_user_tables WHERE relname IN ({of})");
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    while bed.number(&counts("n_tup_ins", "'generations', 'attempts', 'provider_tasks'")).await < 90 {
        assert!(tokio::time::Instant::now() < deadline, "the counts never come");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let tables = "'generations', 'attempts', 'assets', 'provider_tasks', 'history', 'ledger', 'spend_days', 'submit_evidence'";
    assert_eq!(bed.number(&counts("seq_tup_read", tables)).await, 0);
    bed.drop_all().await;
}
