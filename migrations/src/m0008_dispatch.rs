//! What dispatch looks at: the lines of a provider, each found by one jump in an index.

use sea_orm_migration::prelude::*;

/// This change.
#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0008_dispatch"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    #[expect(elided_lifetimes_in_paths, reason = "the trait declares it late-bound; a written one would not match")]
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(INDEXES).await?;
        Ok(())
    }

    /// One transaction on SQLite too: a start that is killed half-way leaves nothing behind.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

/// The same on both. A queued generation is in one of them, as it was in one before. 2 is queued.
const INDEXES: &str = "
DROP INDEX generations_queued;
CREATE INDEX generations_queued_singles ON generations (provider, project_id, priority, id) WHERE state = 2 AND batch_id IS NULL;
CREATE INDEX generations_queued_lines ON generations (batch_id, provider, batch_index) WHERE state = 2 AND batch_id IS NOT NULL;
";
