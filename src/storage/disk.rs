//! Objects as files under `data_dir/media`, served by our own HTTP server.
//!
//! A file is written under a hidden name in the same file system, flushed, renamed and its folder flushed: whoever sees a key
//! sees the whole object, and after a crash too. Files that a crash left unfinished are removed at the next start.

mod flusher;

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::SystemTime,
};

use bytes::{Bytes, BytesMut};
use tokio::sync::Semaphore;

use self::flusher::Flusher;
use crate::storage::{StorageError, key};

/// Where unfinished files lie; a key cannot name it, for no segment of a key begins with a dot.
const INCOMING: &str = ".incoming";

/// Threads that write files at a time. A few overlap their waits for the disk: on a disk that others kept busy with flushes, 1, 2
/// and 4 threads wrote 56 to 85, 192 to 610 and 370 to 1,050 files of 20 KB a second (six runs each, 64 callers, unoptimised
/// build, 2 cores). More only cost: with a flush of the file alone, sixteen threads wrote half of what four did.
const WRITERS: usize = 4;

/// Bytes gathered before they go to the file: an image is mostly one trip to a blocking thread, and a video's memory stays
/// small.
const FLUSH_BYTES: usize = 256 * 1024;

/// The folder. Clones share the limit on writers.
#[derive(Debug, Clone)]
pub struct Disk {
    folder: Arc<Folder>,
    writers: Arc<Semaphore>,
    flusher: Flusher,
}

#[derive(Debug)]
struct Folder {
    root: PathBuf,
    /// Held while folders are made and flushed: who finds a folder made by another must not finish before that flush.
    making: Mutex<()>,
}

impl Disk {
    /// Opens `data_dir/media`, makes it when missing and sweeps what crashes left.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] or [`StorageError::Denied`] when the folder cannot be used.
    pub async fn open(data_dir: &Path) -> Result<Self, StorageError> {
        let root = data_dir.join("media");
        let folder = Arc::new(Folder { root, making: Mutex::new(()) });
        let disk = Self { folder, writers: Arc::new(Semaphore::new(WRITERS)), flusher: Flusher::default() };
        disk.blocking(|folder| {
            fs::create_dir_all(folder.root.join(INCOMING))?;
            flush_folder(&folder.root)?;
            folder.root.parent().map_or(Ok(()), flush_folder)?;
            sweep(&folder.root.join(INCOMING), first_opened_at())
        })
        .await?;
        Ok(disk)
    }

    /// Where the object of a key lies; none when the text is no key.
    #[must_use]
    pub fn path(&self, key: &str) -> Option<PathBuf> {
        key::check(key).ok().map(|()| self.folder.root.join(key))
    }

    pub(super) fn writer(&self, key: &str) -> DiskWriter {
        DiskWriter { disk: self.clone(), key: key.to_owned(), temporary: None, buffer: BytesMut::new() }
    }

