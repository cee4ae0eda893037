//! What became of a transaction whose COMMIT was not answered: read back, on a new connection, what only it could have written.
//!
//! Each commit leaves a random token in `commit_marks`. PostgreSQL is asked for the status of the transaction by its id first
//! (`pg_xact_status`, PostgreSQL 15 manual, §9.27): the old session may still be committing. That alone proves nothing: the id of a
//! transaction which a crash took back, before anything of it was in the log, is given to another one after the recovery.

use std::time::Duration;

use sqlx::Error;

use super::{connection::Connection, link::Link};

/// By what a transaction is found again.
#[derive(Debug, Clone)]
pub enum Mark {
    /// What it left, and its id where it has one (PostgreSQL).
    Token {
        /// The lane that wrote it.
        lane: i16,
        /// Random.
        token: i64,
        /// Its id.
        transaction: Option<String>,
    },
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
    let token = rand::random();
    connection.write(connection.pick(SET_TOKEN.0, SET_TOKEN.1), format!("[{lane},{token}]"), 1);
    Mark::Token { lane, token, transaction }
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
    let Mark::Token { lane, token, transaction } = mark else { return Ok(Some(Fate::Aborted)) };
    let connection = link.connection().await?;
    if let Some(id) = transaction {
        match status(connection, id).await?.as_deref() {
            Some("committed") => {}
            Some("aborted") => return Ok(Some(Fate::Aborted)),
            Some("in progress") => return Ok(None),
            Some(_) | None => return Ok(Some(Fate::Unknown)),
        }
    }
    let rows: Vec<(i64,)> = connection.rows(connection.pick(GET_TOKEN.0, GET_TOKEN.1), &lane.to_string()).await?;
    let same = rows.first().is_some_and(|(found,)| found == token);
    Ok(Some(if same { Fate::Committed } else { Fate::Aborted }))
}

async fn status(connection: &mut Connection, id: &str) -> Result<Option<String>, Error> {
    match connection.rows::<(Option<String>,)>(STATUS, id).await {
        Ok(rows) => Ok(rows.into_iter().next().and_then(|(status,)| status)),
        // "is in the future": a crash took it back, and nobody has its id again yet.
        Err(Error::Database(error)) if error.code().as_deref() == Some("22023") => Ok(Some("aborted".to_owned())),
        Err(error) => Err(error),
    }
}

const SET_TOKEN: (&str, &str) = (
    "UPDATE commit_marks SET token = mark->>1 FROM (SELECT ?1 AS mark) WHERE lane = mark->>0",
    "UPDATE commit_marks SET token = (mark->>1)::int8 FROM (SELECT $1::json AS mark) AS given WHERE lane = (mark->>0)::int2",
);
const GET_TOKEN: (&str, &str) =
    ("SELECT token FROM commit_marks WHERE lane = ?1 + 0", "SELECT token FROM commit_marks WHERE lane = $1::text::int2");
const STATUS: &str = "SELECT pg_xact_status($1::xid8)";

#[cfg(test)]
mod tests {
    use sqlx::{Connection as _, PgConnection};

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

    async fn sql(server: &str, text: String) {
        let mut admin = PgConnection::connect(server).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(text)).execute(&mut admin).await.unwrap();
    }

    #[tokio::test]
    async fn postgresql_takes_nobody_elses_commit_for_ours() {
        let Ok(server) = std::env::var("LONGTAKE_TEST_POSTGRES") else { return };
        let name = format!("longtake_{:032x}", rand::random::<u128>());
        sql(&server, format!("CREATE DATABASE {name}")).await;
        let mut url = url::Url::parse(&server).unwrap();
        url.set_path(&name);
        let config = StoreConfig { url: url.into(), ..StoreConfig::default() };
        let target = Target::of(&config, std::path::Path::new("")).unwrap();
        migrate(&target).await.unwrap();
        let mut link = Link::new(target);
        let undone = marked(&mut link, 1).await;
        link.connection().await.unwrap().rollback().await.unwrap();
        let done = marked(&mut link, 1).await;
        link.connection().await.unwrap().commit().await.unwrap();
        link.lose();
        assert_eq!(fate(&mut link, &undone).await, Fate::Aborted);
        assert_eq!(fate(&mut link, &done).await, Fate::Committed);
        // What a crash takes back before it is in the log gives its id to another one, or to nobody yet.
        let (Mark::Token { token, .. }, Mark::Token { transaction, .. }) = (undone, done) else { panic!("no marks") };
        for transaction in [transaction, Some("99999999".to_owned())] {
            assert_eq!(fate(&mut link, &Mark::Token { lane: 1, token, transaction }).await, Fate::Aborted);
        }
        link.close().await;
        sql(&server, format!("DROP DATABASE {name} WITH (FORCE)")).await;
    }
}
