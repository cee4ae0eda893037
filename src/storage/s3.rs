//! Objects in an S3 bucket, or at anything that speaks S3.
//!
//! The client is built by hand for three reasons: one TLS provider (ring) in the whole program, credentials from our own
//! configuration, and no metadata service asked on machines that have none.

mod fault;
pub(super) mod upload;

use std::{fmt, sync::Arc, time::Duration};

use aws_credential_types::Credentials;
use aws_sdk_s3::{
    Client, Config,
    config::{BehaviorVersion, Region, RequestChecksumCalculation, ResponseChecksumValidation, retry::RetryConfig},
    presigning::PresigningConfig,
};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_types::timeout::TimeoutConfig;
use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use tokio::runtime::Handle;

use crate::{
    config::storage::{ChecksumCalculation, StorageConfig},
    storage::{StorageError, key},
};

/// Smallest part S3 takes, but for the last (Amazon S3 User Guide, "Multipart upload limits").
const SMALLEST_PART_BYTES: usize = 5 * 1024 * 1024;
/// Longest life of a presigned URL, seconds: seven days (same guide, "Presigned URLs").
const LONGEST_PRESIGN_S: u64 = 7 * 24 * 3600;
/// A server that takes longer to accept a connection is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Tries of one call, the first included; the SDK waits in between and retries only what is safe.
const TRIES: u32 = 3;

/// A bucket. Clones share connections.
#[derive(Clone)]
pub struct Bucket {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    name: String,
    prefix: String,
    public_url: Option<String>,
    presign: Duration,
    part_bytes: usize,
    runtime: Handle,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket").field("name", &self.inner.name).field("prefix", &self.inner.prefix).finish_non_exhaustive()
    }
}

