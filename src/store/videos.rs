//! What is deleted below `/v1`: a fact, one short autocommit statement.

use std::time::Duration;

use entities::hidden_videos::{ActiveModel, Column, Entity};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, DatabaseConnection, EntityTrait, QueryFilter,
    sea_query::{Expr, OnConflict},
};

use crate::{
    domain::{
        id::{GenerationId, ProjectId},
        time::Timestamp,
    },
    store::StoreError,
};

/// Deletes videos. Clones share the pool.
#[derive(Debug, Clone)]
pub struct Videos {
    database: DatabaseConnection,
    longest: Duration,
}

impl Videos {
    /// Works through this pool.
    pub(super) const fn new(database: DatabaseConnection, longest: Duration) -> Self {
        Self { database, longest }
    }

    /// Takes a video out of the lists for good; once more changes nothing.
    ///
    /// # Errors
    /// `Timeout`, `Unavailable`.
    pub async fn hide(&self, id: GenerationId, project: ProjectId, at: Timestamp) -> Result<(), StoreError> {
        let row = ActiveModel { generation_id: Set(id.0), project_id: Set(project.0), at: Set(at.0), purged_at: Set(None) };
        let once = OnConflict::column(Column::GenerationId).do_nothing().to_owned();
        // Without RETURNING: on SQLite a row would be answered before it is committed.
        let insert = Entity::insert(row).on_conflict(once).exec_without_returning(&self.database);
        match tokio::time::timeout(self.longest, insert).await {
            Ok(done) => Ok(done.map(|_| ())?),
            Err(_) => Err(StoreError::Timeout),
        }
    }

    /// Notes that nothing is left of a deleted video's files.
    ///
    /// # Errors
    /// `Timeout`, `Unavailable`.
    pub async fn purged(&self, id: GenerationId, at: Timestamp) -> Result<(), StoreError> {
        self.note(id, Some(at)).await
    }

    /// Notes that a file comes after all. Nothing happens where the video was not deleted.
    ///
    /// # Errors
    /// `Timeout`, `Unavailable`.
    pub async fn unpurged(&self, id: GenerationId) -> Result<(), StoreError> {
        self.note(id, None).await
    }

    async fn note(&self, id: GenerationId, purged_at: Option<Timestamp>) -> Result<(), StoreError> {
        let update = Entity::update_many()
            .col_expr(Column::PurgedAt, Expr::value(purged_at.map(|at| at.0)))
            .filter(Column::GenerationId.eq(id.0))
            .exec(&self.database);
        match tokio::time::timeout(self.longest, update).await {
            Ok(done) => Ok(done.map(|_| ())?),
            Err(_) => Err(StoreError::Timeout),
        }
    }
}
