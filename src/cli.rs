//! The command line: what can be said, and who does it. One file a subcommand.

pub mod batch;
pub mod cancel;
pub mod config;
pub mod demo;
pub mod exit;
mod follow;
pub mod get;
pub mod keys;
pub mod list;
pub mod openapi;
pub mod out;
pub mod progress;
pub mod projects;
pub mod remote;
pub mod serve;
mod shown;
pub mod simulate;
pub mod spend;
pub mod spool;
pub mod submit;
mod system;
pub mod unconfirmed;
pub mod watch;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand};

use crate::{domain::money::Micros, store::SpendBy};

/// Runs AI generation jobs that take minutes: nothing accepted is lost, nothing is paid twice, waiting is nearly free.
#[derive(Debug, Parser)]
#[command(name = "longtake", version, about, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve until SIGTERM or Ctrl-C.
    Serve(ServeArgs),
    /// Ask a running service for a generation.
    Submit(submit::SubmitArgs),
    /// Show where generations stand.
    Get(get::GetArgs),
    /// Wait until generations have ended; with --out also fetch their results.
    Watch(watch::WatchArgs),
    /// Ask that generations be no longer made.
    Cancel(cancel::CancelArgs),
    /// List generations, newest first.
    List(list::ListArgs),
    /// Many generations as one.
    #[command(subcommand)]
    Batch(batch::BatchCommand),
    /// Show the whole path on simulated providers, in a temporary folder.
    Demo(DemoArgs),
    /// Run sandbox providers that speak the real wire formats, for your own tests.
    Simulate(SimulateArgs),
    /// API keys; also while the server runs.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Projects, to which keys and generations belong; also while the server runs.
    #[command(subcommand)]
    Projects(ProjectsCommand),
    /// What was spent, held, given back and is at risk; also while the server runs.
    Spend(SpendArgs),
    /// Evidence that waits in files for the database; also while the server runs.
    #[command(subcommand)]
    Spool(SpoolCommand),
    /// Submits whose outcome is or stayed unknown; also while the server runs, which carries decisions out.
    #[command(subcommand)]
    Unconfirmed(UnconfirmedCommand),
    /// Print the OpenAPI document.
    Openapi,
    /// The configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
}

/// Which configuration.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigFile {
    /// Configuration file; else $LONGTAKE_CONFIG, else ./longtake.toml where there is one.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `longtake serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The file.
    #[command(flatten)]
    pub file: ConfigFile,
}

/// `longtake demo`.
#[derive(Debug, Clone, Copy, Args)]
pub struct DemoArgs {
    /// Leave everything running until Ctrl-C.
    #[arg(long)]
    pub keep: bool,
    /// Print one line of JSON on standard output when the dozen are done, and nothing else.
    #[arg(long)]
    pub json: bool,
}

/// `longtake simulate`.
#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// TOML file with the sandbox's settings.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
    pub bind: SocketAddr,
    /// Print one line of JSON with the URL on standard output once it listens.
    #[arg(long)]
    pub json: bool,
}

/// `longtake keys …`.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key and show it: the only time.
    Create {
        /// What the key is for.
        #[arg(long)]
        name: String,
        /// Its project, by name; the default one when left out.
        #[arg(long)]
        project: Option<String>,
        /// May use the admin routes too.
        #[arg(long)]
        admin: bool,
        /// What it may promise a UTC day, in US dollars such as 12.50; no limit when left out.
        #[arg(long, value_name = "DOLLARS", value_parser = dollars)]
        daily_limit: Option<Micros>,
        /// What it may ask of the service.
        #[command(flatten)]
        quotas: QuotaArgs,
        /// Answer as JSON.
        #[arg(long)]
        json: bool,
        /// The file.
        #[command(flatten)]
        file: ConfigFile,
    },
    /// List the keys, without their text.
    List {
        /// Answer as JSON.
        #[arg(long)]
        json: bool,
        /// The file.
        #[command(flatten)]
        file: ConfigFile,
    },
    /// Take a key's validity away for good; servers notice within five seconds.
    Revoke {
        /// The key's id (`key_…`).
        id: String,
        /// The file.
        #[command(flatten)]
        file: ConfigFile,
    },
    /// Set what a key may promise a UTC day and ask of the service; servers notice within five seconds.
    SetLimit {
        /// The key's id (`key_…`).
        id: String,
        /// What it may promise a UTC day: US dollars such as 12.50, or `none`.
        #[arg(value_parser = limit, required_unless_present_any = ["requests_per_minute", "in_flight"])]
        limit: Option<Limit>,
        /// What it may ask of the service.
        #[command(flatten)]
        quotas: QuotaArgs,
        /// The file.
        #[command(flatten)]
        file: ConfigFile,
    },
    /// Make a successor of a key; the old one lapses after the overlap.
    Rotate {
        /// The key's id (`key_…`).
        id: String,
        /// How long the old key stays valid, such as 30m, 24h or 7d.
        #[arg(long, value_name = "SPAN", default_value = "24h", value_parser = span)]
        overlap: Duration,
        /// Answer as JSON.
        #[arg(long)]
        json: bool,
        /// The file.
        #[command(flatten)]
        file: ConfigFile,
    },
}

