//! Reading an answer's body without trusting it: a cap that is enforced while bytes arrive (a Content-Length only refuses
//! earlier), and a longest wait for the next byte. Nothing is decompressed, so the cap counts what is held.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

/// Why a body was not read to its end. Holds no URL.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Larger than the cap.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(u64),
    /// No byte for too long.
    #[error("no byte arrived for {} ms", .0.as_millis())]
    Stalled(Duration),
    /// The connection ended before the body did.
    #[error("the answer was cut off")]
    Cut(#[source] reqwest::Error),
}

/// A body that is read chunk by chunk.
#[derive(Debug)]
pub struct CappedBody {
    response: reqwest::Response,
    cap: u64,
    read: u64,
    stall: Duration,
}

impl CappedBody {
    /// The body of `response`, of which at most `cap` bytes are read, with at most `stall` between two chunks.
    ///
    /// # Errors
    /// [`BodyError::TooLarge`] when its Content-Length already says so.
    pub fn new(response: reqwest::Response, cap: u64, stall: Duration) -> Result<Self, BodyError> {
        if response.content_length().is_some_and(|length| length > cap) {
            return Err(BodyError::TooLarge(cap));
        }
        Ok(Self { response, cap, read: 0, stall })
    }

    /// The next chunk; none at the end. Cancel safe.
    ///
    /// # Errors
    /// [`BodyError`]; the body is of no further use then.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        let waited = tokio::time::timeout(self.stall, self.response.chunk()).await;
        let chunk = waited.map_err(|_| BodyError::Stalled(self.stall))?.map_err(|error| BodyError::Cut(error.without_url()))?;
        self.read = self.read.saturating_add(chunk.as_ref().map_or(0, |chunk| u64::try_from(chunk.len()).unwrap_or(u64::MAX)));
        if self.read > self.cap { Err(BodyError::TooLarge(self.cap)) } else { Ok(chunk) }
    }

    /// The whole rest in memory.
    ///
    /// # Errors
    /// [`BodyError`].
    pub async fn collect(mut self) -> Result<Bytes, BodyError> {
        let mut whole = BytesMut::new();
        while let Some(chunk) = self.next().await? {
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }
}
