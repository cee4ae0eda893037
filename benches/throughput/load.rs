//! The load: first as much as the service takes with a fixed number of unfinished generations, then half of that by the clock.

use std::{
    cell::{Cell, RefCell},
    os::linux::fs::MetadataExt as _,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, mpsc},
    task::{JoinSet, LocalSet},
};

use crate::{
    Outcome,
    bed::Bed,
    http::{Connection, get, post},
    process::Used,
};

/// How much, how long.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Before anything is counted.
    pub warm: Duration,
    /// Of each measurement.
    pub span: Duration,
    /// Unfinished generations in the first.
    pub in_flight: u64,
    /// Connections that post.
    pub connections: usize,
}

/// How often the service is asked how many are unfinished; an answer costs it one read of an index.
const LOOK: Duration = Duration::from_millis(25);
/// Longest wait for the last ones.
const PATIENCE: Duration = Duration::from_secs(120);

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// On which database.
    pub database: &'static str,
    /// Generations a second, whole path.
    pub rate: f64,
    /// Generations finished within the span.
    pub finished: f64,
    /// Used meanwhile, by name.
    pub used: Vec<(&'static str, Used)>,
    /// Flushes meanwhile, by what counted them.
    pub flushes: Vec<(&'static str, f64)>,
    /// Polls a generation, over the whole run.
    pub polls: f64,
    /// Waits for the 202 at as many posts a second as the first says, sorted.
    pub waits: (f64, Vec<Duration>),
    /// Generations in all, each with one submit billed and none failed.
    pub checked: u64,
}

/// Measures both.
pub async fn measure(bed: &Bed, limits: Limits) -> Outcome<Found> {
    let local = LocalSet::new();
    local.run_until(run(bed, limits)).await
}

async fn run(bed: &Bed, limits: Limits) -> Outcome<Found> {
    let mut eye = Eye::open(bed).await?;
    let full = saturate(bed, limits, &mut eye).await?;
    let posts = full.rate / 2.0;
    let mut waits = by_the_clock(bed, limits, posts).await?;
    waits.sort_unstable();
    eye.drained().await?;
    let checked = full.posted + u64::try_from(waits.len())?;
    let polls = eye.figures().await?.polls / f64::from(u32::try_from(checked)?);
    check(bed, &mut eye, checked).await?;
    let Full { rate, finished, used, flushes, .. } = full;
    Ok(Found { database: bed.database(), rate, finished, used, flushes, polls, waits: (posts, waits), checked })
}

struct Full {
    rate: f64,
    finished: f64,
    posted: u64,
    used: Vec<(&'static str, Used)>,
    flushes: Vec<(&'static str, f64)>,
}

/// What the posting connections share.
#[derive(Default)]
struct Tally {
    /// How many may have been posted by now.
    allowed: Cell<u64>,
    begun: Cell<u64>,
    answered: Cell<u64>,
    over: Cell<bool>,
    more: Notify,
}

async fn saturate(bed: &Bed, limits: Limits, eye: &mut Eye) -> Outcome<Full> {
    let tally = Rc::new(Tally::default());
    tally.allowed.set(limits.in_flight);
    let mut posting = JoinSet::new();
    for _ in 0..limits.connections {
        posting.spawn_local(post_while_allowed(Poster::open(bed).await?, Rc::clone(&tally)));
    }
    watch(limits.warm, limits.in_flight, (&tally, eye)).await?;
    let mut before = Snapshot::of(bed, eye).await?;
    let (began, finished) = (Instant::now(), tally.allowed.get());
    watch(limits.span, limits.in_flight, (&tally, eye)).await?;
    let (took, finished) = (began.elapsed().as_secs_f64(), exact(tally.allowed.get() - finished));
    let after = Snapshot::of(bed, eye).await?;
    tally.over.set(true);
    tally.more.notify_waiters();
    while let Some(done) = posting.join_next().await {
        done??;
    }
    eye.drained().await?;
    let (used, flushes) = before.until(&after);
    Ok(Full { rate: finished / took, finished, posted: tally.answered.get(), used, flushes })
}

/// Allows a new post for each one that has finished.
async fn watch(span: Duration, in_flight: u64, (tally, eye): (&Tally, &mut Eye)) -> Outcome<()> {
    let end = Instant::now() + span;
    while Instant::now() < end {
        tokio::time::sleep(LOOK).await;
        let answered = tally.answered.get();
        let unfinished = eye.figures().await?.unfinished;
        // What was answered meanwhile is unfinished at most: never too many are allowed.
        let finished = answered.saturating_sub(unfinished);
        tally.allowed.set(tally.allowed.get().max(finished + in_flight));
        tally.more.notify_waiters();
    }
    Ok(())
}

async fn post_while_allowed(mut poster: Poster, tally: Rc<Tally>) -> Outcome<()> {
    loop {
        if tally.over.get() {
            return Ok(());
        }
        if tally.begun.get() >= tally.allowed.get() {
            tally.more.notified().await;
            continue;
        }
        tally.begun.set(tally.begun.get() + 1);
        poster.post().await?;
        tally.answered.set(tally.answered.get() + 1);
    }
}

/// Posts at even distances, whatever the answers do.
async fn by_the_clock(bed: &Bed, limits: Limits, rate: f64) -> Outcome<Vec<Duration>> {
    let (send, due) = mpsc::unbounded_channel::<Instant>();
    let (due, waits) = (Rc::new(tokio::sync::Mutex::new(due)), Rc::new(RefCell::new(Vec::new())));
    let mut posting = JoinSet::new();
    for _ in 0..limits.connections {
        let (mut poster, due, waits) = (Poster::open(bed).await?, Rc::clone(&due), Rc::clone(&waits));
        posting.spawn_local(async move {
            loop {
                let Some(at) = due.lock().await.recv().await else { return Outcome::Ok(()) };
                poster.post().await?;
                waits.borrow_mut().push(at.elapsed());
            }
        });
    }
    let (began, gap) = (Instant::now(), Duration::from_secs_f64(1.0 / rate.max(1.0)));
    let mut next = began;
    while next < began + limits.span {
        tokio::time::sleep_until(next.into()).await;
        while next <= Instant::now() {
            send.send(next)?;
            next += gap;
        }
    }
    drop(send);
    while let Some(done) = posting.join_next().await {
        done??;
    }
    Ok(waits.take())
}

/// One connection that posts the same request.
struct Poster {
    connection: Connection,
    request: Vec<u8>,
}

impl Poster {
    async fn open(bed: &Bed) -> Outcome<Self> {
        let body = serde_json::json!({
            "modelIdentifier": "flux-2-pro", "prompt": "a lighthouse in a storm, long exposure, ".repeat(6),
            "parameters": { "seed": 7 }, "metadata": { "order": "4711" },
        });
        let request = post(&bed.authority, "/api/external/generation", &bed.key, &body.to_string());
        Ok(Self { connection: Connection::open(&bed.authority).await?, request })
    }

    async fn post(&mut self) -> Outcome<()> {
        let answer = self.connection.ask(&self.request).await?;
        if answer.status == 202 {
            return Ok(());
        }
        Err(format!("POST was answered {}: {}", answer.status, String::from_utf8_lossy(&answer.body)).into())
    }
}

/// Watches the service through its own metrics.
struct Eye {
    service: Connection,
    request: Vec<u8>,
}

#[derive(Debug, Default)]
struct Figures {
    unfinished: u64,
    commits: f64,
    polls: f64,
}

impl Eye {
    async fn open(bed: &Bed) -> Outcome<Self> {
        let request = get(&bed.authority, "/api/metrics", &bed.admin);
        Ok(Self { service: Connection::open(&bed.authority).await?, request })
    }

    async fn figures(&mut self) -> Outcome<Figures> {
        let answer = self.service.ask(&self.request).await?;
        let (mut figures, mut unfinished) = (Figures::default(), 0.0);
        for line in String::from_utf8_lossy(&answer.body).lines() {
            let Some((name, value)) = line.rsplit_once(' ') else { continue };
            let value: f64 = value.parse().unwrap_or(0.0);
            match name.split('{').next().unwrap_or_default() {
                "longtake_generations_unfinished" => unfinished += value,
                "longtake_store_commits_total" => figures.commits = value,
                "longtake_polls_total" => figures.polls = value,
                _ => {}
            }
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let unfinished = unfinished as u64;
        Ok(Figures { unfinished, ..figures })
    }

    async fn drained(&mut self) -> Outcome<()> {
        let began = Instant::now();
        loop {
            let left = self.figures().await?.unfinished;
            if left == 0 {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("{left} generations do not finish").into());
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// What was used up to an instant.
struct Snapshot {
    used: Vec<(&'static str, Used)>,
    flushes: Vec<(&'static str, f64)>,
}

impl Snapshot {
    async fn of(bed: &Bed, eye: &mut Eye) -> Outcome<Self> {
        let mut used = vec![
            ("service", Used::by(&[bed.service_pid()])),
            ("simulator", Used::by(&[bed.simulator_pid()])),
            ("load", Used::by(&[std::process::id()])),
        ];
        let mut flushes = vec![("commits of the journal", eye.figures().await?.commits)];
        if let Some(server) = &bed.server {
            used.push(("PostgreSQL", Used::by(&server.pids().await?)));
            flushes.push(("pg_stat_wal.wal_sync", exact(u64::try_from(server.syncs().await?)?)));
        }
        if let Some(count) = disk_flushes(bed) {
            flushes.push(("flushes of the disk, by anybody", count));
        }
        Ok(Self { used, flushes })
    }

    #[expect(clippy::type_complexity, reason = "the two lists it holds")]
    fn until(&mut self, after: &Self) -> (Vec<(&'static str, Used)>, Vec<(&'static str, f64)>) {
        let used = self.used.iter().zip(&after.used).map(|(before, after)| (after.0, after.1 - before.1));
        let flushes = self.flushes.iter().zip(&after.flushes).map(|(before, after)| (after.0, after.1 - before.1));
        (used.collect(), flushes.collect())
    }
}

/// Flush requests that the disk under the data has completed (Documentation/block/stat.rst, 16th field).
fn disk_flushes(bed: &Bed) -> Option<f64> {
    let device = std::fs::metadata(bed.folder()).ok()?.st_dev();
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xf_ff00));
    // A partition counts none; its disk is the folder above.
    let counted = |path: String| -> Option<f64> { std::fs::read_to_string(path).ok()?.split_whitespace().nth(15)?.parse().ok() };
    let own = format!("/sys/dev/block/{major}:{minor}");
    [format!("{own}/stat"), format!("{own}/../stat")].into_iter().filter_map(counted).find(|count| *count > 0.0)
}

/// Every generation succeeded, and every one was submitted and billed once.
async fn check(bed: &Bed, eye: &mut Eye, expected: u64) -> Outcome<()> {
    for status in ["FAILED", "CANCELLED"] {
        let path = format!("/api/external/generation?limit=1&status={status}");
        let answer = eye.service.ask(&get(&bed.authority, &path, &bed.key)).await?;
        let page: serde_json::Value = serde_json::from_slice(&answer.body)?;
        if page.get("data").and_then(|data| data.as_array()).is_none_or(|data| !data.is_empty()) {
            return Err(format!("not every generation succeeded: {page}").into());
        }
    }
    let mut sandbox = Connection::open(&bed.sandbox).await?;
    let answer = sandbox.ask(&get(&bed.sandbox, "/ledger?summary=1", "-")).await?;
    let ledger: serde_json::Value = serde_json::from_slice(&answer.body)?;
    let count = |name: &str| ledger.pointer(&format!("/totals/flux/{name}")).and_then(serde_json::Value::as_u64);
    if (count("submits"), count("billed")) != (Some(expected), Some(expected)) {
        return Err(format!("{expected} generations were accepted, the provider says {}", ledger).into());
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
const fn exact(count: u64) -> f64 {
    count as f64
}
