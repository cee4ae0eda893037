//! One run's surroundings: folders, settings, proxies on every link, the two processes.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use tokio::{runtime::Handle, sync::Mutex};

use crate::{
    bucket,
    disk::Disk,
    fault::Link,
    gate::free_port,
    message::Message,
    postgres::Postgres,
    processes::{Process, Service, simulator},
    proxy::Proxy,
    receiver::Receiver,
    settings,
    tcp::TcpProxy,
    world::World,
};

/// Between two tries to start the service, and between two looks whether it still runs.
const LOOK: Duration = Duration::from_millis(100);

/// How long the service may fail to start before the run gives up.
const RISE: Duration = Duration::from_secs(90);

/// Everything of one run.
pub struct Bed {
    pub world: Arc<World>,
    pub inbound: Proxy,
    pub outbound: Proxy,
    pub storage: Option<Proxy>,
    pub database: Option<TcpProxy>,
    pub disk: Option<Disk>,
    pub receiver: Receiver,
    pub service: Service,
    pub node: Mutex<Node>,
    pub sandbox: Mutex<Process>,
    pub sandbox_address: SocketAddr,
    pub client_key: String,
    pub admin_key: String,
    over: AtomicBool,
}

/// The service's process; none between an end and the next start.
#[derive(Default)]
pub struct Node {
    pub process: Option<Process>,
    /// How often it ended without being told to.
    pub own_ends: u64,
    pub starts: u64,
}

fn inbound(request: &Message) -> Option<Link> {
    Some(if request.path().starts_with("/hooks/") { Link::Webhook } else { Link::Client })
}

/// Submits are the POSTs that make something; cancels and lookups are asked again, so they are asks.
fn outbound(request: &Message) -> Option<Link> {
    let path = request.path();
    if path.starts_with("/files/") {
        return Some(Link::Download);
    }
    let submit = request.method() == "POST" && !path.ends_with("/cancel");
    Some(if submit { Link::Submit } else { Link::Ask })
}

impl Bed {
    /// Starts everything. `postgres` is the server of a run on PostgreSQL.
    pub async fn start(world: &Arc<World>, postgres: Option<&Postgres>, sabotage: Option<&str>) -> anyhow::Result<Arc<Self>> {
        let folder = world.folder.clone();
        let inbound = Proxy::start(world, inbound)?;
        let outbound = Proxy::start(world, outbound)?;
        let sandbox_address = free_port()?;
        std::fs::write(folder.join("simulator.toml"), settings::simulator(&folder, &outbound.url(), world.schedule.recipe.seed))?;
        let sandbox = simulator(&folder, sandbox_address).await?;
        outbound.leads_to(Some(sandbox_address));
        let storage = if world.schedule.bucket() { Some(Self::bucket(world, &folder).await?) } else { None };
        let (database, url) = match postgres {
            None => (None, "sqlite".to_owned()),
            Some(server) => {
                let proxy = TcpProxy::start(world, server.address)?;
                let url = server.database(&format!("seed_{}", rand::random::<u32>()), proxy.address())?;
                (Some(proxy), url)
            }
        };
        let addresses = settings::Addresses {
            inbound: inbound.url(),
            providers: outbound.url(),
            storage: storage.as_ref().map(Proxy::url),
            database: url,
        };
        std::fs::write(folder.join("longtake.toml"), settings::service(&addresses))?;
        let environment = sabotage.map(|variant| ("LONGTAKE_SABOTAGE".to_owned(), variant.to_owned())).into_iter().collect();
        let disk = world.schedule.fills_the_disk().then(|| Disk::under(&folder.join("data"))).transpose()?;
        let service = Service { folder, environment, limited: matches!(disk, Some(Disk::Limited)) };
        let (client_key, admin_key) = (service.key("client", false)?, service.key("admin", true)?);
        let bed = Arc::new(Self {
            world: Arc::clone(world),
            inbound,
            outbound,
            storage,
            database,
            disk,
            receiver: Receiver::start(world)?,
            service,
            node: Mutex::default(),
            sandbox: Mutex::new(sandbox),
            sandbox_address,
            client_key,
            admin_key,
            over: AtomicBool::new(false),
        });
        bed.rise(&mut *bed.node.lock().await).await?;
        let watched = Arc::clone(&bed);
        Handle::current().spawn(async move { watched.keep_up().await });
        Ok(bed)
    }

