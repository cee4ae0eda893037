//! The processes under load: the simulated providers and the service, from the binary this bench was built with.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use sqlx::{Connection as _, PgConnection};
use tokio::runtime::Runtime;

use crate::{Outcome, Wish};

/// Longest start or end of a process; a start migrates the database.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which database.
pub enum Place {
    /// The embedded one.
    Sqlite,
    /// A database of its own on this server.
    Postgres(String),
}

/// The databases to measure: the one that is named, or all there are.
pub fn places(only: Option<&str>) -> Outcome<Vec<Place>> {
    let server = std::env::var("LONGTAKE_TEST_POSTGRES").ok().filter(|url| !url.is_empty());
    match (only, server) {
        (Some("sqlite"), _) => Ok(vec![Place::Sqlite]),
        (Some("postgres"), Some(server)) => Ok(vec![Place::Postgres(server)]),
        (None, Some(server)) => Ok(vec![Place::Sqlite, Place::Postgres(server)]),
        (None, None) => {
            writeln!(std::io::stdout(), "PostgreSQL: SKIPPED, LONGTAKE_TEST_POSTGRES is not set")?;
            Ok(vec![Place::Sqlite])
        }
        (Some(other), _) => Err(format!("--db {other}: sqlite, or postgres with LONGTAKE_TEST_POSTGRES set").into()),
    }
}

/// A database on a server.
pub struct Server {
    admin: String,
    name: String,
    /// Where it is.
    pub url: String,
}

/// Everything that runs.
pub struct Bed {
    folder: tempfile::TempDir,
    simulator: Running,
    service: Running,
    /// The database's server, where it is one.
    pub server: Option<Server>,
    /// `host:port` of the service.
    pub authority: String,
    /// `host:port` of the simulator.
    pub sandbox: String,
    /// A client's key.
    pub key: String,
    /// An admin's key.
    pub admin: String,
}

/// A child that does not outlive this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

impl Bed {
    /// Starts them and makes the keys.
    pub fn make(wish: Wish, place: Place, runtime: &Runtime) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let server = match place {
            Place::Sqlite => None,
            Place::Postgres(admin) => Some(runtime.block_on(Server::make(admin))?),
        };
        fs::write(folder.path().join("simulator.toml"), SIMULATOR)?;
        let (simulator, sandbox) = simulate(folder.path())?;
        let url = server.as_ref().map_or("sqlite", |server| &server.url);
        fs::write(folder.path().join("longtake.toml"), service(&sandbox, url, wish))?;
        let key = make_key(folder.path(), &[])?;
        let admin = make_key(folder.path(), &["--admin"])?;
        let (service, authority) = runtime.block_on(serve(folder.path()))?;
        Ok(Self { folder, simulator, service, server, authority, sandbox, key, admin })
    }

    /// The name of the database for people.
    pub const fn database(&self) -> &'static str {
        if self.server.is_some() { "PostgreSQL (synchronous_commit=on)" } else { "SQLite (synchronous=FULL)" }
    }

    /// Where the data lie.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The service's process.
    pub fn service_pid(&self) -> u32 {
        self.service.0.id()
    }

    /// The simulator's process.
    pub fn simulator_pid(&self) -> u32 {
        self.simulator.0.id()
    }

    /// Ends the service as an operator would, then the rest. The folder is left to the caller: ext4 without a journal gives out no inode
    /// that was deleted in the last minutes, and looks for others at the cost of whoever makes files next (`recently_deleted` in
    /// the kernel's `fs/ext4/ialloc.c`).
    pub fn close(mut self, runtime: &Runtime) -> Outcome<tempfile::TempDir> {
        let pid = self.service.0.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status()?;
        let ended = runtime.block_on(until(|| Ok(self.service.0.try_wait()?)))?;
        let Self { folder, server, simulator, service, .. } = self;
        drop((simulator, service));
        if let Some(server) = server {
            runtime.block_on(server.drop())?;
        }
        if ended.success() { Ok(folder) } else { Err(format!("the service ended with {ended}").into()) }
    }
}

impl Server {
    /// Makes one.
    pub async fn make(admin: String) -> Outcome<Self> {
        let name = format!("bench_{}", uuid::Uuid::now_v7().simple());
        raw(&admin, &format!("CREATE DATABASE {name}")).await?;
        let mut url = url::Url::parse(&admin)?;
        url.set_path(&name);
        Ok(Self { admin, name, url: url.into() })
    }

