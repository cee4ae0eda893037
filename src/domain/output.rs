//! The files a provider made, as its answer names them.

use std::{fmt, time::Duration};

use bytes::Bytes;

use crate::domain::record::Kind;

/// One file the provider made.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Where it is.
    pub source: OutputSource,
    /// What it is.
    pub kind: Kind,
    /// How long the provider keeps it, from the answer on.
    pub lifetime: Duration,
    /// Seconds of video, where the provider says so.
    pub duration_seconds: Option<f64>,
}

/// Where an output's bytes are.
#[derive(Clone, PartialEq)]
pub enum OutputSource {
    /// At a URL.
    Url(String),
    /// In the answer, already decoded.
    Inline(Bytes),
}

impl fmt::Debug for OutputSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(_) => f.write_str("Url"),
            Self::Inline(bytes) => write!(f, "Inline({} bytes)", bytes.len()),
        }
    }
}
