//! Attempts whose outcome is or was unknown, and what is known of them.

use entities::{attempts, provider_tasks, submit_evidence};
use sea_orm::{
    ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, ExprTrait, Query},
};
use uuid::Uuid;

use super::{EvidenceRow, LONGEST_LIST, Reads, rows::evidence_row, unfinished};
use crate::{
    domain::{
        attempt::{AttemptState, Outcome},
        id::AttemptId,
        record::{Attempt, Handle},
        time::Timestamp,
    },
    store::{StoreError, map},
};

/// As the partial index of timed-out attempts has it; a bound value would hide it from the planner.
const TIMED_OUT: &str = "state = 15";
/// As the partial index of evidence that did not come with a submit's answer has it.
const FOUND: &str = "source <> 'answer'";

impl Reads {
    /// The provider ids recorded for an attempt that no other attempt has claimed, in the order they were learned. A synchronous
    /// provider's nameless task is left out.
    ///
    /// # Errors
    /// As every read.
    pub async fn owned_evidence(&self, attempt: AttemptId) -> Result<Vec<Handle>, StoreError> {
        let mut owned = Vec::new();
        for known in self.evidence(attempt).await? {
            let mine = self.task_owner(&known.account, &known.handle.task_id).await? == Some(attempt);
            if mine && !owned.contains(&known.handle) {
                owned.push(known.handle);
            }
        }
        Ok(owned)
    }

    /// The attempt that has claimed a provider's task; `account` is `section/account`.
    ///
    /// # Errors
    /// As every read.
    pub async fn task_owner(&self, account: &str, task: &str) -> Result<Option<AttemptId>, StoreError> {
        let query = provider_tasks::Entity::find_by_id((account.to_owned(), task.to_owned()));
        Ok(self.bounded(query.one(&self.database)).await?.map(|row| AttemptId(row.attempt_id)))
    }

    /// Of these tasks of an account those that an attempt has claimed. At most 1,000 are looked at.
    ///
    /// # Errors
    /// As every read.
    pub async fn claimed(&self, account: &str, tasks: &[String]) -> Result<Vec<String>, StoreError> {
        let tasks = tasks.iter().take(usize::try_from(LONGEST_LIST).unwrap_or(usize::MAX)).cloned();
        let query = provider_tasks::Entity::find()
            .filter(provider_tasks::Column::Account.eq(account))
            .filter(provider_tasks::Column::TaskId.is_in(tasks));
        Ok(self.bounded(query.all(&self.database)).await?.into_iter().map(|row| row.task_id).collect())
    }

    /// Given-up attempts that ended after `since` and were not declared lost, by id.
    ///
    /// # Errors
    /// As every read.
    pub async fn given_up(&self, since: Timestamp, after: Option<AttemptId>, limit: u64) -> Result<Vec<Attempt>, StoreError> {
        let query = once_unconfirmed(&[AttemptState::Ended(Outcome::GivenUp)])
            .filter(attempts::Column::EndedAt.gt(since.0))
            .filter(attempts::Column::LostAt.is_null());
        self.attempts(behind(query, after), limit).await
    }

    /// Attempts that timed out after `since`, by id.
    ///
    /// # Errors
    /// As every read.
    pub async fn timed_out(&self, since: Timestamp, after: Option<AttemptId>, limit: u64) -> Result<Vec<Attempt>, StoreError> {
        let query = attempts::Entity::find().filter(Expr::cust(TIMED_OUT)).filter(attempts::Column::EndedAt.gt(since.0));
        self.attempts(behind(query, after), limit).await
    }

    /// Given-up attempts for which something was recorded, however old, by id.
    ///
    /// # Errors
    /// As every read.
    pub async fn given_up_with_evidence(&self, limit: u64) -> Result<Vec<Attempt>, StoreError> {
        let recorded = Query::select()
            .expr(Expr::val(1))
            .from(submit_evidence::Entity)
            .and_where(
                Expr::col((submit_evidence::Entity, submit_evidence::Column::AttemptId))
                    .equals((attempts::Entity, attempts::Column::Id)),
            )
            .to_owned();
        let query = once_unconfirmed(&[AttemptState::Ended(Outcome::GivenUp)]).filter(Expr::exists(recorded));
        self.attempts(behind(query, None), limit).await
    }

