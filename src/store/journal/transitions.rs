//! The lane of transitions: lock what the batch names, decide who wins, write the winners with one statement a table.

use std::sync::Arc;

use sqlx::Error;
use uuid::Uuid;

use super::{
    Scope,
    books::{self, Writing},
    connection::Connection,
    decide::{GenerationNow, Present, wins},
    lane::{Lane, Written},
    rows::Move,
    sql::{Sql, array},
    tables::{
        ASSET, ATTEMPT, FENCE, GENERATION, INSERT_ASSETS, INSERT_ATTEMPT_PAYLOADS, INSERT_ATTEMPTS, INSERT_EVENTS,
        INSERT_HISTORY, LOCK_ASSETS, LOCK_ATTEMPTS, LOCK_GENERATIONS, UPDATE_ASSETS, UPDATE_ATTEMPTS, UPDATE_GENERATIONS,
    },
};
use crate::store::entry::{Transition, Verdict};

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
        let present = lock(connection, scope, &moves).await?;
        let won: Vec<bool> = entries.iter().map(|step| step.wins(&present, scope)).collect();
        let winners: Vec<&Move> = entries.iter().zip(&won).filter_map(|(step, won)| step.as_move().filter(|_| *won)).collect();
        apply(connection, &winners, &present)?;
        let booked: Vec<_> = winners.iter().map(|entry| &entry.booked).collect();
        books::write(connection, &booked, Writing::Transitions.stripe(&scope.held))?;
        Ok(Written {
            rows: winners.iter().map(|entry| entry.rows()).sum(),
            answers: won.into_iter().map(|won| if won { Verdict::Won } else { Verdict::Lost }).collect(),
        })
    }

    fn committed(scope: &Scope, entries: &[&Step], answers: &[Verdict]) {
        for (step, verdict) in entries.iter().zip(answers) {
            match (step, verdict) {
                (Step::Move(_, entry), Verdict::Won) => scope.recent.won(entry),
                (Step::Move(_, entry), Verdict::Lost) => scope.recent.forget(entry.generation_id),
                (Step::Ping, Verdict::Won | Verdict::Lost) => {}
            }
        }
    }

    fn unsure(scope: &Scope, entries: &[&Step]) {
        for step in entries {
            if let Step::Move(_, entry) = step {
                scope.recent.forget(entry.generation_id);
            }
        }
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

/// Reads and locks the fence first, then rows by table and id: always in this order, so that two writers never wait for each
/// other in a circle.
async fn lock(connection: &mut Connection, scope: &Scope, moves: &[&Move]) -> Result<Present, Error> {
    let generations = ids(moves.iter().map(|entry| entry.generation));
    let attempts = ids(moves.iter().flat_map(|entry| &entry.attempts).map(|row| row.id));
    let assets = ids(moves.iter().flat_map(|entry| &entry.assets).map(|row| row.id));
    let mut queries = vec![(connection.pick(FENCE.0, FENCE.1), &*scope.node)];
    for ((sqlite, postgres), ids) in [(LOCK_GENERATIONS, &generations), (LOCK_ATTEMPTS, &attempts), (LOCK_ASSETS, &assets)] {
        if ids != EMPTY {
            queries.push((connection.pick(sqlite, postgres), ids));
        }
    }
    let mut present = Present::default();
    let rows: Vec<(i32, Uuid, i32, i16, bool, i32)> = connection.rows_of(&queries).await?;
    for (what, id, version, shard, cancel_requested, last_seq) in rows {
        match what {
            GENERATION => {
                present.generations.insert(id, GenerationNow { version, shard, cancel_requested, last_seq });
            }
            ATTEMPT => drop(present.attempts.insert(id, version)),
            ASSET => drop(present.assets.insert(id, version)),
            _ => present.alive = true,
        }
    }
    Ok(present)
}

/// Writes the winners; a table nobody changes is skipped.
fn apply(connection: &mut Connection, winners: &[&Move], present: &Present) -> Result<(), Error> {
    let rows =
        |of: fn(&Move) -> &[String]| -> Vec<&str> { winners.iter().flat_map(|entry| of(entry)).map(String::as_str).collect() };
    let generations: Vec<&str> = winners.iter().filter_map(|entry| entry.row.as_deref()).collect();
    write(connection, &UPDATE_GENERATIONS, &generations);
    let attempts: Vec<&str> = winners.iter().flat_map(|entry| &entry.attempts).map(|row| row.row.as_str()).collect();
    write(connection, &UPDATE_ATTEMPTS, &attempts);
    write(connection, &INSERT_ATTEMPTS, &rows(|entry| &entry.new_attempts));
    write(connection, &INSERT_ATTEMPT_PAYLOADS, &rows(|entry| &entry.attempt_payloads));
    let assets: Vec<&str> = winners.iter().flat_map(|entry| &entry.assets).map(|row| row.row.as_str()).collect();
    write(connection, &UPDATE_ASSETS, &assets);
    write(connection, &INSERT_ASSETS, &rows(|entry| &entry.new_assets));
    write(connection, &INSERT_HISTORY, &history(winners, present)?);
    write(connection, &INSERT_EVENTS, &rows(|entry| &entry.events));
    Ok(())
}

/// Numbers the history: each generation's goes on where it stood.
fn history(winners: &[&Move], present: &Present) -> Result<Vec<String>, Error> {
    let mut lines = Vec::new();
    for entry in winners {
        let last = present.generations.get(&entry.generation).map_or(0, |now| now.last_seq);
        for (line, seq) in entry.history.iter().zip(last.saturating_add(1)..) {
            let mut line = line.clone();
            line.seq = seq;
            lines.push(serde_json::to_string(&line).map_err(|error| Error::Encode(Box::new(error)))?);
        }
    }
    Ok(lines)
}

/// Lets a multi-row statement wait for the next trip, unless there are no rows. Every row must arrive: fewer would be a lost
/// write.
pub fn write<T: AsRef<str>>(connection: &mut Connection, sql: &'static Sql, rows: &[T]) {
    if !rows.is_empty() {
        connection.write(sql.text(connection), array(rows), rows.len());
    }
}

const EMPTY: &str = "[]";

fn ids(ids: impl Iterator<Item = Uuid>) -> String {
    let mut ids: Vec<_> = ids.map(|id| format!("\"{}\"", id.simple())).collect();
    ids.sort_unstable();
    ids.dedup();
    array(&ids)
}
