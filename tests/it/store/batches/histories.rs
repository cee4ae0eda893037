//! Random histories on a real database, with ends of the process in between: the stored counts are the recount of the stored rows. (The
//! pure half, thousands of histories after every commit, stands beside the retry.)

use longtake::{
    domain::{
        attempt::AttemptEvent,
        batch::{Batch, BatchOptions, CancelMode, CancelWish, RetryWish},
        generation::GenerationEvent,
        id::{BatchId, ProjectId},
        limits::Limits,
        money::Micros,
        record::Generation,
        settle::Ending,
    },
    store::{Load, Loaded, Store, Transition, lines::release, loads, retries},
};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};

use super::{PRICE, dropped, ended, intent, line, loading, moved, step, stored};
use crate::store::bed::{Bed, NOW, journal};

crate::store::on_both! {
    stored_counts_are_the_recount_through_ends_of_the_process;
}

#[derive(Debug, Clone)]
enum What {
    Line {
        line: usize,
        how: How,
    },
    Pause(bool),
    Cancel,
    /// Wished; carried out by the next steps, some lines each.
    Retry {
        forced: bool,
    },
    CarryOut,
    /// The process ends and another begins.
    Crash,
    /// A load of so many lines is begun and left behind, or given up by its end.
    Abandoned {
        lines: u32,
    },
}

#[derive(Debug, Clone)]
enum How {
    Intent,
    Move(AttemptEvent),
    End(AttemptEvent, Ending),
    Drop(bool),
    Release,
    /// Two callers hand in the same decision at once.
    Twice,
}

fn histories() -> impl Strategy<Value = (BatchOptions, u32, Vec<What>)> {
    let budget = proptest::option::weighted(0.3, (2_i64..9).prop_map(|calls| Micros(PRICE.0 * calls)));
    let options = (any::<bool>(), 1_u16..4, proptest::bool::weighted(0.3), budget);
    let options = options.prop_map(|(parallel, max_concurrency, stop_on_error, budget)| BatchOptions {
        parallel,
        max_concurrency,
        stop_on_error,
        budget,
        ..BatchOptions::default()
    });
    let moves = proptest::sample::select(vec![AttemptEvent::Accepted, AttemptEvent::Finished, AttemptEvent::OutcomeUnknown]);
    let ends = proptest::sample::select(vec![
        (AttemptEvent::Stored, Ending::Delivered),
        (AttemptEvent::Refused, Ending::Final),
        (AttemptEvent::NeverSent, Ending::NeverSent),
        (AttemptEvent::GivenUp, Ending::Final),
        (AttemptEvent::Failed, Ending::Final),
    ]);
    let how = prop_oneof![
        5 => Just(How::Intent),
        6 => moves.prop_map(How::Move),
        5 => ends.prop_map(|(event, ending)| How::End(event, ending)),
        1 => any::<bool>().prop_map(How::Drop),
        1 => Just(How::Release),
        1 => Just(How::Twice),
    ];
    let what = prop_oneof![
        40 => (0_usize..8, how).prop_map(|(line, how)| What::Line { line, how }),
        1 => any::<bool>().prop_map(What::Pause),
        1 => Just(What::Cancel),
        3 => any::<bool>().prop_map(|forced| What::Retry { forced }),
        3 => Just(What::CarryOut),
        1 => Just(What::Crash),
        1 => (0_u32..3).prop_map(|lines| What::Abandoned { lines }),
    ];
    (options, 1_u32..6, proptest::collection::vec(what, 10..50))
}

async fn stored_counts_are_the_recount_through_ends_of_the_process(bed: &Bed) {
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    let cases = if bed.is_postgres() { 12 } else { 40 };
    let mut store = bed.open().await;
    let mut batches = Vec::new();
    for _ in 0..cases {
        let (options, lines, history) = histories().new_tree(&mut runner).unwrap().current();
        let (batch, rows) = super::loaded(&store, options, lines).await;
        batches.push(batch.id);
        for what in &history {
            match what {
                What::Crash => {
                    drop(store);
                    store = bed.open_again().await;
                }
                other @ (What::Line { .. }
                | What::Pause(_)
                | What::Cancel
                | What::Retry { .. }
                | What::CarryOut
                | What::Abandoned { .. }) => run(&store, &batch, &rows, other).await,
            }
        }
        let wrong = recount(bed, batch.id).await;
        assert_eq!(wrong, 0, "{:?}\n{history:#?}", stored(&store, batch.id).await);
    }
    let late = NOW.plus(std::time::Duration::from_secs(3_600));
    loads::sweep(&store.reads(), &journal(&store), late, late).await.unwrap();
    assert_eq!(bed.number("SELECT count(*) FROM batches").await, i64::try_from(batches.len()).unwrap());
    for column in ["held", "charged", "at_risk"] {
        let sum = |table| format!("SELECT CAST(coalesce(sum({column}), 0) AS bigint) FROM {table}");
        assert_eq!(bed.number(&sum("ledger")).await, bed.number(&sum("spend_days")).await, "{column}");
    }
    store.close().await;
}

