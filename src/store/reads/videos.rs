//! A project's videos, as `/v1` lists them: by birth, both ways, without those that were deleted there.

use entities::{generations, hidden_videos};
use sea_orm::{ColumnTrait, EntityTrait, Order, QueryFilter, QueryOrder, QuerySelect, QueryTrait};
use uuid::Uuid;

use super::{LONGEST_LIST, Reads};
use crate::{
    domain::{
        id::{GenerationId, ProjectId},
        record::Kind,
    },
    store::{StoreError, map},
};

/// Which part of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VideoPage {
    /// The last one of the page before.
    pub after: Option<GenerationId>,
    /// Ids are ordered by birth.
    pub oldest_first: bool,
    /// At most.
    pub limit: u64,
}

impl Reads {
    /// A page of a project's videos.
    ///
    /// # Errors
    /// As every read.
    pub async fn videos(&self, project: ProjectId, page: &VideoPage) -> Result<Vec<GenerationId>, StoreError> {
        let hidden = hidden_videos::Entity::find()
            .select_only()
            .column(hidden_videos::Column::GenerationId)
            .filter(hidden_videos::Column::ProjectId.eq(project.0));
        let order = if page.oldest_first { Order::Asc } else { Order::Desc };
        let mut query = generations::Entity::find()
            .filter(generations::Column::ProjectId.eq(project.0))
            .filter(generations::Column::Kind.eq(map::kind_number(Kind::Video)))
            .filter(generations::Column::Id.not_in_subquery(hidden.into_query()))
            .order_by(generations::Column::Id, order);
        if let Some(after) = page.after {
            let column = generations::Column::Id;
            query = query.filter(if page.oldest_first { column.gt(after.0) } else { column.lt(after.0) });
        }
        self.ids(query, page.limit.min(LONGEST_LIST)).await
    }

    /// Deleted videos whose files are not known to be gone, at most so many.
    ///
    /// # Errors
    /// As every read.
    pub async fn videos_to_purge(&self, limit: u64) -> Result<Vec<GenerationId>, StoreError> {
        let query = hidden_videos::Entity::find()
            .select_only()
            .column(hidden_videos::Column::GenerationId)
            .filter(hidden_videos::Column::PurgedAt.is_null())
            .limit(limit.min(LONGEST_LIST))
            .into_tuple::<Uuid>();
        Ok(self.bounded(query.all(&self.database)).await?.into_iter().map(GenerationId).collect())
    }

    /// Whether a video was deleted below `/v1`.
    ///
    /// # Errors
    /// As every read.
    pub async fn video_hidden(&self, id: GenerationId) -> Result<bool, StoreError> {
        Ok(self.bounded(hidden_videos::Entity::find_by_id(id.0).one(&self.database)).await?.is_some())
    }
}
