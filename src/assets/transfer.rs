//! Moves one result into the storage: download, look, stream, hash. Memory stays constant whatever the size.
//!
//! A download that breaks is resumed where it broke, if the server can say that the file is still the same; else it is
//! begun anew, once. A short body never becomes an object. Waiting between tries and giving up are the uploader's.

use std::time::Duration;

use reqwest::{
    StatusCode,
    header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, LAST_MODIFIED},
};
use tracing::debug;
use url::Url;

use crate::{
    assets::{
        fetch::{self, Downloader, FetchError, Opened, Position},
        sink::{self, Sink},
    },
    config::assets::AssetsConfig,
    domain::record::Kind,
    storage::{Storage, StorageError},
};

/// Resumptions of one download; past them it is begun anew.
const MAX_RESUMES: u32 = 3;
/// Downloads begun for one transfer.
const MAX_BEGINNINGS: u32 = 2;

/// What is to be moved where.
#[derive(Clone, Copy)]
pub struct TransferPlan<'a> {
    /// Where the bytes are.
    pub source: Source<'a>,
    /// The key without extension, from [`crate::storage::key::Names`]; the extension follows from the bytes.
    pub key_stem: &'a str,
    /// Largest size.
    pub max_bytes: u64,
}

impl<'a> TransferPlan<'a> {
    /// A plan with the configured limit of what is expected.
    #[must_use]
    pub const fn new(source: Source<'a>, key_stem: &'a str, kind: Kind, limits: &AssetsConfig) -> Self {
        let max_bytes = match kind {
            Kind::Image => limits.max_image_bytes,
            Kind::Video => limits.max_video_bytes,
        };
        Self { source, key_stem, max_bytes }
    }
}

/// Where the bytes are.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// At the provider.
    Url(&'a str),
    /// In our storage under this key: the answer of a synchronous provider. The caller deletes it after its commit.
    Staged(&'a str),
}

/// What was stored; the columns of the asset's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAsset {
    /// Key in the storage.
    pub storage_key: String,
    /// What it is, by its bytes. May differ from what was expected: a paid result is not dropped for that.
    pub kind: Kind,
    /// MIME type by magic bytes.
    pub content_type: String,
    /// Pixels, where the header says so.
    pub width: Option<i32>,
    /// Pixels, where the header says so.
    pub height: Option<i32>,
    /// Milliseconds; not read yet.
    pub duration_ms: Option<i64>,
    /// Size.
    pub bytes: i64,
    /// SHA-256 of the content, hex.
    pub sha256: String,
}

/// Why nothing was stored. The texts hold no URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransferFault {
    /// The provider does not hand it out (any more).
    #[error("the provider does not hand the result out: {0}")]
    Expired(String),
    /// Another try may succeed.
    #[error("the download failed: {0}")]
    Transient(String),
    /// Another try would bring the same: wrong content, too large, a forbidden address.
    #[error("the result cannot be stored: {0}")]
    Unacceptable(String),
    /// Our storage failed; another try may succeed.
    #[error("{0}")]
    Storage(String),
}

/// Moves one asset. Dropped, it leaves nothing behind in the storage.
///
/// # Errors
/// [`TransferFault`] says what may follow.
pub async fn transfer(
    downloader: Downloader<'_>,
    storage: &Storage,
    limits: &AssetsConfig,
    plan: TransferPlan<'_>,
) -> Result<StoredAsset, TransferFault> {
    let moving = async {
        match plan.source {
            Source::Url(url) => {
                let url =
                    Url::parse(url).map_err(|_| TransferFault::Unacceptable("the result's address is no URL".to_owned()))?;
                let stall = Duration::from_millis(limits.stall_ms);
                Download { downloader, storage, plan, url, stall }.run().await
            }
            Source::Staged(key) => from_staged(storage, plan, key).await,
        }
    };
    match tokio::time::timeout(Duration::from_secs(limits.max_transfer_s), Box::pin(moving)).await {
        Ok(done) => done,
        Err(_) => Err(TransferFault::Transient(format!("not finished within {} s", limits.max_transfer_s))),
    }
}

