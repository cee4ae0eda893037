//! What waiting clients cost and how soon they are told, with the real server on SQLite as a process of its own:
//! `scripts/bench waiters [--db sqlite|postgres] [--smoke]`. As many generations as long polls stand in a queue whose provider never
//! answers; each has one long poll (`Prefer: wait=60`) and one stream of events. Printed for each database:
//!
//! - queries of the server while all of them wait and nothing changes, against the same time without them (its own slow sweeps);
//! - from the instant the cancel of a generation is due to the moment its long poll is answered and its stream tells the end: p50, p99,
//!   worst. All are cancelled, one after the other by the clock, whether or not the one before has been heard of; so the wait holds the
//!   cancel's own request, two commits and the way to the client, and each client is told once;
//! - resident memory a waiter.
//!
//! All clients are tasks of this one process, which takes its part of the machine; its processor time is printed beside the server's. It
//! ends within 90 seconds a database, whatever the figures are.

#[path = "throughput/bed.rs"]
#[expect(dead_code, reason = "shared with the bench of the throughput; of it only the databases")]
mod bed;
#[path = "waiting/server.rs"]
#[expect(dead_code, reason = "shared with the bench `waiting`")]
mod server;

use std::{
    error::Error,
    fs,
    io::Write as _,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use bed::Place;
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use server::{Server, command, metric, usage_of};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What the shared bed asks for.
#[derive(Debug, Clone, Copy)]
struct Wish {
    assets: bool,
}

/// How much is done.
#[derive(Clone, Copy)]
struct Size {
    waiters: usize,
    idle: Duration,
    /// Between two changes.
    every: Duration,
}

const FULL: Size = Size { waiters: 2_000, idle: Duration::from_secs(10), every: Duration::from_millis(10) };
const SMOKE: Size = Size { waiters: 20, idle: Duration::from_millis(500), every: Duration::from_millis(20) };

/// Requests at a time while everything is prepared.
const AT_ONCE: usize = 50;

/// Longest wait for anything, and longest time of a database.
const PATIENCE: Duration = Duration::from_secs(90);

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let smoke = arguments.iter().any(|argument| argument == "--smoke");
    let only = arguments.iter().skip_while(|argument| *argument != "--db").nth(1).map(String::as_str);
    let size = if smoke { SMOKE } else { FULL };
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    say(&format!("load {}{}", load.trim(), if smoke { " (smoke: figures mean nothing)" } else { "" }))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut missed = 0;
    for place in bed::places(only)? {
        let database = match place {
            Place::Sqlite => None,
            Place::Postgres(admin) => Some(runtime.block_on(bed::Server::make(admin))?),
        };
        say(if database.is_some() { "PostgreSQL" } else { "SQLite" })?;
        let url = database.as_ref().map_or("sqlite", |database| &database.url);
        let found = runtime.block_on(async { tokio::time::timeout(PATIENCE, measure(size, url)).await });
        if let Some(database) = database {
            runtime.block_on(database.drop())?;
        }
        missed += found.map_err(|_| format!("not over after {} s", PATIENCE.as_secs()))??;
    }
    match missed {
        0 => Ok(()),
        _ if smoke => say("smoke: goals are not held"),
        missed => Err(format!("{missed} goals are missed").into()),
    }
}

fn say(line: &str) -> Outcome<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

