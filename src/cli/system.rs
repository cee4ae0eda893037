//! The runtimes of a long-running command: one that owns every socket, and the actix system of the main thread.

use std::{future::Future, sync::Arc};

use anyhow::Context as _;
use tokio::runtime::{Builder, Runtime};

/// Threads of the socket runtime. Two carry the measured rates (all IO waits); more would only contend for the machine.
const SOCKET_THREADS: usize = 2;

/// Runs `work` inside an actix system, beside the socket runtime, which is dropped last and outside of async code.
///
/// # Errors
/// The work's, or when no thread can be made.
pub(super) fn block_on<F: Future<Output = anyhow::Result<()>>>(work: impl FnOnce(Arc<Runtime>) -> F) -> anyhow::Result<()> {
    let sockets = Builder::new_multi_thread()
        .worker_threads(SOCKET_THREADS)
        .thread_name("sockets")
        .enable_all()
        .build()
        .context("no threads for the sockets")?;
    let sockets = Arc::new(sockets);
    actix_rt::System::new().block_on(work(Arc::clone(&sockets)))
}