    /// Attempts that are unconfirmed, or were given up as such and not declared lost, newest first; `before` is the last one of the page before.
    ///
    /// # Errors
    /// As every read.
    pub async fn unconfirmed(&self, before: Option<AttemptId>, limit: u64) -> Result<Vec<Attempt>, StoreError> {
        let mut query = once_unconfirmed(&[AttemptState::Unconfirmed, AttemptState::Ended(Outcome::GivenUp)])
            .filter(attempts::Column::LostAt.is_null())
            .order_by_desc(attempts::Column::Id);
        if let Some(before) = before {
            query = query.filter(attempts::Column::Id.lt(before.0));
        }
        self.attempts(query, limit).await
    }

    /// Evidence that did not come with a submit's answer, behind the row `after`, with the rows' numbers.
    ///
    /// # Errors
    /// As every read.
    pub async fn found_evidence(&self, after: i64, limit: u64) -> Result<Vec<(i64, EvidenceRow)>, StoreError> {
        let query = submit_evidence::Entity::find()
            .filter(Expr::cust(FOUND))
            .filter(submit_evidence::Column::Id.gt(after))
            .order_by_asc(submit_evidence::Column::Id)
            .limit(Ord::min(limit, LONGEST_LIST));
        let numbered = |row: submit_evidence::Model| Ok((row.id, evidence_row(row)?));
        Ok(self.sound(self.bounded(query.all(&self.database)).await?, numbered))
    }

    /// The number of the `back`th youngest such row; 0 when there are fewer.
    ///
    /// # Errors
    /// As every read.
    pub async fn found_evidence_start(&self, back: u64) -> Result<i64, StoreError> {
        let query = submit_evidence::Entity::find()
            .filter(Expr::cust(FOUND))
            .order_by_desc(submit_evidence::Column::Id)
            .select_only()
            .column(submit_evidence::Column::Id)
            .offset(back)
            .limit(1)
            .into_tuple::<i64>();
        Ok(self.bounded(query.one(&self.database)).await?.unwrap_or(0))
    }

    /// Other attempts that sent the same request and of which nobody knows (yet) whether the provider has them: being submitted,
    /// unconfirmed, or given up. At most 1,000.
    ///
    /// # Errors
    /// As every read.
    pub async fn unsettled_equals(&self, of: &Attempt) -> Result<Vec<Attempt>, StoreError> {
        let open = attempts::Entity::find()
            .filter(unfinished(attempts::Column::State))
            .filter(attempts::Column::State.is_in([AttemptState::Submitting.number(), AttemptState::Unconfirmed.number()]));
        let given_up = once_unconfirmed(&[AttemptState::Ended(Outcome::GivenUp)]).filter(attempts::Column::LostAt.is_null());
        let mut all = Vec::new();
        for query in [open, given_up] {
            let query = query.filter(attempts::Column::RequestDigest.eq(&of.request_digest));
            all.extend(self.attempts(behind(query, None), LONGEST_LIST).await?);
        }
        all.retain(|other| other.id != of.id);
        Ok(all)
    }

    async fn attempts(&self, query: sea_orm::Select<attempts::Entity>, limit: u64) -> Result<Vec<Attempt>, StoreError> {
        let query = query.limit(Ord::min(limit, LONGEST_LIST));
        Ok(self.sound(self.bounded(query.all(&self.database)).await?, map::attempt))
    }
}

/// As the partial index has them: the path's own attempts are not among its rows.
fn once_unconfirmed(states: &[AttemptState]) -> sea_orm::Select<attempts::Entity> {
    attempts::Entity::find()
        .filter(attempts::Column::UnconfirmedSince.is_not_null())
        .filter(attempts::Column::State.is_in(states.iter().map(|state| state.number())))
}

fn behind(query: sea_orm::Select<attempts::Entity>, after: Option<AttemptId>) -> sea_orm::Select<attempts::Entity> {
    let after = after.map_or(Uuid::nil(), |after| after.0);
    query.filter(attempts::Column::Id.gt(after)).order_by_asc(attempts::Column::Id)
}
