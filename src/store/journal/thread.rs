//! The journal's own thread. A commit is a handful of round trips to the database, one after the other; on the runtime that owns
//! the sockets each answer would wait in line behind everything runnable there, above all the callers that the commit before
//! woke.

use std::{io, thread};

use tokio::runtime::Builder;
use tokio_util::task::TaskTracker;

/// Runs these on a thread of their own until they end; `tasks` counts them meanwhile.
pub fn run<F: Future<Output = ()> + Send + 'static>(writers: Vec<F>, tasks: &TaskTracker) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    // Each a task: one that panics takes no other along.
    let running: Vec<_> = writers.into_iter().map(|writer| tasks.spawn_on(writer, runtime.handle())).collect();
    thread::Builder::new().name("journal".to_owned()).spawn(move || {
        runtime.block_on(async {
            for writer in running {
                if let Err(error) = writer.await {
                    tracing::error!(error = %error, "a writer of the journal ended");
                }
            }
        });
    })?;
    Ok(())
}