/// Limits of a key's requests.
#[derive(Debug, Clone, Copy, Args)]
pub struct QuotaArgs {
    /// Requests it may send a minute: a number, `none`, or `default` for what the configuration says.
    #[arg(long, value_name = "N", value_parser = quota)]
    pub requests_per_minute: Option<Quota>,
    /// Requests it may have under way at a time, long polls and streams among them: a number, `none` or `default`.
    #[arg(long, value_name = "N", value_parser = quota)]
    pub in_flight: Option<Quota>,
}

/// `longtake projects …`.
#[derive(Debug, Subcommand)]
pub enum ProjectsCommand {
    /// Make a project.
    Create {
        /// Its name.
        name: String,
        /// Answer as JSON.
        #[arg(long)]
        json: bool,
        /// The file.
        #[command(flatten)]
        file: ConfigFile,
    },
    /// Set what all keys of a project together may promise a UTC day; servers notice within five seconds.
    SetLimit {
        /// Its name.
        name: String,
        /// US dollars such as 12.50, or `none`.
        #[arg(value_parser = limit)]
        limit: Limit,
        /// The file.
        #[command(flatten)]
        file: ConfigFile,
    },
    /// List the projects.
    List {
        /// Answer as JSON.
        #[arg(long)]
        json: bool,
        /// The file.
        #[command(flatten)]
        file: ConfigFile,
    },
}

/// `longtake spend`.
#[derive(Debug, Args)]
pub struct SpendArgs {
    /// First UTC day (of the accept), such as 2026-11-21; 29 days before the last when left out.
    #[arg(long, value_name = "DAY", value_parser = spend::day)]
    pub from: Option<i32>,
    /// Last UTC day; today when left out.
    #[arg(long, value_name = "DAY", value_parser = spend::day)]
    pub to: Option<i32>,
    /// One line for each of these: day, project, key, provider, model, with commas between.
    #[arg(long, value_name = "WORDS", value_delimiter = ',', value_parser = spend::by, default_value = "day,project,provider,model")]
    pub by: Vec<SpendBy>,
    /// Only this project, by name or id.
    #[arg(long)]
    pub project: Option<String>,
    /// Only this provider section.
    #[arg(long)]
    pub provider: Option<String>,
    /// Only this model.
    #[arg(long)]
    pub model: Option<String>,
    /// Answer as JSON.
    #[arg(long)]
    pub json: bool,
    /// The file.
    #[command(flatten)]
    pub file: ConfigFile,
}

/// `longtake spool …`.
#[derive(Debug, Subcommand)]
pub enum SpoolCommand {
    /// Bring what a dead host has spooled into the database. A server merges its own folder itself, at its start.
    Merge {
        /// The host's data folder, or a copy of it.
        dir: PathBuf,
        /// Answer as JSON.
        #[arg(long)]
        json: bool,
        /// The file.
        #[command(flatten)]
        file: ConfigFile,
    },
}

