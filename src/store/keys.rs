//! Projects and API keys: short autocommit statements on a small pool of their own, so that commands work beside a running
//! server. Only hashes are stored.

use std::time::Duration;

use entities::{api_keys, projects};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, TryIntoModel,
    sea_query::{Expr, OnConflict},
};

use crate::{
    clock::Clock,
    domain::{
        id::{KeyId, ProjectId},
        money::Micros,
        quota::Quotas,
        time::Timestamp,
    },
    store::{StoreError, connect::CLOSE_WITHIN, reads::LONGEST_LIST},
};

/// The project that always exists.
pub const DEFAULT_PROJECT: &str = "default";

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The client's API.
    Client,
    /// Also what concerns the whole service.
    Admin,
}

impl Scope {
    const fn number(self) -> i16 {
        match self {
            Self::Client => 0,
            Self::Admin => 1,
        }
    }

    const fn of_number(number: i16) -> Option<Self> {
        match number {
            0 => Some(Self::Client),
            1 => Some(Self::Admin),
            _ => None,
        }
    }
}

/// A project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Id.
    pub id: ProjectId,
    /// Unique.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// What all its keys together may promise a UTC day; none is no limit.
    pub daily_limit: Option<Micros>,
}

/// A key as it is kept; its text is shown once and then known only to its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// Id.
    pub id: KeyId,
    /// Its project.
    pub project: ProjectId,
    /// For people.
    pub name: String,
    /// What it may do.
    pub scope: Scope,
    /// SHA-256 of the whole text.
    pub hash: [u8; 32],
    /// The last four characters, for recognition.
    pub last4: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// No longer valid since.
    pub revoked_at: Option<Timestamp>,
    /// No longer valid from.
    pub expires_at: Option<Timestamp>,
    /// What it may promise a UTC day; none is no limit.
    pub daily_limit: Option<Micros>,
    /// What it may ask of the service, as far as that was said of it.
    pub quotas: Quotas,
}

/// Projects and keys. Clones share the pool.
#[derive(Debug, Clone)]
pub struct Keys {
    database: DatabaseConnection,
    longest: Duration,
    clock: Clock,
}

impl Keys {
    /// Works through this pool.
    pub(super) const fn new(database: DatabaseConnection, longest: Duration, clock: Clock) -> Self {
        Self { database, longest, clock }
    }

