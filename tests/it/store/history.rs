//! What happened to a generation is read as it was committed.

use longtake::{
    domain::{
        id::GenerationId,
        record::{Generation, History},
    },
    store::{Store, Transition, Verdict},
};
use migrations::Migrator;
use sea_orm::{ConnectionTrait as _, Database, DatabaseConnection};
use sea_orm_migration::MigratorTrait as _;

use super::bed::{Bed, born, intent, journal, nudge, said};

super::on_both! {
    histories_are_read_in_the_order_of_their_commits;
    a_move_that_changes_no_generation_prolongs_its_history;
    a_history_written_before_rows_named_the_one_before_them_goes_on;
}

async fn told(store: &Store, id: GenerationId) -> Vec<(u16, String, String)> {
    let rows = store.reads().history(id).await.unwrap();
    rows.into_iter().map(|row| (row.attempt, row.from, row.to)).collect()
}

fn step(of: &Generation, at: usize) -> [History; 2] {
    let (from, to) = if at.is_multiple_of(2) { ("queued", "active") } else { ("active", "queued") };
    [said(of, 0, from, to), said(of, u16::try_from(at).unwrap(), "running", "ended")]
}

async fn histories_are_read_in_the_order_of_their_commits(bed: &Bed) {
    const STEPS: usize = 5;
    let store = bed.open().await;
    let journal = journal(&store);
    let mut rows = futures_util::future::join_all((0..40).map(|_| born(&journal))).await;
    for at in 0..STEPS {
        // Together: their rows lie between each other's.
        let moves = rows.iter().map(|row| Transition { history: step(row, at).into(), ..nudge(row, 1) });
        let verdicts = futures_util::future::join_all(moves.map(|entry| journal.transition(entry))).await;
        assert!(verdicts.iter().all(|verdict| matches!(verdict, Ok(Verdict::Won))));
        rows.iter_mut().for_each(|row| row.version += 1);
    }
    for row in &rows {
        let expected: Vec<_> = (0..STEPS).flat_map(|at| step(row, at)).collect();
        let expected: Vec<_> = expected.into_iter().map(|row| (row.attempt, row.from.to_owned(), row.to.to_owned())).collect();
        assert_eq!(told(&store, row.id).await, expected);
    }
    assert_eq!(told(&store, GenerationId::fresh()).await, []);
    store.close().await;
}

async fn a_move_that_changes_no_generation_prolongs_its_history(bed: &Bed) {
    let store = bed.open().await;
    let journal = journal(&store);
    let generation = born(&journal).await;
    assert_eq!(told(&store, generation.id).await, []);
    let (entry, attempt) = intent(&generation, 1);
    assert_eq!(journal.transition(entry).await.unwrap(), Verdict::Won);
    let moved = Transition {
        attempts: vec![attempt],
        history: vec![said(&generation, 1, "submitting", "running")],
        ..Transition::of(&generation)
    };
    assert_eq!(journal.transition(moved).await.unwrap(), Verdict::Won);
    let silent = Transition { history: Vec::new(), ..nudge(&Generation { version: 1, ..generation.clone() }, 1) };
    assert_eq!(journal.transition(silent).await.unwrap(), Verdict::Won);
    let last = nudge(&Generation { version: 2, ..generation.clone() }, 2);
    assert_eq!(journal.transition(last).await.unwrap(), Verdict::Won);
    let states: Vec<_> = told(&store, generation.id).await.into_iter().map(|(_, _, to)| to).collect();
    assert_eq!(states, ["submitting", "running", "queued"]);
    store.close().await;
}

/// The schema before `m0013_history`.
const BEFORE: u32 = 11;

async fn a_history_written_before_rows_named_the_one_before_them_goes_on(bed: &Bed) {
    let url = if bed.is_postgres() { bed.config.url.clone() } else { format!("sqlite://{}?mode=rwc", bed.file().display()) };
    let database = Database::connect(url).await.unwrap();
    Migrator::up(&database, Some(BEFORE)).await.unwrap();
    let [first, second, third] = [(); 3].map(|()| GenerationId::fresh());
    for id in [first, second, third] {
        old_generation(bed, &database, id).await;
    }
    // Not in the order of its key.
    for (id, seq) in [(second, 2), (first, 1), (second, 1), (first, 3), (first, 2)] {
        let row =
            format!("INSERT INTO history VALUES ({}, {seq}, 0, 'state {}', 'state {seq}', 'so', 9)", bed.literal(id), seq - 1);
        database.execute_unprepared(&row).await.unwrap();
    }
    database.close().await.unwrap();
    let store = bed.open_again().await;
    let journal = journal(&store);
    for id in [third, second, first] {
        let generation = store.reads().generation(id).await.unwrap().unwrap();
        assert_eq!(journal.transition(nudge(&generation, 1)).await.unwrap(), Verdict::Won);
    }
    let states = async |id| told(&store, id).await.into_iter().map(|(_, _, to)| to).collect::<Vec<_>>();
    assert_eq!(states(first).await, ["state 1", "state 2", "state 3", "queued"]);
    assert_eq!(states(second).await, ["state 1", "state 2", "queued"]);
    assert_eq!(states(third).await, ["queued"]);
    store.close().await;
}

async fn old_generation(bed: &Bed, database: &DatabaseConnection, id: GenerationId) {
    let id = bed.literal(id);
    let row = format!(
        "INSERT INTO generations (id, shard, project_id, key_id, version, state, slots, not_before, tries, born_state, outputs,
            per_call, provider, model, kind, priority, call_price, queue_deadline, created_at, updated_at, request_id, on_unconfirmed)
         VALUES ({id}, 1, {id}, {id}, 0, 2, 'o', 0, 0, 2, 1, 1, 'kling', 'kling-2.6', 1, 5, 1, 9, 1, 1, 'r', 0)"
    );
    database.execute_unprepared(&row).await.unwrap();
}
