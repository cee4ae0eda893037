//! Moves of a generation that do not end it leave the index of the unended alone.

use sea_orm_migration::prelude::*;

/// This change.
#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0014_unended"
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

/// SQLite rewrites an entry whenever a column is set that its key or its condition names: the old index named the state. What is counted
/// by its state has an index of its own each but the active ones, which are the rest. A key holds the column of its condition, too,
/// where SQLite could not count by the index alone otherwise. State 1 is preparing, 2 queued.
const INDEXES: &str = "
DROP INDEX generations_unfinished;
CREATE INDEX generations_unended ON generations (queue_deadline, ended_at) WHERE ended_at IS NULL;
CREATE INDEX generations_preparing ON generations (id) WHERE state = 1;
DROP INDEX generations_queued_singles;
CREATE INDEX generations_queued_singles ON generations (provider, project_id, priority, id, batch_id)
    WHERE state = 2 AND batch_id IS NULL;
";