/// `longtake unconfirmed …`.
#[derive(Debug, Subcommand)]
pub enum UnconfirmedCommand {
    /// List them with age, money at risk and what is known; also those whose generation failed as unconfirmed.
    List {
        /// Answer as JSON.
        #[arg(long)]
        json: bool,
        /// The file.
        #[command(flatten)]
        file: ConfigFile,
    },
    /// The provider has it: its result is fetched once the provider confirms that.
    Adopt {
        /// The generation's id (`gen_…`), or the attempt's (`att_…`) where several are in doubt.
        id: String,
        /// The provider's id of the task, as its console shows it; for BFL the polling URL with it.
        #[arg(long, value_name = "ID")]
        provider_task: String,
        /// The file.
        #[command(flatten)]
        file: ConfigFile,
    },
    /// The provider never had it: it ends, and its money is at risk no longer.
    Lost {
        /// The generation's id (`gen_…`), or the attempt's (`att_…`) where several are in doubt.
        id: String,
        /// The file.
        #[command(flatten)]
        file: ConfigFile,
    },
}

/// `longtake config …`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check the configuration and print what is in force, without secrets.
    Check {
        /// The file.
        #[command(flatten)]
        file: ConfigFile,
    },
}

/// Does what was asked.
///
/// # Errors
/// With what went wrong, for people; `main` prints it and exits as [`exit::of_error`] says.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Serve(args) => serve::run(args),
        Command::Submit(args) => submit::run(&args, &mut out::stdout()),
        Command::Get(args) => get::run(&args, &mut out::stdout()),
        Command::Watch(args) => watch::run(&args, &mut out::stdout()),
        Command::Cancel(args) => cancel::run(&args, &mut out::stdout()),
        Command::List(args) => list::run(&args, &mut out::stdout()),
        Command::Batch(command) => batch::run(&command, &mut out::stdout()),
        Command::Demo(args) => demo::run(args),
        Command::Simulate(args) => simulate::run(args),
        Command::Keys(command) => keys::run(command, &mut out::stdout()).map(|()| ExitCode::SUCCESS),
        Command::Projects(command) => projects::run(command, &mut out::stdout()).map(|()| ExitCode::SUCCESS),
        Command::Spend(args) => spend::run(&args, &mut out::stdout()).map(|()| ExitCode::SUCCESS),
        Command::Spool(command) => spool::run(command, &mut out::stdout()).map(|()| ExitCode::SUCCESS),
        Command::Unconfirmed(command) => unconfirmed::run(command, &mut out::stdout()).map(|()| ExitCode::SUCCESS),
        Command::Openapi => openapi::run(&mut out::stdout()).map(|()| ExitCode::SUCCESS),
        Command::Config(ConfigCommand::Check { file }) => config::check(&file, &mut out::stdout()).map(|()| ExitCode::SUCCESS),
    }
}

/// A daily limit on the command line; `none` takes it away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(pub Option<Micros>);

fn limit(text: &str) -> Result<Limit, String> {
    if text == "none" { Ok(Limit(None)) } else { dollars(text).map(|amount| Limit(Some(amount))) }
}

/// A limit of requests on the command line: none is the configuration's word, 0 no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota(pub Option<u32>);

fn quota(text: &str) -> Result<Quota, String> {
    match text {
        "default" => Ok(Quota(None)),
        "none" => Ok(Quota(Some(0))),
        _ => match text.parse() {
            Ok(0) | Err(_) => Err("must be a whole number from 1 on, `none` or `default`".to_owned()),
            Ok(limit) => Ok(Quota(Some(limit))),
        },
    }
}

fn dollars(text: &str) -> Result<Micros, String> {
    Micros::parse(text).ok_or_else(|| "must be US dollars such as 12.50, with at most six places".to_owned())
}

/// Reads `90s`, `30m`, `24h` or `7d`.
fn span(text: &str) -> Result<Duration, String> {
    let unit = text.chars().last().unwrap_or_default();
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err("end with s, m, h or d, such as 24h".to_owned()),
    };
    let count = text.strip_suffix(unit).and_then(|count| count.parse::<u64>().ok());
    let whole = count.and_then(|count| count.checked_mul(seconds)).filter(|seconds| *seconds <= 3_650 * 86_400);
    whole.map(Duration::from_secs).ok_or_else(|| "must be a whole number and a unit, such as 24h".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::CommandFactory;

    use super::{Cli, span};

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn spans_are_read_with_their_unit_only() {
        assert_eq!(span("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(span("0s"), Ok(Duration::ZERO));
        for wrong in ["", "24", "h", "-1h", "1.5h", "24 h", "99999999999999999999d", "5ä"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }
}
