//! What spend reports and ledgers look like.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    domain::{
        balance::{AccountBalance, Balance},
        effects::{self, LedgerEntry, Position},
        id::{GenerationId, KeyId, ProjectId},
        money::Micros,
        record::Attempt,
        time::Timestamp,
    },
    http::spend::query::Query,
    store::{Loaded, Spend, SpendRow},
};

/// Where money stands, as decimal text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Money)]
pub struct MoneyView {
    /// Promised and not billed yet.
    #[schema(value_type = String, example = "0.000000")]
    held: Micros,
    /// Billed, as far as known.
    #[schema(value_type = String, example = "0.350000")]
    charged: Micros,
    /// Possibly billed: nobody could find out.
    #[schema(value_type = String, example = "0.000000")]
    at_risk: Micros,
}

impl From<Position> for MoneyView {
    fn from(position: Position) -> Self {
        Self { held: position.held, charged: position.charged, at_risk: position.at_risk }
    }
}

/// Sums of one line.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SpendSums)]
pub struct SumsView {
    /// Where it stands.
    #[serde(flatten)]
    money: MoneyView,
    /// Promised once and given back.
    #[schema(value_type = String, example = "0.000000")]
    released: Micros,
}

impl SumsView {
    fn of(row: &SpendRow) -> Self {
        Self { money: row.position.into(), released: row.released }
    }
}

/// A project by id and name.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SpendProject)]
pub struct ProjectView {
    /// Its id.
    #[schema(value_type = String, example = "proj_0190163d8694739bae73e2f6a6d7e2a4")]
    id: ProjectId,
    /// Its name; none when it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

/// One line of a report; what it is not grouped by is absent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SpendLine)]
pub struct LineView {
    /// UTC day of the accept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = Date, example = "2026-11-21")]
    day: Option<String>,
    /// Project.
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<ProjectView>,
    /// Key that submitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    key: Option<KeyId>,
    /// Provider section.
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    /// Model.
    #[serde(skip_serializing_if = "Option::is_none")]
    model_identifier: Option<String>,
    /// Its sums.
    #[serde(flatten)]
    sums: SumsView,
}

/// What was spent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpendReport {
    /// First UTC day.
    #[schema(format = Date, example = "2026-10-23")]
    from: String,
    /// Last UTC day.
    #[schema(format = Date, example = "2026-11-21")]
    to: String,
    /// By what the lines are told apart.
    #[schema(value_type = Vec<String>)]
    group_by: Vec<&'static str>,
    /// Of every amount.
    #[schema(example = "USD")]
    currency: &'static str,
    /// Newest day first; at most 1,000 lines.
    data: Vec<LineView>,
    /// Whether there are more lines: narrow the days, or group by less.
    has_more: bool,
    /// The sum of all lines, also of those that are not told.
    total: SumsView,
    /// What is left at the providers that tell it, as last read; whatever the filters are.
    balances: Vec<BalanceView>,
}

