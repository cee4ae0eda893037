//! The disk under the service's data folder, which is full for a while: a small file system of its own where one may be mounted, else
//! a limit on what the process may write.

use std::{
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::ensure;

/// Set by `scripts/chaos` where mounts are private to the run and end with it.
const MOUNTS: &str = "LONGTAKE_CHAOS_MOUNTS";

/// Far more than a run writes (some megabytes of rows, log and results), and filled within a moment.
const SIZE: &str = "size=128m,mode=700";

/// The disk of one run.
#[derive(Debug)]
pub enum Disk {
    /// A file system that holds nothing but the data folder.
    Mounted(PathBuf),
    /// The machine's own: the process is told that its files may not grow (`EFBIG` instead of `ENOSPC`).
    Limited,
}

fn call(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let done = Command::new(program).args(arguments).output()?;
    ensure!(done.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

impl Disk {
    /// Puts a disk under a folder that holds nothing yet.
    ///
    /// # Errors
    /// When the folder cannot be made, or the mount fails although it may be made.
    pub fn under(data: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(data)?;
        if std::env::var_os(MOUNTS).is_none() {
            return Ok(Self::Limited);
        }
        call("mount", &["-t", "tmpfs", "-o", SIZE, "longtake-chaos", &data.display().to_string()])?;
        Ok(Self::Mounted(data.to_owned()))
    }

    /// Leaves no room, also for this process. `number` tells several at once apart.
    ///
    /// # Errors
    /// What the system says.
    pub fn fill(&self, process: Option<u32>, number: u64) -> anyhow::Result<()> {
        match self {
            Self::Mounted(data) => {
                let mut filler = File::create(filler(data, number))?;
                let zeros = vec![0_u8; 64 * 1024];
                // Ever smaller, so that not a page is left.
                for size in [zeros.len(), 4_096, 1] {
                    loop {
                        match filler.write_all(&zeros[..size]) {
                            Ok(()) => {}
                            Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                            Err(error) => return Err(error.into()),
                        }
                    }
                }
                Ok(())
            }
            Self::Limited => limit(process, "0:unlimited"),
        }
    }

    /// Makes room again.
    ///
    /// # Errors
    /// What the system says.
    pub fn free(&self, process: Option<u32>, number: u64) -> anyhow::Result<()> {
        match self {
            Self::Mounted(data) => Ok(std::fs::remove_file(filler(data, number))?),
            Self::Limited => limit(process, "unlimited:unlimited"),
        }
    }

    /// Moves what lies on it to the folder below, for people, once nothing runs any more.
    ///
    /// # Errors
    /// What the system says.
    pub fn end(&self) -> anyhow::Result<()> {
        let Self::Mounted(data) = self else { return Ok(()) };
        let (data, aside) = (data.display().to_string(), format!("{}.kept", data.display()));
        call("cp", &["-a", &data, &aside])?;
        call("umount", &[&data])?;
        std::fs::remove_dir(&data)?;
        Ok(std::fs::rename(aside, data)?)
    }
}

fn filler(data: &Path, number: u64) -> PathBuf {
    data.join(format!("filler-{number}"))
}

fn limit(process: Option<u32>, size: &str) -> anyhow::Result<()> {
    // Between an end and the next start there is nobody to limit.
    let Some(process) = process else { return Ok(()) };
    call("prlimit", &["--pid", &process.to_string(), &format!("--fsize={size}")])
}
