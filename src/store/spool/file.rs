//! The files: one writer each, locked by the operating system for as long as its process lives.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{
    format::{Content, content},
    merge::Merged,
};

/// How files that may be merged end.
const ENDING: &str = "spool";

/// A file that is written to.
#[derive(Debug)]
pub struct Writer {
    file: File,
    path: PathBuf,
    receipts: u64,
    bytes: u64,
}

impl Writer {
    /// Makes a file. Nobody sees it before it is locked: it gets its name after that.
    pub fn make(folder: &Path, name: &str) -> io::Result<Self> {
        if !folder.is_dir() {
            fs::create_dir_all(folder)?;
            sync(folder.parent().unwrap_or(folder))?;
        }
        let (draft, path) = (folder.join(format!("{name}.new")), folder.join(format!("{name}.{ENDING}")));
        let file = OpenOptions::new().create_new(true).append(true).mode(0o600).open(&draft)?;
        file.try_lock().map_err(io::Error::from)?;
        fs::rename(&draft, &path)?;
        sync(folder)?;
        Ok(Self { file, path, receipts: 0, bytes: 0 })
    }

    /// Appends a line; durable once this returns Ok.
    pub fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all(line).and_then(|()| self.file.sync_data()) {
            // As far as it goes: a reader tells half a line from a whole one.
            let _cut = self.file.set_len(self.bytes);
            return Err(error);
        }
        self.receipts = self.receipts.saturating_add(1);
        self.bytes = self.bytes.saturating_add(u64::try_from(line.len()).unwrap_or(u64::MAX));
        Ok(())
    }

    /// Ends writing; none, and no file, when nothing was written.
    pub fn seal(self) -> Option<Sealed> {
        if self.receipts == 0 {
            let _gone = fs::remove_file(&self.path);
            return None;
        }
        Some(Sealed::of(self.file, self.path, (self.receipts, self.bytes)))
    }

    /// Bytes written.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// A file that only has to be merged, locked by us.
#[derive(Debug)]
pub struct Sealed {
    _lock: File,
    path: PathBuf,
    receipts: u64,
    bytes: u64,
    /// How many are done with, and what came of them: a merge that was broken off goes on behind them.
    done: Mutex<(usize, Merged)>,
}

impl Sealed {
    fn of(lock: File, path: PathBuf, (receipts, bytes): (u64, u64)) -> Self {
        Self { _lock: lock, path, receipts, bytes, done: Mutex::default() }
    }

    /// How many receipts are done with, and what came of them.
    pub fn done(&self) -> (usize, Merged) {
        self.progress().clone()
    }

    /// So many more are done with.
    pub fn went_on(&self, receipts: usize, merged: Merged) {
        let mut done = self.progress();
        done.0 = done.0.saturating_add(receipts);
        done.1.add(merged);
    }

    fn progress(&self) -> MutexGuard<'_, (usize, Merged)> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Receipts that were written to it by this process.
    pub const fn receipts(&self) -> u64 {
        self.receipts
    }

    /// Its length.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Its place.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it.
    pub fn read(&self) -> io::Result<Content> {
        fs::read(&self.path).map(|bytes| content(&bytes))
    }

    /// Removes it for good.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        sync(self.path.parent().unwrap_or(Path::new(".")))
    }

    /// Keeps it under a name that no merge looks at, for somebody to look at.
    pub fn set_aside(&self) -> io::Result<PathBuf> {
        let aside = self.path.with_extension("aside");
        fs::rename(&self.path, &aside)?;
        sync(self.path.parent().unwrap_or(Path::new(".")))?;
        Ok(aside)
    }
}

/// What lies in a folder.
#[derive(Debug, Default)]
pub struct Found {
    /// Left behind; locked by us from now on.
    pub left: Vec<Sealed>,
    /// Files of processes that live.
    pub in_use: usize,
}

/// Looks for files; a folder that is not there holds none.
pub fn find(folder: &Path) -> io::Result<Found> {
    let mut found = Found::default();
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    let mut paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|ending| ending == ENDING));
    paths.sort();
    for path in paths {
        let file = match File::open(&path) {
            // Its process, or another merge, has just finished with it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file?,
        };
        match file.try_lock() {
            Ok(()) => {
                let bytes = file.metadata()?.len();
                found.left.push(Sealed::of(file, path, (0, bytes)));
            }
            Err(TryLockError::WouldBlock) => found.in_use = found.in_use.saturating_add(1),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(found)
}

/// Makes entries of a folder durable.
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
