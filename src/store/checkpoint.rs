//! Moves SQLite's write-ahead log into the database three times a second, on a connection of its own, so that the commit which has to
//! do it finds little to do. `wal_autocheckpoint` stays the bound, since a passive checkpoint alone never catches up under load.

use std::time::Duration;

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::store::{Journal, connect::Target, journal::connection::Connection};

/// Measured at 9,000 transitions a second: each second and a bound of 16,000 pages cost a tenth of them, and the slowest commits.
const EVERY: Duration = Duration::from_millis(300);

/// Starts it on the present runtime, if the database is SQLite.
pub fn start(target: &Target, journal: &Journal, closing: &CancellationToken, tasks: &TaskTracker) {
    if target.file().is_none() {
        return;
    }
    let (target, tally, closing) = (target.clone(), journal.tally(), closing.clone());
    tasks.spawn(async move {
        let (mut connection, mut seen) = (None, 0);
        while closing.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
            let commits = tally.counts().commits;
            if commits != seen {
                seen = commits;
                connection = checkpoint(&target, connection).await;
            }
        }
        if let Some(connection) = connection {
            Connection::close(connection).await;
        }
    });
}

async fn checkpoint(target: &Target, connection: Option<Connection>) -> Option<Connection> {
    let mut connection = match connection {
        Some(connection) => connection,
        None => target.writer().await.ok()?,
    };
    match connection.checkpoint("PASSIVE").await {
        Ok(_) => Some(connection),
        Err(error) => {
            tracing::warn!(error = %error, "checkpoint failed");
            None
        }
    }
}
