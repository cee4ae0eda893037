//! `[storage]`: where results live.

use secrecy::SecretString;
use serde::{Deserialize, Serialize, Serializer};

/// Which storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StorageKind {
    /// Files under `data_dir/media`, served at `/media/…`.
    Disk,
    /// An S3 bucket.
    S3,
    /// Memory; for tests.
    Memory,
}

/// When checksums are added to S3 requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChecksumCalculation {
    /// Whenever the operation can carry one (AWS's default).
    WhenSupported,
    /// Only where S3 demands one: R2, B2, Garage, Ceph and others refuse the default trailer.
    WhenRequired,
}

/// `[storage]`. Environment: `LONGTAKE__STORAGE__<KEY>`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorageConfig {
    /// `disk` (default), `s3` or `memory`.
    pub kind: StorageKind,
    /// S3: bucket.
    pub bucket: String,
    /// S3: endpoint URL; none means AWS.
    pub endpoint: Option<String>,
    /// S3: region. Default `us-east-1`.
    pub region: String,
    /// S3: bucket in the path instead of the host name. Default off; most servers of your own need it.
    pub path_style: bool,
    /// S3: key prefix before every object, without slashes at the ends. Default none.
    pub prefix: String,
    /// S3: access key id.
    pub access_key_id: Option<String>,
    /// S3: secret access key.
    #[serde(serialize_with = "redacted")]
    pub secret_access_key: Option<SecretString>,
    /// S3: file that holds the secret access key, instead of `secret_access_key`.
    pub secret_access_key_file: Option<std::path::PathBuf>,
    /// S3: public base URL of the bucket (a CDN); none means presigned URLs.
    pub public_url: Option<String>,
    /// S3: how long presigned URLs are valid, seconds. Default 3600.
    pub presign_s: u64,
    /// S3: `when_supported` (default) or `when_required`.
    pub request_checksum_calculation: ChecksumCalculation,
    /// S3: part size of multipart uploads in bytes. Default 8 MiB; S3's smallest is 5 MiB.
    pub part_bytes: usize,
    /// S3: longest time one try of one request may take, seconds; three tries are made. Default 120: a part of 8 MiB passes at
    /// 70 KB a second.
    pub attempt_timeout_s: u64,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            kind: StorageKind::Disk,
            bucket: String::new(),
            endpoint: None,
            region: "us-east-1".to_owned(),
            path_style: false,
            prefix: String::new(),
            access_key_id: None,
            secret_access_key: None,
            secret_access_key_file: None,
            public_url: None,
            presign_s: 3600,
            request_checksum_calculation: ChecksumCalculation::WhenSupported,
            part_bytes: 8 * 1024 * 1024,
            attempt_timeout_s: 120,
        }
    }
}

/// A secret is never written back.
pub(crate) fn redacted<S: Serializer>(secret: &Option<SecretString>, out: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(|_| "[redacted]").serialize(out)
}
