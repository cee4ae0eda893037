//! What became of a transaction whose COMMIT was not answered: read back, on a new connection, what only it could have written.
//!
//! PostgreSQL knows the status of a transaction by its id, also while the old session still commits (`pg_xact_status`,
//! PostgreSQL 15 manual, §9.27). SQLite has no such thing: there each commit leaves a random token in `commit_marks`.

use std::time::Duration;

use sqlx::Error;

use super::{connection::Connection, link::Link};

/// By what a transaction is found again.
#[derive(Debug, Clone)]
pub enum Mark {
    /// PostgreSQL: its id.
    Transaction(String),
    /// SQLite: lane and token.
    Token(i16, i64),
    /// It wrote nothing.
    Nothing,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// All of it is written.
    Committed,
    /// Nothing of it is written.
    Aborted,
    /// It could not be found out.
    Unknown,
}

/// Gives up after this: long enough for a database that restarts, short enough for the callers that wait meanwhile.
const LONGEST: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(100);

/// Leaves the mark of the present transaction.
pub fn mark(connection: &mut Connection, transaction: Option<String>, lane: i16, rows: usize) -> Mark {
    if rows == 0 {
        return Mark::Nothing;
    }
    if let Some(id) = transaction {
        return Mark::Transaction(id);
    }
    let token = rand::random();
    connection.write(SET_TOKEN, format!("[{lane},{token}]"), 1);
    Mark::Token(lane, token)
}

/// Finds out what became of the marked transaction.
pub async fn fate(link: &mut Link, mark: &Mark) -> Fate {
    tokio::time::timeout(LONGEST, ask_until_answered(link, mark)).await.unwrap_or(Fate::Unknown)
}

async fn ask_until_answered(link: &mut Link, mark: &Mark) -> Fate {
    loop {
        match ask(link, mark).await {
            Ok(Some(fate)) => return fate,
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(error = %error, "cannot read back a commit yet");
                link.lose();
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// None while it is still under way.
async fn ask(link: &mut Link, mark: &Mark) -> Result<Option<Fate>, Error> {
    match mark {
        Mark::Nothing => Ok(Some(Fate::Aborted)),
        Mark::Token(lane, token) => {
            let rows: Vec<(i64,)> = link.connection().await?.rows(GET_TOKEN, &lane.to_string()).await?;
            let same = rows.first().is_some_and(|(found,)| found == token);
            Ok(Some(if same { Fate::Committed } else { Fate::Aborted }))
        }
        Mark::Transaction(id) => {
            let rows: Vec<(Option<String>,)> = link.connection().await?.rows(STATUS, id).await?;
            Ok(match rows.first().and_then(|(status,)| status.as_deref()) {
                Some("committed") => Some(Fate::Committed),
                Some("aborted") => Some(Fate::Aborted),
                Some("in progress") => None,
                Some(_) | None => Some(Fate::Unknown),
            })
        }
    }
}

const SET_TOKEN: &str = "UPDATE commit_marks SET token = mark->>1 FROM (SELECT ?1 AS mark) WHERE lane = mark->>0";
const GET_TOKEN: &str = "SELECT token FROM commit_marks WHERE lane = ?1 + 0";
const STATUS: &str = "SELECT pg_xact_status($1::xid8)";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::store::StoreConfig,
        store::connect::{Target, migrate},
    };

    /// One transaction that leaves a mark; how it ends is up to the caller.
    async fn marked(link: &mut Link, rows: usize) -> Mark {
        let connection = link.connection().await.unwrap();
        let transaction = connection.begin().await.unwrap();
        let mark = mark(connection, transaction, 1, rows);
        connection.flush().await.unwrap();
        mark
    }

    #[tokio::test]
    async fn sqlite_tells_a_commit_from_a_rollback_on_a_new_connection() {
        let folder = tempfile::tempdir().unwrap();
        let target = Target::of(&StoreConfig::default(), folder.path()).unwrap();
        migrate(&target).await.unwrap();
        let mut link = Link::new(target);
        let before = marked(&mut link, 1).await;
        link.connection().await.unwrap().commit().await.unwrap();
        link.lose();
        assert_eq!(fate(&mut link, &before).await, Fate::Committed);
        let undone = marked(&mut link, 1).await;
        link.connection().await.unwrap().rollback().await.unwrap();
        link.lose();
        assert_eq!(fate(&mut link, &undone).await, Fate::Aborted);
        // A connection that is lost with the transaction open takes it along.
        let open = marked(&mut link, 1).await;
        link.lose();
        assert_eq!(fate(&mut link, &open).await, Fate::Aborted);
        assert_eq!(fate(&mut link, &before).await, Fate::Committed);
        let empty = marked(&mut link, 0).await;
        assert!(matches!(empty, Mark::Nothing));
    }
}
