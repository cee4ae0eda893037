//! A provider that answers every poll at once with "processing", over real HTTP, and remembers which task was asked for when.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// Ids of tasks count from here: 18 digits, as Kling's.
pub const FIRST_TASK: u64 = 800_000_000_000_000_000;

/// Width of a slice of time, milliseconds, and how many there are: an hour.
const SLICE_MS: u64 = 50;
const SLICES: usize = 72_000;

/// What it saw.
pub struct Seen {
    began: Instant,
    polls: AtomicU64,
    /// By task: the slice in which it was last asked for, from 1; 0 means never.
    last: Vec<AtomicU32>,
    slices: Vec<AtomicU32>,
}

impl Seen {
    fn new(tasks: usize) -> Self {
        let zeros = |count| (0..count).map(|_| AtomicU32::new(0)).collect();
        Self { began: Instant::now(), polls: AtomicU64::new(0), last: zeros(tasks), slices: zeros(SLICES) }
    }

    /// Slices since the start, from 1.
    pub fn slice(&self) -> u32 {
        u32::try_from(self.began.elapsed().as_millis()).unwrap_or(u32::MAX) / u32::try_from(SLICE_MS).unwrap_or(1) + 1
    }

    fn poll(&self, task: u64) {
        let slice = self.slice();
        self.polls.fetch_add(1, Ordering::Relaxed);
        let place = task.checked_sub(FIRST_TASK).and_then(|n| usize::try_from(n).ok()).and_then(|n| self.last.get(n));
        if let Some(place) = place {
            place.store(slice, Ordering::Relaxed);
        }
        if let Some(count) = usize::try_from(slice).ok().and_then(|at| self.slices.get(at)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Polls so far.
    pub fn polls(&self) -> u64 {
        self.polls.load(Ordering::Relaxed)
    }

    /// Tasks that were asked for in that slice or later.
    pub fn distinct_since(&self, slice: u32) -> usize {
        self.last.iter().filter(|last| last.load(Ordering::Relaxed) >= slice).count()
    }

    /// The most polls in any second, by slices, from that slice on.
    pub fn busiest_second(&self, from: u32) -> u32 {
        let counts: Vec<u32> = self.since(from).collect();
        let second = usize::try_from(1_000 / SLICE_MS).unwrap_or(1);
        counts.windows(second).map(|window| window.iter().sum()).max().unwrap_or(0)
    }

    /// Polls in so many slices from that one on.
    pub fn within(&self, from: u32, milliseconds: u64) -> u32 {
        self.since(from).take(usize::try_from(milliseconds / SLICE_MS).unwrap_or(0)).sum()
    }

    fn since(&self, from: u32) -> impl Iterator<Item = u32> {
        self.slices.iter().skip(usize::try_from(from).unwrap_or(0)).map(|count| count.load(Ordering::Relaxed))
    }
}

/// Starts it on a thread of its own; answers its port. It ends with the process.
pub fn start(tasks: usize) -> io::Result<(u16, Arc<Seen>)> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let (port, seen) = (listener.local_addr()?.port(), Arc::new(Seen::new(tasks)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let shared = Arc::clone(&seen);
    thread::spawn(move || runtime.block_on(accept(listener, shared)));
    Ok((port, seen))
}

#[expect(clippy::disallowed_methods, reason = "a test double; it has no supervision")]
async fn accept(listener: std::net::TcpListener, seen: Arc<Seen>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        tokio::spawn(serve(stream, Arc::clone(&seen)));
    }
}

/// One connection: requests without bodies, one after the other.
async fn serve(mut stream: TcpStream, seen: Arc<Seen>) -> Option<()> {
    let mut buffer = Vec::with_capacity(1_024);
    loop {
        while let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = std::str::from_utf8(buffer.get(..end)?).ok()?;
            let task = head.split_whitespace().nth(1)?.rsplit('/').next()?.to_owned();
            buffer.drain(..end + 4);
            seen.poll(task.parse().unwrap_or(0));
            let body = format!(r#"{{"code":0,"message":"SUCCEED","data":{{"task_id":"{task}","task_status":"processing"}}}}"#);
            let answer =
                format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.ok()?;
        }
        if stream.read_buf(&mut buffer).await.ok()? == 0 {
            return None;
        }
    }
}
