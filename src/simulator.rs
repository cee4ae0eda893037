//! Sandbox providers (`longtake simulate`): Kling, Pollo, Replicate, Black Forest Labs and the Tuzi relay over real sockets.
//!
//! For tests of whoever runs the service: real wire formats, waiting, webhooks, limits, decodable outputs that expire, faults
//! on request (`[[sim …]]` in a prompt), and a ledger of what was billed. It must not share a type with the adapters in
//! `providers/`: a mistake made in both would cancel itself out. Its facts come from the vendors' documents.

mod clock;
mod control;
mod faults;
mod fields;
mod files;
mod flux;
mod http;
mod journal;
mod kling;
mod ledger;
mod limits;
mod media;
mod pollo;
mod replicate;
mod state;
mod submit;
mod tasks;
mod tuzi;
mod webhooks;

use std::io;
use std::net::TcpListener;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::web::{self, Data};
use actix_web::{App, HttpServer};
use serde::{Deserialize, Serialize};

use crate::config::simulator::SimulatorConfig;
use state::Sim;

/// Largest request body; base64 images of 10 MB grow by a third, and Kling takes URLs of larger ones.
const MAX_BODY_BYTES: usize = 48 * 1024 * 1024;

/// Names a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Provider {
    Kling,
    Pollo,
    Replicate,
    Flux,
    Tuzi,
}

impl Provider {
    const ALL: [Self; 5] = [Self::Kling, Self::Pollo, Self::Replicate, Self::Flux, Self::Tuzi];

    fn name(self) -> &'static str {
        match self {
            Self::Kling => "kling",
            Self::Pollo => "pollo",
            Self::Replicate => "replicate",
            Self::Flux => "flux",
            Self::Tuzi => "tuzi",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|provider| provider.name() == name)
    }

    fn output_ttl_secs(self, config: &SimulatorConfig) -> u64 {
        match self {
            Self::Kling => config.kling.output_ttl_secs,
            Self::Pollo => config.pollo.output_ttl_secs,
            Self::Replicate => config.replicate.output_ttl_secs,
            Self::Flux => config.flux.output_ttl_secs,
            Self::Tuzi => config.tuzi.output_ttl_secs,
        }
    }
}

/// Starts simulators.
#[derive(Debug, Clone, Copy)]
pub struct Simulator;

impl Simulator {
    /// Starts the sandboxes on a thread and an actix system of their own; returns once they listen.
    ///
    /// # Errors
    /// The address cannot be bound, the ledger's file cannot be read, or a fault rule is not understood (`InvalidInput`).
    pub fn start(config: SimulatorConfig) -> io::Result<RunningSimulator> {
        let listener = TcpListener::bind(config.bind.as_str())?;
        let port = listener.local_addr()?.port();
        let local = format!("http://127.0.0.1:{port}");
        let shown = config.public_url.clone().unwrap_or_else(|| local.clone()).trim_end_matches('/').to_owned();
        let workers = config.workers.max(1);
        let sim = Arc::new(Sim::new(config, shown.clone(), webhooks::client()?)?);
        let (started, wait) = mpsc::channel();
        let thread = std::thread::Builder::new().name("simulator".into()).spawn(move || {
            let outcome = actix_web::rt::System::new().block_on(serve(listener, workers, sim, started));
            if let Err(error) = outcome {
                tracing::error!(%error, "simulator stopped");
            }
        })?;
        let handle = wait.recv().map_err(|_| io::Error::other("the simulator's thread ended before it listened"))??;
        Ok(RunningSimulator { url: shown, handle, thread: Some(thread) })
    }
}

async fn serve(
    listener: TcpListener,
    workers: usize,
    sim: Arc<Sim>,
    started: mpsc::Sender<io::Result<ServerHandle>>,
) -> io::Result<()> {
    webhooks::resume(&sim);
    let data = Data::from(sim);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(data.clone())
            .app_data(web::PayloadConfig::new(MAX_BODY_BYTES))
            .default_service(web::to(http::dispatch))
    })
    .workers(workers)
    .on_connect(http::on_connect)
    .tcp_nodelay(true)
    .keep_alive(Duration::from_secs(75))
    .shutdown_timeout(0)
    .disable_signals()
    .listen(listener);
    match server {
        Ok(server) => {
            let server = server.run();
            started.send(Ok(server.handle())).ok();
            server.await
        }
        Err(error) => {
            started.send(Err(error)).ok();
            Ok(())
        }
    }
}

/// Holds a running simulator; it stops when this is dropped.
#[derive(Debug)]
pub struct RunningSimulator {
    /// Base URL without a slash at the end; the providers are at `{url}/kling` and so on, `GET {url}/` lists them.
    pub url: String,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl RunningSimulator {
    /// Stops at once, without waiting for open requests, and waits for the thread to end.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for RunningSimulator {
    fn drop(&mut self) {
        // The command is sent by the call itself; the future would only wait for the end, which the join does.
        drop(self.handle.stop(false));
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("simulator thread panicked");
        }
    }
}

/// Starts a future on the calling worker.
fn spawn(future: impl Future<Output = ()> + 'static) {
    #[expect(
        clippy::disallowed_methods,
        reason = "the sandbox stands for a machine elsewhere: the app's supervision must not know it"
    )]
    drop(actix_web::rt::spawn(future));
}

#[cfg(test)]
mod tests;