    pub(super) async fn read(&self, key: &str) -> Result<Bytes, StorageError> {
        let path = self.folder.root.join(key);
        let read = tokio::task::spawn_blocking(move || fs::read(path)).await.map_err(gone)?;
        read.map(Bytes::from).map_err(|error| read_error(&error, key))
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), StorageError> {
        let path = self.folder.root.join(key);
        match tokio::task::spawn_blocking(move || fs::remove_file(path)).await.map_err(gone)? {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(read_error(&error, key)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Proves that a file can be written: makes one and removes it.
    pub(super) async fn ping(&self) -> Result<(), StorageError> {
        self.blocking(|folder| {
            let mut temporary = Temporary::new(folder)?;
            temporary.file.write_all(b"ping")
        })
        .await
    }

    /// Runs file work on a blocking thread, as one of [`WRITERS`]. The permit travels with the work, so that a caller that
    /// goes away does not loosen the limit.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder) -> io::Result<T> + Send + 'static,
    ) -> Result<T, StorageError> {
        let permit = Arc::clone(&self.writers).acquire_owned().await.map_err(gone)?;
        let folder = Arc::clone(&self.folder);
        let done = tokio::task::spawn_blocking(move || {
            let done = work(&folder);
            drop(permit);
            done
        });
        done.await.map_err(gone)?.map_err(|error| read_error(&error, "media folder"))
    }
}

/// Writes one object.
#[derive(Debug)]
pub struct DiskWriter {
    disk: Disk,
    key: String,
    temporary: Option<Temporary>,
    buffer: BytesMut,
}

impl DiskWriter {
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() < FLUSH_BYTES {
            return Ok(());
        }
        let (chunk, temporary) = (self.buffer.split().freeze(), self.temporary.take());
        let written = self.disk.blocking(move |folder| {
            let mut temporary = temporary.map_or_else(|| Temporary::new(folder), Ok)?;
            temporary.file.write_all(&chunk)?;
            Ok(temporary)
        });
        self.temporary = Some(written.await?);
        Ok(())
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.buffer.len()
    }

    pub(super) async fn finish(self) -> Result<(), StorageError> {
        let Self { disk, key, temporary, buffer } = self;
        let parent = disk.blocking(move |folder| {
            let mut temporary = temporary.map_or_else(|| Temporary::new(folder), Ok)?;
            temporary.file.write_all(&buffer)?;
            temporary.file.sync_data()?;
            temporary.publish(folder, &key)
        });
        disk.flusher.flushed(parent.await?).await.map_err(|error| read_error(&error, "media folder"))
    }
}

/// An unfinished file; dropped, it is removed.
#[derive(Debug)]
struct Temporary {
    file: File,
    path: PathBuf,
    published: bool,
}

impl Temporary {
    fn new(folder: &Folder) -> io::Result<Self> {
        let path = folder.root.join(INCOMING).join(format!("{:032x}", rand::random::<u128>()));
        let file = File::options().write(true).create_new(true).open(&path)?;
        Ok(Self { file, path, published: false })
    }

    /// Gives it its name; the folder it answers must still be flushed.
    fn publish(mut self, folder: &Folder, key: &str) -> io::Result<PathBuf> {
        let target = folder.root.join(key);
        let parent = make_folders(folder, key)?;
        fs::rename(&self.path, target)?;
        self.published = true;
        Ok(parent)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.published {
            // What cannot be removed now is swept at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes the folders of a key, flushing the parent of each new one, and gives the innermost.
fn make_folders(folder: &Folder, key: &str) -> io::Result<PathBuf> {
    let _making = folder.making.lock().unwrap_or_else(PoisonError::into_inner);
    let mut path = folder.root.clone();
    let Some((folders, _)) = key.rsplit_once('/') else { return Ok(path) };
    for segment in folders.split('/') {
        let inner = path.join(segment);
        match fs::create_dir(&inner) {
            Ok(()) => flush_folder(&path)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        path = inner;
    }
    Ok(path)
}

/// Makes the entries of a folder durable (`fsync(2)`: flushing a file does not flush its entry).
fn flush_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// When this process first opened a disk storage: unfinished files from before belong to nobody.
fn first_opened_at() -> SystemTime {
    static FIRST: OnceLock<SystemTime> = OnceLock::new();
    *FIRST.get_or_init(SystemTime::now)
}

fn sweep(incoming: &Path, before: SystemTime) -> io::Result<()> {
    for entry in fs::read_dir(incoming)? {
        let entry = entry?;
        if entry.metadata()?.modified()? < before {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The blocking thread died or the runtime is going down.
fn gone(error: impl std::fmt::Display) -> StorageError {
    StorageError::Unavailable(error.to_string())
}

fn read_error(error: &io::Error, what: &str) -> StorageError {
    if error.kind() == io::ErrorKind::NotFound || error.kind() == io::ErrorKind::IsADirectory {
        StorageError::NotFound(what.to_owned())
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        StorageError::Denied(format!("{what}: {error}"))
    } else {
        StorageError::Unavailable(format!("{what}: {error}"))
    }
}
