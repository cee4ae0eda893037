//! The store's conformance suite: every case runs on SQLite, and on PostgreSQL where `LONGTAKE_TEST_POSTGRES` names a server on
//! which databases may be made (`scripts/services start`).

mod batches;
pub mod bed;
mod births;
mod books;
mod claims;
mod evidence;
mod history;
mod keys;
mod lifecycle;
mod limits;
mod lists;
mod meddled;
mod memory;
mod outbox;
mod queue;
mod spool;
mod transitions;
mod unconfirmed;
mod videos;
mod waiting;
mod wire;

/// Makes a test of every case on each database, by the given attribute.
macro_rules! on_both_by {
    ($test:meta; $($name:ident;)+) => {
        mod on_sqlite {
            $(#[$test]
            async fn $name() {
                let bed = crate::store::bed::Bed::sqlite();
                super::$name(&bed).await;
                bed.drop_all().await;
            })+
        }
        mod on_postgres {
            $(#[$test]
            async fn $name() {
                if let Some(bed) = crate::store::bed::Bed::postgres().await {
                    super::$name(&bed).await;
                    bed.drop_all().await;
                }
            })+
        }
    };
}
pub(crate) use on_both_by;

/// Makes a test of every case of the store on each database.
macro_rules! on_both {
    ($($name:ident;)+) => {
        crate::store::on_both_by! { tokio::test(flavor = "multi_thread", worker_threads = 2); $($name;)+ }
    };
}
use on_both;
