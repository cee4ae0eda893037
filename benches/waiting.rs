//! What waiting costs, with the real server on SQLite as a process of its own, polling a provider on loopback over real HTTP:
//! `scripts/bench waiting [--smoke]`. Printed:
//!
//! - 100,000 generations in flight at 1,000 polls a second: resident memory, how late polls leave, and what polls write (the
//!   journal's commits, the log's size, SQLite's `data_version`: all must stand still);
//! - the same after kill -9, with twice the polls wanted that the budget allows: when all are planned again, the busiest second
//!   against the budget, and that none is lost. "Polled again within 5 s" is read so: within 5 s of the start all are planned and
//!   polls leave at the budget's pace; at 1,000 a second the 100,000 themselves take 100 s;
//! - 1,000,000 in flight: bytes each (the slope between the two), and the time to reload.
//!
//! Rows are put into the database directly. The provider runs in this process, so that the server's memory is its own.

#[path = "waiting/provider.rs"]
mod provider;
#[path = "waiting/rows.rs"]
mod rows;
#[path = "waiting/server.rs"]
mod server;

use std::{
    error::Error,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use longtake::{
    clock::Clock,
    config::{Config, load},
};
use serde_json::Value;
use sqlx::{Connection as _, SqliteConnection};

use provider::Seen;
use server::{Server, metric, shares};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Polls a second that the budget allows and the even gaps ask for.
const POLLS: u32 = 1_000;

/// How much is done.
#[derive(Clone, Copy)]
struct Size {
    few: u32,
    many: u32,
    polls: u32,
    /// How long polls are watched.
    watch: Duration,
}

const FULL: Size = Size { few: 100_000, many: 1_000_000, polls: POLLS, watch: Duration::from_secs(40) };
const SMOKE: Size = Size { few: 1_000, many: 3_000, polls: 100, watch: Duration::from_secs(3) };

fn main() -> Outcome<()> {
    let smoke = std::env::args().any(|argument| argument == "--smoke");
    let size = if smoke { SMOKE } else { FULL };
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    say(&format!("load {}{}", load.trim(), if smoke { " (smoke: figures mean nothing)" } else { "" }))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    longtake::net::install_tls();
    let mut goals = Goals::default();
    let few = watch(&runtime, size, &mut goals)?;
    let many = million(&runtime, size, &mut goals)?;
    let slope = (many - few) / f64::from(size.many - size.few);
    goals
        .check(slope <= 300.0, &format!("{slope:.0} bytes a generation between {} and {} (at most 300)", size.few, size.many))?;
    match goals.missed {
        0 => Ok(()),
        _ if smoke => say("smoke: goals are not held"),
        missed => Err(format!("{missed} goals are missed").into()),
    }
}

fn say(line: &str) -> Outcome<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

#[expect(clippy::disallowed_methods, reason = "a program of one thread; there is no actor to block")]
fn pause(span: Duration) {
    std::thread::sleep(span);
}

/// Goals that were missed.
#[derive(Default)]
struct Goals {
    missed: u32,
}

impl Goals {
    fn check(&mut self, met: bool, what: &str) -> Outcome<()> {
        self.missed += u32::from(!met);
        say(&format!("{} {what}", if met { "   ok:" } else { "MISSED:" }))
    }
}

/// A folder with configuration and database, and the provider that it names.
struct Bed {
    folder: tempfile::TempDir,
    count: u32,
    port: u16,
    seen: Arc<Seen>,
    key: String,
}

impl Bed {
    fn new(runtime: &tokio::runtime::Runtime, count: u32, gap: Duration) -> Outcome<Self> {
        let (port, seen) = provider::start(usize::try_from(count)?)?;
        let mut bed = Self { folder: tempfile::tempdir()?, count, port, seen, key: String::new() };
        bed.configure(gap, 0)?;
        let made =
            server::command(bed.folder.path()).args(["keys", "create", "--name", "bench", "--admin", "--json"]).output()?;
        let made: Value = serde_json::from_slice(&made.stdout)?;
        made.get("key").and_then(Value::as_str).ok_or("no key")?.clone_into(&mut bed.key);
        let config = bed.config()?;
        let began = Instant::now();
        let now = Clock::System.now();
        runtime.block_on(rows::fill(&bed.database(), &config, count, i64::try_from(gap.as_millis())?, now))?;
        let bytes = fs::metadata(bed.database())?.len();
        say(&format!("\n{count} in flight: filled in {:.1} s, {} MB", began.elapsed().as_secs_f64(), bytes / 1_000_000))?;
        Ok(bed)
    }

    /// Even gaps, so that polls come evenly; `budget` polls a minute, 0 for no limit.
    fn configure(&self, gap: Duration, budget: u32) -> Outcome<()> {
        let text = format!(
            "data_dir = \"data\"\n[server]\nbind = \"127.0.0.1:0\"\n[polling]\nstrategy = \"fixed\"\nevery_ms = {}\n\
             max_video_s = 36000\n[spend]\nbalances_s = 0\n[providers.kling]\nbase_url = \"http://127.0.0.1:{}\"\nallow_loopback = true\n\
             api_key = \"test\"\nconcurrency = 0\npolls_per_minute = {budget}\n",
            gap.as_millis(),
            self.port
        );
        Ok(fs::write(self.folder.path().join("longtake.toml"), text)?)
    }

    fn config(&self) -> Outcome<Config> {
        let mut config = load::shipped().map_err(|error| error.to_string())?;
        let kling = config.providers.get_mut("kling").ok_or("no section kling")?;
        kling.base_url = format!("http://127.0.0.1:{}", self.port);
        kling.allow_loopback = true;
        kling.api_key = Some("test".to_owned().into());
        Ok(config)
    }

    fn database(&self) -> PathBuf {
        self.folder.path().join("data").join("longtake.db")
    }

    /// Starts the server and waits until all are planned; answers it and its resident memory.
    fn serve(&self) -> Outcome<(Server, Duration)> {
        let server = Server::start(self.folder.path())?;
        let ready = server.age();
        let (planned, line) = server.line("all running attempts are planned")?;
        let running = line.get("running").or_else(|| line.get("fields")?.get("running")).and_then(Value::as_u64);
        say(&format!(
            "   ready after {:.2} s, {} planned after {:.2} s",
            ready.as_secs_f64(),
            running.unwrap_or(0),
            planned.as_secs_f64()
        ))?;
        if running != Some(u64::from(self.count)) {
            return Err("not all are planned".into());
        }
        Ok((server, planned))
    }
}

/// What must stand still while polls go on.
#[derive(Debug, PartialEq)]
struct Written {
    commits: f64,
    log_bytes: u64,
    file_bytes: u64,
    data_version: i64,
}

async fn written(file: &Path, connection: &mut SqliteConnection, metrics: &str) -> Outcome<Written> {
    let size = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
    Ok(Written {
        commits: metric(metrics, "longtake_store_commits_total"),
        log_bytes: size(&file.with_extension("db-wal")),
        file_bytes: size(file),
        data_version: sqlx::query_scalar("PRAGMA data_version").fetch_one(connection).await?,
    })
}

fn megabytes(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes / 1_000).unwrap_or(u32::MAX)) / 1e3
}

