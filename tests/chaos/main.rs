//! The proof that nothing accepted is lost and nothing is paid twice: real processes, a fault proxy on every link, and a judge that
//! sees only what is outside. Started by `scripts/chaos`; see `--help`.
#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a harness, not the product: it prints, and ends where it breaks"
)]

mod api;
mod batches;
mod bed;
mod bucket;
mod dice;
mod disk;
mod drive;
mod fault;
mod gate;
mod judge;
mod keyed;
mod message;
mod operators;
mod postgres;
mod processes;
mod prove;
mod proxy;
mod receiver;
mod report;
mod run;
mod schedule;
mod settings;
mod stream;
mod strikes;
mod tcp;
mod world;

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Parser;

use fault::{Chosen, Fault, Link};
use postgres::Postgres;
use run::{Outcome, REST, run};
use schedule::{Database, Recipe, Schedule};

/// Chaos: faults on every link for a while, then calm, then a verdict. Called bare: some seeds on both databases, in 3 to 4 minutes.
#[derive(Debug, Parser)]
#[command(name = "scripts/chaos", after_help = words())]
struct Args {
    /// Run this seed alone (on each database); the same seed gives the same schedule of faults.
    #[arg(long)]
    seed: Option<u64>,
    /// The first seed, when several are run.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Begin no further seed after so many minutes.
    #[arg(long, default_value_t = 2.5)]
    minutes: f64,
    /// Make these faults only: a list of faults, links, or link:fault.
    #[arg(long, default_value = "")]
    faults: String,
    /// `sqlite` or `postgres`; both by default.
    #[arg(long)]
    db: Option<String>,
    /// Seconds of faults in a run.
    #[arg(long, default_value_t = 15)]
    storm: u64,
    /// Generations asked for in a run, one by one; a batch comes on every twenty.
    #[arg(long, default_value_t = 80)]
    asks: u64,
    /// Run the deliberately broken variants instead (or one of them), and demand that each is caught.
    #[arg(long, value_name = "MISTAKE", num_args = 0..=1, default_missing_value = "")]
    prove: Option<String>,
    /// Print the schedule and run nothing.
    #[arg(long)]
    plan: bool,
    /// Keep the folders of all runs, not only of those with violations.
    #[arg(long)]
    keep: bool,
}

/// A batch, of a dozen lines, comes on so many single generations.
const ASKS_A_BATCH: u64 = 20;

fn words() -> String {
    let links: Vec<&str> = Link::ALL.iter().map(|link| link.word()).collect();
    let faults: Vec<&str> = Fault::ALL.iter().map(|fault| fault.word()).collect();
    format!("Links: {}\nFaults: {}", links.join(" "), faults.join(" "))
}

impl Args {
    fn databases(&self) -> anyhow::Result<Vec<Database>> {
        match self.db.as_deref() {
            None => Ok(vec![Database::Sqlite, Database::Postgres]),
            Some("sqlite") => Ok(vec![Database::Sqlite]),
            Some("postgres") => Ok(vec![Database::Postgres]),
            Some(other) => anyhow::bail!("--db is sqlite or postgres, not {other}"),
        }
    }

    fn schedule(&self, seed: u64, database: Database) -> anyhow::Result<Schedule> {
        let chosen = Chosen::parse(&self.faults)?;
        Ok(Schedule::of(Recipe {
            seed,
            database,
            chosen,
            faults_ms: self.storm * 1_000,
            asks: self.asks,
            batches: self.asks / ASKS_A_BATCH,
            intensity: 1,
            quiet: true,
            rest: REST,
        }))
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    // Err means that another part has installed one: equally good.
    drop(rustls::crypto::ring::default_provider().install_default());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = runtime.block_on(all(&args));
    // What still waits for a message must not keep the end.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

async fn all(args: &Args) -> anyhow::Result<ExitCode> {
    let databases = args.databases()?;
    if args.plan {
        for database in databases {
            print!("{}", args.schedule(args.seed.unwrap_or(args.first), database)?);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let root = std::env::temp_dir().join(format!("longtake-chaos-{}", std::process::id()));
    processes::take_binary(&root)?;
    if let Some(only) = &args.prove {
        let caught = prove::all(&root, only).await?;
        drop(std::fs::remove_file(root.join("longtake")));
        drop(std::fs::remove_dir(&root));
        return Ok(if caught { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let postgres = if databases.contains(&Database::Postgres) { Some(Arc::new(Postgres::start()?)) } else { None };
    let (started, limit) = (Instant::now(), Duration::from_secs_f64(args.minutes * 60.0));
    let (mut outcomes, mut broken, mut hollow) = (Vec::new(), 0_u32, 0_u32);
    let mut seed = args.seed.unwrap_or(args.first);
    loop {
        // Side by side: a run waits more than it works.
        let runs = databases.iter().map(|database| one(args, (seed, *database), postgres.clone(), &root));
        for (database, outcome) in databases.iter().zip(futures_util::future::join_all(runs).await) {
            match outcome {
                Ok(outcome) if outcome.hollow() && outcome.violations.is_empty() => {
                    println!("    too few generations were taken for it to mean much; it is not in the table");
                    hollow += 1;
                }
                Ok(outcome) => outcomes.push(outcome),
                Err(error) => {
                    // It says nothing about the invariants, and must not hide what the other seeds say.
                    println!("{database} seed {seed} did not work: {error:#}; logs in {}", root.display());
                    broken += 1;
                }
            }
        }
        seed += 1;
        if args.seed.is_some() || started.elapsed() >= limit {
            break;
        }
    }
    // With the copy in it gone the folder is empty, unless something is to be looked at.
    drop(std::fs::remove_file(root.join("longtake")));
    drop(std::fs::remove_dir(&root));
    println!("\n{}", report::table(&outcomes));
    if broken > 0 {
        println!("{broken} runs did not work and are not in the table.");
    }
    if hollow > 0 {
        println!("{hollow} runs took too few generations and are not in the table.");
    }
    let failed = outcomes.is_empty() || broken > 0 || outcomes.iter().any(|outcome| !outcome.violations.is_empty());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn one(
    args: &Args,
    (seed, database): (u64, Database),
    postgres: Option<Arc<Postgres>>,
    root: &std::path::Path,
) -> anyhow::Result<Outcome> {
    let folder = root.join(format!("{database}-{seed}"));
    let postgres = postgres.filter(|_| database == Database::Postgres);
    let outcome = run(args.schedule(seed, database)?, postgres, &folder, None).await?;
    println!("{}", report::line(&outcome));
    for violation in &outcome.violations {
        println!("    {violation}");
    }
    if outcome.violations.is_empty() && !args.keep {
        std::fs::remove_dir_all(&outcome.folder)?;
    } else {
        println!("    logs in {}; again with: scripts/chaos --seed {seed} --db {database}", outcome.folder.display());
    }
    Ok(outcome)
}
