//! The books: what commits leave in the ledger, and that the days' sums are its recount.

use longtake::{
    domain::{
        attempt::AttemptEvent,
        effects,
        generation::GenerationEvent,
        id::{KeyId, ProjectId},
        limits::Limits,
        money::Micros,
        record::Generation,
    },
    store::{
        Birth, Loaded, NewAttempt, Store, Transition, Verdict,
        change::{Change, Start, booking, commit},
    },
};

use super::bed::{Bed, NOW, attempt, born, generation, journal, request};

super::on_both! {
    a_generation_leaves_its_rows_in_the_commits_that_move_its_money;
    a_lost_entry_books_nothing;
    the_days_sums_are_the_recount_of_the_ledger;
    a_generation_without_a_price_writes_nothing_into_the_books;
    an_older_database_is_opened_with_the_position_that_its_rows_show;
}

async fn ledger(bed: &Bed, generation: &Generation) -> [i64; 4] {
    let id = bed.literal(generation.id);
    let mut found = [0; 4];
    for (at, what) in ["count(*)", "sum(held)", "sum(charged)", "sum(at_risk)"].into_iter().enumerate() {
        let sql = format!("SELECT CAST(coalesce({what}, 0) AS bigint) FROM ledger WHERE generation_id = {id}");
        found[at] = bed.number(&sql).await;
    }
    found
}

/// Sums of a table's columns that both books have.
async fn sums(bed: &Bed, table: &str) -> [i64; 3] {
    let mut found = [0; 3];
    for (at, column) in ["held", "charged", "at_risk"].into_iter().enumerate() {
        found[at] = bed.number(&format!("SELECT CAST(coalesce(sum({column}), 0) AS bigint) FROM {table}")).await;
    }
    found
}

fn intent(loaded: &Loaded) -> Option<Transition> {
    let slot = loaded.generation.slots().first_owed()?;
    let new = attempt(&loaded.generation, u16::try_from(loaded.attempts.len() + 1).unwrap());
    let mut change = Change::of(&loaded.generation, NOW);
    change.advance(&GenerationEvent::Intent { slot }, None, "intent").ok()?;
    change.intent(NewAttempt { attempt: new, request: serde_json::json!({}) }, "intent");
    Some(change.entry())
}

fn moved(loaded: &Loaded, n: u16, event: AttemptEvent) -> Option<Transition> {
    let mut attempt = loaded.attempts.iter().find(|attempt| attempt.n == n)?.clone();
    attempt.charged = event == AttemptEvent::Accepted;
    let mut change = Change::of(&loaded.generation, NOW);
    change.attempt(&mut attempt, event, "moved").ok()?;
    Some(change.entry())
}

async fn step(store: &Store, generation: &Generation, decide: impl Fn(&Loaded) -> Option<Transition>) -> Loaded {
    let after = commit(&store.reads(), &journal(store), Start::Load(generation.id), decide).await.unwrap();
    after.expect("a step of the machines")
}

async fn a_generation_leaves_its_rows_in_the_commits_that_move_its_money(bed: &Bed) {
    let store = bed.open().await;
    let generation = born(&journal(&store)).await;
    assert_eq!(ledger(bed, &generation).await, [1, 700_000, 0, 0], "the hold of both calls");
    step(&store, &generation, intent).await;
    step(&store, &generation, intent).await;
    assert_eq!(ledger(bed, &generation).await, [1, 700_000, 0, 0], "an intent moves no money");
    step(&store, &generation, |loaded| moved(loaded, 1, AttemptEvent::Accepted)).await;
    step(&store, &generation, |loaded| moved(loaded, 2, AttemptEvent::OutcomeUnknown)).await;
    assert_eq!(ledger(bed, &generation).await, [3, 0, 350_000, 350_000]);
    let loaded = step(&store, &generation, |loaded| moved(loaded, 2, AttemptEvent::GivenUp)).await;
    assert_eq!(ledger(bed, &generation).await, [3, 0, 350_000, 350_000], "given up, and at risk for ever");
    let standing = effects::standing(&loaded.generation, &loaded.attempts);
    assert_eq!((standing.charged, standing.at_risk), (Micros(350_000), Micros(350_000)));
    store.close().await;
}