impl Bucket {
    /// Builds the client; nothing is sent yet.
    ///
    /// # Errors
    /// [`StorageError::Invalid`] that names the key of the configuration that cannot work.
    pub fn open(config: &StorageConfig) -> Result<Self, StorageError> {
        check(config)?;
        let inner = Inner {
            client: Client::from_conf(client_config(config)?),
            name: config.bucket.clone(),
            prefix: config.prefix.trim_matches('/').to_owned(),
            public_url: config.public_url.as_ref().map(|url| url.trim_end_matches('/').to_owned()),
            presign: Duration::from_secs(config.presign_s),
            part_bytes: config.part_bytes,
            runtime: Handle::try_current().map_err(|error| StorageError::Invalid(error.to_string()))?,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(super) fn writer(&self, key: &str, content_type: &str) -> upload::Upload {
        upload::Upload::new(self.clone(), self.object(key), content_type.to_owned())
    }

    pub(super) async fn read(&self, key: &str) -> Result<Bytes, StorageError> {
        let got = self.inner.client.get_object().bucket(&self.inner.name).key(self.object(key)).send().await;
        let body = got.map_err(|error| fault::read(&error, key))?.body;
        let collected = body.collect().await.map_err(|error| StorageError::Unavailable(fault::deepest(&error)))?;
        Ok(collected.into_bytes())
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), StorageError> {
        let deleted = self.inner.client.delete_object().bucket(&self.inner.name).key(self.object(key)).send().await;
        match deleted.map_err(|error| fault::read(&error, key)) {
            // AWS answers 204 for a key that is not there, some others 404.
            Ok(_) | Err(StorageError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn url(&self, key: &str) -> Result<String, StorageError> {
        let object = self.object(key);
        if let Some(base) = &self.inner.public_url {
            return Ok(format!("{base}/{object}"));
        }
        let expiry = PresigningConfig::expires_in(self.inner.presign)
            .map_err(|error| StorageError::Invalid(format!("storage.presign_s: {error}")))?;
        let signed = self.inner.client.get_object().bucket(&self.inner.name).key(object).presigned(expiry).await;
        signed.map(|request| request.uri().to_owned()).map_err(|error| fault::read(&error, key))
    }

    pub(super) async fn ping(&self) -> Result<(), StorageError> {
        let head = self.inner.client.head_bucket().bucket(&self.inner.name).send().await;
        match head.map_err(|error| fault::read(&error, &self.inner.name)) {
            Ok(_) => Ok(()),
            Err(StorageError::NotFound(name)) => Err(StorageError::Invalid(format!("there is no bucket {name}"))),
            Err(error) => Err(error),
        }
    }

    /// The object's name in the bucket.
    fn object(&self, key: &str) -> String {
        if self.inner.prefix.is_empty() { key.to_owned() } else { format!("{}/{key}", self.inner.prefix) }
    }
}

fn check(config: &StorageConfig) -> Result<(), StorageError> {
    let invalid = |what: &str| Err(StorageError::Invalid(what.to_owned()));
    if config.bucket.is_empty() {
        return invalid("storage.bucket is missing");
    }
    if config.part_bytes < SMALLEST_PART_BYTES {
        return invalid("storage.part_bytes is below 5 MiB, the smallest part S3 takes");
    }
    if !(1..=LONGEST_PRESIGN_S).contains(&config.presign_s) {
        return invalid("storage.presign_s is not within 1 and 604800 (seven days)");
    }
    if let Some(endpoint) = &config.endpoint {
        match url::Url::parse(endpoint) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => {}
            Ok(_) | Err(_) => return invalid("storage.endpoint is not an http or https URL"),
        }
    }
    let prefix = config.prefix.trim_matches('/');
    if !prefix.is_empty() {
        key::check(prefix).map_err(|error| StorageError::Invalid(format!("storage.prefix: {error}")))?;
    }
    Ok(())
}

fn client_config(config: &StorageConfig) -> Result<Config, StorageError> {
    let (request, response) = match config.request_checksum_calculation {
        ChecksumCalculation::WhenSupported => {
            (RequestChecksumCalculation::WhenSupported, ResponseChecksumValidation::WhenSupported)
        }
        ChecksumCalculation::WhenRequired => (RequestChecksumCalculation::WhenRequired, ResponseChecksumValidation::WhenRequired),
    };
    let attempt = Duration::from_secs(config.attempt_timeout_s);
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(attempt)
        .operation_timeout(attempt.saturating_mul(TRIES))
        .build();
    let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let mut builder = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http)
        .region(Region::new(config.region.clone()))
        .credentials_provider(credentials(config)?)
        .force_path_style(config.path_style)
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_max_attempts(TRIES))
        .request_checksum_calculation(request)
        .response_checksum_validation(response);
    builder.set_endpoint_url(config.endpoint.clone());
    Ok(builder.build())
}

/// The credential of the configuration, else that of the usual environment variables.
fn credentials(config: &StorageConfig) -> Result<Credentials, StorageError> {
    let secret = match (&config.secret_access_key, &config.secret_access_key_file) {
        (Some(secret), _) => Some(secret.clone()),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| StorageError::Invalid(format!("storage.secret_access_key_file: {error}")))?;
            Some(SecretString::from(text.trim().to_owned()))
        }
        (None, None) => None,
    };
    match (&config.access_key_id, secret) {
        (Some(id), Some(secret)) => Ok(Credentials::new(id, secret.expose_secret(), None, None, "longtake")),
        (None, None) => environment(|name| std::env::var(name).ok()),
        (Some(_), None) => Err(StorageError::Invalid("storage.access_key_id is set, the secret is not".to_owned())),
        (None, Some(_)) => Err(StorageError::Invalid("the storage's secret is set, storage.access_key_id is not".to_owned())),
    }
}

fn environment(variable: impl Fn(&str) -> Option<String>) -> Result<Credentials, StorageError> {
    match (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY")) {
        (Some(id), Some(secret)) => Ok(Credentials::new(id, secret, variable("AWS_SESSION_TOKEN"), None, "environment")),
        (_, _) => Err(StorageError::Invalid(
            "no credential: set storage.access_key_id and storage.secret_access_key, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                .to_owned(),
        )),
    }
}