    /// Removes it, whoever is connected.
    pub async fn drop(self) -> Outcome<()> {
        raw(&self.admin, &format!("DROP DATABASE {} WITH (FORCE)", self.name)).await
    }

    /// Its processes, as far as they run on this machine.
    pub async fn pids(&self) -> Outcome<Vec<u32>> {
        let mut connection = PgConnection::connect(&self.admin).await?;
        let pids: Vec<i32> = sqlx::query_scalar("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
            .fetch_all(&mut connection)
            .await?;
        Ok(pids.into_iter().filter_map(|pid| u32::try_from(pid).ok()).collect())
    }

    /// Flushes of its log so far.
    pub async fn syncs(&self) -> Outcome<i64> {
        let mut connection = PgConnection::connect(&self.admin).await?;
        Ok(sqlx::query_scalar("SELECT wal_sync FROM pg_stat_wal").fetch_one(&mut connection).await?)
    }
}

async fn raw(url: &str, sql: &str) -> Outcome<()> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut connection).await?;
    Ok(())
}

/// Tasks end between the two polls of [`service`]'s schedule, with room on both sides for a poll that is late.
const SIMULATOR: &str = "image_ms = 900\ntiny_outputs = true\nworkers = 1\n[flux]\nactive_tasks = 0\n";

/// Everything that would hold the load back by design is off; what makes it durable is not. Polls come after 500 and 1,250 ms:
/// two for each, which the adaptive schedule would soon make one.
fn service(sandbox: &str, database: &str, wish: Wish) -> String {
    format!(
        "[server]\nbind = \"127.0.0.1:0\"\n[store]\nurl = \"{database}\"\n\
         [polling]\nstrategy = \"exponential\"\nbase_ms = 500\nfactor = 1.5\njitter = 0.0\ncap_ms = 1000\n\
         [providers.flux]\nbase_url = \"http://{sandbox}/flux\"\nallow_loopback = true\napi_key = \"bench\"\n\
         requests_per_minute = 0\npolls_per_minute = 0\nconcurrency = 0\nupload_to_s3 = {}\n",
        wish.assets
    )
}

fn longtake(folder: &Path) -> Command {
    // To compare two builds of the service, name the other one.
    let binary = std::env::var("LONGTAKE_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_longtake").to_owned());
    let mut command = Command::new(binary);
    command.current_dir(folder).env_remove("LONGTAKE_CONFIG").env("LONGTAKE__DATA_DIR", folder.join("data"));
    command
}

fn simulate(folder: &Path) -> Outcome<(Running, String)> {
    let mut command = longtake(folder);
    command.args(["simulate", "--json", "--bind", "127.0.0.1:0", "--config", "simulator.toml"]);
    let mut child = Running(command.stdout(Stdio::piped()).stderr(File::create(folder.join("simulator.log"))?).spawn()?);
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    let said: serde_json::Value = serde_json::from_str(&line)?;
    let url = said.get("url").and_then(|url| url.as_str()).ok_or("the simulator did not say where it is")?;
    Ok((child, authority(url)))
}

async fn serve(folder: &Path) -> Outcome<(Running, String)> {
    let log = folder.join("service.log");
    let mut command = longtake(folder);
    let mut child = Running(command.arg("serve").stdout(Stdio::null()).stderr(File::create(&log)?).spawn()?);
    let url = until(|| {
        let said = fs::read_to_string(&log)?;
        if child.0.try_wait()?.is_some() {
            return Err(format!("the service ended before it was ready:\n{said}").into());
        }
        let ready = said.lines().filter(|line| line.contains("ready")).find_map(|line| line.split(" url=").nth(1));
        Ok(ready.and_then(|rest| rest.split_whitespace().next()).map(str::to_owned))
    });
    let url = url.await?;
    Ok((child, authority(url.trim_matches('"'))))
}

fn make_key(folder: &Path, scope: &[&str]) -> Outcome<String> {
    let made = longtake(folder).args(["keys", "create", "--name", "bench", "--json"]).args(scope).output()?;
    let said: serde_json::Value = serde_json::from_slice(&made.stdout)?;
    Ok(said.get("key").and_then(|key| key.as_str()).ok_or("no key was made")?.to_owned())
}

fn authority(url: &str) -> String {
    url.trim_start_matches("http://").trim_end_matches('/').to_owned()
}

async fn until<T>(mut look: impl FnMut() -> Outcome<Option<T>>) -> Outcome<T> {
    let began = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if began.elapsed() > PATIENCE {
            return Err("a process took too long".into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
