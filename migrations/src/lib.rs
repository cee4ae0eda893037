//! The schema, one file a change. Each change says its text for SQLite and for PostgreSQL; a released change is never edited.

mod m0001_path;
mod m0002_unconfirmed;
mod m0004_spend;
mod m0005_batches;
mod m0006_notify;
mod m0007_idempotency;
mod m0008_dispatch;
mod m0009_balances;
mod m0010_quotas;
mod m0011_openai;
mod m0012_deletion;
mod m0013_history;
mod m0014_unended;
mod m0015_marks;

use sea_orm_migration::prelude::*;

/// All changes in order.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_path::Migration),
            Box::new(m0002_unconfirmed::Migration),
            Box::new(m0004_spend::Migration),
            Box::new(m0005_batches::Migration),
            Box::new(m0006_notify::Migration),
            Box::new(m0007_idempotency::Migration),
            Box::new(m0008_dispatch::Migration),
            Box::new(m0009_balances::Migration),
            Box::new(m0010_quotas::Migration),
            Box::new(m0011_openai::Migration),
            Box::new(m0012_deletion::Migration),
            Box::new(m0013_history::Migration),
            Box::new(m0014_unended::Migration),
            Box::new(m0015_marks::Migration),
        ]
    }
}
