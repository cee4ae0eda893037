//! The three clients of a provider, each bound to what it may reach: no request is built past the guard.

use std::{sync::Arc, time::Duration};

use http::Method;
use url::Url;

use crate::net::{
    SetupError,
    gate::GateLayer,
    guard::{Allow, GuardedResolver, Refused, check_url},
    install_tls,
};

/// What we call ourselves.
const USER_AGENT: &str = concat!("longtake/", env!("CARGO_PKG_VERSION"));

/// Kept polls' connections are closed after this: below the 60 s at which load balancers commonly drop idle ones, so that a
/// poll seldom meets a connection that is being closed.
const POOL_IDLE: Duration = Duration::from_secs(45);

/// Longest silence on a TCP connection before the kernel asks whether the other side lives: a synchronous provider is silent for
/// minutes, and gateways between us forget silent connections (a common limit is 60 s).
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// An HTTP/2 connection with requests in hand that answers no ping for this long is dropped. Without it every poll of a host
/// would wait in vain on one dead connection until the kernel gives up, a quarter of an hour later.
const PING_EVERY: Duration = Duration::from_secs(10);

/// A client and what it may reach.
#[derive(Debug, Clone)]
pub struct Guarded {
    client: reqwest::Client,
    allow: Arc<Allow>,
}

impl Guarded {
    /// Begins a request, if the guard lets its URL through.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn request(&self, method: Method, url: &Url) -> Result<reqwest::RequestBuilder, Refused> {
        self.check(url)?;
        Ok(self.client.request(method, url.clone()))
    }

    /// Checks a URL as [`request`](Self::request) does.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn check(&self, url: &Url) -> Result<(), Refused> {
        check_url(url, &self.allow)
    }

    /// The client itself, for code that builds its own requests. Its names are resolved by the guard; every URL, also each
    /// redirect's, must pass [`check`](Self::check) first, since literal addresses never reach a resolver.
    #[must_use]
    pub const fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// What it may reach.
    #[must_use]
    pub fn allow(&self) -> &Allow {
        &self.allow
    }
}

/// The clients of one provider. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Clients {
    /// For paid calls: HTTP/1.1, a fresh connection each, no retry of any kind, behind the [gate](crate::net::gate).
    pub submit: Guarded,
    /// For polls, lookups and cancels: kept connections, HTTP/2 where offered.
    pub poll: Guarded,
    /// For results: kept connections, streamed.
    pub download: Guarded,
}

impl Clients {
    /// Clients that may reach `calls` for the provider's interface and `downloads` for results.
    ///
    /// # Errors
    /// [`SetupError`] when the machine's root certificates cannot be used.
    pub fn new(calls: Allow, downloads: Allow, connect_timeout: Duration) -> Result<Self, SetupError> {
        install_tls();
        let (calls, downloads) = (Arc::new(calls), Arc::new(downloads));
        let submit = builder(&calls, connect_timeout)
            // A connection of its own for each: with a kept one, "the other side closed it" and "it never saw the request"
            // cannot be told apart, and the connect would not run in the caller's task.
            .http1_only()
            .pool_max_idle_per_host(0)
            .connector_layer(GateLayer)
            .build()?;
        let poll = kept(builder(&calls, connect_timeout)).build()?;
        let download = kept(builder(&downloads, connect_timeout)).build()?;
        Ok(Self {
            submit: Guarded { client: submit, allow: Arc::clone(&calls) },
            poll: Guarded { client: poll, allow: calls },
            download: Guarded { client: download, allow: downloads },
        })
    }
}

/// The client for what is sent to URLs that clients named.
///
/// # Errors
/// [`SetupError`] when the machine's root certificates cannot be used.
pub fn outward(allow: Allow, connect_timeout: Duration) -> Result<Guarded, SetupError> {
    install_tls();
    let allow = Arc::new(allow);
    Ok(Guarded { client: kept(builder(&allow, connect_timeout)).build()?, allow })
}

/// What all have in common. A proxy of the environment would resolve names for us, past the guard.
fn builder(allow: &Arc<Allow>, connect_timeout: Duration) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .tcp_nodelay(true)
        .tcp_keepalive(TCP_KEEPALIVE)
        .connect_timeout(connect_timeout)
        .dns_resolver(GuardedResolver::new(Arc::clone(allow)))
}

/// For clients that keep connections.
fn kept(builder: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
    builder.pool_idle_timeout(POOL_IDLE).http2_keep_alive_interval(PING_EVERY).http2_keep_alive_timeout(PING_EVERY)
}