async fn a_lost_entry_books_nothing(bed: &Bed) {
    let store = bed.open().await;
    let generation = born(&journal(&store)).await;
    let stale = store.reads().load(generation.id).await.unwrap().unwrap();
    step(&store, &generation, intent).await;
    let mut change = Change::of(&stale.generation, NOW);
    change.advance(&GenerationEvent::Drop, None, "too late").unwrap();
    let mut entry = change.entry();
    entry.booking = booking(&stale, &entry);
    assert!(entry.booking.is_some());
    assert_eq!(journal(&store).transition(entry).await.unwrap(), Verdict::Lost);
    assert_eq!(ledger(bed, &generation).await, [1, 700_000, 0, 0]);
    assert_eq!(sums(bed, "spend_days").await, [700_000, 0, 0]);
    store.close().await;
}

async fn the_days_sums_are_the_recount_of_the_ledger(bed: &Bed) {
    let store = bed.open().await;
    let (project, key) = (ProjectId::fresh(), KeyId::fresh());
    let births = (0..60).map(|n| {
        let mut row = Generation { key, shard: n, ..generation(project) };
        row.model = if n % 2 == 0 { "kling-v2".into() } else { "kling-v3".into() };
        row
    });
    let rows: Vec<_> = births.collect();
    let journal = journal(&store);
    let all = rows.iter().map(|row| {
        journal.birth(Birth {
            generation: row.clone(),
            request: request(),
            limits: Limits::default(),
            depends_on: Vec::new(),
            claim: None,
        })
    });
    assert!(futures_util::future::join_all(all).await.into_iter().all(|born| born.is_ok()));
    let walks = rows.iter().enumerate().map(|(at, row)| {
        let store = &store;
        async move {
            step(store, row, intent).await;
            let event = if at % 3 == 0 { AttemptEvent::OutcomeUnknown } else { AttemptEvent::Accepted };
            step(store, row, |loaded| moved(loaded, 1, event)).await;
            step(store, row, |loaded| {
                let mut change = Change::of(&loaded.generation, NOW);
                change.advance(&GenerationEvent::Drop, None, "no further one").ok()?;
                Some(change.entry())
            })
            .await;
        }
    });
    futures_util::future::join_all(walks).await;
    assert_eq!(sums(bed, "ledger").await, [0, 40 * 350_000, 20 * 350_000]);
    assert_eq!(sums(bed, "spend_days").await, [0, 40 * 350_000, 20 * 350_000]);
    let released = bed.number("SELECT CAST(sum(released) AS bigint) FROM spend_days").await;
    assert_eq!(released, 60 * 350_000, "one of the two calls was never made");
    // Two models, and a part a lane: not one row a shard.
    assert_eq!(bed.number("SELECT count(*) FROM spend_days").await, 4);
    store.close().await;
}

async fn a_generation_without_a_price_writes_nothing_into_the_books(bed: &Bed) {
    let store = bed.open().await;
    let row = Generation { call_price: Micros(0), ..generation(ProjectId::fresh()) };
    journal(&store)
        .birth(Birth {
            generation: row.clone(),
            request: request(),
            limits: Limits::default(),
            depends_on: Vec::new(),
            claim: None,
        })
        .await
        .unwrap();
    assert_eq!((ledger(bed, &row).await, sums(bed, "spend_days").await), ([0, 0, 0, 0], [0, 0, 0]));
    store.close().await;
}

async fn an_older_database_is_opened_with_the_position_that_its_rows_show(bed: &Bed) {
    let store = bed.open().await;
    let generation = born(&journal(&store)).await;
    born(&journal(&store)).await;
    step(&store, &generation, intent).await;
    step(&store, &generation, |loaded| moved(loaded, 1, AttemptEvent::Accepted)).await;
    step(&store, &generation, intent).await;
    step(&store, &generation, |loaded| moved(loaded, 2, AttemptEvent::OutcomeUnknown)).await;
    store.close().await;
    for undo in [
        "DROP TABLE ledger",
        "DROP TABLE spend_days",
        "ALTER TABLE projects DROP COLUMN daily_limit",
        "ALTER TABLE api_keys DROP COLUMN daily_limit",
        "DELETE FROM seaql_migrations WHERE version = 'm0004_spend'",
    ] {
        bed.meddle(undo).await;
    }
    let store = bed.open_again().await;
    assert_eq!(ledger(bed, &generation).await, [2, 0, 350_000, 350_000]);
    assert_eq!(sums(bed, "spend_days").await, [700_000, 350_000, 350_000], "with the one that only waits");
    step(&store, &generation, |loaded| moved(loaded, 2, AttemptEvent::Accepted)).await;
    assert_eq!(ledger(bed, &generation).await, [3, 0, 700_000, 0]);
    assert_eq!((sums(bed, "ledger").await, sums(bed, "spend_days").await), ([700_000, 700_000, 0], [700_000, 700_000, 0]));
    store.close().await;
}
