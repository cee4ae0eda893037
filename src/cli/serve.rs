//! `longtake serve`: runs the service until SIGTERM or Ctrl-C, then drains.

use std::{process::ExitCode, sync::Arc};

use anyhow::{anyhow, bail};
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};

use crate::{
    app::App,
    cli::{ServeArgs, system},
    clock::Clock,
    config::{Config, load},
    telemetry::{self, redact::Secrets},
};

/// Serves until it is told to end.
///
/// # Errors
/// When it does not start, or must end: its actors cannot be kept alive, or the database lock is lost.
pub fn run(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let config = load::load(args.file.config.as_deref())?;
    telemetry::init(&config.telemetry, Secrets::of(&config)).map_err(|problem| anyhow!("telemetry: {problem}"))?;
    system::block_on(|sockets| serve(config, sockets)).map(|()| ExitCode::SUCCESS)
}

async fn serve(config: Config, sockets: Arc<Runtime>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let app = App::start(config, sockets, Clock::System).await?;
    // Dropped with this statement: it may be in the middle of asking the session that holds the database lock, which the shutdown
    // then waits for.
    let reason = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        reason = app.failed() => Some(reason),
    };
    tracing::info!(reason = reason.as_deref().unwrap_or("signal"), "draining");
    app.shutdown().await;
    match reason {
        None => Ok(()),
        Some(reason) => bail!("had to end: {reason}"),
    }
}
