//! One object on its way into the bucket: small ones by a single PUT, larger ones in parts, of which at most
//! [`PARTS_IN_FLIGHT`] are under way beside the one that is filling up. Memory is bounded by that, whatever the object's size.

use std::{fmt, time::Duration};

use aws_sdk_s3::{
    error::ProvideErrorMetadata,
    operation::upload_part::UploadPartOutput,
    primitives::ByteStream,
    types::{CompletedMultipartUpload, CompletedPart},
};
use bytes::{Bytes, BytesMut};
use tokio::task::JoinSet;

use crate::storage::{
    StorageError,
    s3::{Bucket, fault},
};

/// Parts under way at a time: one is sent while the next is handed over; more would only cost memory, for the provider's
/// download is the slower side.
pub(super) const PARTS_IN_FLIGHT: usize = 2;

/// How long an abort waits for the parts under way.
const PARTS_END_WITHIN: Duration = Duration::from_secs(5);

/// After so many parts the part size doubles: 10,000 parts, S3's limit, then carry 5 TB at the smallest part size. Not
/// earlier, because some servers (Cloudflare R2) want all parts but the last of one size.
const PARTS_OF_ONE_SIZE: usize = 1_000;

/// Up to here the buffer grows as the object does; past it the rest of the part is reserved at once.
const SMALL_BYTES: usize = 1024 * 1024;

/// An object on its way. Dropped unfinished, it aborts its upload in the background.
pub struct Upload {
    bucket: Bucket,
    object: String,
    content_type: String,
    buffer: BytesMut,
    multipart: Option<Multipart>,
    written: u64,
}

struct Multipart {
    id: String,
    sending: JoinSet<Result<(CompletedPart, usize), StorageError>>,
    sending_bytes: usize,
    sent: Vec<CompletedPart>,
    begun: usize,
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("object", &self.object).field("written", &self.written).finish_non_exhaustive()
    }
}

impl Upload {
    pub(super) fn new(bucket: Bucket, object: String, content_type: String) -> Self {
        Self { bucket, object, content_type, buffer: BytesMut::new(), multipart: None, written: 0 }
    }

    pub(in crate::storage) async fn write(&mut self, mut bytes: &[u8]) -> Result<(), StorageError> {
        while !bytes.is_empty() {
            let part = self.part_bytes();
            let (now, later) = bytes.split_at(bytes.len().min(part.saturating_sub(self.buffer.len())));
            if self.buffer.len().saturating_add(now.len()) > SMALL_BYTES {
                self.buffer.reserve(part.saturating_sub(self.buffer.len()));
            }
            self.buffer.extend_from_slice(now);
            bytes = later;
            // Sent only when more follows: an object of exactly one part is a single PUT.
            if self.buffer.len() >= part && !bytes.is_empty() {
                self.send_part().await?;
            }
        }
        Ok(())
    }

    pub(in crate::storage) fn held_bytes(&self) -> usize {
        let sending = self.multipart.as_ref().map_or(0, |multipart| multipart.sending_bytes);
        self.buffer.len().saturating_add(sending)
    }

    pub(in crate::storage) async fn finish(mut self) -> Result<(), StorageError> {
        if self.multipart.is_none() {
            return self.put().await;
        }
        let completed = self.complete().await;
        if completed.is_err() {
            self.abort().await;
        } else {
            self.multipart = None;
        }
        completed
    }

    pub(in crate::storage) async fn abort(mut self) {
        if let Some(multipart) = self.multipart.take() {
            multipart.abort(&self.bucket, &self.object).await;
        }
    }

    /// The size of the part that is filling up.
    fn part_bytes(&self) -> usize {
        part_bytes(self.bucket.inner.part_bytes, self.multipart.as_ref().map_or(0, |multipart| multipart.begun))
    }

    async fn put(&mut self) -> Result<(), StorageError> {
        let inner = &self.bucket.inner;
        let call = inner.client.put_object().bucket(&inner.name).key(&self.object).content_type(&self.content_type);
        let sent = call.body(ByteStream::from(self.buffer.split().freeze())).send().await;
        sent.map(|_| ()).map_err(|error| fault::read(&error, &self.object))
    }

    async fn send_part(&mut self) -> Result<(), StorageError> {
        if self.multipart.is_none() {
            self.multipart = Some(self.create().await?);
        }
        let Some(multipart) = &mut self.multipart else { return Ok(()) };
        while multipart.sending.len() >= PARTS_IN_FLIGHT {
            multipart.join_one().await?;
        }
        let bytes = self.buffer.split().freeze();
        self.written = self.written.saturating_add(bytes.len() as u64);
        multipart.send(&self.bucket, &self.object, bytes);
        Ok(())
    }

    async fn create(&self) -> Result<Multipart, StorageError> {
        let inner = &self.bucket.inner;
        let call = inner.client.create_multipart_upload().bucket(&inner.name).key(&self.object);
        let created = call.content_type(&self.content_type).send().await.map_err(|error| fault::read(&error, &self.object))?;
        let id = created.upload_id.ok_or_else(|| StorageError::Unavailable("an upload was begun without an id".to_owned()))?;
        Ok(Multipart { id, sending: JoinSet::new(), sending_bytes: 0, sent: Vec::new(), begun: 0 })
    }

