//! The books, read: a generation's ledger, and what days, projects, providers and models have cost.

use entities::{api_keys, ledger, projects, spend_days};
use sea_orm::{
    ColumnTrait, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect, Select,
    sea_query::{Expr, Order, SimpleExpr},
};
use uuid::Uuid;

use super::{LONGEST_LIST, Reads};
use crate::{
    domain::{
        effects::{EntryKind, LedgerEntry, Position},
        id::{GenerationId, KeyId, ProjectId},
        limits::Limits,
        money::Micros,
        time::Timestamp,
    },
    store::StoreError,
};

/// By what sums are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SpendBy {
    /// UTC day of the accept.
    Day,
    /// Project.
    Project,
    /// Key that submitted.
    Key,
    /// Provider section.
    Provider,
    /// `modelIdentifier`.
    Model,
}

impl SpendBy {
    /// Every one, in the order of a report.
    pub const ALL: [Self; 5] = [Self::Day, Self::Project, Self::Key, Self::Provider, Self::Model];

    /// The word in queries.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Project => "project",
            Self::Key => "key",
            Self::Provider => "provider",
            Self::Model => "model",
        }
    }

    /// Reads a query's word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|by| by.as_str() == word)
    }

    const fn column(self) -> spend_days::Column {
        match self {
            Self::Day => spend_days::Column::Day,
            Self::Project => spend_days::Column::ProjectId,
            Self::Key => spend_days::Column::KeyId,
            Self::Provider => spend_days::Column::Provider,
            Self::Model => spend_days::Column::Model,
        }
    }
}

/// What a report is narrowed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpendFilter {
    /// First UTC day, counted from the epoch's.
    pub from: i32,
    /// Last UTC day.
    pub to: i32,
    /// Only this project.
    pub project: Option<ProjectId>,
    /// Only this provider section.
    pub provider: Option<String>,
    /// Only this model.
    pub model: Option<String>,
}

/// One line of a report. What it is not told apart by is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SpendRow {
    /// UTC day, counted from the epoch's.
    pub day: Option<i32>,
    /// Project.
    pub project: Option<ProjectId>,
    /// Key.
    pub key: Option<KeyId>,
    /// Provider section.
    pub provider: Option<String>,
    /// `modelIdentifier`.
    pub model: Option<String>,
    /// Held, charged, at risk.
    pub position: Position,
    /// Given back.
    pub released: Micros,
}

/// A report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spend {
    /// Its lines: newest day first, then by project, key, provider and model; at most 1,000.
    pub rows: Vec<SpendRow>,
    /// Whether there are more.
    pub more: bool,
    /// The sum of all lines, also of those that are not told.
    pub total: SpendRow,
}

#[derive(Debug, FromQueryResult)]
struct Sums {
    day: Option<i32>,
    project_id: Option<Uuid>,
    key_id: Option<Uuid>,
    provider: Option<String>,
    model: Option<String>,
    held: i64,
    charged: i64,
    at_risk: i64,
    released: i64,
}

impl Reads {
    /// What a project and one of its keys may promise a UTC day.
    ///
    /// # Errors
    /// As every read.
    pub async fn limits(&self, project: ProjectId, key: KeyId) -> Result<Limits, StoreError> {
        let of_project = self.bounded(projects::Entity::find_by_id(project.0).one(&self.database)).await?;
        let of_key = self.bounded(api_keys::Entity::find_by_id(key.0).one(&self.database)).await?;
        Ok(Limits {
            project: of_project.and_then(|row| row.daily_limit).map(Micros),
            key: of_key.and_then(|row| row.daily_limit).map(Micros),
        })
    }

