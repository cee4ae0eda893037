//! Binds and starts the workers. Signals belong to the app, which drains first.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use actix_web::{App, HttpServer, dev::Server, web};

use crate::http::{Api, routes::configure};

/// How long a connection that we close may linger: its last answer is on the way.
const LINGER: Duration = Duration::from_secs(5);

/// How long an idle connection is kept: a client asks again after up to a minute (`Retry-After`), and need not connect anew.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// Starts to serve at `server.bind`. The caller polls the returned server and stops it through its handle.
///
/// # Errors
/// When the address cannot be bound.
pub fn serve(api: web::Data<Api>) -> io::Result<(Server, SocketAddr)> {
    let limits = api.config.server.clone();
    let shared = api.clone();
    let server = HttpServer::new(move || App::new().configure(|config| configure(config, shared.clone())))
        .workers(limits.workers)
        .max_connections(limits.max_connections)
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(Duration::from_secs(limits.request_timeout_s))
        .client_disconnect_timeout(LINGER)
        .tcp_nodelay(true)
        // The default keeps a handler running for a client that has left.
        .h1_allow_half_closed(false)
        .shutdown_timeout(limits.drain_s)
        .disable_signals()
        .bind(&limits.bind)?;
    let address = server.addrs().first().copied().ok_or_else(|| io::Error::other("no address was bound"))?;
    // A second server in one process keeps the first one's URLs.
    let _ = api.bound.set(format!("http://{}", reachable(address)));
    Ok((server.run(), address))
}

/// An address that a client on this machine can use.
fn reachable(bound: SocketAddr) -> SocketAddr {
    match bound.ip() {
        ip if !ip.is_unspecified() => bound,
        IpAddr::V4(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, bound.port())),
        IpAddr::V6(_) => SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, bound.port())),
    }
}
