//! Batches on their way in, with the real server as a process of its own: `scripts/bench batch [--db sqlite|postgres] [--smoke]`.
//! Printed for each database:
//!
//! - 10,000 generations as lines: seconds from the first byte to the 202, and how much memory the server took for it at most (goals:
//!   1 s, 64 MB);
//! - 50,000 streamed, while other clients post single generations by the clock on connections of their own: seconds, memory, and how
//!   long those waited for their 202s, each counted from the instant its post was due (goal: 100 ms at p99); before it the same
//!   without the upload, to compare.
//!
//! The batches begin to run as soon as they are accepted, as in life; the simulated provider is a third process. It ends within 90
//! seconds a database, whatever the figures are.

#[path = "throughput/bed.rs"]
#[expect(dead_code, reason = "shared with the bench of the throughput, which looks closer")]
mod bed;
#[path = "throughput/http.rs"]
#[expect(dead_code, reason = "shared with the bench of the throughput")]
mod http;

use std::{
    cell::Cell,
    error::Error,
    fs,
    io::Write as _,
    time::{Duration, Instant},
};

use bed::Bed;
use futures_util::future::try_join_all;
use http::{Connection, post};

/// What the others want.
const POST: &str = r#"{"modelIdentifier":"flux-pro-1.1","prompt":"a lighthouse"}"#;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// What the shared bed asks for.
#[derive(Debug, Clone, Copy)]
struct Wish {
    assets: bool,
}

/// How much.
#[derive(Debug, Clone, Copy)]
struct Size {
    few: usize,
    many: usize,
    /// How long others post without an upload beside them.
    alone: Duration,
}

const FULL: Size = Size { few: 10_000, many: 50_000, alone: Duration::from_secs(3) };
const SMOKE: Size = Size { few: 50, many: 200, alone: Duration::from_millis(200) };

/// Connections of other clients: one that waits long for an answer must not keep the others from posting.
const OTHERS: u32 = 10;
/// Between two posts of one of them: 50 a second all together.
const EVERY: Duration = Duration::from_millis(200);
/// Longest time of a database, its start and end not counted.
const PATIENCE: Duration = Duration::from_secs(90);

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let smoke = arguments.iter().any(|argument| argument == "--smoke");
    let only = arguments.iter().skip_while(|argument| *argument != "--db").nth(1).map(String::as_str);
    let size = if smoke { SMOKE } else { FULL };
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    say(&format!("load {}{}", load.trim(), if smoke { " (smoke: figures mean nothing)" } else { "" }))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut missed = 0;
    for place in bed::places(only)? {
        let bed = Bed::make(Wish { assets: false }, place, &runtime)?;
        say(bed.database())?;
        let found = runtime.block_on(async { tokio::time::timeout(PATIENCE, measure(&bed, size)).await });
        let closed = bed.close(&runtime);
        missed += found.map_err(|_| format!("not over after {} s", PATIENCE.as_secs()))??;
        closed?;
    }
    match missed {
        0 => Ok(()),
        _ if smoke => say("smoke: goals are not held"),
        missed => Err(format!("{missed} goals are missed").into()),
    }
}

/// How many goals were missed.
async fn measure(bed: &Bed, size: Size) -> Outcome<u32> {
    let mut missed = 0;
    let mut connection = Connection::open(&bed.authority).await?;
    // The first request of a process pays for what all others find ready.
    batch(&mut connection, &lines(bed, 10)?).await?;
    let request = lines(bed, size.few)?;
    let memory = Memory::watch(bed.service_pid())?;
    let took = batch(&mut connection, &request).await?;
    let grown = memory.grown()?;
    missed +=
        goal(took <= Duration::from_secs(1), &format!("{} lines accepted in {:.2} s (goal 1 s)", size.few, took.as_secs_f64()))?;
    missed += goal(grown <= 64.0, &format!("{grown:.0} MB more memory at most (goal 64 MB)"))?;
    let ((), alone) = beside(bed, async {
        tokio::time::sleep(size.alone).await;
        Ok(())
    })
    .await?;
    say(&format!("{} other 202s without an upload: {}", alone.len(), spread(&alone)))?;
    let request = lines(bed, size.many)?;
    let memory = Memory::watch(bed.service_pid())?;
    let (took, waits) = beside(bed, batch(&mut connection, &request)).await?;
    let grown = memory.grown()?;
    say(&format!("{} lines accepted in {:.2} s, {grown:.0} MB more memory at most", size.many, took.as_secs_f64()))?;
    let text = format!("{} other 202s meanwhile: {} (goal 100 ms at p99)", waits.len(), spread(&waits));
    missed += goal(share(&waits, 0.99) <= 100.0, &text)?;
    Ok(missed)
}

