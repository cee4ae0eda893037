//! Daily limits: exact among births that come at once, through two doors, and no burden for those without one.

use futures_util::future::join_all;
use longtake::{
    domain::{
        attempt::AttemptEvent,
        id::{KeyId, ProjectId},
        limits::{Limits, OverLimit},
        money::Micros,
        record::Generation,
        slots::Slots,
    },
    store::{
        Birth, StoreError,
        change::{Change, Start, commit},
    },
};
use sqlx::{Connection as _, PgConnection};

use super::bed::{Bed, NOW, generation, intent, journal, request};

super::on_both! {
    of_two_hundred_births_at_once_exactly_seven_pass_a_limit_for_seven;
    a_projects_limit_counts_all_its_keys_and_a_keys_limit_itself_alone;
    what_was_accepted_before_the_limit_counts_and_what_is_released_frees_it;
    a_birth_without_a_limit_takes_no_lock;
}

const PRICE: Micros = Micros(350_000);

/// One call, by this key.
fn one(project: ProjectId, key: KeyId, limits: Limits) -> Birth {
    let mut row = Generation { key, outputs: 1, ..generation(project) };
    row.progress.slots = Slots::owed(1, 1);
    Birth { generation: row, request: request(), limits, depends_on: Vec::new(), claim: None }
}

fn of_key(calls: i64) -> Limits {
    Limits { project: None, key: Some(Micros(PRICE.0 * calls)) }
}

fn of_project(calls: i64) -> Limits {
    Limits { project: Some(Micros(PRICE.0 * calls)), key: None }
}

async fn of_two_hundred_births_at_once_exactly_seven_pass_a_limit_for_seven(bed: &Bed) {
    let (store, beside) = (bed.open().await, bed.open_beside().await);
    let (project, key) = (ProjectId::fresh(), KeyId::fresh());
    let doors = [journal(&store), journal(&beside)];
    // A unit less than eight calls.
    let limits = Limits { project: None, key: Some(Micros(PRICE.0 * 8 - 1)) };
    let births = (0..200).map(|n| doors[n % 2].birth(one(project, key, limits)));
    let answers = join_all(births).await;
    let passed = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(passed, 7);
    for answer in answers.into_iter().filter_map(Result::err) {
        let StoreError::OverLimit(OverLimit { limit, spent, asked, .. }) = answer else { panic!("{answer:?}") };
        assert_eq!((limit, asked), (Micros(PRICE.0 * 8 - 1), PRICE));
        assert!(spent.plus(asked) > limit);
    }
    assert_eq!(bed.number("SELECT count(*) FROM generations").await, 7);
    assert_eq!(bed.number("SELECT count(*) FROM generation_payloads").await, 7);
    assert_eq!(bed.number("SELECT CAST(sum(held) AS bigint) FROM spend_days").await, 7 * PRICE.0);
    beside.close().await;
    store.close().await;
}

async fn a_projects_limit_counts_all_its_keys_and_a_keys_limit_itself_alone(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let (project, one_key, other) = (ProjectId::fresh(), KeyId::fresh(), KeyId::fresh());
    journal.birth(one(project, one_key, of_project(3))).await.unwrap();
    journal.birth(one(project, other, of_project(3))).await.unwrap();
    journal.birth(one(project, other, of_key(2))).await.unwrap();
    let refused = journal.birth(one(project, one_key, of_project(3))).await;
    assert!(
        matches!(refused, Err(StoreError::OverLimit(over)) if over.target.key.is_none() && over.spent == Micros(3 * PRICE.0))
    );
    let refused = journal.birth(one(project, other, of_key(2))).await;
    assert!(matches!(refused, Err(StoreError::OverLimit(over)) if over.target.key == Some(other)));
    // Another project, another key, another day: each its own.
    journal.birth(one(ProjectId::fresh(), one_key, of_project(1))).await.unwrap();
    journal.birth(one(project, one_key, of_key(2))).await.unwrap();
    let mut tomorrow = one(project, other, of_project(1));
    tomorrow.generation.created_at = NOW.plus(std::time::Duration::from_secs(86_400));
    journal.birth(tomorrow).await.unwrap();
    store.close().await;
}

async fn what_was_accepted_before_the_limit_counts_and_what_is_released_frees_it(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let (project, key) = (ProjectId::fresh(), KeyId::fresh());
    let first = one(project, key, Limits::default());
    let id = first.generation.id;
    journal.birth(first.clone()).await.unwrap();
    assert!(matches!(journal.birth(one(project, key, of_key(1))).await, Err(StoreError::OverLimit(_))));
    // It runs and costs more than was held; then nothing of a limit for three is left but one call and a bit.
    journal.transition(intent(&first.generation, 1).0).await.unwrap();
    let charged = |loaded: &longtake::store::Loaded| {
        let mut attempt = loaded.attempts.first()?.clone();
        attempt.charged = true;
        attempt.cost = Some(Micros(PRICE.0 + 1));
        let mut change = Change::of(&loaded.generation, NOW);
        change.attempt(&mut attempt, AttemptEvent::Accepted, "accepted").ok()?;
        Some(change.entry())
    };
    commit(&store.reads(), &journal, Start::Load(id), charged).await.unwrap();
    assert!(
        matches!(journal.birth(one(project, key, of_key(2))).await, Err(StoreError::OverLimit(over)) if over.spent.0 == PRICE.0 + 1)
    );
    journal.birth(one(project, key, of_key(3))).await.unwrap();
    store.close().await;
}

async fn a_birth_without_a_limit_takes_no_lock(bed: &Bed) {
    // On SQLite the one writer is the lock.
    if !bed.is_postgres() {
        return;
    }
    let store = bed.open().await;
    let (project, key) = (ProjectId::fresh(), KeyId::fresh());
    let limited = one(project, key, of_key(1));
    let mut holder = PgConnection::connect(&bed.config.url).await.unwrap();
    let name = format!("spend {} {} {}", limited.generation.created_at.day(), project.0.simple(), key.0.simple());
    sqlx::query("SELECT pg_advisory_lock(hashtextextended($1, 0))").bind(name).execute(&mut holder).await.unwrap();
    journal(&store).birth(one(project, key, Limits::default())).await.unwrap();
    // The limited one waits for the lock, and no longer than two seconds.
    assert!(matches!(journal(&store).birth(limited.clone()).await, Err(StoreError::Timeout)));
    holder.close().await.unwrap();
    let over = journal(&store).birth(limited).await;
    assert!(matches!(over, Err(StoreError::OverLimit(_))), "the first call counts: {over:?}");
    store.close().await;
}