/// 100,000: memory, lateness, writes; then killed and started again. Answers the resident bytes.
fn watch(runtime: &tokio::runtime::Runtime, size: Size, goals: &mut Goals) -> Outcome<f64> {
    let gap = Duration::from_secs(u64::from(size.few / size.polls));
    let bed = Bed::new(runtime, size.few, gap)?;
    let (server, _) = bed.serve()?;
    pause(size.watch / 8);
    let mut connection = runtime.block_on(SqliteConnection::connect(&format!("sqlite:{}", bed.database().display())))?;
    let before = server.metrics(&bed.key)?;
    let written_before = runtime.block_on(written(&bed.database(), &mut connection, &before))?;
    let (polls, used, began) = (bed.seen.polls(), server.usage()?, Instant::now());
    pause(size.watch);
    let (span, polls) = (began.elapsed().as_secs_f64(), bed.seen.polls() - polls);
    let (after, usage) = (server.metrics(&bed.key)?, server.usage()?);
    let written_after = runtime.block_on(written(&bed.database(), &mut connection, &after))?;
    let each = (usage.seconds - used.seconds) * 1e6 / f64::from(u32::try_from(polls.max(1))?);
    say(&format!(
        "   {:.0} polls/s over {span:.0} s, {each:.0} us of processor time a poll",
        f64::from(u32::try_from(polls)?) / span
    ))?;
    let late = shares(&before, &after, "longtake_poll_late_seconds");
    let line: Vec<String> = late.iter().take(7).map(|(bound, share)| format!("{bound} s {:.2} %", share * 100.0)).collect();
    say(&format!("   polls that left at most so late: {}", line.join(", ")))?;
    let in_time = late.iter().find(|(bound, _)| bound == "0.25").map_or(0.0, |(_, share)| *share);
    goals.check(in_time >= 0.99, &format!("{:.2} % of polls leave at most 250 ms late (at least 99 %)", in_time * 100.0))?;
    goals.check(written_before == written_after, &format!("polls write nothing: {written_after:?}"))?;
    let (resident, peak) = (megabytes(usage.resident), megabytes(usage.peak));
    goals.check(resident <= 200.0, &format!("{resident:.0} MB resident in all, {peak:.0} MB at most so far (at most 200)"))?;
    drop(connection);
    drop(server);
    again(&bed, size, gap, goals)?;
    Ok(resident * 1e6)
}

