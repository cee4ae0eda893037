//! A listener on a port of its own that can be closed, so that connections are truly refused, and opened again.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    runtime::Handle,
    sync::watch,
};

/// The handle of a listener; it ends with it.
#[derive(Debug)]
pub struct Gate {
    pub address: SocketAddr,
    open: watch::Sender<bool>,
}

/// Takes a port below those of outgoing connections: a closed listener must find its port free again.
pub fn free_port() -> io::Result<SocketAddr> {
    for _ in 0..200 {
        let port = 20_000 + rand::random_range(0..12_000_u16);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if std::net::TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err(io::Error::other("no free port"))
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1_024)
}

impl Gate {
    /// Hands every accepted connection to `serve`.
    pub fn start(serve: impl Fn(TcpStream) + Send + 'static) -> io::Result<Self> {
        let address = free_port()?;
        let (open, wanted) = watch::channel(true);
        let listener = listen(address)?;
        Handle::current().spawn(accept(listener, wanted, serve));
        Ok(Self { address, open })
    }

    /// Opens or closes it.
    pub fn open(&self, open: bool) {
        // Nobody listens once the runtime ends.
        let _ = self.open.send(open);
    }
}

async fn accept(listener: TcpListener, mut wanted: watch::Receiver<bool>, serve: impl Fn(TcpStream) + Send) {
    let Ok(address) = listener.local_addr() else { return };
    let mut listener = Some(listener);
    loop {
        let accepted = async {
            match &listener {
                Some(open) => open.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = accepted => {
                if let Ok((client, _)) = accepted {
                    serve(client);
                }
            }
            changed = wanted.changed() => {
                if changed.is_err() {
                    return;
                }
                let open = *wanted.borrow();
                if open && listener.is_none() {
                    listener = listen(address).ok();
                } else if !open {
                    listener = None;
                }
            }
        }
    }
}
