//! Batches: reads options and requests in each form that clients may send them in, expands templates, and judges every request by the
//! code that judges a single one ([`crate::intake::command::birth`]). All of it is pure and memory grows with the names of the lines,
//! never with their content; only [`load`] writes.

pub mod document;
pub mod estimate;
pub mod expansion;
pub mod findings;
pub mod judge;
pub mod line;
pub mod lines;
pub mod load;
pub mod names;
pub mod options;
pub mod template;

use serde::Serialize;

use crate::providers::schema::FieldError;

/// Where a request stands in what the client sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spot {
    /// Which of the requests, from 0; what is skipped keeps its number.
    pub index: u32,
    /// Its line in a body of lines, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

impl Spot {
    /// Such as `line 17` or `request 3`.
    #[must_use]
    pub fn name(self) -> String {
        self.line.map_or_else(|| format!("request {}", self.index), |line| format!("line {line}"))
    }
}

/// Where something was written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Location {
    /// A pointer into the body, or into the line.
    pub pointer: String,
    /// The line, in a body of lines.
    pub line: Option<u32>,
}

/// One thing wrong, and where: also with a body of many requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LineError {
    /// Which request; none when it is about the whole body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// Which line of a body of lines, from 1; the pointer then begins at that line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Pointer, word and sentence.
    #[serde(flatten)]
    pub error: FieldError,
}

impl From<FieldError> for LineError {
    fn from(error: FieldError) -> Self {
        Self { index: None, line: None, error }
    }
}
