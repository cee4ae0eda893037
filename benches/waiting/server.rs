//! The real server as a process of its own: its memory, its time on the processors, its metrics and its log lines.

use std::{
    error::Error,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use serde_json::Value;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Longest wait for a line of the log.
const PATIENCE: Duration = Duration::from_secs(300);

/// A running `longtake serve`; killed (-9) when dropped.
pub struct Server {
    child: Child,
    lines: Receiver<Value>,
    /// Where it listens.
    pub address: String,
    began: Instant,
}

/// What the kernel says of it.
#[derive(Clone, Copy)]
pub struct Usage {
    /// Resident memory, bytes.
    pub resident: u64,
    /// Highest so far.
    pub peak: u64,
    /// Processor seconds.
    pub seconds: f64,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longtake"));
    command.current_dir(folder).env_remove("LONGTAKE_CONFIG").env("LONGTAKE__TELEMETRY__FORMAT", "json");
    command
}

impl Server {
    /// Starts it on the configuration in `folder` and waits until it is ready.
    pub fn start(folder: &Path) -> Outcome<Self> {
        let began = Instant::now();
        let mut child = command(folder).arg("serve").stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let log = BufReader::new(child.stderr.take().ok_or("no log")?);
        let (tell, lines) = channel();
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                let _ = tell.send(serde_json::from_str(&line).unwrap_or(Value::String(line)));
            }
        });
        let mut server = Self { child, lines, address: String::new(), began };
        let ready = server.line("ready")?.1;
        let url = field(&ready, "url").and_then(Value::as_str).ok_or("no url")?;
        url.trim_start_matches("http://").clone_into(&mut server.address);
        Ok(server)
    }

    /// Waits for a log line with this text; answers how long after the start it came.
    pub fn line(&self, text: &str) -> Outcome<(Duration, Value)> {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).map_err(|_| format!("the server never said `{text}`"))?;
            if field(&line, "message").and_then(Value::as_str) == Some(text) {
                return Ok((self.began.elapsed(), line));
            }
        }
    }

    /// Since it was started.
    pub fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// Memory and processor time.
    pub fn usage(&self) -> Outcome<Usage> {
        usage_of(self.child.id())
    }

    /// The metrics as text.
    pub fn metrics(&self, key: &str) -> Outcome<String> {
        let mut stream = TcpStream::connect(&self.address)?;
        write!(stream, "GET /api/metrics HTTP/1.0\r\nhost: bench\r\nauthorization: Bearer {key}\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.split_once("\r\n\r\n").ok_or("no answer")?.1.to_owned())
    }
}

/// Memory and processor time of a process.
pub fn usage_of(pid: u32) -> Outcome<Usage> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kilobytes = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // Behind the name in brackets: user and system time are fields 14 and 15 of all, in hundredths.
    let behind = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u32 = behind.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u32>().ok()).sum();
    Ok(Usage {
        resident: kilobytes("VmRSS:").ok_or("no VmRSS")? * 1_024,
        peak: kilobytes("VmHWM:").ok_or("no VmHWM")? * 1_024,
        seconds: f64::from(ticks) / 100.0,
    })
}

/// A field of a log line, wherever the format puts it.
fn field<'a>(line: &'a Value, name: &str) -> Option<&'a Value> {
    line.get(name).or_else(|| line.get("fields")?.get(name))
}

/// The value of a metric without labels, or with these.
pub fn metric(text: &str, name: &str) -> f64 {
    let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
}

/// The share of a histogram's events between two scrapes at or below each bound, seconds.
pub fn shares(before: &str, after: &str, name: &str) -> Vec<(String, f64)> {
    let prefix = format!("{name}_bucket{{le=\"");
    let bounds = after.lines().filter_map(|line| line.strip_prefix(&prefix)?.split('"').next()).map(str::to_owned);
    let count = |text: &str, bound: &str| metric(text, &format!("{prefix}{bound}\"}}"));
    let all = count(after, "+Inf") - count(before, "+Inf");
    bounds.map(|bound| (bound.clone(), (count(after, &bound) - count(before, &bound)) / all.max(1.0))).collect()
}
