//! Durable transitions a second through the journal, at 1, 16 and 128 callers, on SQLite (synchronous=FULL) and on PostgreSQL
//! (synchronous_commit=on, where `LONGTAKE_TEST_POSTGRES` names a server): `scripts/bench store [--smoke]`.
//!
//! The workload: 100,000 generations picked at random; one compare-and-set that moves a generation between queued and active
//! (so three partial indexes change), one history row, an event in one of four; one in 1,000 comes from a stale version on
//! purpose. Callers are closed loops. In the end the stored versions are summed up and compared with the answers.

use std::{
    error::Error,
    io::Write as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use longtake::{
    clock::Clock,
    config::store::StoreConfig,
    domain::{
        generation::{GenerationState, Progress},
        id::{GenerationId, KeyId, NodeId, ProjectId},
        limits::Limits,
        money::Micros,
        record::{Event, Generation, GenerationRequest, History, Kind},
        slots::{Slot, Slots},
        unconfirmed::OnUnconfirmed,
    },
    lifeline::Lifeline,
    store::{Birth, Journal, Store, Transition, Verdict},
};
use sqlx::{Connection as _, PgConnection, SqliteConnection};
use tokio::runtime::Runtime;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// As the binary has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How much is done.
#[derive(Clone, Copy)]
struct Size {
    rows: usize,
    span: Duration,
}

const FULL: Size = Size { rows: 100_000, span: Duration::from_secs(5) };
const SMOKE: Size = Size { rows: 1_000, span: Duration::from_millis(300) };

fn main() -> Outcome<()> {
    let smoke = std::env::args().any(|argument| argument == "--smoke");
    let size = if smoke { SMOKE } else { FULL };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    say(&format!("{} rows, {:?} a cell{}", size.rows, size.span, if smoke { " (smoke: figures mean nothing)" } else { "" }))?;
    let folder = tempfile::tempdir()?;
    let sqlite = Database::Sqlite(folder.path().join("longtake.db").display().to_string());
    measure(&runtime, size, folder.path(), "sqlite", &sqlite)?;
    match std::env::var("LONGTAKE_TEST_POSTGRES") {
        Ok(server) => {
            let name = format!("bench_{}", GenerationId::fresh());
            let url = runtime.block_on(create(&server, &name))?;
            let measured = measure(&runtime, size, folder.path(), &url, &Database::Postgres(url.clone()));
            runtime.block_on(raw(&server, &format!("DROP DATABASE {name} WITH (FORCE)")))?;
            measured
        }
        Err(_) => say("PostgreSQL: SKIPPED, LONGTAKE_TEST_POSTGRES is not set"),
    }
}

fn say(line: &str) -> Outcome<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

/// A second way in: for what the store itself does not tell.
enum Database {
    Sqlite(String),
    Postgres(String),
}

impl Database {
    const fn name(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "SQLite",
            Self::Postgres(_) => "PostgreSQL",
        }
    }

    async fn number(&self, sql: &'static str) -> Outcome<i64> {
        Ok(match self {
            Self::Sqlite(path) => {
                let mut connection = SqliteConnection::connect(path).await?;
                sqlx::query_scalar(sql).fetch_one(&mut connection).await?
            }
            Self::Postgres(url) => {
                let mut connection = PgConnection::connect(url).await?;
                sqlx::query_scalar(sql).fetch_one(&mut connection).await?
            }
        })
    }

    /// Flushes of the write-ahead log so far, where the server counts them; none elsewhere.
    async fn syncs(&self) -> Option<i64> {
        match self {
            Self::Sqlite(_) => None,
            // Sessions hand in their counts at most once a second, when they are idle.
            Self::Postgres(_) => {
                tokio::time::sleep(Duration::from_millis(1_500)).await;
                self.number("SELECT wal_sync FROM pg_stat_wal").await.ok()
            }
        }
    }

    /// Durable, or why not.
    async fn durability(&self) -> Outcome<&'static str> {
        let Self::Postgres(_) = self else { return Ok("synchronous=FULL") };
        let on = "SELECT count(*) FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit') AND setting = 'on'";
        Ok(if self.number(on).await? == 2 { "fsync=on, synchronous_commit=on" } else { "NOT DURABLE: fsync is off" })
    }
}

