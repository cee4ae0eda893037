//! The lane of cancel wishes: each one autocommit statement on one row, so that it never holds a lock while it waits for another.

use sqlx::Error;
use uuid::Uuid;

use super::{
    Scope,
    connection::Connection,
    lane::{Lane, Written},
};
use crate::{domain::id::GenerationId, store::watch::Ring};

/// The lane.
pub struct Cancels;

/// A client's wish.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    /// The generation.
    pub generation: Uuid,
    /// It must be this project's.
    pub project: Uuid,
    /// When, in milliseconds since the epoch.
    pub at: i64,
}

impl Lane for Cancels {
    type Entry = Wish;
    /// Whether the project has such a generation.
    type Answer = bool;

    const NAME: &'static str = "cancels";
    const MARK: i16 = 3;
    const SINGLE: bool = true;

    fn key(entry: &Wish) -> Option<Uuid> {
        Some(entry.generation)
    }

    async fn write(connection: &mut Connection, _scope: &Scope, entries: &[&Wish]) -> Result<Written<bool>, Error> {
        let mut written = Written { answers: Vec::new(), rows: 0 };
        for wish in entries {
            let parameter =
                format!(r#"{{"id":"{}","project":"{}","at":{}}}"#, wish.generation.simple(), wish.project.simple(), wish.at);
            let changed = connection.execute(connection.pick(SET.0, SET.1), &parameter).await?;
            let known = changed > 0 || exists(connection, &parameter).await?;
            written.rows += usize::from(changed > 0);
            written.answers.push(known);
        }
        Ok(written)
    }

    fn committed(scope: &Scope, entries: &[&Wish], _answers: &[bool]) {
        Self::unsure(scope, entries);
    }

    fn unsure(scope: &Scope, entries: &[&Wish]) {
        for wish in entries {
            scope.recent.forget(GenerationId(wish.generation));
            scope.watch.ring(wish.generation, Ring::Changed);
        }
    }
}

async fn exists(connection: &mut Connection, parameter: &str) -> Result<bool, Error> {
    let rows: Vec<(i32,)> = connection.rows(connection.pick(EXISTS.0, EXISTS.1), parameter).await?;
    Ok(!rows.is_empty())
}

/// Written once; a terminal generation takes no wish. The version is not bumped: this is a fact.
const SET: (&str, &str) = (
    "UPDATE generations SET cancel_requested_at = ?1->>'at'
     WHERE id = unhex(?1->>'id') AND project_id = unhex(?1->>'project') AND cancel_requested_at IS NULL AND state < 10",
    "UPDATE generations SET cancel_requested_at = ($1::json->>'at')::int8
     WHERE id = ($1::json->>'id')::uuid AND project_id = ($1::json->>'project')::uuid
     AND cancel_requested_at IS NULL AND state < 10",
);

const EXISTS: (&str, &str) = (
    "SELECT 1 FROM generations WHERE id = unhex(?1->>'id') AND project_id = unhex(?1->>'project')",
    "SELECT 1 FROM generations WHERE id = ($1::json->>'id')::uuid AND project_id = ($1::json->>'project')::uuid",
);