/// Answers how many goals were missed.
async fn measure(size: Size, database: &str) -> Outcome<u32> {
    let folder = tempfile::tempdir()?;
    // A provider that takes connections and never says a word.
    let provider = TcpListener::bind("127.0.0.1:0").await?;
    configure(folder.path(), provider.local_addr()?, size, database)?;
    let key = key(folder.path())?;
    let server = Server::start(folder.path())?;
    let bench = Arc::new(Bench { address: server.address.parse()?, key });
    // The first one goes to the provider, which never answers: its cancel ends nothing, so nobody waits for it.
    bench.submit().await?;
    let mut ids = Vec::new();
    while ids.len() < size.waiters {
        ids.extend(try_join_all((0..AT_ONCE.min(size.waiters - ids.len())).map(|_| bench.submit())).await?);
    }
    let reads = || Ok::<_, Box<dyn Error>>(metric(&server.metrics(&bench.key)?, "longtake_store_reads_total"));
    let (before, alone) = (server.usage()?, idle(size.idle, reads).await?);
    let (tell, mut heard) = mpsc::unbounded_channel();
    open(&bench, &ids, tell).await?;
    seated(&bench, &server, size).await?;
    let (after, waiting) = (server.usage()?, idle(size.idle, reads).await?);
    let each = after.resident.saturating_sub(before.resident) / u64::try_from(size.waiters * 2)?;
    say(&format!("{} long polls and {} streams, {each} bytes resident each", size.waiters, size.waiters))?;
    let queries = format!("{waiting} queries in {:.1} s while all wait; {alone} without them", size.idle.as_secs_f64());
    let mut missed = check(waiting <= alone + 2.0, &queries)?;
    let (began, server_before, own_before) = (Instant::now(), server.usage()?, usage_of(std::process::id())?);
    let [polls, streams] = change(&bench, &ids, size.every, &mut heard).await?;
    let (server_used, own_used) =
        (server.usage()?.seconds - server_before.seconds, usage_of(std::process::id())?.seconds - own_before.seconds);
    let took = began.elapsed().as_secs_f64();
    say(&format!("{} changes in {took:.1} s; processor seconds: server {server_used:.1}, all clients {own_used:.1}", ids.len()))?;
    for (name, times) in [("long polls are told", polls), ("streams are told", streams)] {
        let at = |share: f64| times.get(index(times.len(), share)).copied().unwrap_or_default().as_secs_f64() * 1e3;
        let line =
            format!("{name} after p50 {:.1} ms, p99 {:.1} ms, at most {:.1} ms (p99 at most 100)", at(0.5), at(0.99), at(1.0));
        missed += check(at(0.99) <= 100.0, &line)?;
    }
    Ok(missed)
}

/// Opens a long poll and a stream for each.
async fn open(bench: &Arc<Bench>, ids: &[String], told: mpsc::UnboundedSender<Told>) -> Outcome<()> {
    for (some, ids) in ids.chunks(AT_ONCE).enumerate() {
        let mut opening = Vec::new();
        for (number, id) in (some * AT_ONCE..).zip(ids) {
            for kind in [Kind::Poll, Kind::Stream] {
                let (ready, opened) = oneshot::channel();
                let waiter = Waiter { bench: Arc::clone(bench), id: id.clone(), number, kind, told: told.clone() };
                Handle::current().spawn(waiter.run(ready));
                opening.push(opened);
            }
        }
        try_join_all(opening).await?;
    }
    Ok(())
}

