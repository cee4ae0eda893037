//! `longtake watch`: waits until generations have ended, and fetches what they delivered.

use std::{io::Write, path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use serde_json::Value;

use crate::{
    cli::{
        exit, follow, out, progress,
        remote::{self, Remote},
        shown,
    },
    client::Client,
};

/// How waiting is done.
#[derive(Debug, Clone, Args)]
pub struct Waiting {
    /// Download results into this folder, which is made; also waits.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Give up after so long, such as 90s, 30m or 2h; it goes on at the service.
    #[arg(long, value_name = "SPAN", value_parser = super::span)]
    pub timeout: Option<Duration>,
    /// Progress on standard error.
    #[arg(long, value_name = "HOW", value_enum, default_value = "auto")]
    pub progress: progress::Mode,
}

/// `longtake watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Ids of generations (`gen_…`).
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<String>,
    /// How waiting is done.
    #[command(flatten)]
    pub waiting: Waiting,
    /// Which service.
    #[command(flatten)]
    pub remote: Remote,
}

/// How waiting came to its end.
pub enum Waited<T> {
    /// All that was waited for is over.
    Over(T),
    /// Ctrl-C.
    Interrupted,
    /// The time that was given.
    TimedOut,
}

/// Carries the command out.
///
/// # Errors
/// With what went wrong, for people.
pub fn run(args: &WatchArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let client = args.remote.client()?;
    remote::block_on(follow(&client, &args.ids, &args.waiting, (args.remote.json, out)))
}

/// Waits for work, for at most as long as is wanted, and until Ctrl-C.
///
/// # Errors
/// The work's.
pub async fn wait<T, E>(work: impl Future<Output = Result<T, E>>, waiting: &Waiting) -> Result<Waited<T>, E> {
    let over = async {
        match waiting.timeout {
            Some(span) => tokio::time::sleep(span).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        done = work => done.map(Waited::Over),
        () = remote::interrupted() => Ok(Waited::Interrupted),
        () = over => Ok(Waited::TimedOut),
    }
}

/// Waits for generations, fetches their results where that is wanted, and prints what became of them.
///
/// # Errors
/// With what went wrong, for people.
pub async fn follow(
    client: &Client,
    ids: &[String],
    waiting: &Waiting,
    (json, out): (bool, &mut dyn Write),
) -> anyhow::Result<ExitCode> {
    let work = async {
        let shown = follow::all(client, ids, waiting.progress).await?;
        let files = match &waiting.out {
            Some(folder) => follow::download(client, folder, &shown).await?,
            None => Vec::new(),
        };
        Ok::<_, anyhow::Error>((shown, files))
    };
    let back = format!("longtake watch {}", ids.join(" "));
    match wait(work, waiting).await? {
        Waited::Over((shown, files)) => {
            print(&shown, &files, (json, out))?;
            Ok(exit::of_outcomes(count(shown.iter().filter(|shown| shown::succeeded(shown))), count(&shown)))
        }
        Waited::Interrupted => {
            progress::note(&format!("\nIt goes on at the service. To come back: {back}"), waiting.progress);
            Ok(exit::detached())
        }
        Waited::TimedOut => {
            progress::note(&format!("\nNot over yet; it goes on at the service. To come back: {back}"), waiting.progress);
            Ok(exit::timed_out())
        }
    }
}

fn count<T>(of: impl IntoIterator<Item = T>) -> u64 {
    u64::try_from(of.into_iter().count()).unwrap_or(u64::MAX)
}

fn print(shown: &[Value], files: &[String], (json, out): (bool, &mut dyn Write)) -> std::io::Result<()> {
    for one in shown {
        if json { out::json(out, one)? } else { shown::in_full(out, one)? }
    }
    if !json {
        for file in files {
            writeln!(out, "{file}")?;
        }
    }
    Ok(())
}