    async fn complete(&mut self) -> Result<(), StorageError> {
        if !self.buffer.is_empty() {
            self.send_part().await?;
        }
        let Some(multipart) = &mut self.multipart else { return Ok(()) };
        while !multipart.sending.is_empty() {
            multipart.join_one().await?;
        }
        multipart.sent.sort_by_key(|part| part.part_number);
        let parts = CompletedMultipartUpload::builder().set_parts(Some(std::mem::take(&mut multipart.sent))).build();
        let inner = &self.bucket.inner;
        let call = inner.client.complete_multipart_upload().bucket(&inner.name).key(&self.object).upload_id(&multipart.id);
        match call.multipart_upload(parts).send().await {
            Ok(_) => Ok(()),
            // A retry after a lost answer: the upload may be gone because it was completed.
            Err(error) if error.code() == Some("NoSuchUpload") => self.was_completed().await,
            Err(error) => Err(fault::read(&error, &self.object)),
        }
    }

    async fn was_completed(&self) -> Result<(), StorageError> {
        let inner = &self.bucket.inner;
        let head = inner.client.head_object().bucket(&inner.name).key(&self.object).send().await;
        let found = head.map_err(|error| fault::read(&error, &self.object))?.content_length;
        if found.and_then(|length| u64::try_from(length).ok()) == Some(self.written) {
            Ok(())
        } else {
            Err(StorageError::Unavailable("the upload is gone and the object is not the one that was sent".to_owned()))
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(multipart) = self.multipart.take() {
            let (bucket, object) = (self.bucket.clone(), std::mem::take(&mut self.object));
            let runtime = bucket.inner.runtime.clone();
            runtime.spawn(async move { multipart.abort(&bucket, &object).await });
        }
    }
}

impl Multipart {
    fn send(&mut self, bucket: &Bucket, object: &str, bytes: Bytes) {
        self.begun = self.begun.saturating_add(1);
        self.sending_bytes = self.sending_bytes.saturating_add(bytes.len());
        let number = i32::try_from(self.begun).unwrap_or(i32::MAX);
        let inner = &bucket.inner;
        let call = inner.client.upload_part().bucket(&inner.name).key(object).upload_id(&self.id).part_number(number);
        let (object, size) = (object.to_owned(), bytes.len());
        let sending = async move {
            let sent = call.body(ByteStream::from(bytes)).send().await.map_err(|error| fault::read(&error, &object))?;
            Ok((completed(sent, number), size))
        };
        self.sending.spawn_on(sending, &inner.runtime);
    }

    async fn join_one(&mut self) -> Result<(), StorageError> {
        if let Some(joined) = self.sending.join_next().await {
            let (part, size) = joined.map_err(|error| StorageError::Unavailable(error.to_string()))??;
            self.sending_bytes = self.sending_bytes.saturating_sub(size);
            self.sent.push(part);
        }
        Ok(())
    }

    /// Lets the parts under way end first, for a while: one that arrives after the abort would stay, unseen and paid for, and cutting
    /// its connection does not take back what was sent.
    async fn abort(mut self, bucket: &Bucket, object: &str) {
        let ended = async { while self.sending.join_next().await.is_some() {} };
        if tokio::time::timeout(PARTS_END_WITHIN, ended).await.is_err() {
            self.sending.shutdown().await;
        }
        let inner = &bucket.inner;
        let aborted = inner.client.abort_multipart_upload().bucket(&inner.name).key(object).upload_id(&self.id).send().await;
        if let Err(error) = aborted.map_err(|error| fault::read(&error, object)) {
            // What stays is removed by the bucket's lifecycle rule for incomplete uploads.
            tracing::warn!(error = %error, "an unfinished upload could not be aborted");
        }
    }
}

/// S3 wants the checksums of the parts back when they were sent with some.
fn completed(sent: UploadPartOutput, number: i32) -> CompletedPart {
    CompletedPart::builder()
        .part_number(number)
        .set_e_tag(sent.e_tag)
        .set_checksum_crc32(sent.checksum_crc32)
        .set_checksum_crc32_c(sent.checksum_crc32_c)
        .set_checksum_crc64_nvme(sent.checksum_crc64_nvme)
        .set_checksum_sha1(sent.checksum_sha1)
        .set_checksum_sha256(sent.checksum_sha256)
        .build()
}

/// The size of the next part when `begun` are begun.
fn part_bytes(smallest: usize, begun: usize) -> usize {
    let doublings = u32::try_from(begun / PARTS_OF_ONE_SIZE).unwrap_or(u32::MAX).min(9);
    smallest.saturating_mul(1 << doublings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_parts_carry_five_terabytes() {
        let total: usize = (0..10_000).map(|begun| part_bytes(5 * 1024 * 1024, begun)).sum();
        assert!(total > 5_000_000_000_000, "{total}");
        let largest = part_bytes(8 * 1024 * 1024, 9_999);
        assert!(largest <= 5 * 1024 * 1024 * 1024, "S3 takes no part above 5 GiB");
    }

    #[test]
    fn the_first_thousand_parts_are_of_one_size() {
        assert!((0..1_000).all(|begun| part_bytes(7, begun) == 7));
        assert_eq!(part_bytes(7, 1_000), 14);
    }
}
