//! `longtake simulate`: the sandbox providers on their own, for users' tests.

use std::{io::Write as _, process::ExitCode};

use anyhow::Context as _;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    cli::{SimulateArgs, out, system},
    config::simulator::SimulatorConfig,
    simulator::Simulator,
};

/// Runs the sandbox providers until Ctrl-C or SIGTERM.
///
/// # Errors
/// When they do not start.
pub fn run(args: SimulateArgs) -> anyhow::Result<ExitCode> {
    let mut config = match &args.config {
        None => SimulatorConfig::default(),
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
            toml::from_str(&text).with_context(|| format!("{} is wrong", path.display()))?
        }
    };
    config.bind = args.bind.to_string();
    system::block_on(|_| simulate(config, args.json)).map(|()| ExitCode::SUCCESS)
}

async fn simulate(config: SimulatorConfig, as_json: bool) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let simulator = Simulator::start(config).context("the simulated providers do not start")?;
    if as_json {
        out::json(&mut out::stdout(), &json!({ "url": simulator.url }))?;
    } else {
        writeln!(out::stdout(), "sandbox providers at {} (GET / tells their base URLs and directives)", simulator.url)?;
    }
    tokio::select! {
        _ = terminate.recv() => {}
        done = tokio::signal::ctrl_c() => done?,
    }
    simulator.stop();
    Ok(())
}
