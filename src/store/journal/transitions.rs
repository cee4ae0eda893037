//! The lane of transitions: lock what the batch names, decide who wins, write the winners with one statement a table.

use std::{
    borrow::Cow,
    sync::{Arc, atomic::Ordering},
};

use serde_json::json;
use sqlx::Error;
use uuid::Uuid;

use super::{
    Scope,
    batches::LOCK_BATCHES,
    books::{self, Writing},
    connection::{Connection, Dialect},
    decide::{GenerationNow, Present, wins},
    lane::{Lane, Written},
    rows::Move,
    sql::{Rows, array},
    tables::{
        ASSET, ATTEMPT, BATCH, END_GENERATIONS, FENCE, GENERATION, INSERT_ASSETS, INSERT_ATTEMPT_PAYLOADS, INSERT_ATTEMPTS,
        INSERT_EVENTS, INSERT_HISTORY, LOCK_ASSETS, LOCK_ATTEMPTS, LOCK_GENERATIONS, UPDATE_ASSETS, UPDATE_ATTEMPTS,
        UPDATE_GENERATIONS, UPDATE_HEADS,
    },
};
use crate::{
    domain::batch::BatchNews,
    sabotage::{Mistake, late},
    store::{
        entry::{Guard, Transition, Verdict},
        watch::Ring,
    },
};

/// The lane.
pub struct Transitions;

/// What is handed in.
#[derive(Debug)]
pub enum Step {
    /// A transition, as rows and as it was handed in.
    Move(Box<Move>, Arc<Transition>),
    /// Only asks whether this node still lives: a round trip through the writer.
    Ping,
}

impl Lane for Transitions {
    type Entry = Step;
    type Answer = Verdict;

    const NAME: &'static str = "transitions";
    const MARK: i16 = 1;

    fn key(entry: &Step) -> Option<Uuid> {
        match entry {
            Step::Move(entry, _) => Some(entry.generation),
            Step::Ping => None,
        }
    }

    async fn write(connection: &mut Connection, scope: &Scope, entries: &[&Step]) -> Result<Written<Verdict>, Error> {
        let moves: Vec<&Move> = entries.iter().filter_map(|step| step.as_move()).collect();
        let mut present = lock(connection, scope, &Named::by(&moves)).await?;
        let judged = judge(entries, &mut present, scope);
        let winners: Vec<(&Move, &BatchNews)> = entries
            .iter()
            .zip(&judged)
            .filter(|(_, (verdict, _))| *verdict == Verdict::Won)
            .filter_map(|(step, (_, news))| Some((step.as_move()?, news)))
            .collect();
        apply(connection, &winners, &present)?;
        let probes = probe(connection, scope, entries);
        let booked: Vec<_> = winners.iter().map(|(entry, _)| &entry.booked).collect();
        books::write(connection, &booked, Writing::Transitions.stripe(&scope.held))?;
        Ok(Written {
            rows: winners.iter().map(|(entry, _)| entry.rows()).sum::<usize>() + probes,
            answers: judged.into_iter().map(|(verdict, _)| verdict).collect(),
        })
    }

    fn committed(scope: &Scope, entries: &[&Step], answers: &[Verdict]) {
        scope.watch.wrote();
        for (step, verdict) in entries.iter().zip(answers) {
            match (step, verdict) {
                (Step::Move(_, entry), Verdict::Won) => {
                    // First the memory: who is rung for may look at once.
                    scope.recent.won(entry);
                    let ended = entry.generation.as_ref().is_some_and(|row| row.state().terminal());
                    let ring = if ended { Ring::Ended } else { Ring::Changed };
                    scope.watch.ring(entry.generation_id.0, ring);
                    // The end of a line may be that of its batch.
                    if let Some(effect) = entry.effect.as_ref().filter(|effect| !effect.changes_nothing()) {
                        scope.watch.ring(effect.batch.0, ring);
                    }
                }
                (Step::Move(_, entry), Verdict::Lost) => scope.recent.forget(entry.generation_id),
                // Its rows are as it believed; its batch is not remembered.
                (Step::Move(..), Verdict::Held(_)) | (Step::Ping, Verdict::Won | Verdict::Lost | Verdict::Held(_)) => {}
            }
        }
    }

    fn unsure(scope: &Scope, entries: &[&Step]) {
        for step in entries {
            if let Step::Move(_, entry) = step {
                scope.recent.forget(entry.generation_id);
                scope.watch.ring(entry.generation_id.0, Ring::Ended);
                if let Some(effect) = &entry.effect {
                    scope.watch.ring(effect.batch.0, Ring::Ended);
                }
            }
        }
        scope.watch.wrote();
    }
}