/// Returns once all long polls wait in the server.
async fn seated(bench: &Bench, server: &Server, size: Size) -> Outcome<()> {
    let expected = f64::from(u32::try_from(size.waiters)?);
    while metric(&server.metrics(&bench.key)?, "longtake_requests_waiting") < expected {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Cancels all of them by the clock; answers how long the long polls and the streams waited for their news, in order of length.
async fn change(
    bench: &Arc<Bench>,
    ids: &[String],
    every: Duration,
    heard: &mut mpsc::UnboundedReceiver<Told>,
) -> Outcome<[Vec<Duration>; 2]> {
    let began = Instant::now();
    let due: Vec<Instant> = (0..u32::try_from(ids.len())?).map(|n| began + every * n).collect();
    let (own, all, instants) = (Arc::clone(bench), ids.to_vec(), due.clone());
    let cancelling = Handle::current().spawn(async move {
        for (id, due) in all.into_iter().zip(instants) {
            tokio::time::sleep_until(due.into()).await;
            let bench = Arc::clone(&own);
            Handle::current().spawn(async move { bench.cancel(&id).await.is_ok() });
        }
    });
    let mut waits = [Vec::new(), Vec::new()];
    for _ in 0..ids.len() * 2 {
        let Told { number, kind, at } = heard.recv().await.ok_or("nobody hears any more")?;
        let due = *due.get(number).ok_or("a waiter nobody knows")?;
        let at = at.filter(|at| *at >= due).ok_or("somebody was told something else than the end, or before it")?;
        let [polls, streams] = &mut waits;
        if kind == Kind::Poll { polls } else { streams }.push(at - due);
    }
    cancelling.await?;
    waits.iter_mut().for_each(|times| times.sort_unstable());
    Ok(waits)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a few thousand at most"
)]
fn index(length: usize, share: f64) -> usize {
    ((length as f64 * share).ceil() as usize).clamp(1, length.max(1)) - 1
}

fn check(met: bool, what: &str) -> Outcome<u32> {
    say(&format!("{} {what}", if met { "   ok:" } else { "MISSED:" }))?;
    Ok(u32::from(!met))
}

/// How much a counter grows in that time. The scrapes themselves count once.
async fn idle(span: Duration, counter: impl Fn() -> Outcome<f64>) -> Outcome<f64> {
    let before = counter()?;
    tokio::time::sleep(span).await;
    Ok(counter()? - before)
}

fn configure(folder: &Path, provider: SocketAddr, size: Size, database: &str) -> Outcome<()> {
    let text = format!(
        "data_dir = \"data\"\n[server]\nbind = \"127.0.0.1:0\"\n[store]\nurl = \"{database}\"\n[notify]\nmax_streams_per_project = {}\nheartbeat_ms = 600000\n\
         [providers.flux]\nbase_url = \"http://{provider}\"\nallow_loopback = true\napi_key = \"test\"\nconcurrency = 1\n\
         submit_timeout_ms = 3600000\n",
        size.waiters * 2
    );
    Ok(fs::write(folder.join("longtake.toml"), text)?)
}

fn key(folder: &Path) -> Outcome<String> {
    let made = command(folder).args(["keys", "create", "--name", "bench", "--admin", "--json"]).output()?;
    let made: Value = serde_json::from_slice(&made.stdout)?;
    Ok(made.get("key").and_then(Value::as_str).ok_or("no key")?.to_owned())
}

struct Bench {
    address: SocketAddr,
    key: String,
}

impl Bench {
    async fn open(&self, method: &str, path: &str, more: &str, body: &str) -> std::io::Result<BufReader<TcpStream>> {
        let mut socket = TcpStream::connect(self.address).await?;
        socket.set_nodelay(true)?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {}\r\n{more}content-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            self.key,
            body.len()
        );
        socket.write_all(request.as_bytes()).await?;
        Ok(BufReader::new(socket))
    }

    async fn call(&self, method: &str, path: &str, body: &str) -> Outcome<String> {
        let mut answer = String::new();
        self.open(method, path, "", body).await?.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    async fn submit(&self) -> Outcome<String> {
        let body = json!({"modelIdentifier": "flux-2-pro", "prompt": "a paper boat"}).to_string();
        let answer = self.call("POST", "/api/external/generation", &body).await?;
        let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").ok_or("no body")?.1)?;
        Ok(body.get("id").and_then(Value::as_str).ok_or_else(|| format!("not accepted: {body}"))?.to_owned())
    }

    async fn cancel(&self, id: &str) -> Outcome<()> {
        self.call("POST", &format!("/api/external/generation/{id}/cancel"), "").await.map(drop)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Poll,
    Stream,
}

/// A waiter has heard.
struct Told {
    number: usize,
    kind: Kind,
    /// When its news was there in full; none when it was something else.
    at: Option<Instant>,
}

struct Waiter {
    bench: Arc<Bench>,
    id: String,
    number: usize,
    kind: Kind,
    told: mpsc::UnboundedSender<Told>,
}

impl Waiter {
    async fn run(self, ready: oneshot::Sender<()>) {
        let end = match self.kind {
            Kind::Poll => self.poll(ready).await,
            Kind::Stream => self.stream(ready).await,
        };
        let at = end.unwrap_or(false).then(Instant::now);
        let _gone = self.told.send(Told { number: self.number, kind: self.kind, at });
    }

    /// Whether the answer was that it is cancelled. A poll says nothing before.
    async fn poll(&self, ready: oneshot::Sender<()>) -> std::io::Result<bool> {
        let path = format!("/api/external/generation/{}", self.id);
        let mut answer = self.bench.open("GET", &path, "prefer: wait=60\r\n", "").await?;
        let _gone = ready.send(());
        let mut text = String::new();
        answer.read_to_string(&mut text).await?;
        Ok(text.starts_with("HTTP/1.1 200") && text.contains("\"status\":\"CANCELLED\""))
    }

    /// Whether it came to an end. A stream begins at once.
    async fn stream(&self, ready: oneshot::Sender<()>) -> std::io::Result<bool> {
        let path = format!("/api/external/generation/{}/events", self.id);
        let mut answer = self.bench.open("GET", &path, "", "").await?;
        let (mut ready, mut line) = (Some(ready), String::new());
        while answer.read_line(&mut line).await? > 0 {
            if line.starts_with("retry:") {
                let _gone = ready.take().map(|ready| ready.send(()));
            }
            if line.starts_with("event: end") {
                return Ok(true);
            }
            line.clear();
        }
        Ok(false)
    }
}
