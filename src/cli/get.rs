//! `longtake get`: where generations stand.

use std::{io::Write, process::ExitCode};

use clap::Args;

use crate::cli::{
    follow, out,
    remote::{self, Remote},
    shown,
};

/// `longtake get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// Ids of generations (`gen_…`).
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<String>,
    /// Which service.
    #[command(flatten)]
    pub remote: Remote,
}

/// Carries the command out.
///
/// # Errors
/// With what went wrong, for people.
pub fn run(args: &GetArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let client = args.remote.client()?;
    remote::block_on(async {
        for id in &args.ids {
            let shown = client.fetch(&follow::path("generation", id)?).await?.body;
            if args.remote.json { out::json(out, &shown)? } else { shown::in_full(out, &shown)? }
        }
        Ok(ExitCode::SUCCESS)
    })
}
