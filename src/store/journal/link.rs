//! The writer's connection: opened when needed, thrown away when in doubt, rebuilt with backoff.

use std::time::Duration;

use sqlx::Error;
use tokio::time::Instant;

use super::connection::Connection;
use crate::store::connect::Target;

/// First wait after a failed connect.
const FIRST: Duration = Duration::from_millis(50);
/// Longest wait: callers are told "not available" once a wait and a failed connect have passed.
const LONGEST: Duration = Duration::from_secs(1);

/// A connection that comes back.
#[derive(Debug)]
pub struct Link {
    target: Target,
    connection: Option<Connection>,
    wait: Duration,
    not_before: Option<Instant>,
}

impl Link {
    /// Not yet connected.
    pub const fn new(target: Target) -> Self {
        Self { target, connection: None, wait: FIRST, not_before: None }
    }

    /// The connection; one try to open it when there is none.
    pub async fn connection(&mut self) -> Result<&mut Connection, Error> {
        if self.connection.is_none() {
            let fresh = self.connect().await?;
            return Ok(self.connection.insert(fresh));
        }
        self.connection.as_mut().ok_or(Error::PoolClosed)
    }

    async fn connect(&mut self) -> Result<Connection, Error> {
        if let Some(at) = self.not_before.take() {
            tokio::time::sleep_until(at).await;
        }
        match self.target.writer().await {
            Ok(connection) => {
                self.wait = FIRST;
                Ok(connection)
            }
            Err(error) => {
                self.not_before = Some(Instant::now() + self.wait);
                self.wait = (self.wait * 2).min(LONGEST);
                Err(error)
            }
        }
    }

    /// Throws the connection away.
    pub fn lose(&mut self) {
        self.connection = None;
    }

    /// Checkpoints and closes.
    pub async fn close(mut self) {
        if let Some(mut connection) = self.connection.take() {
            if let Err(error) = connection.checkpoint("TRUNCATE").await {
                tracing::warn!(error = %error, "the last checkpoint failed");
            }
            connection.close().await;
        }
    }
}
