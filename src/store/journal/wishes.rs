//! The lane of what clients wish of a batch: facts, each one statement on one row, so that none holds a lock while it waits for
//! another. The event that tells of a wish goes with it: on PostgreSQL in the same statement, on SQLite, where a statement writes one
//! table and nobody waits for a row, in the same transaction.

use serde::Serialize;
use serde_json::json;
use sqlx::Error;
use uuid::Uuid;

use super::{
    Scope,
    connection::{Connection, Dialect},
    lane::{Lane, Written},
};
use crate::store::{entry::Noted, watch::Ring};

/// The lane.
pub struct Wishes;

/// A wish.
#[derive(Debug, Clone, Serialize)]
pub struct BatchWish {
    /// The batch.
    pub batch: Uuid,
    /// It must be this project's.
    pub project: Uuid,
    /// When, in milliseconds since the epoch.
    pub at: i64,
    /// What is wished.
    #[serde(flatten)]
    pub what: What,
}

/// What is wished.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(untagged)]
pub enum What {
    /// Submit nothing new.
    Pause {},
    /// Go on, with another budget where one is given.
    Resume {
        /// Micro-dollars.
        budget: Option<i64>,
    },
    /// Cancel, or cancel farther.
    Cancel {
        /// `CancelMode::number`.
        mode: i16,
    },
    /// Try again what failed.
    Retry {
        /// Also what may have been paid.
        forced: bool,
        /// Who asks.
        key: Uuid,
    },
    /// Not a client's wish: the owner found that this is too much for what is left of the budget.
    OverBudget {
        /// Micro-dollars.
        price: i64,
    },
    /// Not a client's wish: the owner carried this retry out.
    Retried {
        /// `retry_requested_at`, as it was carried out.
        wished_at: i64,
        /// `retry_forced`, as it was carried out.
        forced: bool,
        /// Whether lines are open: otherwise it is the end of the batch, and must be told.
        open: bool,
        /// The event that tells of its end.
        #[serde(skip)]
        over: &'static str,
    },
}

impl What {
    /// Kinds of the event that tells of it, while lines are open and when none is; empty: nothing is to be told.
    const fn kinds(self) -> (&'static str, &'static str) {
        match self {
            Self::Pause {} | Self::OverBudget { .. } => ("batch.paused", "batch.paused"),
            Self::Resume { .. } | Self::Retry { .. } => ("batch.processing", "batch.processing"),
            // Of one that has ended it takes a wish to retry back: nothing is left to be cancelled.
            Self::Cancel { .. } => ("batch.cancelling", "batch.cancelled"),
            Self::Retried { over, .. } => ("", over),
        }
    }

    const fn statements(self) -> (&'static str, &'static str) {
        match self {
            Self::Pause {} => PAUSE,
            Self::Resume { .. } => RESUME,
            Self::Cancel { .. } => CANCEL,
            Self::Retry { .. } => RETRY,
            Self::OverBudget { .. } => OVER_BUDGET,
            Self::Retried { .. } => RETRIED,
        }
    }
}

impl Lane for Wishes {
    type Entry = BatchWish;
    type Answer = Noted;

    const NAME: &'static str = "wishes";
    // It leaves no mark: each is one idempotent change, and is sent again when its answer is lost.
    const MARK: i16 = 3;
    const SINGLE: bool = true;

    fn key(entry: &BatchWish) -> Option<Uuid> {
        Some(entry.batch)
    }

    async fn write(connection: &mut Connection, _scope: &Scope, entries: &[&BatchWish]) -> Result<Written<Noted>, Error> {
        let mut written = Written { answers: Vec::new(), rows: 0 };
        for wish in entries {
            let noted = note(connection, wish).await?;
            written.rows += usize::from(noted == Noted::Changed);
            written.answers.push(noted);
        }
        Ok(written)
    }

    fn committed(scope: &Scope, entries: &[&BatchWish], _answers: &[Noted]) {
        Self::unsure(scope, entries);
    }

    fn unsure(scope: &Scope, entries: &[&BatchWish]) {
        entries.iter().for_each(|wish| scope.watch.ring(wish.batch, Ring::Changed));
        scope.watch.wrote();
    }
}

async fn note(connection: &mut Connection, wish: &BatchWish) -> Result<Noted, Error> {
    let parameter = serde_json::to_string(wish).map_err(|error| Error::Encode(Box::new(error)))?;
    let changed = match connection.dialect() {
        Dialect::Sqlite => change_and_tell(connection, wish, &parameter).await?,
        Dialect::Postgres => {
            let (kind, over) = wish.what.kinds();
            let event = json!({"wish": parameter, "kind": kind, "over": over}).to_string();
            let rows: Vec<(i64,)> = connection.rows(wish.what.statements().1, &event).await?;
            rows.first().is_some_and(|(changed,)| *changed > 0)
        }
    };
    if changed {
        return Ok(Noted::Changed);
    }
    let known: Vec<(i32,)> = connection.rows(connection.pick(EXISTS.0, EXISTS.1), &parameter).await?;
    Ok(if known.is_empty() { Noted::Unknown } else { Noted::Unchanged })
}

async fn change_and_tell(connection: &mut Connection, wish: &BatchWish, parameter: &str) -> Result<bool, Error> {
    connection.begin().await?;
    let done = async {
        let changed = connection.execute(wish.what.statements().0, parameter).await? > 0;
        if changed {
            let (kind, over) = wish.what.kinds();
            let event = json!({"batch": wish.batch, "kind": kind, "over": over, "at": wish.at}).to_string();
            connection.execute(TELL, &event).await?;
        }
        connection.commit().await?;
        Ok(changed)
    }
    .await;
    if done.is_err() {
        connection.rollback().await?;
    }
    done
}