/// What is left on an account, or in one of its packs.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Balance)]
pub struct BalanceView {
    /// Provider section.
    provider: String,
    /// Account by its configured name.
    account: String,
    /// Which of several packs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pack: Option<String>,
    /// How much is left, as decimal text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "997.000000")]
    amount: Option<String>,
    /// The provider's unit; never converted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "credits")]
    unit: Option<String>,
    /// When it was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    read_at: Option<Timestamp>,
    /// How much there was at the reading before, as decimal text of the same unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_amount: Option<String>,
    /// When that was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    previous_read_at: Option<Timestamp>,
    /// What our ledger charged for this provider section (all its accounts) between both, in US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "0.030000")]
    ledger_charged: Option<Micros>,
    /// Why the newest try told nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// One line for each amount; one without amount where none was told yet.
fn balances(known: &[AccountBalance]) -> Vec<BalanceView> {
    known.iter().flat_map(of_account).collect()
}

fn of_account(known: &AccountBalance) -> Vec<BalanceView> {
    let line = |(told, before): (Option<&Balance>, Option<&Balance>)| BalanceView {
        provider: known.provider.to_string(),
        account: known.account.to_string(),
        pack: told.and_then(|told| told.pack.clone()),
        amount: told.map(Balance::decimal),
        unit: told.map(|told| told.unit.to_string()),
        read_at: known.newest.as_ref().map(|reading| reading.at),
        previous_amount: before.map(Balance::decimal),
        previous_read_at: known.previous.as_ref().map(|reading| reading.at),
        ledger_charged: known.charged_between(),
        error: known.error.as_ref().map(|(why, _)| why.clone()),
    };
    known.amounts().into_iter().map(line).collect()
}

/// Puts a report together.
pub fn report(query: &Query, found: Spend, names: &BTreeMap<ProjectId, String>, known: &[AccountBalance]) -> SpendReport {
    SpendReport {
        balances: balances(known),
        from: date(query.from),
        to: date(query.to),
        group_by: query.by.iter().map(|by| by.as_str()).collect(),
        currency: "USD",
        total: SumsView::of(&found.total),
        has_more: found.more,
        data: found.rows.into_iter().map(|row| line(row, names)).collect(),
    }
}

fn line(row: SpendRow, names: &BTreeMap<ProjectId, String>) -> LineView {
    LineView {
        sums: SumsView::of(&row),
        day: row.day.map(date),
        project: row.project.map(|id| ProjectView { id, name: names.get(&id).cloned() }),
        key: row.key,
        provider: row.provider,
        model_identifier: row.model,
    }
}

fn date(day: i32) -> String {
    Timestamp::of_day(day).date()
}

/// A row of the ledger: amounts are what a commit added.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LedgerRow)]
pub struct RowView {
    /// Attempt number; 0 is the generation itself.
    attempt: u16,
    /// `hold`, `charge`, `release` or `risk`.
    #[schema(value_type = String, example = "charge")]
    kind: &'static str,
    /// Version of the row that moved it.
    seq: i32,
    /// What was added.
    #[serde(flatten)]
    money: MoneyView,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

/// Where the money of an attempt stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LedgerAttempt)]
pub struct AttemptMoney {
    /// 1, 2, … within the generation.
    n: u16,
    /// Its state.
    #[schema(value_type = String, example = "delivered")]
    state: &'static str,
    /// Account at the provider.
    account: String,
    /// The provider's id of it, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    provider_task_id: Option<String>,
    /// What the provider echoes.
    tag: String,
    /// Where its money stands.
    #[serde(flatten)]
    money: MoneyView,
}

/// The ledger of a generation.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Ledger)]
pub struct LedgerView {
    /// The generation.
    #[schema(value_type = String, example = "gen_0190163d8694739bae73e2f6a6d7e2a4")]
    id: GenerationId,
    /// UTC day of the accept, under which all of it is counted.
    #[schema(format = Date, example = "2026-11-21")]
    day: String,
    /// Project.
    #[schema(value_type = String)]
    project: ProjectId,
    /// Key that submitted.
    #[schema(value_type = String)]
    key: KeyId,
    /// Provider section.
    provider: String,
    /// Model.
    model_identifier: String,
    /// Of every amount.
    #[schema(example = "USD")]
    currency: &'static str,
    /// In the order in which they were written.
    data: Vec<RowView>,
    /// Every attempt.
    attempts: Vec<AttemptMoney>,
    /// The sum of the rows.
    total: SumsView,
}

/// Puts a ledger together.
pub fn ledger(loaded: &Loaded, rows: &[LedgerEntry]) -> LedgerView {
    let generation = &loaded.generation;
    let position = rows.iter().map(|row| row.delta).fold(Position::ZERO, Position::plus);
    let released = rows.iter().map(|row| row.delta.released()).fold(Micros(0), Micros::plus);
    LedgerView {
        id: generation.id,
        day: date(generation.created_at.day()),
        project: generation.project,
        key: generation.key,
        provider: generation.provider.to_string(),
        model_identifier: generation.model.to_string(),
        currency: "USD",
        data: rows.iter().map(row).collect(),
        attempts: loaded.attempts.iter().map(attempt).collect(),
        total: SumsView { money: position.into(), released },
    }
}

fn row(row: &LedgerEntry) -> RowView {
    RowView { attempt: row.attempt, kind: row.kind.as_str(), seq: row.seq, money: row.delta.into(), at: row.at }
}

fn attempt(row: &Attempt) -> AttemptMoney {
    let task = row.handle.as_ref().map(|handle| handle.task_id.clone());
    AttemptMoney {
        n: row.n,
        state: row.state.as_str(),
        account: row.account.to_string(),
        provider_task_id: task.filter(|id| !id.is_empty()),
        tag: row.tag.clone(),
        money: effects::of_attempt(row).into(),
    }
}
