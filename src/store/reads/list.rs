//! A project's generations, newest first, a page at a time.

use entities::generations;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::{LONGEST_LIST, Reads, batches::visible};
use crate::{
    domain::{
        generation::GenerationState,
        id::{GenerationId, ProjectId},
        record::Generation,
        time::Timestamp,
    },
    store::{StoreError, map},
};

/// What a list is narrowed to; empty means everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// Only these states; empty means all.
    pub states: Vec<GenerationState>,
    /// Only this provider section.
    pub provider: Option<String>,
    /// Only this model.
    pub model: Option<String>,
    /// Born at this instant or later.
    pub created_from: Option<Timestamp>,
    /// Born before this instant.
    pub created_to: Option<Timestamp>,
}

impl Reads {
    /// A page of a project's generations, newest first; `before` is the last one of the page before (ids are time-ordered).
    ///
    /// # Errors
    /// As every read.
    pub async fn list(
        &self,
        project: ProjectId,
        filter: &ListFilter,
        before: Option<GenerationId>,
        limit: u64,
    ) -> Result<Vec<Generation>, StoreError> {
        let mut query = generations::Entity::find()
            .filter(generations::Column::ProjectId.eq(project.0))
            .filter(visible())
            .order_by_desc(generations::Column::Id)
            .limit(limit.min(LONGEST_LIST));
        if let Some(before) = before {
            query = query.filter(generations::Column::Id.lt(before.0));
        }
        if !filter.states.is_empty() {
            query = query.filter(generations::Column::State.is_in(filter.states.iter().map(|state| state.number())));
        }
        if let Some(provider) = &filter.provider {
            query = query.filter(generations::Column::Provider.eq(provider));
        }
        if let Some(model) = &filter.model {
            query = query.filter(generations::Column::Model.eq(model));
        }
        if let Some(from) = filter.created_from {
            query = query.filter(generations::Column::CreatedAt.gte(from.0));
        }
        if let Some(to) = filter.created_to {
            query = query.filter(generations::Column::CreatedAt.lt(to.0));
        }
        Ok(self.sound(self.bounded(query.all(&self.database)).await?, map::generation))
    }
}
