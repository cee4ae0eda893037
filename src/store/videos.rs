//! What is deleted below `/v1`: a fact, one short autocommit statement.

use std::time::Duration;

use entities::{
    assets,
    hidden_videos::{ActiveModel, Column, Entity},
};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, DatabaseConnection, EntityTrait, ExprTrait as _, QueryFilter, QuerySelect, QueryTrait, UpdateMany,
    sea_query::{Expr, OnConflict},
};

use crate::{
    domain::{
        id::{GenerationId, ProjectId},
        record::AssetState,
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

    /// Notes that nothing is left of a deleted video's files. Where a result came while they were being erased, nothing happens: the
    /// sweep comes again.
    ///
    /// # Errors
    /// `Timeout`, `Unavailable`.
    pub async fn purged(&self, id: GenerationId, at: Timestamp) -> Result<(), StoreError> {
        let left = [AssetState::Pending, AssetState::Stored, AssetState::Linked].map(AssetState::number);
        let left = assets::Entity::find()
            .select_only()
            .column(assets::Column::Id)
            .filter(assets::Column::GenerationId.eq(id.0))
            .filter(assets::Column::State.is_in(left));
        self.note(noting(id, Some(at)).filter(Expr::exists(left.into_query()).not())).await
    }

    /// Notes that a file comes after all. Nothing happens where the video was not deleted.
    ///
    /// # Errors
    /// `Timeout`, `Unavailable`.
    pub async fn unpurged(&self, id: GenerationId) -> Result<(), StoreError> {
        self.note(noting(id, None)).await
    }

    async fn note(&self, update: UpdateMany<Entity>) -> Result<(), StoreError> {
        match tokio::time::timeout(self.longest, update.exec(&self.database)).await {
            Ok(done) => Ok(done.map(|_| ())?),
            Err(_) => Err(StoreError::Timeout),
        }
    }
}

fn noting(id: GenerationId, purged_at: Option<Timestamp>) -> UpdateMany<Entity> {
    let purged_at = Expr::value(purged_at.map(|at| at.0));
    Entity::update_many().col_expr(Column::PurgedAt, purged_at).filter(Column::GenerationId.eq(id.0))
}
