//! `longtake cancel`: asks that generations be no longer made. What is paid already is delivered all the same.

use std::{io::Write, process::ExitCode};

use clap::Args;

use crate::{
    cli::{
        follow, out,
        remote::{self, Remote},
        shown,
    },
    client::Sent,
};

/// `longtake cancel`.
#[derive(Debug, Args)]
pub struct CancelArgs {
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
pub fn run(args: &CancelArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let client = args.remote.client()?;
    remote::block_on(async {
        for id in &args.ids {
            let path = format!("{}/cancel", follow::path("generation", id)?);
            let shown = client.send(&path, &Sent::Nothing, None).await?.body;
            if args.remote.json { out::json(out, &shown)? } else { writeln!(out, "{id}  {}", shown::stands(&shown))? }
        }
        Ok(ExitCode::SUCCESS)
    })
}