async fn create(server: &str, name: &str) -> Outcome<String> {
    raw(server, &format!("CREATE DATABASE {name}")).await?;
    let mut url = url::Url::parse(server)?;
    url.set_path(name);
    Ok(url.into())
}

async fn raw(url: &str, sql: &str) -> Outcome<()> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut connection).await?;
    Ok(())
}

fn measure(runtime: &Runtime, size: Size, folder: &Path, url: &str, database: &Database) -> Outcome<()> {
    runtime.block_on(async {
        let config = StoreConfig { url: url.to_owned(), ..StoreConfig::default() };
        let store = Store::open(&config, folder, NodeId::fresh(), Clock::System, runtime.handle()).await?;
        let journal = store.journal(&Lifeline::default());
        let mut rows = fill(&journal, size.rows).await?;
        say(&format!("\n{} ({})", database.name(), database.durability().await?))?;
        say("callers  transitions/s  p50 ms  p99 ms  commits/s  entries/commit  fsyncs/s")?;
        let mut won = 0;
        for callers in [1, 16, 128] {
            let cell = run(&journal, &mut rows, callers, size.span, database).await?;
            won += cell.won;
            say(&cell.line(callers))?;
        }
        say(match database {
            Database::Sqlite(_) => "fsyncs: SQLite counts none; one fdatasync of the log a commit, so commits/s is a lower bound (checkpoints add some)",
            Database::Postgres(_) => "fsyncs: pg_stat_wal.wal_sync of the whole server",
        })?;
        let stored = database.number("SELECT CAST(sum(version) AS bigint) FROM generations").await?;
        let told = database.number("SELECT count(*) FROM history").await?;
        store.close().await;
        if i64::try_from(won)? != stored || stored != told {
            return Err(format!("{won} answers said won, {stored} versions and {told} history rows are stored").into());
        }
        say(&format!("checked: {won} won, as many versions and history rows stored"))
    })
}