/// A batch of lines, ready to send.
struct Lines {
    request: Vec<u8>,
    count: usize,
}

fn lines(bed: &Bed, count: usize) -> Outcome<Lines> {
    let body: String = (0..count)
        .map(|i| {
            format!("{{\"customId\":\"line-{i}\",\"modelIdentifier\":\"flux-pro-1.1\",\"prompt\":\"a paper boat on lake {i}\",\"userId\":\"u\"}}\n")
        })
        .collect();
    let plain = String::from_utf8(post(&bed.authority, "/api/external/generation/batch", &bed.key, &body))?;
    Ok(Lines { request: plain.replacen("application/json", "application/x-ndjson", 1).into_bytes(), count })
}

/// Sends a batch and waits for its 202.
async fn batch(connection: &mut Connection, lines: &Lines) -> Outcome<Duration> {
    let began = Instant::now();
    let answer = connection.ask(&lines.request).await?;
    let took = began.elapsed();
    let said: serde_json::Value = serde_json::from_slice(&answer.body)?;
    let total = said.get("totalTasks").and_then(serde_json::Value::as_u64);
    if answer.status != 202 || total != u64::try_from(lines.count).ok() {
        return Err(format!("a batch was answered {}: {}", answer.status, String::from_utf8_lossy(&answer.body)).into());
    }
    Ok(took)
}

/// What other clients wait for their 202s while this goes on, in order of length.
async fn beside<T>(bed: &Bed, work: impl Future<Output = Outcome<T>>) -> Outcome<(T, Vec<Duration>)> {
    let over = Cell::new(false);
    let began = Instant::now();
    let others = (0..OTHERS).map(|n| posts(bed, began, EVERY * n / OTHERS, &over));
    let working = async {
        let done = work.await;
        over.set(true);
        done
    };
    let (done, waits) = tokio::join!(working, try_join_all(others));
    let mut waits: Vec<Duration> = waits?.into_iter().flatten().collect();
    waits.sort_unstable();
    Ok((done?, waits))
}

/// One other client: posts when it is due, or as soon as the answer before has come.
async fn posts(bed: &Bed, began: Instant, first: Duration, over: &Cell<bool>) -> Outcome<Vec<Duration>> {
    let mut connection = Connection::open(&bed.authority).await?;
    let request = post(&bed.authority, "/api/external/generation", &bed.key, POST);
    let (mut due, mut waits) = (first, Vec::new());
    loop {
        tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
        if over.get() && !waits.is_empty() {
            return Ok(waits);
        }
        let answer = connection.ask(&request).await?;
        if answer.status != 202 {
            return Err(format!("a generation was answered {}: {}", answer.status, String::from_utf8_lossy(&answer.body)).into());
        }
        waits.push(began.elapsed().saturating_sub(due));
        due += EVERY;
    }
}

fn spread(sorted: &[Duration]) -> String {
    format!("p50 {:.0} ms, p99 {:.0} ms, at most {:.0} ms", share(sorted, 0.5), share(sorted, 0.99), share(sorted, 1.0))
}

/// Milliseconds that this share waited at most.
fn share(sorted: &[Duration], share: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of posts")]
    let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(0.0, |wait| wait.as_secs_f64() * 1_000.0)
}

/// What a process holds, and the most it held since.
struct Memory {
    pid: u32,
    before: f64,
}

impl Memory {
    /// Forgets the highest mark so far (proc(5), `clear_refs`).
    fn watch(pid: u32) -> Outcome<Self> {
        fs::write(format!("/proc/{pid}/clear_refs"), "5")?;
        Ok(Self { pid, before: megabytes(pid, "VmRSS:")? })
    }

    fn grown(&self) -> Outcome<f64> {
        Ok(megabytes(self.pid, "VmHWM:")? - self.before)
    }
}

fn megabytes(pid: u32, name: &str) -> Outcome<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with(name)).ok_or("the kernel does not say how much memory it takes")?;
    Ok(line.split_whitespace().nth(1).ok_or("no figure")?.parse::<f64>()? / 1_024.0)
}

fn goal(held: bool, text: &str) -> Outcome<u32> {
    say(&format!("{text}{}", if held { "" } else { ": MISSED" }))?;
    Ok(u32::from(!held))
}

fn say(line: &str) -> Outcome<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
