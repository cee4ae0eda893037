//! Where results live: files on disk, an S3 bucket, or memory (tests). One conformance suite holds all three.
//!
//! An object appears whole or not at all: what is written becomes visible, and durable, when its writer is finished.

pub mod disk;
pub mod key;
pub mod memory;
pub mod s3;

use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::config::storage::{StorageConfig, StorageKind};

/// The configured storage. Clones share it.
#[derive(Debug, Clone)]
pub enum Storage {
    /// Files under `data_dir/media`.
    Disk(disk::Disk),
    /// An S3 bucket.
    S3(s3::Bucket),
    /// Memory.
    Memory(memory::Memory),
}

/// What went wrong. The texts hold no secret and no signed query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// It cannot be reached, is full or failed: another try may succeed.
    #[error("the storage is unavailable: {0}")]
    Unavailable(String),
    /// It refused our credential or our rights.
    #[error("the storage refused access: {0}")]
    Denied(String),
    /// It has no such object.
    #[error("the storage has no object {0}")]
    NotFound(String),
    /// The key, the configuration or the request cannot be right.
    #[error("the storage cannot do this: {0}")]
    Invalid(String),
}

impl Storage {
    /// Opens the configured storage. Must be called on the runtime that owns the sockets: uploads run there. A bucket is not
    /// contacted; [`Storage::ping`] does that.
    ///
    /// # Errors
    /// [`StorageError::Invalid`] for a configuration that cannot work; a disk's folder may be unavailable or denied.
    pub async fn open(config: &StorageConfig, data_dir: &Path) -> Result<Self, StorageError> {
        match config.kind {
            StorageKind::Disk => Ok(Self::Disk(disk::Disk::open(data_dir).await?)),
            StorageKind::S3 => Ok(Self::S3(s3::Bucket::open(config)?)),
            StorageKind::Memory => Ok(Self::Memory(memory::Memory::default())),
        }
    }

    /// Starts a new object, replacing one of the same key when it is finished.
    ///
    /// # Errors
    /// [`StorageError::Invalid`] when the key is none. Nothing is sent before the first bytes.
    pub fn writer(&self, key: &str, content_type: &str) -> Result<Writer, StorageError> {
        key::check(key)?;
        Ok(Writer(match self {
            Self::Disk(disk) => Target::Disk(disk.writer(key)),
            Self::S3(bucket) => Target::S3(Box::new(bucket.writer(key, content_type))),
            Self::Memory(memory) => Target::Memory(memory.writer(key, content_type)),
        }))
    }

    /// Stores an object that is in memory already.
    ///
    /// # Errors
    /// As [`Writer::finish`].
    pub async fn put(&self, key: &str, content_type: &str, bytes: Bytes) -> Result<(), StorageError> {
        let mut writer = self.writer(key, content_type)?;
        writer.write(bytes).await?;
        writer.finish().await
    }

    /// Reads a whole object into memory: for small, staged ones.
    ///
    /// # Errors
    /// [`StorageError::NotFound`] and the others.
    pub async fn read(&self, key: &str) -> Result<Bytes, StorageError> {
        key::check(key)?;
        match self {
            Self::Disk(disk) => disk.read(key).await,
            Self::S3(bucket) => bucket.read(key).await,
            Self::Memory(memory) => memory.object(key).map(|stored| stored.bytes),
        }
    }

    /// Removes an object; one that is not there is removed already.
    ///
    /// # Errors
    /// When the storage cannot be reached or refuses.
    pub async fn delete(&self, key: &str) -> Result<(), StorageError> {
        key::check(key)?;
        match self {
            Self::Disk(disk) => disk.delete(key).await,
            Self::S3(bucket) => bucket.delete(key).await,
            Self::Memory(memory) => {
                memory.delete(key);
                Ok(())
            }
        }
    }

    /// Where a client finds the object: below `public_base`, our own public URL without a trailing slash, at the bucket's
    /// public URL, or presigned for as long as configured.
    ///
    /// # Errors
    /// [`StorageError::Invalid`] when the key is none.
    pub async fn url(&self, key: &str, public_base: &str) -> Result<String, StorageError> {
        key::check(key)?;
        match self {
            Self::Disk(_) | Self::Memory(_) => Ok(format!("{}/media/{key}", public_base.trim_end_matches('/'))),
            Self::S3(bucket) => bucket.url(key).await,
        }
    }

    /// Asks whether objects could be stored now. At S3 it asks for the bucket's head, which takes the right `s3:ListBucket`.
    ///
    /// # Errors
    /// What a writer would meet.
    pub async fn ping(&self) -> Result<(), StorageError> {
        match self {
            Self::Disk(disk) => disk.ping().await,
            Self::S3(bucket) => bucket.ping().await,
            Self::Memory(_) => Ok(()),
        }
    }

    /// The file of a key, where objects are files and the text is a key.
    #[must_use]
    pub fn disk_path(&self, key: &str) -> Option<PathBuf> {
        match self {
            Self::Disk(disk) => disk.path(key),
            Self::S3(_) | Self::Memory(_) => None,
        }
    }
}

/// Writes one object. Dropped before it is finished, it leaves nothing behind, as far as the storage can be reached.
#[derive(Debug)]
pub struct Writer(Target);

#[derive(Debug)]
enum Target {
    Disk(disk::DiskWriter),
    S3(Box<s3::upload::Upload>),
    Memory(memory::MemoryWriter),
}

impl Writer {
    /// Adds bytes; waits while the storage is behind, so that memory stays bounded.
    ///
    /// # Errors
    /// After an error the writer can only be dropped or aborted.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), StorageError> {
        match &mut self.0 {
            Target::Disk(writer) => writer.write(&bytes).await,
            Target::S3(writer) => writer.write(&bytes).await,
            Target::Memory(writer) => {
                writer.write(&bytes);
                Ok(())
            }
        }
    }

    /// Bytes this writer holds in memory now: gathered and on their way.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        match &self.0 {
            Target::Disk(writer) => writer.held_bytes(),
            Target::S3(writer) => writer.held_bytes(),
            Target::Memory(writer) => writer.held_bytes(),
        }
    }

    /// Makes the object visible and durable. Not cancel safe: broken off, the object may appear or not.
    ///
    /// # Errors
    /// Then nothing is visible, unless the storage's answer was lost.
    pub async fn finish(self) -> Result<(), StorageError> {
        match self.0 {
            Target::Disk(writer) => writer.finish().await,
            Target::S3(writer) => writer.finish().await,
            Target::Memory(writer) => {
                writer.finish();
                Ok(())
            }
        }
    }

    /// Gives the object up and waits until what was sent is gone, as far as that can be reached.
    pub async fn abort(self) {
        match self.0 {
            // Dropping removes the unfinished file, or the buffer.
            Target::Disk(_) | Target::Memory(_) => {}
            Target::S3(writer) => writer.abort().await,
        }
    }
}