    /// The keys of all files in the storage.
    ///
    /// # Errors
    /// When its folders cannot be read.
    pub fn stored(&self) -> anyhow::Result<Vec<String>> {
        let folder = &self.world.folder;
        let root = if self.storage.is_some() { folder.join("bucket").join(bucket::BUCKET) } else { folder.join("data/media") };
        let mut keys = Vec::new();
        files(&root, "", &mut keys)?;
        Ok(keys)
    }

    async fn bucket(world: &Arc<World>, folder: &Path) -> anyhow::Result<Proxy> {
        let server = bucket::serve(&folder.join("bucket")).await?;
        let proxy = Proxy::start(world, |_| Some(Link::Storage))?;
        proxy.leads_to(Some(server));
        Ok(proxy)
    }

    /// Starts the service, again and again until it stays.
    pub async fn rise(&self, node: &mut Node) -> anyhow::Result<()> {
        let until = Instant::now() + RISE;
        node.process = None;
        loop {
            node.starts += 1;
            if let Some(process) = self.service.try_start().await? {
                self.inbound.leads_to(Some(process.address()?));
                self.world.log(format_args!("the service runs as {} at {}", process.id(), process.url));
                node.process = Some(process);
                return Ok(());
            }
            ensure!(Instant::now() < until, "the service does not start any more; see {}", self.service.folder.display());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Starts the service again whenever it ended by itself, as an init system would.
    async fn keep_up(self: Arc<Self>) {
        while !self.over.load(Ordering::SeqCst) {
            tokio::time::sleep(LOOK).await;
            let mut node = self.node.lock().await;
            let Some(process) = &mut node.process else { continue };
            let Ok(Some(status)) = process.ended() else { continue };
            self.world.log(format_args!("the service ended by itself: {status}"));
            node.own_ends += 1;
            let since = self.world.now_ms();
            let risen = self.rise(&mut node).await;
            self.world.disturbed(since);
            if let Err(error) = risen {
                self.world.log(format_args!("{error:#}"));
                return;
            }
        }
    }

    /// Ends both processes, for good.
    pub async fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
        // Dropping a process kills it.
        self.node.lock().await.process = None;
        if let Err(error) = self.sandbox.lock().await.kill() {
            self.world.log(format_args!("the simulator was not ended: {error:#}"));
        }
        if let Some(Err(error)) = self.disk.as_ref().map(Disk::end) {
            self.world.log(format_args!("the disk was not taken away: {error:#}"));
        }
    }

    /// Ends every fault and waits until the service answers.
    pub async fn calm(&self) -> anyhow::Result<()> {
        self.world.calm();
        self.inbound.open(true);
        self.outbound.open(true);
        self.receiver.open(true);
        if let Some(storage) = &self.storage {
            storage.open(true);
        }
        if let Some(database) = &self.database {
            database.calm();
            database.open(true);
        }
        let node = self.node.lock().await;
        node.process.as_ref().context("the service could not be started again")?;
        Ok(())
    }

    /// Where the simulator is asked for its ledger, past every proxy.
    pub fn sandbox_url(&self) -> String {
        format!("http://{}", self.sandbox_address)
    }
}

/// All files below, as keys. Not those that are unfinished, which the next start sweeps, nor those on their way to their place.
fn files(folder: &Path, prefix: &str, keys: &mut Vec<String>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let key = format!("{prefix}{name}");
        if name.starts_with('.') || key == "staged" {
            continue;
        }
        if entry.file_type()?.is_dir() {
            files(&entry.path(), &format!("{key}/"), keys)?;
        } else {
            keys.push(key);
        }
    }
    Ok(())
}
