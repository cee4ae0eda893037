//! What operators decide about attempts whose submit stayed unknown: facts, each one autocommit statement on the small pool of the keys,
//! so that commands work beside a running server. The reconciler carries them out and writes down what came of each.

use std::time::Duration;

use entities::operator_decisions::{ActiveModel, Column, Entity, Model};
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::Expr,
};

use crate::{
    domain::{
        id::{AttemptId, GenerationId},
        time::Timestamp,
    },
    store::{StoreError, reads::LONGEST_LIST},
};

/// What an operator says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The provider has it under this id.
    Adopt {
        /// The provider's id of the task.
        provider_task: String,
    },
    /// The provider never had it.
    Lost,
}

impl Decision {
    /// The word in the store, in commands and answers.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Adopt { .. } => "adopt",
            Self::Lost => "lost",
        }
    }

    /// The provider's id, of an adopt.
    #[must_use]
    pub fn provider_task(&self) -> Option<&str> {
        match self {
            Self::Adopt { provider_task } => Some(provider_task),
            Self::Lost => None,
        }
    }
}

/// What came of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Carried out.
    Done(String),
    /// Not believed: why.
    Refused(String),
}

impl Outcome {
    /// The word in the store and in answers.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Done(_) => "done",
            Self::Refused(_) => "refused",
        }
    }

    /// One sentence.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Done(reason) | Self::Refused(reason) => reason,
        }
    }
}

/// A decision to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDecision {
    /// The attempt.
    pub attempt: AttemptId,
    /// Its generation.
    pub generation: GenerationId,
    /// What is said of it.
    pub decision: Decision,
    /// `cli`, or the id of the key.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// A decision as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionRow {
    /// Its number.
    pub id: i64,
    /// What was decided.
    pub what: NewDecision,
    /// What came of it; none while it is open.
    pub outcome: Option<Outcome>,
}

/// The decisions. Clones share the pool.
#[derive(Debug, Clone)]
pub struct Decisions {
    database: DatabaseConnection,
    longest: Duration,
}

impl Decisions {
    /// Works through this pool.
    pub(super) const fn new(database: DatabaseConnection, longest: Duration) -> Self {
        Self { database, longest }
    }

    async fn bounded<T>(&self, work: impl Future<Output = Result<T, DbErr>>) -> Result<T, StoreError> {
        match tokio::time::timeout(self.longest, work).await {
            Ok(result) => result.map_err(StoreError::from),
            Err(_) => Err(StoreError::Timeout),
        }
    }

    /// Writes a decision.
    ///
    /// # Errors
    /// `Timeout`, `Unavailable` as all here.
    pub async fn insert(&self, new: NewDecision) -> Result<DecisionRow, StoreError> {
        let row = ActiveModel {
            id: NotSet,
            attempt_id: Set(new.attempt.0),
            generation_id: Set(new.generation.0),
            decision: Set(new.decision.as_str().to_owned()),
            provider_task: Set(new.decision.provider_task().map(str::to_owned)),
            decided_by: Set(new.by),
            at: Set(new.at.0),
            done_at: Set(None),
            outcome: Set(None),
            reason: Set(None),
        };
        // One statement without RETURNING: with it the driver answers the row before the statement has committed, and on a full disk the
        // row was answered and never written. Nor a transaction: the driver loses count of one that SQLite has rolled back by itself, and
        // then leaves the next one open, with the lock that the journal needs.
        let written = async {
            Entity::insert(row).exec_without_returning(&self.database).await?;
            let mine = Entity::find()
                .filter(Column::AttemptId.eq(new.attempt.0))
                .filter(Column::At.eq(new.at.0))
                .order_by_desc(Column::Id)
                .limit(1);
            mine.one(&self.database).await?.ok_or(DbErr::RecordNotInserted)
        };
        decision(self.bounded(written).await?)
    }

    /// Those nothing has come of yet, oldest first.
    ///
    /// # Errors
    /// `Timeout`, `Unavailable`, `Corrupt`.
    pub async fn open(&self, limit: u64) -> Result<Vec<DecisionRow>, StoreError> {
        let query = Entity::find().filter(Column::DoneAt.is_null()).order_by_asc(Column::Id).limit(limit.min(LONGEST_LIST));
        self.bounded(query.all(&self.database)).await?.into_iter().map(decision).collect()
    }

    /// The newest of an attempt.
    ///
    /// # Errors
    /// `Timeout`, `Unavailable`, `Corrupt`.
    pub async fn newest(&self, attempt: AttemptId) -> Result<Option<DecisionRow>, StoreError> {
        let query = Entity::find().filter(Column::AttemptId.eq(attempt.0)).order_by_desc(Column::Id).limit(1);
        self.bounded(query.one(&self.database)).await?.map(decision).transpose()
    }

    /// Writes what came of a decision, once.
    ///
    /// # Errors
    /// `Timeout`, `Unavailable`.
    pub async fn settle(&self, id: i64, outcome: &Outcome, at: Timestamp) -> Result<(), StoreError> {
        let update = Entity::update_many()
            .col_expr(Column::DoneAt, Expr::value(at.0))
            .col_expr(Column::Outcome, Expr::value(outcome.as_str()))
            .col_expr(Column::Reason, Expr::value(outcome.reason()))
            .filter(Column::Id.eq(id))
            .filter(Column::DoneAt.is_null());
        self.bounded(update.exec(&self.database)).await.map(|_| ())
    }
}

fn decision(row: Model) -> Result<DecisionRow, StoreError> {
    let corrupt = || StoreError::Corrupt { what: "operator decision", id: row.id.to_string() };
    let what = match (row.decision.as_str(), &row.provider_task) {
        ("adopt", Some(task)) => Decision::Adopt { provider_task: task.clone() },
        ("lost", None) => Decision::Lost,
        _ => return Err(corrupt()),
    };
    let reason = row.reason.clone().unwrap_or_default();
    let outcome = match row.outcome.as_deref() {
        None => None,
        Some("done") => Some(Outcome::Done(reason)),
        Some("refused") => Some(Outcome::Refused(reason)),
        Some(_) => return Err(corrupt()),
    };
    let (attempt, generation) = (AttemptId(row.attempt_id), GenerationId(row.generation_id));
    let what = NewDecision { attempt, generation, decision: what, by: row.decided_by, at: Timestamp(row.at) };
    Ok(DecisionRow { id: row.id, what, outcome })
}