    /// What the filter's days have cost, told apart by `by`.
    ///
    /// # Errors
    /// As every read.
    pub async fn spend(&self, filter: &SpendFilter, by: &[SpendBy]) -> Result<Spend, StoreError> {
        let wanted = LONGEST_LIST.saturating_add(1);
        let lines = grouped(filter, by).limit(wanted).into_model::<Sums>();
        let mut rows: Vec<_> = self.bounded(lines.all(&self.database)).await?.into_iter().map(row).collect();
        let more = u64::try_from(rows.len()).is_ok_and(|found| found == wanted);
        if more {
            rows.pop();
        }
        let total = self.bounded(grouped(filter, &[]).into_model::<Sums>().one(&self.database)).await?;
        Ok(Spend { rows, more, total: total.map(row).unwrap_or_default() })
    }

    /// What a provider section has charged since the books began.
    ///
    /// # Errors
    /// As every read.
    pub async fn charged_by(&self, provider: &str) -> Result<Micros, StoreError> {
        let query = spend_days::Entity::find()
            .select_only()
            .expr_as(sum("charged"), "charged")
            .filter(spend_days::Column::Provider.eq(provider))
            .into_tuple::<i64>();
        Ok(Micros(self.bounded(query.one(&self.database)).await?.unwrap_or(0)))
    }

    /// What commits moved of a generation's money, in the order of their instants. Its first 1,000 rows.
    ///
    /// # Errors
    /// As every read.
    pub async fn ledger(&self, id: GenerationId) -> Result<Vec<LedgerEntry>, StoreError> {
        let query = ledger::Entity::find()
            .filter(ledger::Column::GenerationId.eq(id.0))
            .order_by_asc(ledger::Column::At)
            .order_by_asc(ledger::Column::Attempt)
            .order_by_asc(ledger::Column::Seq)
            .limit(LONGEST_LIST);
        Ok(self.sound(self.bounded(query.all(&self.database)).await?, entry))
    }
}

fn grouped(filter: &SpendFilter, by: &[SpendBy]) -> Select<spend_days::Entity> {
    let mut query = spend_days::Entity::find().select_only().filter(spend_days::Column::Day.between(filter.from, filter.to));
    if let Some(project) = filter.project {
        query = query.filter(spend_days::Column::ProjectId.eq(project.0));
    }
    if let Some(provider) = &filter.provider {
        query = query.filter(spend_days::Column::Provider.eq(provider));
    }
    if let Some(model) = &filter.model {
        query = query.filter(spend_days::Column::Model.eq(model));
    }
    for one in SpendBy::ALL {
        let column = one.column();
        if by.contains(&one) {
            let order = if one == SpendBy::Day { Order::Desc } else { Order::Asc };
            query = query.column(column).group_by(column).order_by(column, order);
        } else {
            query = query.expr_as(Expr::cust("NULL"), sea_orm::IdenStatic::as_str(&column));
        }
    }
    for column in ["held", "charged", "at_risk", "released"] {
        query = query.expr_as(sum(column), column);
    }
    query
}

/// PostgreSQL adds 8-byte integers up to a numeric.
fn sum(column: &'static str) -> SimpleExpr {
    Expr::cust(format!("CAST(coalesce(sum({column}), 0) AS bigint)"))
}

fn row(sums: Sums) -> SpendRow {
    SpendRow {
        day: sums.day,
        project: sums.project_id.map(ProjectId),
        key: sums.key_id.map(KeyId),
        provider: sums.provider,
        model: sums.model,
        position: Position { held: Micros(sums.held), charged: Micros(sums.charged), at_risk: Micros(sums.at_risk) },
        released: Micros(sums.released),
    }
}

fn entry(row: ledger::Model) -> Result<LedgerEntry, StoreError> {
    let read = || {
        Some(LedgerEntry {
            attempt: u16::try_from(row.attempt).ok()?,
            kind: EntryKind::of_number(row.kind)?,
            seq: row.seq,
            delta: Position { held: Micros(row.held), charged: Micros(row.charged), at_risk: Micros(row.at_risk) },
            at: Timestamp(row.at),
        })
    };
    let id = || format!("{} {}", GenerationId(row.generation_id), row.attempt);
    read().ok_or_else(|| StoreError::Corrupt { what: "ledger entry", id: id() })
}
