//! Objects in memory, for tests: the same promises as the others, gone with the process.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::{Bytes, BytesMut};

use crate::storage::StorageError;

/// Clones share one content.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    objects: Arc<Mutex<HashMap<String, Stored>>>,
}

/// One object.
#[derive(Debug, Clone)]
pub struct Stored {
    /// MIME type it was stored with.
    pub content_type: String,
    /// Content.
    pub bytes: Bytes,
}

impl Memory {
    pub(super) fn writer(&self, key: &str, content_type: &str) -> MemoryWriter {
        MemoryWriter { memory: self.clone(), key: key.to_owned(), content_type: content_type.to_owned(), buffer: BytesMut::new() }
    }

    /// The object of that key.
    ///
    /// # Errors
    /// [`StorageError::NotFound`].
    pub fn object(&self, key: &str) -> Result<Stored, StorageError> {
        self.objects().get(key).cloned().ok_or_else(|| StorageError::NotFound(key.to_owned()))
    }

    /// The keys, sorted: what a test compares.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<_> = self.objects().keys().cloned().collect();
        keys.sort();
        keys
    }

    pub(super) fn delete(&self, key: &str) {
        self.objects().remove(key);
    }

    fn objects(&self) -> MutexGuard<'_, HashMap<String, Stored>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Collects one object.
#[derive(Debug)]
pub struct MemoryWriter {
    memory: Memory,
    key: String,
    content_type: String,
    buffer: BytesMut,
}

impl MemoryWriter {
    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.buffer.len()
    }

    pub(super) fn finish(self) {
        let stored = Stored { content_type: self.content_type, bytes: self.buffer.freeze() };
        self.memory.objects().insert(self.key, stored);
    }
}
