//! One server a database: an OS lock on a file beside SQLite's (it ends with the process, whatever kills it), a session
//! advisory lock on PostgreSQL (it ends with the session, which is therefore watched).

use std::{
    fs::{File, TryLockError},
    path::Path,
    time::Duration,
};

use sqlx::{Connection as _, postgres::PgConnection};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::store::{StoreError, connect::Target, journal::connection::try_advisory_lock};

/// The advisory lock's key: "longtake" in ASCII. Keys are per database.
const KEY: i64 = 0x6c6f_6e67_7461_6b65;
/// How often the session that holds the lock is asked whether it lives, and how long it may take to answer.
const ASK_EVERY: Duration = Duration::from_secs(1);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The held lock.
#[derive(Debug)]
pub struct Lock {
    held: Mutex<Option<Held>>,
    lost: CancellationToken,
}

#[derive(Debug)]
enum Held {
    File(File),
    Session(Box<PgConnection>),
}

impl Lock {
    /// Takes the lock, or says who cannot have it.
    pub async fn take(target: &Target) -> Result<Self, StoreError> {
        let held = match target.file() {
            Some(file) => Held::File(lock_file(file)?),
            None => Held::Session(Box::new(lock_session(target).await?)),
        };
        Ok(Self { held: Mutex::new(Some(held)), lost: CancellationToken::new() })
    }

    /// Returns once the lock is lost. Watches while somebody waits here; never returns for a file.
    pub async fn lost(&self) {
        loop {
            tokio::select! {
                () = self.lost.cancelled() => return,
                () = tokio::time::sleep(ASK_EVERY) => self.ask().await,
            }
        }
    }

    async fn ask(&self) {
        let mut held = self.held.lock().await;
        let Some(Held::Session(session)) = held.as_mut() else { return };
        let answer = tokio::time::timeout(ANSWER_WITHIN, session.ping()).await;
        if !matches!(answer, Ok(Ok(()))) {
            tracing::error!("the session that holds the database's lock is gone");
            *held = None;
            self.lost.cancel();
        }
    }

    /// Gives the lock back.
    pub async fn release(&self) {
        match self.held.lock().await.take() {
            // Closing the file unlocks it.
            Some(Held::File(file)) => drop(file),
            Some(Held::Session(session)) => {
                let _closed = tokio::time::timeout(ANSWER_WITHIN, session.close()).await;
            }
            None => {}
        }
    }
}

fn lock_file(database: &Path) -> Result<File, StoreError> {
    let path = database.with_extension("lock");
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(StoreError::unavailable)?;
    }
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(StoreError::unavailable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { lock: path.display().to_string() }),
        Err(TryLockError::Error(error)) => Err(StoreError::unavailable(error)),
    }
}

async fn lock_session(target: &Target) -> Result<PgConnection, StoreError> {
    let mut session = target.bare_session().await.map_err(StoreError::unavailable)?.ok_or(StoreError::Url)?;
    if try_advisory_lock(&mut session, KEY).await? {
        Ok(session)
    } else {
        Err(StoreError::Locked { lock: "the database's advisory lock".to_owned() })
    }
}
