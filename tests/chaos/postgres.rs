//! A private PostgreSQL that may be killed and restarted at will: Debian's binaries, a temporary folder, a port of its own.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, ensure};

use crate::gate::free_port;

pub struct Postgres {
    bin: PathBuf,
    folder: PathBuf,
    pub address: SocketAddr,
    /// Held while it goes down and up again.
    cycling: Mutex<()>,
}

/// Where the newest installed server is; none when there is no server.
fn binaries() -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = ["/usr/lib/postgresql", "/usr/local/pgsql"]
        .iter()
        .flat_map(|root| std::fs::read_dir(root).into_iter().flatten().flatten())
        .flat_map(|entry| [entry.path().join("bin"), entry.path()])
        .filter(|folder| folder.join("initdb").is_file() && folder.join("pg_ctl").is_file())
        .collect();
    found.sort();
    found.pop()
}

fn is_root() -> bool {
    let answer = Command::new("id").arg("-u").output();
    answer.is_ok_and(|answer| answer.stdout.trim_ascii() == b"0")
}

impl Postgres {
    /// # Errors
    /// When no server is installed, or it does not start.
    pub fn start() -> anyhow::Result<Self> {
        let bin = binaries().context("no PostgreSQL is installed (scripts/services start installs Debian's)")?;
        let folder = std::env::temp_dir().join(format!("longtake-chaos-postgres-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        if is_root() {
            // PostgreSQL refuses to run as root.
            ensure!(Command::new("chown").arg("postgres").arg(&folder).status()?.success(), "the folder was not handed over");
        }
        let server = Self { bin, folder, address: free_port()?, cycling: Mutex::new(()) };
        let data = server.data();
        server.run("initdb", &["-D", &data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync"])?;
        server.up()?;
        Ok(server)
    }

    fn data(&self) -> String {
        self.folder.join("data").display().to_string()
    }

    fn run(&self, program: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let program = self.bin.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(&program);
            command
        } else {
            Command::new(&program)
        };
        // What it starts keeps the output open, so it must not be a pipe that somebody waits for.
        let log = std::fs::File::create(self.log_file())?;
        let status =
            command.args(arguments).current_dir("/").stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).status()?;
        ensure!(status.success(), "{} {arguments:?} failed; see {}", program.display(), self.log_file().display());
        Ok(())
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("commands.log")
    }

    /// Starts it and waits until it answers.
    fn up(&self) -> anyhow::Result<()> {
        // Unsynced writes survive the end of a process; only the end of the machine would lose them.
        let options = format!(
            "-h 127.0.0.1 -p {} -k {} -c fsync=off -c full_page_writes=off -c synchronous_commit=on -c max_connections=200",
            self.address.port(),
            self.folder.display()
        );
        let log = self.folder.join("server.log").display().to_string();
        self.run("pg_ctl", &["-D", &self.data(), "-w", "-t", "60", "-l", &log, "-o", &options, "start"])
    }

    /// Stops it in an orderly way, which ends every session, and starts it again.
    pub fn restart(&self) -> anyhow::Result<()> {
        let _alone = self.cycling.lock().unwrap_or_else(PoisonError::into_inner);
        self.stop("fast")?;
        self.up()
    }

    /// Lets it die without a checkpoint and starts it again, which recovers from its log.
    pub fn crash(&self) -> anyhow::Result<()> {
        let _alone = self.cycling.lock().unwrap_or_else(PoisonError::into_inner);
        self.stop("immediate")?;
        self.up()
    }

    /// Freezes every process of it for a while: connections stay, and nobody answers.
    #[expect(clippy::disallowed_methods, reason = "on a blocking thread of the harness, where no actor lives")]
    pub fn freeze(&self, lasts: Duration) -> anyhow::Result<()> {
        let _alone = self.cycling.lock().unwrap_or_else(PoisonError::into_inner);
        let first = std::fs::read_to_string(self.folder.join("data/postmaster.pid"))?;
        let postmaster: u32 = first.lines().next().context("no pid")?.trim().parse()?;
        // The postmaster first: then nothing further is started.
        signal("-STOP", &[postmaster])?;
        let children = children(postmaster)?;
        let stopped = signal("-STOP", &children);
        std::thread::sleep(lasts);
        // A child that ended meanwhile is a zombie, which can be signalled, until its parent goes on.
        let woken = signal("-CONT", &children);
        signal("-CONT", &[postmaster])?;
        stopped.and(woken)
    }

    fn stop(&self, mode: &str) -> anyhow::Result<()> {
        self.run("pg_ctl", &["-D", &self.data(), "-m", mode, "-w", "stop"])
    }

    /// Makes a database and returns its URL through `address`.
    pub fn database(&self, name: &str, address: SocketAddr) -> anyhow::Result<String> {
        let (port, folder) = (self.address.port().to_string(), self.folder.display().to_string());
        self.run("createdb", &["-h", &folder, "-p", &port, "-U", "postgres", name])?;
        Ok(format!("postgres://postgres@{address}/{name}"))
    }
}

/// Processes whose parent is that one.
fn children(of: u32) -> anyhow::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may have ended since the folder was listed.
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // Behind the name in parentheses: state, parent (proc(5)).
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1));
        if parent == Some(of.to_string().as_str()) {
            found.push(id);
        }
    }
    Ok(found)
}

fn signal(name: &str, processes: &[u32]) -> anyhow::Result<()> {
    if processes.is_empty() {
        return Ok(());
    }
    let done = Command::new("kill").arg(name).args(processes.iter().map(u32::to_string)).output()?;
    ensure!(done.status.success(), "kill {name}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // The end of a run: whatever it says, the folder goes.
        drop(self.stop("immediate"));
        drop(std::fs::remove_dir_all(&self.folder));
    }
}
