//! What is left on accounts at providers, as the bookkeeper last read it: facts, each one autocommit statement on the small pool of the
//! keys, so that commands beside the server see them.

use std::{sync::Arc, time::Duration};

use entities::balances::{ActiveModel, Column, Entity, Model};
use sea_orm::{ActiveValue::Set, DatabaseConnection, DbErr, EntityTrait, QueryOrder, sea_query::OnConflict};
use serde_json::{Value, json};

use crate::{
    domain::{
        balance::{AccountBalance, Balance, Reading},
        money::Micros,
        time::Timestamp,
    },
    store::StoreError,
};

/// The kept readings. Clones share the pool.
#[derive(Debug, Clone)]
pub struct KeptBalances {
    database: DatabaseConnection,
    longest: Duration,
}

impl KeptBalances {
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

    /// Keeps what is known of an account, in place of what was.
    ///
    /// # Errors
    /// `Timeout`, `Unavailable`.
    pub async fn keep(&self, known: &AccountBalance) -> Result<(), StoreError> {
        let row = ActiveModel {
            provider: Set(known.provider.to_string()),
            account: Set(known.account.to_string()),
            newest: Set(known.newest.as_ref().map(written)),
            previous: Set(known.previous.as_ref().map(written)),
            error: Set(known.error.as_ref().map(|(why, _)| why.clone())),
            error_at: Set(known.error.as_ref().map(|(_, at)| at.0)),
        };
        let columns = [Column::Newest, Column::Previous, Column::Error, Column::ErrorAt];
        let again = OnConflict::columns([Column::Provider, Column::Account]).update_columns(columns).to_owned();
        self.bounded(Entity::insert(row).on_conflict(again).exec_without_returning(&self.database)).await.map(|_| ())
    }

    /// What is known of every account, by provider and account.
    ///
    /// # Errors
    /// `Timeout`, `Unavailable`, `Corrupt`.
    pub async fn all(&self) -> Result<Vec<AccountBalance>, StoreError> {
        let query = Entity::find().order_by_asc(Column::Provider).order_by_asc(Column::Account);
        self.bounded(query.all(&self.database)).await?.into_iter().map(known).collect()
    }
}

fn written(reading: &Reading) -> String {
    let told = |one: &Balance| json!({ "pack": one.pack, "millionths": one.millionths, "unit": &*one.unit });
    let balances: Vec<_> = reading.balances.iter().map(told).collect();
    json!({ "at": reading.at.0, "charged": reading.charged.0, "balances": balances }).to_string()
}

fn read(text: &str) -> Option<Reading> {
    let kept: Value = serde_json::from_str(text).ok()?;
    let told = |one: &Value| {
        let pack = one.get("pack")?.as_str().map(str::to_owned);
        Some(Balance { pack, millionths: one.get("millionths")?.as_i64()?, unit: one.get("unit")?.as_str()?.into() })
    };
    Some(Reading {
        balances: kept.get("balances")?.as_array()?.iter().map(told).collect::<Option<_>>()?,
        charged: Micros(kept.get("charged")?.as_i64()?),
        at: Timestamp(kept.get("at")?.as_i64()?),
    })
}

fn known(row: Model) -> Result<AccountBalance, StoreError> {
    let corrupt = || StoreError::Corrupt { what: "balance", id: format!("{}/{}", row.provider, row.account) };
    let reading = |text: &Option<String>| text.as_deref().map(|text| read(text).ok_or_else(corrupt)).transpose();
    let (newest, previous) = (reading(&row.newest)?, reading(&row.previous)?);
    let error = row.error.zip(row.error_at).map(|(why, at)| (why, Timestamp(at)));
    let account = Arc::from(row.account);
    Ok(AccountBalance { provider: row.provider.as_str().into(), account, newest, previous, error, due_at: Timestamp(0) })
}
