//! The store's conformance suite: every case runs on SQLite, and on PostgreSQL where `LONGTAKE_TEST_POSTGRES` names a server on
//! which databases may be made (`scripts/services start`).

pub mod bed;
mod births;
mod books;
mod evidence;
mod keys;
mod lifecycle;
mod limits;
mod lists;
mod memory;
mod spool;
mod transitions;
mod unconfirmed;
mod waiting;
mod wire;

/// Makes a test of every case on each database.
macro_rules! on_both {
    ($($(#[$meta:meta])* $name:ident;)+) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let bed = crate::store::bed::Bed::sqlite();
                super::$name(&bed).await;
                bed.drop_all().await;
            })+
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(bed) = crate::store::bed::Bed::postgres().await {
                    super::$name(&bed).await;
                    bed.drop_all().await;
                }
            })+
        }
    };
}
use on_both;
