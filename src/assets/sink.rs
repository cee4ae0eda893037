//! The receiving end of a transfer: looks at the first bytes, then streams into the storage, counting and hashing.

use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};

use crate::{
    assets::transfer::{StoredAsset, TransferFault},
    media::inspect::{self, HEADER_BYTES, MediaType, SNIFF_BYTES},
    storage::{Storage, Writer},
};

/// Takes the bytes of one file. Dropped, it leaves nothing in the storage.
pub(super) struct Sink<'a> {
    storage: &'a Storage,
    key_stem: &'a str,
    max_bytes: u64,
    /// What the header called it; only for the text of an error.
    claimed: Option<String>,
    head: BytesMut,
    open: Option<Open>,
    hash: Sha256,
    count: u64,
}

struct Open {
    writer: Writer,
    media: MediaType,
    key: String,
}

impl<'a> Sink<'a> {
    pub(super) fn new(storage: &'a Storage, key_stem: &'a str, max_bytes: u64) -> Self {
        Self { storage, key_stem, max_bytes, claimed: None, head: BytesMut::new(), open: None, hash: Sha256::new(), count: 0 }
    }

    pub(super) fn claimed(mut self, content_type: Option<&str>) -> Self {
        self.claimed = content_type.map(|text| text.chars().take(100).collect());
        self
    }

    /// Bytes taken so far.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    pub(super) async fn take(&mut self, bytes: Bytes) -> Result<(), TransferFault> {
        self.count = self.count.saturating_add(bytes.len() as u64);
        check_size(self.count, self.max_bytes)?;
        self.hash.update(&bytes);
        let room = HEADER_BYTES.saturating_sub(self.head.len());
        self.head.extend_from_slice(bytes.get(..room).unwrap_or(&bytes));
        if let Some(open) = &mut self.open {
            return open.writer.write(bytes).await.map_err(storage_fault);
        }
        // Once open, the head goes first: all that came so far, unless one chunk was larger than the head.
        if self.head.len() >= SNIFF_BYTES {
            let rest = bytes.slice(room.min(bytes.len())..);
            self.open(rest).await?;
        }
        Ok(())
    }

    pub(super) async fn finish(mut self) -> Result<StoredAsset, TransferFault> {
        if self.count == 0 {
            return Err(TransferFault::Transient("the file is empty".to_owned()));
        }
        if self.open.is_none() {
            self.open(Bytes::new()).await?;
        }
        let Some(Open { writer, media, key }) = self.open else {
            return Err(TransferFault::Transient("the file is empty".to_owned()));
        };
        let size = inspect::dimensions(media, &self.head);
        writer.finish().await.map_err(storage_fault)?;
        Ok(StoredAsset {
            storage_key: key,
            kind: media.kind,
            content_type: media.mime.to_owned(),
            width: size.and_then(|(width, _)| i32::try_from(width).ok()),
            height: size.and_then(|(_, height)| i32::try_from(height).ok()),
            duration_ms: None,
            bytes: i64::try_from(self.count).unwrap_or(i64::MAX),
            sha256: self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    }

    /// Judges the first bytes and begins the object: nothing is created for an error page.
    async fn open(&mut self, rest: Bytes) -> Result<(), TransferFault> {
        let Some(media) = inspect::sniff(&self.head) else {
            let claimed = self.claimed.as_ref().map(|text| format!(", labelled {text}")).unwrap_or_default();
            return Err(TransferFault::Unacceptable(format!(
                "not a picture or video but {}{claimed}",
                inspect::describe(&self.head)
            )));
        };
        let key = format!("{}.{}", self.key_stem, media.ext);
        let mut writer = self.storage.writer(&key, media.mime).map_err(storage_fault)?;
        writer.write(Bytes::copy_from_slice(&self.head)).await.map_err(storage_fault)?;
        writer.write(rest).await.map_err(storage_fault)?;
        self.open = Some(Open { writer, media, key });
        Ok(())
    }
}

/// # Errors
/// [`TransferFault::Unacceptable`] when the file is larger than it may be.
pub(super) fn check_size(bytes: u64, max_bytes: u64) -> Result<(), TransferFault> {
    if bytes > max_bytes {
        return Err(TransferFault::Unacceptable(format!("larger than the limit of {max_bytes} bytes")));
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "handed to map_err")]
fn storage_fault(error: crate::storage::StorageError) -> TransferFault {
    TransferFault::Storage(error.to_string())
}