const EXISTS: (&str, &str) = (
    "SELECT 1 FROM batches WHERE id = unhex(?1->>'batch', '-') AND project_id = unhex(?1->>'project', '-')
     AND visible_at IS NOT NULL",
    "SELECT 1 FROM batches WHERE id = ($1::json->>'batch')::uuid AND project_id = ($1::json->>'project')::uuid
     AND visible_at IS NOT NULL",
);

/// After the change, in its transaction.
const TELL: &str = "INSERT INTO events (batch_id, project_id, kind, at)
    SELECT id, project_id, kind, told_at FROM (
        SELECT b.id, b.project_id, iif(b.completed_at IS NULL, ?1->>'kind', ?1->>'over') AS kind, ?1->>'at' AS told_at
        FROM batches b WHERE b.id = unhex(?1->>'batch', '-'))
    WHERE kind <> ''";

/// One wish in both dialects: what is set, and under which condition. In PostgreSQL `j` is the wish, in SQLite it is the parameter.
macro_rules! wish {
    ($name:ident, $set:literal, $only:literal, $postgres_set:literal, $postgres_only:literal) => {
        const $name: (&str, &str) = (
            concat!(
                "UPDATE batches SET ",
                $set,
                " WHERE id = unhex(?1->>'batch', '-') AND project_id = unhex(?1->>'project', '-')
                  AND visible_at IS NOT NULL AND ",
                $only
            ),
            concat!(
                "WITH j AS (SELECT ($1::json->>'wish')::json AS w, $1::json->>'kind' AS kind, $1::json->>'over' AS over_kind),
                 changed AS (UPDATE batches SET ",
                $postgres_set,
                " FROM j WHERE id = (w->>'batch')::uuid AND project_id = (w->>'project')::uuid AND visible_at IS NOT NULL AND ",
                $postgres_only,
                " RETURNING id, project_id, CASE WHEN completed_at IS NULL THEN kind ELSE over_kind END AS told_kind),
                 told AS (INSERT INTO events (batch_id, project_id, kind, at)
                    SELECT id, project_id, told_kind, (w->>'at')::int8 FROM changed, j WHERE told_kind <> '')
                 SELECT count(*) FROM changed"
            ),
        );
    };
}

wish!(
    PAUSE,
    "paused_at = ?1->>'at'",
    "paused_at IS NULL AND cancel_requested_at IS NULL AND (completed_at IS NULL OR retry_requested_at IS NOT NULL)",
    "paused_at = (w->>'at')::int8",
    "paused_at IS NULL AND cancel_requested_at IS NULL AND (completed_at IS NULL OR retry_requested_at IS NOT NULL)"
);

wish!(
    RESUME,
    "paused_at = NULL, over_budget_at = NULL, budget = coalesce(?1->>'budget', budget)",
    "(paused_at IS NOT NULL OR over_budget_at IS NOT NULL OR ?1->>'budget' IS NOT NULL)",
    "paused_at = NULL, over_budget_at = NULL, budget = coalesce((w->>'budget')::int8, budget)",
    "(paused_at IS NOT NULL OR over_budget_at IS NOT NULL OR w->>'budget' IS NOT NULL)"
);

// Not taken back; only farther. What is to be retried is retried no more.
wish!(
    CANCEL,
    "cancel_requested_at = coalesce(cancel_requested_at, ?1->>'at'), cancel_mode = ?1->>'mode',
     retry_requested_at = NULL, retry_forced = false, retry_key = NULL",
    "(cancel_mode IS NULL OR cancel_mode < ?1->>'mode') AND (completed_at IS NULL OR retry_requested_at IS NOT NULL)",
    "cancel_requested_at = coalesce(cancel_requested_at, (w->>'at')::int8), cancel_mode = (w->>'mode')::int2,
     retry_requested_at = NULL, retry_forced = false, retry_key = NULL",
    "(cancel_mode IS NULL OR cancel_mode < (w->>'mode')::int2) AND (completed_at IS NULL OR retry_requested_at IS NOT NULL)"
);

wish!(
    RETRY,
    "retry_requested_at = ?1->>'at', retry_forced = ?1->>'forced', retry_key = unhex(?1->>'key', '-')",
    "cancel_requested_at IS NULL AND failed + cancelled > 0
     AND (retry_requested_at IS NULL OR (?1->>'forced' AND NOT retry_forced))",
    "retry_requested_at = (w->>'at')::int8, retry_forced = (w->>'forced')::boolean, retry_key = (w->>'key')::uuid",
    "cancel_requested_at IS NULL AND failed + cancelled > 0
     AND (retry_requested_at IS NULL OR ((w->>'forced')::boolean AND NOT retry_forced))"
);

// Asked of the row once more: what is spent may have changed since the owner looked.
wish!(
    OVER_BUDGET,
    "over_budget_at = ?1->>'at'",
    "over_budget_at IS NULL AND completed_at IS NULL AND budget IS NOT NULL AND spent + (?1->>'price') > budget",
    "over_budget_at = (w->>'at')::int8",
    "over_budget_at IS NULL AND completed_at IS NULL AND budget IS NOT NULL AND spent + (w->>'price')::int8 > budget"
);

// A wish that was made meanwhile stays; so does this one when the last line ended meanwhile, until that is told.
wish!(
    RETRIED,
    "retry_requested_at = NULL, retry_forced = false, retry_key = NULL",
    "retry_requested_at = ?1->>'wished_at' AND retry_forced = (?1->>'forced') AND (completed_at IS NULL) = (?1->>'open')",
    "retry_requested_at = NULL, retry_forced = false, retry_key = NULL",
    "retry_requested_at = (w->>'wished_at')::int8 AND retry_forced = (w->>'forced')::boolean
     AND (completed_at IS NULL) = (w->>'open')::boolean"
);