    /// Ends the pool.
    pub(super) async fn close(&self) {
        // A connection whose answer never comes (a pool asks each one that is handed back) would be waited for without end.
        match tokio::time::timeout(CLOSE_WITHIN, self.database.close_by_ref()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = %error, "closing the pool for keys failed"),
            Err(_) => tracing::warn!("a connection does not answer; it ends with the process"),
        }
    }

    async fn bounded<T>(&self, work: impl Future<Output = Result<T, DbErr>>) -> Result<T, StoreError> {
        match tokio::time::timeout(self.longest, work).await {
            Ok(result) => result.map_err(StoreError::from),
            Err(_) => Err(StoreError::Timeout),
        }
    }

    /// Makes the default project unless it is there.
    pub(super) async fn ensure_default_project(&self) -> Result<(), StoreError> {
        let row = project_row(DEFAULT_PROJECT, self.clock.now());
        let insert = projects::Entity::insert(row)
            .on_conflict(OnConflict::column(projects::Column::Name).do_nothing().to_owned())
            .exec_without_returning(&self.database);
        self.bounded(insert).await.map(|_| ())
    }

    /// Makes a project.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the name is taken; `Timeout`, `Unavailable` as all here.
    pub async fn create_project(&self, name: &str) -> Result<Project, StoreError> {
        let row = project_row(name, self.clock.now());
        let made = row.clone().try_into_model()?;
        // Without RETURNING: see `Decisions::insert`.
        self.bounded(projects::Entity::insert(row).exec_without_returning(&self.database)).await?;
        Ok(project(made))
    }

    /// All projects by name, at most 1,000.
    ///
    /// # Errors
    /// `Timeout`, `Unavailable`.
    pub async fn projects(&self) -> Result<Vec<Project>, StoreError> {
        let query = projects::Entity::find().order_by_asc(projects::Column::Name).limit(LONGEST_LIST);
        Ok(self.bounded(query.all(&self.database)).await?.into_iter().map(project).collect())
    }

    /// A project by its name.
    ///
    /// # Errors
    /// `Timeout`, `Unavailable`.
    pub async fn project_by_name(&self, name: &str) -> Result<Option<Project>, StoreError> {
        let query = projects::Entity::find().filter(projects::Column::Name.eq(name));
        Ok(self.bounded(query.one(&self.database)).await?.map(project))
    }

    /// The project that always exists.
    ///
    /// # Errors
    /// `Timeout`, `Unavailable`.
    pub async fn default_project(&self) -> Result<Project, StoreError> {
        let found = self.project_by_name(DEFAULT_PROJECT).await?;
        found.ok_or_else(|| StoreError::Corrupt { what: "project", id: DEFAULT_PROJECT.to_owned() })
    }

    /// Stores a key.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the hash or id exists.
    pub async fn insert(&self, key: KeyRecord) -> Result<(), StoreError> {
        let row = api_keys::ActiveModel {
            id: Set(key.id.0),
            project_id: Set(key.project.0),
            name: Set(key.name),
            scope: Set(key.scope.number()),
            hash: Set(key.hash.to_vec()),
            last4: Set(key.last4),
            created_at: Set(key.created_at.0),
            revoked_at: Set(key.revoked_at.map(|at| at.0)),
            expires_at: Set(key.expires_at.map(|at| at.0)),
            daily_limit: Set(key.daily_limit.map(|limit| limit.0)),
            requests_per_minute: Set(key.quotas.per_minute.map(stored)),
            in_flight: Set(key.quotas.at_once.map(stored)),
        };
        self.bounded(api_keys::Entity::insert(row).exec_without_returning(&self.database)).await.map(|_| ())
    }

    /// The key with this hash, valid or not.
    ///
    /// # Errors
    /// `Timeout`, `Unavailable`, `Corrupt`.
    pub async fn by_hash(&self, hash: &[u8; 32]) -> Result<Option<KeyRecord>, StoreError> {
        let query = api_keys::Entity::find().filter(api_keys::Column::Hash.eq(hash.to_vec()));
        self.bounded(query.one(&self.database)).await?.map(key).transpose()
    }

    /// The key with this id.
    ///
    /// # Errors
    /// `Timeout`, `Unavailable`, `Corrupt`.
    pub async fn by_id(&self, id: KeyId) -> Result<Option<KeyRecord>, StoreError> {
        self.bounded(api_keys::Entity::find_by_id(id.0).one(&self.database)).await?.map(key).transpose()
    }

    /// The project with this id.
    ///
    /// # Errors
    /// `Timeout`, `Unavailable`.
    pub async fn project_by_id(&self, id: ProjectId) -> Result<Option<Project>, StoreError> {
        Ok(self.bounded(projects::Entity::find_by_id(id.0).one(&self.database)).await?.map(project))
    }

    /// Sets what a project may promise a UTC day; none takes the limit away. False when there is no such project.
    ///
    /// # Errors
    /// `Timeout`, `Unavailable`.
    pub async fn limit_project(&self, id: ProjectId, limit: Option<Micros>) -> Result<bool, StoreError> {
        let update = projects::Entity::update_many()
            .col_expr(projects::Column::DailyLimit, Expr::value(limit.map(|limit| limit.0)))
            .filter(projects::Column::Id.eq(id.0));
        Ok(self.bounded(update.exec(&self.database)).await?.rows_affected > 0)
    }

    /// Sets what a key may promise a UTC day; none takes the limit away. False when there is no such key.
    ///
    /// # Errors
    /// `Timeout`, `Unavailable`.
    pub async fn limit_key(&self, id: KeyId, limit: Option<Micros>) -> Result<bool, StoreError> {
        let update = api_keys::Entity::update_many()
            .col_expr(api_keys::Column::DailyLimit, Expr::value(limit.map(|limit| limit.0)))
            .filter(api_keys::Column::Id.eq(id.0));
        Ok(self.bounded(update.exec(&self.database)).await?.rows_affected > 0)
    }

    /// Sets what a key may ask of the service. False when there is no such key.
    ///
    /// # Errors
    /// `Timeout`, `Unavailable`.
    pub async fn set_quotas(&self, id: KeyId, quotas: Quotas) -> Result<bool, StoreError> {
        let update = api_keys::Entity::update_many()
            .col_expr(api_keys::Column::RequestsPerMinute, Expr::value(quotas.per_minute.map(stored)))
            .col_expr(api_keys::Column::InFlight, Expr::value(quotas.at_once.map(stored)))
            .filter(api_keys::Column::Id.eq(id.0));
        Ok(self.bounded(update.exec(&self.database)).await?.rows_affected > 0)
    }

    /// All keys by age, at most 1,000.
    ///
    /// # Errors
    /// `Timeout`, `Unavailable`, `Corrupt`.
    pub async fn list(&self) -> Result<Vec<KeyRecord>, StoreError> {
        let query = api_keys::Entity::find().order_by_asc(api_keys::Column::Id).limit(LONGEST_LIST);
        self.bounded(query.all(&self.database)).await?.into_iter().map(key).collect()
    }

    /// Revokes a key; false when there is none or it was revoked before.
    ///
    /// # Errors
    /// `Timeout`, `Unavailable`.
    pub async fn revoke(&self, id: KeyId, at: Timestamp) -> Result<bool, StoreError> {
        let update = api_keys::Entity::update_many()
            .col_expr(api_keys::Column::RevokedAt, Expr::value(at.0))
            .filter(api_keys::Column::Id.eq(id.0))
            .filter(api_keys::Column::RevokedAt.is_null());
        Ok(self.bounded(update.exec(&self.database)).await?.rows_affected > 0)
    }

    /// Lets a key expire; false when there is none.
    ///
    /// # Errors
    /// `Timeout`, `Unavailable`.
    pub async fn set_expiry(&self, id: KeyId, at: Timestamp) -> Result<bool, StoreError> {
        let update = api_keys::Entity::update_many()
            .col_expr(api_keys::Column::ExpiresAt, Expr::value(at.0))
            .filter(api_keys::Column::Id.eq(id.0));
        Ok(self.bounded(update.exec(&self.database)).await?.rows_affected > 0)
    }
}