async fn run(store: &Store, batch: &Batch, rows: &[Generation], what: &What) {
    let journal = journal(store);
    match what {
        What::Line { line, how } => {
            let index = line % rows.len();
            let after = u32::try_from(index).unwrap().checked_sub(1);
            let newest = store.reads().lines(batch.id, &[], after, 1).await.unwrap().remove(0);
            // Late evidence comes for what was replaced, too.
            let row = if line % 2 == 0 { &newest } else { &rows[index] };
            act(store, row, how).await;
        }
        What::Pause(true) => drop(journal.pause_batch(batch.id, batch.project, NOW).await.unwrap()),
        What::Pause(false) => drop(journal.resume_batch(batch.id, batch.project, None, NOW).await.unwrap()),
        What::Cancel => {
            let wish = CancelWish { at: NOW, mode: CancelMode::Queued };
            // Rarely, since nothing follows it.
            if rows.len() == 5 {
                let _noted = journal.cancel_batch(batch.id, batch.project, wish).await.unwrap();
            }
        }
        What::Retry { forced } => {
            let wish = RetryWish { at: NOW, forced: *forced, key: batch.key };
            let _noted = journal.retry_batch(batch.id, batch.project, wish).await.unwrap();
        }
        What::CarryOut => drop(retries::carry_out(&store.reads(), &journal, batch, NOW).await.unwrap()),
        What::Abandoned { lines } => {
            let mut load = Load::begin(&journal, loading(ProjectId::fresh(), BatchOptions::default())).await.unwrap();
            let births = (0..*lines).map(|index| line(load.batch(), index)).collect();
            load.add(births, NOW).await.unwrap();
            if *lines == 2 {
                // Refused at the last moment: its limit is nothing.
                let limits = Limits { project: Some(Micros(0)), key: None };
                assert!(load.publish(limits, None, NOW).await.is_err());
            }
        }
        What::Crash => {}
    }
}

async fn act(store: &Store, row: &Generation, how: &How) {
    let decide = |loaded: &Loaded| -> Option<Transition> {
        match how {
            How::Intent | How::Twice => intent(loaded),
            How::Move(event) => moved(loaded, *event),
            How::End(event, ending) => ended(loaded, *event, *ending),
            How::Drop(true) => dropped(loaded, &GenerationEvent::Cancel),
            How::Drop(false) => dropped(loaded, &GenerationEvent::Drop),
            How::Release => release(loaded, loaded.attempts.last()?.id, NOW),
        }
    };
    if matches!(how, How::Twice) {
        let _both = futures_util::join!(step(store, row, decide), step(store, row, decide));
    } else {
        step(store, row, decide).await;
    }
}

/// How many of the batch's columns differ from what its rows say.
async fn recount(bed: &Bed, id: BatchId) -> i64 {
    let id = if bed.is_postgres() { format!("'{}'", id.0.simple()) } else { format!("x'{}'", id.0.simple()) };
    let tried = "(replace(slots, 'o', '') <> '' OR tries > 0 OR failure IS NOT NULL)";
    let lines =
        |only: &str| format!("(SELECT count(*) FROM generations WHERE batch_id = {id} AND replaced_by IS NULL AND ({only}))");
    let attempts = |what: &str| {
        format!(
            "(SELECT coalesce({what}, 0) FROM attempts a JOIN generations g ON g.id = a.generation_id WHERE g.batch_id = {id})"
        )
    };
    let charged = "CASE WHEN a.charged THEN coalesce(a.cost, a.price) ELSE 0 END";
    // Held or at risk: 14 states of the machine, those that may still be billed.
    let open = "CASE WHEN a.charged OR (a.state = 17 AND a.lost_at IS NOT NULL) THEN 0
        WHEN a.state IN (0, 1, 2, 3, 15, 16, 17) THEN a.price ELSE 0 END";
    let places = "CASE WHEN a.state IN (0, 1, 2) AND a.released_at IS NULL THEN 1 ELSE 0 END";
    let columns = [
        ("total", lines("1 = 1")),
        ("completed", lines("state = 10")),
        ("failed", lines("state = 11")),
        ("cancelled", lines("state = 12")),
        ("running", lines(&format!("state = 3 OR (state = 2 AND {tried})"))),
        ("places", attempts(&format!("sum({places})"))),
        ("spent", attempts(&format!("sum({charged}) + sum({open})"))),
        ("charged", attempts(&format!("sum({charged})"))),
        ("(CASE WHEN completed_at IS NULL THEN 1 ELSE 0 END)", format!("(SELECT min(1, {}) )", lines("state < 10"))),
    ];
    let differs = columns.map(|(column, counted)| {
        let counted = if bed.is_postgres() { counted.replace("min(1,", "least(1,") } else { counted };
        format!("(CASE WHEN {column} = {counted} THEN 0 ELSE 1 END)")
    });
    bed.number(&format!("SELECT CAST({} AS bigint) FROM batches WHERE id = {id}", differs.join(" + "))).await
}