async fn from_staged(storage: &Storage, plan: TransferPlan<'_>, key: &str) -> Result<StoredAsset, TransferFault> {
    let bytes = match storage.read(key).await {
        Ok(bytes) => bytes,
        Err(StorageError::NotFound(_)) => return Err(TransferFault::Expired("its staged copy is gone".to_owned())),
        Err(error @ (StorageError::Unavailable(_) | StorageError::Denied(_) | StorageError::Invalid(_))) => {
            return Err(TransferFault::Storage(error.to_string()));
        }
    };
    let mut sink = Sink::new(storage, plan.key_stem, plan.max_bytes);
    sink.take(bytes).await?;
    sink.finish().await
}

struct Download<'a> {
    downloader: Downloader<'a>,
    storage: &'a Storage,
    plan: TransferPlan<'a>,
    url: Url,
    stall: Duration,
}

/// Why one download ended without an object.
enum Broken {
    /// For good.
    Fault(TransferFault),
    /// It cannot be resumed; from the start it may succeed.
    Anew(String),
}

impl From<TransferFault> for Broken {
    fn from(fault: TransferFault) -> Self {
        Self::Fault(fault)
    }
}

/// What the first answer says of the file.
struct File {
    total: Option<u64>,
    validator: Option<String>,
}

/// How reading a body ended.
enum Read {
    Whole,
    Cut(String),
}

impl Download<'_> {
    async fn run(&self) -> Result<StoredAsset, TransferFault> {
        let mut why = String::new();
        for _ in 0..MAX_BEGINNINGS {
            match self.once().await {
                Ok(asset) => return Ok(asset),
                Err(Broken::Fault(fault)) => return Err(fault),
                Err(Broken::Anew(text)) => {
                    debug!(why = text, "a download cannot be resumed");
                    why = text;
                }
            }
        }
        Err(TransferFault::Transient(why))
    }

    async fn once(&self) -> Result<StoredAsset, Broken> {
        let opened = self.open(Position::START).await?;
        judge(opened.status)?;
        let mut file = File { total: length(&opened.headers), validator: validator(&opened.headers) };
        sink::check_size(file.total.unwrap_or(0), self.plan.max_bytes)?;
        let mut sink =
            Sink::new(self.storage, self.plan.key_stem, self.plan.max_bytes).claimed(text(&opened.headers, &CONTENT_TYPE));
        let mut body = Some(opened);
        let mut resumes = 0;
        loop {
            let cut = match &mut body {
                Some(opened) => match self.read(opened, &file, &mut sink).await? {
                    Read::Whole => return Ok(sink.finish().await?),
                    Read::Cut(why) => why,
                },
                None => "the server did not answer".to_owned(),
            };
            if resumes == MAX_RESUMES {
                return Err(Broken::Anew(cut));
            }
            resumes += 1;
            debug!(why = cut, offset = sink.count(), "a download broke; it is resumed");
            body = self.resume(&mut file, sink.count()).await?;
        }
    }

    async fn open(&self, position: Position<'_>) -> Result<Opened, TransferFault> {
        fetch::open(self.downloader, &self.url, position, self.stall).await.map_err(|error| match error {
            FetchError::Forbidden(text) => TransferFault::Unacceptable(text),
            FetchError::Failed(text) => TransferFault::Transient(text),
        })
    }

    async fn read(&self, opened: &mut Opened, file: &File, sink: &mut Sink<'_>) -> Result<Read, TransferFault> {
        loop {
            match tokio::time::timeout(self.stall, opened.body.chunk()).await {
                Ok(Ok(Some(chunk))) => sink.take(chunk).await?,
                Ok(Ok(None)) if file.total.is_none_or(|total| total == sink.count()) => return Ok(Read::Whole),
                Ok(Ok(None)) => return Ok(Read::Cut(format!("the body ended after {} bytes", sink.count()))),
                Ok(Err(error)) => return Ok(Read::Cut(fetch::cause(&error))),
                Err(_) => return Ok(Read::Cut(format!("no byte for {} ms", self.stall.as_millis()))),
            }
        }
    }

    /// Asks for the rest; none when the server did not answer or failed.
    async fn resume(&self, file: &mut File, offset: u64) -> Result<Option<Opened>, Broken> {
        if offset == 0 {
            return Err(Broken::Anew("the body broke before its first byte".to_owned()));
        }
        let Some(validator) = &file.validator else {
            return Err(Broken::Anew("the body broke and cannot be resumed".to_owned()));
        };
        let opened = match self.open(Position { offset, if_range: Some(validator) }).await {
            Ok(opened) => opened,
            Err(TransferFault::Transient(_)) => return Ok(None),
            Err(fault @ (TransferFault::Expired(_) | TransferFault::Unacceptable(_) | TransferFault::Storage(_))) => {
                return Err(Broken::Fault(fault));
            }
        };
        if opened.status == StatusCode::PARTIAL_CONTENT {
            continues(&opened.headers, file, offset)?;
            return Ok(Some(opened));
        }
        match judge(opened.status) {
            Ok(()) => Err(Broken::Anew("the file changed, or the server cannot resume".to_owned())),
            Err(TransferFault::Transient(_)) if opened.status == StatusCode::RANGE_NOT_SATISFIABLE => {
                Err(Broken::Anew("the file has become shorter".to_owned()))
            }
            Err(TransferFault::Transient(_)) => Ok(None),
            Err(fault @ (TransferFault::Expired(_) | TransferFault::Unacceptable(_) | TransferFault::Storage(_))) => {
                Err(Broken::Fault(fault))
            }
        }
    }
}