/// A limit beyond this is none that anybody meets.
fn stored(limit: u32) -> i32 {
    i32::try_from(limit).unwrap_or(i32::MAX)
}

fn loaded(limit: i32) -> Option<u32> {
    u32::try_from(limit).ok()
}

fn project_row(name: &str, now: Timestamp) -> projects::ActiveModel {
    projects::ActiveModel {
        id: Set(ProjectId::fresh().0),
        name: Set(name.to_owned()),
        created_at: Set(now.0),
        daily_limit: Set(None),
    }
}

fn project(row: projects::Model) -> Project {
    Project {
        id: ProjectId(row.id),
        name: row.name,
        created_at: Timestamp(row.created_at),
        daily_limit: row.daily_limit.map(Micros),
    }
}

fn key(row: api_keys::Model) -> Result<KeyRecord, StoreError> {
    let corrupt = || StoreError::Corrupt { what: "key", id: KeyId(row.id).to_string() };
    Ok(KeyRecord {
        id: KeyId(row.id),
        project: ProjectId(row.project_id),
        scope: Scope::of_number(row.scope).ok_or_else(corrupt)?,
        hash: <[u8; 32]>::try_from(row.hash.as_slice()).map_err(|_| corrupt())?,
        name: row.name.clone(),
        last4: row.last4.clone(),
        created_at: Timestamp(row.created_at),
        revoked_at: row.revoked_at.map(Timestamp),
        expires_at: row.expires_at.map(Timestamp),
        daily_limit: row.daily_limit.map(Micros),
        quotas: Quotas { per_minute: row.requests_per_minute.and_then(loaded), at_once: row.in_flight.and_then(loaded) },
    })
}