impl Step {
    fn as_move(&self) -> Option<&Move> {
        match self {
            Self::Move(entry, _) => Some(entry),
            Self::Ping => None,
        }
    }

    fn wins(&self, present: &Present, scope: &Scope) -> bool {
        match self {
            Self::Move(entry, _) => wins(entry, present, &scope.held),
            Self::Ping => present.alive,
        }
    }
}

/// Judges every entry, in the order in which they were handed in; but what is submitted goes last, so that the failure which stops a
/// batch and the end which frees a place in it count for the submits of the same commit.
fn judge(entries: &[&Step], present: &mut Present, scope: &Scope) -> Vec<(Verdict, BatchNews)> {
    let mut judged = vec![(Verdict::Lost, BatchNews::default()); entries.len()];
    let submits = |step: &Step| step.as_move().is_some_and(|entry| entry.guard != Guard::None);
    for turn in [false, true] {
        for (step, answer) in entries.iter().zip(&mut judged).filter(|(step, _)| submits(step) == turn) {
            if step.wins(present, scope) {
                *answer = match step {
                    Step::Move(entry, _) => present.batches.judge(entry),
                    Step::Ping => (Verdict::Won, BatchNews::default()),
                };
            }
        }
    }
    judged
}

/// A question whether it still works writes something while that is in doubt: on a full disk everything else of a commit succeeds. How
/// many rows.
fn probe(connection: &mut Connection, scope: &Scope, entries: &[&Step]) -> usize {
    let asked = entries.iter().any(|step| matches!(step, Step::Ping));
    if !asked || !scope.in_doubt.load(Ordering::Relaxed) {
        return 0;
    }
    connection.write_some(connection.pick(PROBE.0, PROBE.1), scope.node.to_string());
    1
}

/// The node's own row, as it is: it is this server's alone, and nothing reads the column beside it.
const PROBE: (&str, &str) = (
    "UPDATE nodes SET started_at = started_at WHERE id = unhex(?1)",
    "UPDATE nodes SET started_at = started_at WHERE id = $1::uuid",
);

/// Rows that are to be read and locked.
#[derive(Debug, Default)]
pub struct Named {
    /// Batches.
    pub batches: Vec<Uuid>,
    /// Generations.
    pub generations: Vec<Uuid>,
    /// Attempts.
    pub attempts: Vec<Uuid>,
    /// Assets.
    pub assets: Vec<Uuid>,
}

impl Named {
    fn by(moves: &[&Move]) -> Self {
        Self {
            batches: moves.iter().filter_map(|entry| entry.effect.as_ref()).map(|effect| effect.batch.0).collect(),
            generations: moves.iter().map(|entry| entry.generation).collect(),
            attempts: moves.iter().flat_map(|entry| &entry.attempts).map(|row| row.id).collect(),
            assets: moves.iter().flat_map(|entry| &entry.assets).map(|row| row.id).collect(),
        }
    }
}

/// A row of the locking reads: what it is of, its id, version, shard, whether a cancel was requested, the end of its history, and more
/// that only a batch has.
type Found = (i32, Uuid, i32, i16, bool, i64, Option<String>);

/// Reads and locks the fence first, then rows by table and id: always in this order, so that two writers never wait for each
/// other in a circle.
pub async fn lock(connection: &mut Connection, scope: &Scope, named: &Named) -> Result<Present, Error> {
    let locks = [
        (LOCK_BATCHES, ids(&named.batches)),
        (LOCK_GENERATIONS, ids(&named.generations)),
        (LOCK_ATTEMPTS, ids(&named.attempts)),
        (LOCK_ASSETS, ids(&named.assets)),
    ];
    let mut queries = vec![(connection.pick(FENCE.0, FENCE.1), &*scope.node)];
    for ((sqlite, postgres), ids) in &locks {
        if ids != EMPTY {
            queries.push((connection.pick(sqlite, postgres), ids));
        }
    }
    let mut present = Present::default();
    let rows: Vec<Found> = connection.rows_of(&queries).await?;
    for (what, id, version, shard, cancel_requested, line, batch) in rows {
        match what {
            GENERATION => {
                present.generations.insert(id, GenerationNow { version, shard, cancel_requested, head: line });
            }
            ATTEMPT => drop(present.attempts.insert(id, version)),
            ASSET => drop(present.assets.insert(id, version)),
            BATCH => present.batches.put(batch.as_deref().unwrap_or_default())?,
            _ => (present.alive, present.newest) = (true, line),
        }
    }
    Ok(present)
}

