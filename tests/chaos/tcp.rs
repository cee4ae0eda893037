//! The fault proxy for the database: bytes both ways, which can be held, cut, or cut at the moment of an answer.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    runtime::Handle,
    sync::watch,
};

use crate::{
    fault::{Fault, Link},
    gate::Gate,
    world::World,
};

struct Shared {
    world: Arc<World>,
    upstream: SocketAddr,
    /// Bytes wait until then.
    stalled: Mutex<Option<Instant>>,
    /// So many further answers to a COMMIT are dropped with their connections.
    armed: AtomicU64,
    /// Counts up: connections of an older number end.
    epoch: watch::Sender<u64>,
}

pub struct TcpProxy {
    gate: Gate,
    shared: Arc<Shared>,
}

impl TcpProxy {
    pub fn start(world: &Arc<World>, upstream: SocketAddr) -> io::Result<Self> {
        let (epoch, _) = watch::channel(0);
        let (stalled, armed) = (Mutex::new(None), AtomicU64::new(0));
        let shared = Arc::new(Shared { world: Arc::clone(world), upstream, stalled, armed, epoch });
        let serving = Arc::clone(&shared);
        let gate = Gate::start(move |client| {
            let shared = Arc::clone(&serving);
            Handle::current().spawn(async move { drop(shared.serve(client).await) });
        })?;
        Ok(Self { gate, shared })
    }

    pub const fn address(&self) -> SocketAddr {
        self.gate.address
    }

    /// Resets every connection.
    pub fn cut_all(&self) {
        self.shared.epoch.send_modify(|epoch| *epoch += 1);
    }

    /// Drops the next answer to a commit with its connection: the server has done it, and nobody hears of it.
    pub fn drop_next_commit(&self) {
        self.shared.armed.fetch_add(1, Ordering::SeqCst);
    }

    /// Holds every byte for a while.
    pub fn stall(&self, lasts: Duration) {
        *self.shared.stalled.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + lasts);
    }

    /// Opens or closes the listener; closing resets what is open.
    pub fn open(&self, open: bool) {
        self.gate.open(open);
        if !open {
            self.cut_all();
        }
    }

    /// Whatever was armed and did not come to it is over.
    pub fn calm(&self) {
        self.shared.armed.store(0, Ordering::SeqCst);
        *self.shared.stalled.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Shared {
    async fn serve(&self, client: TcpStream) -> io::Result<()> {
        let mut epoch = self.epoch.subscribe();
        let server = TcpStream::connect(self.upstream).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        // Whatever ends it ends it with a reset, on both sides.
        client.set_zero_linger()?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            done = self.carry(from_client, to_server, false) => done,
            done = self.carry(from_server, to_client, true) => done,
            _ = epoch.changed() => Ok(()),
        }
    }

    async fn carry(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, answers: bool) -> io::Result<()> {
        let mut buffer = vec![0_u8; 64 * 1024];
        loop {
            let read = from.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            self.wait_out().await;
            if answers && committed(&buffer[..read]) && self.disarm() {
                self.world.made(Link::Database, Fault::CutAfter, "the answer to a commit");
                return Ok(());
            }
            to.write_all(&buffer[..read]).await?;
        }
    }

    fn disarm(&self) -> bool {
        self.armed.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |armed| armed.checked_sub(1)).is_ok()
    }

    async fn wait_out(&self) {
        loop {
            let until = *self.stalled.lock().unwrap_or_else(PoisonError::into_inner);
            match until.map(|until| until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero()) {
                Some(left) => tokio::time::sleep(left).await,
                None => return,
            }
        }
    }
}

/// Whether the server's bytes say that a transaction, or a statement that is one by itself, was committed: the tag of CommandComplete.
fn committed(bytes: &[u8]) -> bool {
    [b"COMMIT\0".as_slice(), b"INSERT 0 ", b"UPDATE "].iter().any(|tag| bytes.windows(tag.len()).any(|window| window == *tag))
}