/// Killed (-9) and started again, with a budget for half of the polls that are due.
fn again(bed: &Bed, size: Size, gap: Duration, goals: &mut Goals) -> Outcome<()> {
    bed.configure(gap / 2, size.polls * 60)?;
    say(&format!("   killed, started again; {} polls/s due, {} allowed", size.polls * 2, size.polls))?;
    let from = bed.seen.slice();
    let (server, planned) = bed.serve()?;
    goals.check(
        planned <= Duration::from_secs(5),
        &format!("all planned {:.2} s after the start (at most 5)", planned.as_secs_f64()),
    )?;
    pause(Duration::from_secs(5).saturating_sub(planned));
    let soon = bed.seen.within(from, 5_000);
    let everyone = gap + gap / 10 + Duration::from_secs(3);
    while bed.seen.distinct_since(from) < usize::try_from(bed.count)? && server.age() < everyone {
        pause(Duration::from_millis(100));
    }
    let (distinct, took) = (bed.seen.distinct_since(from), server.age().as_secs_f64());
    say(&format!("   {soon} polls within the first 5 s"))?;
    goals
        .check(distinct == usize::try_from(bed.count)?, &format!("{distinct} of {} polled again after {took:.1} s", bed.count))?;
    let busiest = bed.seen.busiest_second(from);
    // The budget's own rule: a second's worth may come at once after a rest.
    let allowed = size.polls * 2;
    goals.check(
        busiest <= allowed,
        &format!("{busiest} polls in the busiest second (the budget's burst and pace: at most {allowed})"),
    )
}

/// 1,000,000: time to reload, memory. Answers the resident bytes.
fn million(runtime: &tokio::runtime::Runtime, size: Size, goals: &mut Goals) -> Outcome<f64> {
    let gap = Duration::from_secs(u64::from(size.many / size.polls));
    let bed = Bed::new(runtime, size.many, gap)?;
    let (server, planned) = bed.serve()?;
    say(&format!("   reload: {:.1} s", planned.as_secs_f64()))?;
    let polls = bed.seen.polls();
    let before = server.metrics(&bed.key)?;
    pause(size.watch);
    let rate = f64::from(u32::try_from(bed.seen.polls() - polls)?) / size.watch.as_secs_f64();
    let late = shares(&before, &server.metrics(&bed.key)?, "longtake_poll_late_seconds");
    let in_time = late.iter().find(|(bound, _)| bound == "0.25").map_or(0.0, |(_, share)| *share);
    let usage = server.usage()?;
    let (resident, peak) = (megabytes(usage.resident), megabytes(usage.peak));
    say(&format!("   {resident:.0} MB resident, {peak:.0} MB at most so far; {rate:.0} polls/s"))?;
    goals.check(in_time >= 0.99, &format!("{:.2} % of polls leave at most 250 ms late (at least 99 %)", in_time * 100.0))?;
    Ok(resident * 1e6)
}
