//! The real processes: the service and the simulated providers, started, signalled and started again as an init system would.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::OnceLock,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use tokio::sync::oneshot;

/// Longest start: a database that recovers, on a machine that is busy.
const START: Duration = Duration::from_secs(60);

static BINARY: OnceLock<PathBuf> = OnceLock::new();

/// Takes a copy of the built binary into `folder`, which all processes are started from: a build meanwhile must not change them.
///
/// # Errors
/// What the file system says.
pub fn take_binary(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let copy = folder.join("longtake");
    std::fs::copy(env!("CARGO_BIN_EXE_longtake"), &copy)?;
    BINARY.get_or_init(|| copy);
    Ok(())
}

fn binary() -> &'static Path {
    BINARY.get().map_or(Path::new(env!("CARGO_BIN_EXE_longtake")), PathBuf::as_path)
}

/// What a signal is called by kill(1).
#[derive(Debug, Clone, Copy)]
pub enum Signal {
    Term,
    Stop,
    Continue,
}

/// A process with its log.
pub struct Process {
    child: Child,
    pub url: String,
}

impl Process {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let name = match signal {
            Signal::Term => "-TERM",
            Signal::Stop => "-STOP",
            Signal::Continue => "-CONT",
        };
        ensure!(Command::new("kill").args([name, &self.id().to_string()]).status()?.success(), "kill {name} failed");
        Ok(())
    }

    /// SIGKILL: nothing of the process gets a word in.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// The exit status, once it has ended.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    pub fn address(&self) -> anyhow::Result<SocketAddr> {
        self.url.trim_start_matches("http://").parse().with_context(|| format!("{} is no address", self.url))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Reads a process's output to its end, keeps it in a file, and tells the first thing that `wanted` finds.
fn follow(
    output: impl std::io::Read + Send + 'static,
    log: PathBuf,
    wanted: impl Fn(&str) -> Option<String> + Send + 'static,
) -> oneshot::Receiver<String> {
    let (found, receive) = oneshot::channel();
    let mut found = Some(found);
    std::thread::spawn(move || {
        let mut file = File::options().create(true).append(true).open(log).ok();
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Some(file) = &mut file {
                // The log is for people; the run does not need it.
                drop(writeln!(file, "{line}"));
            }
            if found.is_some()
                && let Some(url) = wanted(&line)
                && let Some(found) = found.take()
            {
                drop(found.send(url));
            }
        }
    });
    receive
}

/// How the service is started.
#[derive(Debug, Clone)]
pub struct Service {
    pub folder: PathBuf,
    pub environment: Vec<(String, String)>,
    /// What it writes may be limited while it runs: then the signal that tells of it must not end it.
    pub limited: bool,
}

impl Service {
    pub fn command(&self) -> Command {
        let mut command = Command::new(if self.limited { Path::new("sh") } else { binary() });
        if self.limited {
            // What is ignored stays ignored through exec; the write is then answered EFBIG.
            command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(binary());
        }
        command.current_dir(&self.folder).env("LONGTAKE__DATA_DIR", self.folder.join("data")).env("NO_COLOR", "1");
        command.env_remove("LONGTAKE_CONFIG").envs(self.environment.iter().cloned()).stdin(Stdio::null());
        command
    }

    /// Makes a key and returns its text.
    pub fn key(&self, name: &str, admin: bool) -> anyhow::Result<String> {
        let admin = admin.then_some("--admin");
        let made = self.command().args(["keys", "create", "--name", name, "--json"]).args(admin).output()?;
        ensure!(made.status.success(), "no key was made: {}", String::from_utf8_lossy(&made.stderr));
        let made: serde_json::Value = serde_json::from_slice(&made.stdout)?;
        made["key"].as_str().map(str::to_owned).context("the command printed no key")
    }

    /// Starts it once; none when it ends before it is ready (another still holds the database, or the database is away).
    pub async fn try_start(&self) -> anyhow::Result<Option<Process>> {
        let mut child = self.command().arg("serve").stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let output = child.stderr.take().context("no stderr")?;
        // `ready` names the public URL, which is the proxy's.
        let ready = follow(output, self.folder.join("serve.log"), |line| {
            let address = line.split("listening on: ").nth(1)?;
            Some(format!("http://{}", address.trim()))
        });
        let mut process = Process { child, url: String::new() };
        match tokio::time::timeout(START, ready).await {
            Ok(Ok(url)) => {
                process.url = url;
                Ok(Some(process))
            }
            Ok(Err(_)) => Ok(None),
            Err(_) => bail!("the service was not ready within {START:?}; see {}", self.folder.join("serve.log").display()),
        }
    }
}

/// Starts the simulated providers at that address; their ledger lives in the folder and outlives them.
pub async fn simulator(folder: &Path, bind: SocketAddr) -> anyhow::Result<Process> {
    let mut command = Command::new(binary());
    command.current_dir(folder).arg("simulate").args(["--bind", &bind.to_string(), "--config", "simulator.toml", "--json"]);
    let errors = File::options().create(true).append(true).open(folder.join("simulate.log"))?;
    let mut child = command.env("NO_COLOR", "1").stdin(Stdio::null()).stderr(errors).stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().context("no stdout")?;
    let ready = follow(output, folder.join("simulate.out"), |line| line.contains("\"url\"").then(|| line.to_owned()));
    let process = Process { child, url: format!("http://{bind}") };
    match tokio::time::timeout(START, ready).await {
        Ok(Ok(_)) => Ok(process),
        Ok(Err(_)) | Err(_) => bail!("the simulator did not start; see {}", folder.join("simulate.log").display()),
    }
}