async fn fill(journal: &Journal, count: usize) -> Outcome<Vec<Generation>> {
    let began = Instant::now();
    let rows: Vec<_> = (0..count).map(|_| generation()).collect();
    let mut tasks = tokio::task::JoinSet::new();
    for part in rows.chunks(count.div_ceil(256)) {
        let (journal, part) = (journal.clone(), part.to_vec());
        tasks.spawn(async move {
            for generation in part {
                journal
                    .birth(Birth {
                        generation,
                        request: request(),
                        limits: Limits::default(),
                        depends_on: Vec::new(),
                        claim: None,
                    })
                    .await?;
            }
            Outcome::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let rate = f64::from(u32::try_from(count)?) / began.elapsed().as_secs_f64();
    say(&format!("\nfilled: {rate:.0} births/s at 256 callers"))?;
    Ok(rows)
}

struct Cell {
    span: Duration,
    waits: Vec<Duration>,
    won: u64,
    commits: u64,
    syncs: Option<i64>,
}

impl Cell {
    fn line(&self, callers: usize) -> String {
        let seconds = self.span.as_secs_f64();
        let rate = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / seconds;
        let at = |share: usize| self.waits.get(self.waits.len() * share / 100).map_or(0.0, |wait| wait.as_secs_f64() * 1e3);
        let syncs = self.syncs.and_then(|count| u64::try_from(count).ok());
        format!(
            "{callers:>7}  {:>13.0}  {:>6.2}  {:>6.2}  {:>9.0}  {:>14.1}  {:>8}",
            rate(self.won),
            at(50),
            at(99),
            rate(self.commits),
            rate(self.won) / rate(self.commits).max(1.0),
            syncs.map_or_else(|| format!(">={:.0}", rate(self.commits)), |count| format!("{:.0}", rate(count))),
        )
    }
}

async fn run(
    journal: &Journal,
    rows: &mut Vec<Generation>,
    callers: usize,
    span: Duration,
    database: &Database,
) -> Outcome<Cell> {
    let syncs = database.syncs().await;
    let (commits, began) = (journal.counts().commits, Instant::now());
    let share = rows.len().div_ceil(callers);
    let mut tasks = tokio::task::JoinSet::new();
    while !rows.is_empty() {
        let part = rows.split_off(rows.len().saturating_sub(share));
        tasks.spawn(caller(journal.clone(), part, began + span));
    }
    let (mut waits, mut won) = (Vec::new(), 0);
    while let Some(done) = tasks.join_next().await {
        let (part, own_waits, own_won) = done??;
        rows.extend(part);
        waits.extend(own_waits);
        won += own_won;
    }
    let (span, commits) = (began.elapsed(), journal.counts().commits - commits);
    waits.sort_unstable();
    let syncs = match (syncs, database.syncs().await) {
        (Some(before), Some(after)) => Some(after - before),
        (Some(_) | None, _) => None,
    };
    Ok(Cell { span, waits, won, commits, syncs })
}

/// One closed loop on rows of its own; every answer is checked.
async fn caller(journal: Journal, mut rows: Vec<Generation>, until: Instant) -> Outcome<(Vec<Generation>, Vec<Duration>, u64)> {
    let (mut waits, mut won) = (Vec::new(), 0);
    while Instant::now() < until {
        let pick = rand::random_range(0..rows.len());
        let Some(row) = rows.get_mut(pick) else { continue };
        let stale = rand::random_range(0..1_000) == 0;
        let (entry, after) = step(row, stale);
        let began = Instant::now();
        let verdict = journal.transition(entry).await?;
        waits.push(began.elapsed());
        match (verdict, stale) {
            (Verdict::Won, false) => {
                *row = after;
                won += 1;
            }
            (Verdict::Lost, true) => {}
            (Verdict::Won, true) | (Verdict::Lost, false) | (Verdict::Held(_), _) => {
                return Err(format!("{verdict:?}, stale: {stale}").into());
            }
        }
    }
    Ok((rows, waits, won))
}

fn step(row: &Generation, stale: bool) -> (Transition, Generation) {
    let now = Clock::System.now();
    let mut changed = row.clone();
    let (state, slot) = if row.progress.state == GenerationState::Queued {
        (GenerationState::Active, Slot::Open)
    } else {
        (GenerationState::Queued, Slot::Owed)
    };
    changed.progress = Progress { state, slots: row.progress.slots.with(0, slot), not_before: now, tries: 0 };
    changed.updated_at = now;
    let mut entry = Transition::of(row);
    entry.history = vec![History {
        generation: row.id,
        attempt: 0,
        from: row.progress.state.as_str(),
        to: state.as_str(),
        reason: "the intent to submit is committed".to_owned(),
        at: now,
    }];
    if rand::random_range(0..4) == 0 {
        entry.events = vec![Event { generation: row.id, batch: None, project: row.project, kind: "generation.changed", at: now }];
    }
    let mut after = changed.clone();
    after.version += 1;
    if stale {
        changed.version -= 1;
    }
    entry.generation = Some(changed);
    (entry, after)
}

fn generation() -> Generation {
    let now = Clock::System.now();
    let id = GenerationId::fresh();
    Generation {
        id,
        shard: rand::random(),
        project: ProjectId::fresh(),
        key: KeyId::fresh(),
        version: 0,
        progress: Progress { state: GenerationState::Queued, slots: Slots::owed(1, 1), not_before: now, tries: 0 },
        born_state: GenerationState::Queued,
        outputs: 1,
        per_call: 1,
        provider: "kling".into(),
        model: "kling-v2-master".into(),
        kind: Kind::Video,
        priority: 5,
        call_price: Micros(350_000),
        queue_deadline: now.plus(Duration::from_secs(3_600)),
        created_at: now,
        updated_at: now,
        ended_at: None,
        cancel_requested_at: None,
        failure: None,
        request_id: Arc::from("0123456789abcdef"),
        on_unconfirmed: OnUnconfirmed::Fail,
        batch: None,
        retry_of: None,
        replaced_by: None,
    }
}

fn request() -> GenerationRequest {
    GenerationRequest {
        prompt: "a lighthouse in a storm, long exposure, ".repeat(6),
        input_images: Vec::new(),
        number_of_outputs: 1,
        parameters: serde_json::Map::new(),
        user_id: None,
        metadata: None,
        webhook_url: None,
    }
}
