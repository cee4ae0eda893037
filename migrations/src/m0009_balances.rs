//! What is left on accounts at providers, as last read: one row an account, so that commands beside the server see it, too.

use sea_orm_migration::prelude::*;

/// This change.
#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m0009_balances"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    #[expect(elided_lifetimes_in_paths, reason = "the trait declares it late-bound; a written one would not match")]
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(BOTH).await?;
        Ok(())
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}

const BOTH: &str = "
CREATE TABLE balances (
    provider text NOT NULL, account text NOT NULL, newest text, previous text, error text, error_at bigint,
    PRIMARY KEY (provider, account)
);
";
