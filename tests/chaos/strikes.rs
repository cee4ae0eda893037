//! Blows at processes, servers and whole links, each at its time.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::runtime::Handle;

use crate::{
    bed::Bed,
    fault::{Fault, Link},
    postgres::Postgres,
    processes::{Process, Signal, simulator},
    schedule::Strike,
};

/// Longest orderly end after SIGTERM; the settings drain for three seconds.
const TERMINATE: Duration = Duration::from_secs(15);

/// A strike at the node that comes later than this by waiting for another gives the node time to take so many generations first, or
/// this long: a machine may be slow.
const LATE_MS: u64 = 200;
const BUSY: u64 = 4;
const UPRIGHT: Duration = Duration::from_secs(3);

/// Carries out all strikes of the schedule; returns when the last is over.
pub async fn all(bed: &Arc<Bed>, postgres: Option<Arc<Postgres>>) {
    let strikes: Vec<_> = bed
        .world
        .schedule
        .strikes
        .iter()
        .map(|strike| {
            let (bed, strike, postgres) = (Arc::clone(bed), *strike, postgres.clone());
            Handle::current().spawn(async move {
                let due = Duration::from_millis(strike.at_ms.saturating_sub(bed.world.now_ms()));
                tokio::time::sleep(due).await;
                if let Err(error) = one(&bed, strike, postgres).await {
                    bed.world.log(format_args!("{}: {} did not come about: {error:#}", strike.link, strike.fault));
                }
            })
        })
        .collect();
    for strike in strikes {
        // A strike that panics has said so.
        drop(strike.await);
    }
}

async fn one(bed: &Bed, strike: Strike, postgres: Option<Arc<Postgres>>) -> anyhow::Result<()> {
    let lasts = Duration::from_millis(strike.for_ms);
    let since = bed.world.now_ms();
    match strike.link {
        Link::Node | Link::Database => {
            let done = match strike.link {
                Link::Node => node(bed, strike, lasts).await,
                _ => database(bed, strike, (lasts, postgres)).await,
            };
            bed.world.disturbed(since);
            done
        }
        Link::Provider if strike.fault == Fault::Kill => sandbox(bed, strike, lasts).await,
        Link::Provider => {
            made(bed, strike);
            bed.outbound.open(false);
            tokio::time::sleep(lasts).await;
            bed.outbound.open(true);
            Ok(())
        }
        Link::Client => {
            made(bed, strike);
            bed.inbound.open(false);
            tokio::time::sleep(lasts).await;
            bed.inbound.open(true);
            Ok(())
        }
        Link::Notify => {
            made(bed, strike);
            bed.receiver.open(false);
            tokio::time::sleep(lasts).await;
            bed.receiver.open(true);
            Ok(())
        }
        Link::Storage => storage(bed, strike, lasts).await,
        Link::Disk => {
            let done = disk(bed, strike, lasts).await;
            bed.world.disturbed(since);
            done
        }
        Link::Submit | Link::Ask | Link::Download | Link::Webhook | Link::Stream | Link::Operator => Ok(()),
    }
}

fn made(bed: &Bed, strike: Strike) {
    bed.world.made(strike.link, strike.fault, format_args!("for {} ms", strike.for_ms));
}

async fn node(bed: &Bed, strike: Strike, lasts: Duration) -> anyhow::Result<()> {
    let mut node = bed.node.lock().await;
    if bed.world.now_ms() > strike.at_ms + LATE_MS {
        // It had to wait for an earlier one. A service that is struck at once whenever it rises does nothing worth breaking.
        let wanted = bed.world.acknowledged_so_far() + BUSY;
        let until = Instant::now() + UPRIGHT;
        while bed.world.acknowledged_so_far() < wanted && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    if !bed.world.storm() {
        return Ok(());
    }
    let Some(process) = &mut node.process else { return Ok(()) };
    made(bed, strike);
    match strike.fault {
        Fault::Freeze => {
            process.signal(Signal::Stop)?;
            tokio::time::sleep(lasts).await;
            process.signal(Signal::Continue)?;
            return Ok(());
        }
        Fault::Terminate => {
            process.signal(Signal::Term)?;
            let ended = async {
                while process.ended()?.is_none() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Ok::<_, anyhow::Error>(())
            };
            match tokio::time::timeout(TERMINATE, ended).await {
                Ok(ended) => ended?,
                Err(_) => {
                    bed.world.log("it does not end on SIGTERM; it is killed");
                    process.kill()?;
                }
            }
        }
        _ => process.kill()?,
    }
    bed.inbound.leads_to(None);
    tokio::time::sleep(lasts).await;
    bed.rise(&mut node).await
}

async fn sandbox(bed: &Bed, strike: Strike, lasts: Duration) -> anyhow::Result<()> {
    let mut sandbox = bed.sandbox.lock().await;
    made(bed, strike);
    sandbox.kill()?;
    tokio::time::sleep(lasts).await;
    *sandbox = simulator(&bed.service.folder, bed.sandbox_address).await?;
    Ok(())
}

async fn database(bed: &Bed, strike: Strike, (lasts, postgres): (Duration, Option<Arc<Postgres>>)) -> anyhow::Result<()> {
    let (Some(proxy), Some(postgres)) = (&bed.database, postgres) else { return Ok(()) };
    if strike.fault != Fault::CutAfter {
        made(bed, strike);
    }
    match strike.fault {
        Fault::CutAll => proxy.cut_all(),
        // It counts when a commit came by.
        Fault::CutAfter => proxy.drop_next_commit(),
        Fault::Stall => proxy.stall(lasts),
        Fault::Refuse => {
            proxy.open(false);
            tokio::time::sleep(lasts).await;
            proxy.open(true);
        }
        fault => {
            let cycle = move || match fault {
                Fault::Restart => postgres.restart(),
                Fault::Freeze => postgres.freeze(lasts),
                _ => postgres.crash(),
            };
            tokio::task::spawn_blocking(cycle).await??;
        }
    }
    Ok(())
}

/// Nothing fits any more, and after a while it does again. The node may be struck meanwhile.
async fn disk(bed: &Bed, strike: Strike, lasts: Duration) -> anyhow::Result<()> {
    let Some(disk) = &bed.disk else { return Ok(()) };
    let process = bed.node.lock().await.process.as_ref().map(Process::id);
    if !bed.world.storm() {
        return Ok(());
    }
    made(bed, strike);
    let filled = disk.fill(process, strike.at_ms);
    tokio::time::sleep(lasts).await;
    let freed = disk.free(process, strike.at_ms);
    // A process that has ended meanwhile has no limit either.
    filled.and(freed)
}

/// The bucket's listener is closed; on the disk a file stands where the folder was.
async fn storage(bed: &Bed, strike: Strike, lasts: Duration) -> anyhow::Result<()> {
    if let Some(proxy) = &bed.storage {
        made(bed, strike);
        proxy.open(false);
        tokio::time::sleep(lasts).await;
        proxy.open(true);
        return Ok(());
    }
    let folder = bed.service.folder.join("data");
    let (media, aside) = (folder.join("media"), folder.join("media.aside"));
    // A strike within another would move the file aside.
    if aside.exists() || std::fs::rename(&media, &aside).is_err() {
        return Ok(());
    }
    made(bed, strike);
    // Without bytes: the disk may be full.
    drop(std::fs::File::create(&media)?);
    tokio::time::sleep(lasts).await;
    std::fs::remove_file(&media)?;
    Ok(std::fs::rename(&aside, &media)?)
}