/// Writes the winners; a table nobody changes is skipped.
fn apply(connection: &mut Connection, winners: &[(&Move, &BatchNews)], present: &Present) -> Result<(), Error> {
    let rows = |of: fn(&Move) -> &[String]| -> Vec<&str> {
        winners.iter().flat_map(|(entry, _)| of(entry)).map(String::as_str).collect()
    };
    let chained = connection.dialect() == Dialect::Sqlite;
    let (history, heads) = history(winners, present, chained)?;
    let changed = winners.iter().zip(&heads);
    for (ended, sql) in [(false, &UPDATE_GENERATIONS), (true, &END_GENERATIONS)] {
        let these = changed.clone().filter(|((entry, _), _)| entry.ended == ended);
        let rows = these.filter_map(|((entry, news), head)| numbered(entry, news, chained.then_some(*head)));
        write(connection, sql, &rows.collect::<Vec<_>>());
    }
    if chained {
        let told = changed.filter(|((entry, _), _)| entry.row.is_none() && !entry.history.is_empty());
        let heads: Vec<_> =
            told.map(|((entry, _), head)| json!({"id": entry.generation, "history_head": head}).to_string()).collect();
        write(connection, &UPDATE_HEADS, &heads);
    }
    let attempts: Vec<&str> = winners.iter().flat_map(|(entry, _)| &entry.attempts).map(|row| row.row.as_str()).collect();
    write(connection, &UPDATE_ATTEMPTS, &attempts);
    write(connection, &INSERT_ATTEMPTS, &rows(|entry| &entry.new_attempts));
    write(connection, &INSERT_ATTEMPT_PAYLOADS, &rows(|entry| &entry.attempt_payloads));
    let assets: Vec<&str> = winners.iter().flat_map(|(entry, _)| &entry.assets).map(|row| row.row.as_str()).collect();
    write(connection, &UPDATE_ASSETS, &assets);
    write(connection, &INSERT_ASSETS, &rows(|entry| &entry.new_assets));
    write(connection, &INSERT_HISTORY, &history);
    write(connection, &INSERT_EVENTS, &late(Mistake::OutboxLate, events(winners, present)?));
    present.batches.write(connection)
}

/// The generation's row; with what the writer alone knows: the how-manieth end of its batch it is, and where its history ends.
fn numbered<'a>(entry: &'a Move, news: &BatchNews, head: Option<i64>) -> Option<Cow<'a, str>> {
    let row = entry.row.as_deref()?;
    let numbers = [("batch_seq", news.ended.map(i64::from)), ("history_head", head.filter(|head| *head > 0))];
    let mut text = Cow::Borrowed(row);
    for (name, number) in numbers {
        if let (Some(number), Some(open)) = (number, text.strip_suffix('}')) {
            text = Cow::Owned(format!("{open},\"{name}\":{number}}}"));
        }
    }
    Some(text)
}

/// What clients are told: of each generation, and after it what that made of its batch.
fn events(winners: &[(&Move, &BatchNews)], present: &Present) -> Result<Vec<String>, Error> {
    let mut rows = Vec::new();
    for (entry, news) in winners {
        rows.extend_from_slice(&entry.events);
        rows.extend(present.batches.events(entry, news)?);
    }
    Ok(rows)
}

/// The history's rows, numbered, and the last one of each winner. A generation's go on where they stood; on SQLite they go where the
/// table ends.
fn history(winners: &[(&Move, &BatchNews)], present: &Present, chained: bool) -> Result<(Vec<String>, Vec<i64>), Error> {
    let (mut lines, mut heads, mut newest) = (Vec::new(), Vec::with_capacity(winners.len()), present.newest);
    for (entry, _) in winners {
        let mut head = present.generations.get(&entry.generation).map_or(0, |now| now.head);
        for line in &entry.history {
            newest += 1;
            let seq = if chained { newest } else { head + 1 };
            let prev = (head > 0).then_some(head);
            lines.push(line.numbered(seq, prev).map_err(|error| Error::Encode(Box::new(error)))?);
            head = seq;
        }
        heads.push(head);
    }
    Ok((lines, heads))
}

/// Lets rows wait for the next trip. Every row must arrive: fewer would be a lost write.
pub fn write<T: AsRef<str>>(connection: &mut Connection, sql: &'static Rows, rows: &[T]) {
    connection.write_rows(sql, rows, true);
}

const EMPTY: &str = "[]";

fn ids(ids: &[Uuid]) -> String {
    let mut ids: Vec<_> = ids.iter().map(|id| format!("\"{}\"", id.simple())).collect();
    ids.sort_unstable();
    ids.dedup();
    array(&ids)
}