/// Judges the status of a GET for the whole file.
fn judge(status: StatusCode) -> Result<(), TransferFault> {
    match status.as_u16() {
        200 => Ok(()),
        403 | 404 | 410 => Err(TransferFault::Expired(format!("HTTP {}", status.as_u16()))),
        other => Err(TransferFault::Transient(format!("HTTP {other}"))),
    }
}

/// Checks that a 206 goes on where the download broke, in the same file (RFC 9110 §14.4).
fn continues(headers: &HeaderMap, file: &mut File, offset: u64) -> Result<(), Broken> {
    let wrong = || Broken::Anew("the server sent another range than asked for".to_owned());
    let range = text(headers, &CONTENT_RANGE).and_then(|range| range.strip_prefix("bytes ")).ok_or_else(wrong)?;
    let (span, total) = range.split_once('/').ok_or_else(wrong)?;
    let (start, _) = span.split_once('-').ok_or_else(wrong)?;
    if start.parse() != Ok(offset) {
        return Err(wrong());
    }
    match (total.parse::<u64>().ok(), file.total) {
        (Some(now), Some(before)) if now != before => Err(Broken::Anew("the file changed its size".to_owned())),
        (Some(now), None) => {
            file.total = Some(now);
            Ok(())
        }
        (Some(_) | None, _) => Ok(()),
    }
}

/// The length of the body; none when it comes in chunks or until the end of the connection.
fn length(headers: &HeaderMap) -> Option<u64> {
    text(headers, &CONTENT_LENGTH)?.parse().ok()
}

/// What tells that the file is still the same: a strong entity tag, else the date. A weak tag may not be used
/// (RFC 9110 §13.1.5).
fn validator(headers: &HeaderMap) -> Option<String> {
    let tag = text(headers, &ETAG).filter(|tag| tag.starts_with('"'));
    tag.or_else(|| text(headers, &LAST_MODIFIED)).map(str::to_owned)
}

fn text<'h>(headers: &'h HeaderMap, name: &reqwest::header::HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}
