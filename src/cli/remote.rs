//! What the commands that speak to a running service have in common: where it is, the key, a runtime.

use std::{convert::Infallible, fs, path::PathBuf, time::Duration};

use anyhow::Context as _;
use clap::Args;
use secrecy::SecretString;
use tokio::runtime::Builder;

use crate::client::{Client, Failure};

/// Which service, and as whom.
#[derive(Debug, Clone, Args)]
pub struct Remote {
    /// Where the service is.
    #[arg(long, value_name = "URL", env = "LONGTAKE_URL", default_value = "http://127.0.0.1:8080", help_heading = "Service")]
    pub url: String,
    /// An API key. Better in the environment: other users of the machine see command lines.
    #[arg(long, value_name = "KEY", env = "LONGTAKE_KEY", hide_env_values = true, value_parser = secret, help_heading = "Service")]
    pub key: Option<SecretString>,
    /// A file that holds it.
    #[arg(long, value_name = "FILE", env = "LONGTAKE_KEY_FILE", help_heading = "Service")]
    pub key_file: Option<PathBuf>,
    /// How long a request is tried again while the service is away or busy, such as 30s.
    #[arg(long, value_name = "SPAN", default_value = "30s", value_parser = super::span, help_heading = "Service")]
    pub retry_for: Duration,
    /// Answer as JSON: the service's own objects, one a line.
    #[arg(long, help_heading = "Service")]
    pub json: bool,
}

fn secret(text: &str) -> Result<SecretString, Infallible> {
    Ok(SecretString::from(text.trim().to_owned()))
}

impl Remote {
    /// The client.
    ///
    /// # Errors
    /// When the address or the key cannot be used.
    pub fn client(&self) -> Result<Client, Failure> {
        let key = match (&self.key, &self.key_file) {
            (Some(key), _) => key.clone(),
            (None, Some(file)) => {
                let read = fs::read_to_string(file);
                let failed = |source| Failure::File { path: file.display().to_string(), source };
                SecretString::from(read.map_err(failed)?.trim().to_owned())
            }
            (None, None) => SecretString::default(),
        };
        Client::new(&self.url, key, self.retry_for)
    }
}

/// Runs a command's work.
///
/// # Errors
/// The work's, or when there is no runtime.
pub fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    Builder::new_current_thread().enable_all().build().context("no runtime")?.block_on(work)
}

/// Waits for Ctrl-C; for ever where it cannot be caught.
pub async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
