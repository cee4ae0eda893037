//! One server a database: an OS lock on a file beside SQLite's (it ends with the process, whatever kills it), a session
//! advisory lock on PostgreSQL. That one ends with its session, which is therefore watched: while the database is away nothing is
//! submitted, and when it is back the lock is taken again, unless another server has taken over in between.

use std::{
    fs::{File, TryLockError},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use sqlx::{Connection as _, postgres::PgConnection};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::id::NodeId,
    store::{
        StoreError,
        connect::Target,
        journal::connection::{is_alive, try_advisory_lock},
    },
};

/// The advisory lock's key: "longtake" in ASCII. Keys are per database.
const KEY: i64 = 0x6c6f_6e67_7461_6b65;
/// What it is called when somebody else has it.
const NAME: &str = "the database's advisory lock";
/// How often the session that holds the lock is asked whether it lives, and how long it may take to answer.
const ASK_EVERY: Duration = Duration::from_secs(1);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The held lock.
#[derive(Debug)]
pub struct Lock {
    held: Mutex<Option<Held>>,
    target: Target,
    node: NodeId,
    /// Whether no other server can have started.
    trusted: AtomicBool,
    lost: CancellationToken,
}

#[derive(Debug)]
enum Held {
    File(File),
    Session(Box<PgConnection>),
    /// Its session ended.
    Again,
}

impl Lock {
    /// Takes the lock for `node`, or says who cannot have it.
    pub async fn take(target: &Target, node: NodeId) -> Result<Self, StoreError> {
        let held = match target.file() {
            Some(file) => Held::File(lock_file(file)?),
            None => Held::Session(Box::new(lock_session(target).await?)),
        };
        let (held, target) = (Mutex::new(Some(held)), target.clone());
        Ok(Self { held, target, node, trusted: AtomicBool::new(true), lost: CancellationToken::new() })
    }

    /// Whether no other server can have started: what this one holds may be acted on.
    pub fn trusted(&self) -> bool {
        self.trusted.load(Ordering::SeqCst)
    }

    /// Returns once the lock is lost for good: another server has taken over. Watches while somebody waits here; never returns for
    /// a file.
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
        match held.as_mut() {
            Some(Held::Session(session)) => {
                let answer = tokio::time::timeout(ANSWER_WITHIN, session.ping()).await;
                if !matches!(answer, Ok(Ok(()))) {
                    self.trusted.store(false, Ordering::SeqCst);
                    tracing::error!(
                        "the session that holds the database's lock is gone; nothing is submitted until it is taken again"
                    );
                    *held = Some(Held::Again);
                }
            }
            Some(Held::Again) => match tokio::time::timeout(ANSWER_WITHIN, self.again()).await {
                Ok(Ok(Retaken::Held(session))) => {
                    *held = Some(Held::Session(session));
                    self.trusted.store(true, Ordering::SeqCst);
                    tracing::info!("the database's lock is taken again");
                }
                Ok(Ok(Retaken::TakenOver)) => {
                    tracing::error!("another server has taken over the database");
                    *held = None;
                    self.lost.cancel();
                }
                Ok(Err(error)) => tracing::debug!(error = %error, "the database's lock cannot be taken again yet"),
                Err(_) => tracing::debug!("the database's lock cannot be taken again in time"),
            },
            Some(Held::File(_)) | None => {}
        }
    }

    /// Takes the lock on a new session. Whoever had it in between has declared this node dead; the old session itself may hold it for
    /// a while yet, where the database has not noticed that it ended.
    async fn again(&self) -> Result<Retaken, StoreError> {
        let mut session = self.target.bare_session().await.map_err(StoreError::unavailable)?.ok_or(StoreError::Url)?;
        let locked = try_advisory_lock(&mut session, KEY).await?;
        // Asked with the lock in hand: nobody can declare anything from here on.
        if !is_alive(&mut session, self.node.0).await? {
            return Ok(Retaken::TakenOver);
        }
        if locked { Ok(Retaken::Held(Box::new(session))) } else { Err(StoreError::Locked { lock: NAME.to_owned() }) }
    }

    /// Gives the lock back. Somebody who asks [`Lock::lost`] and is not polled any more may keep the session: then it is left to
    /// the end of the process.
    pub async fn release(&self) {
        let Ok(mut held) = tokio::time::timeout(ANSWER_WITHIN, self.held.lock()).await else {
            tracing::warn!("the session that holds the database's lock is in use; it ends with the process");
            return;
        };
        match held.take() {
            // Closing the file unlocks it.
            Some(Held::File(file)) => drop(file),
            Some(Held::Session(session)) => {
                let _closed = tokio::time::timeout(ANSWER_WITHIN, session.close()).await;
            }
            Some(Held::Again) | None => {}
        }
    }
}

/// What came of taking it again.
enum Retaken {
    Held(Box<PgConnection>),
    TakenOver,
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
    if try_advisory_lock(&mut session, KEY).await? { Ok(session) } else { Err(StoreError::Locked { lock: NAME.to_owned() }) }
}
