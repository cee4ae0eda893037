//! The schema, one file a change. Each change says its text for SQLite and for PostgreSQL; a released change is never edited.

mod m0001_path;
mod m0002_unconfirmed;
mod m0004_spend;

use sea_orm_migration::prelude::*;

/// All changes in order.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(m0001_path::Migration), Box::new(m0002_unconfirmed::Migration), Box::new(m0004_spend::Migration)]
    }
}
