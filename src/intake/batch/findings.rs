//! What is found wrong with a batch: as much of it as an answer can hold, and the count of all.

use serde::Serialize;

use super::{LineError, Spot};
use crate::providers::schema::FieldError;

/// Errors, and skipped requests, that an answer names: enough to see every kind of mistake, little enough to read. A body of 50,000
/// bad lines must not be answered by 50,000 sentences.
pub const MOST_NAMED: usize = 100;

/// Everything wrong, capped.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    named: Vec<LineError>,
    total: u64,
}

/// A request that was left out.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Skipped {
    /// Which one.
    #[serde(flatten)]
    pub spot: Spot,
    /// Its `customId`, where it could be read.
    pub custom_id: Option<String>,
    /// Why.
    pub errors: Vec<LineError>,
}

impl Findings {
    /// Notes an error. One that is known from the same place is not noted again: rows share their template's mistakes.
    pub fn add(&mut self, error: LineError) {
        let same = |known: &LineError| {
            known.line == error.line && known.error.pointer == error.error.pointer && known.error.code == error.error.code
        };
        if self.named.iter().any(same) {
            return;
        }
        self.total = self.total.saturating_add(1);
        if self.named.len() < MOST_NAMED {
            self.named.push(error);
        }
    }

    /// Notes errors that are not about one request.
    pub fn whole(&mut self, errors: Vec<FieldError>) {
        errors.into_iter().for_each(|error| self.add(error.into()));
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub const fn none(&self) -> bool {
        self.total == 0
    }

    /// How many errors there are, named or not.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Those that are named, in the order of the requests.
    #[must_use]
    pub fn named(mut self) -> Vec<LineError> {
        self.named.sort_by_key(|error| error.index);
        self.named
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(index: u32, line: Option<u32>, pointer: &str) -> LineError {
        LineError {
            index: Some(index),
            line,
            error: FieldError { pointer: pointer.to_owned(), code: "x", detail: String::new() },
        }
    }

    #[test]
    fn all_are_counted_and_the_first_hundred_named_in_order() {
        let mut findings = Findings::default();
        for index in (0..150).rev() {
            findings.add(error(index, Some(index + 1), "#/prompt"));
        }
        assert_eq!((findings.none(), findings.total()), (false, 150));
        let named = findings.named();
        assert_eq!((named.len(), named[0].index, named[99].index), (100, Some(50), Some(149)));
    }

    #[test]
    fn a_mistake_that_rows_share_is_named_once() {
        let mut findings = Findings::default();
        for index in 0..3 {
            findings.add(error(index, None, "#/template/prompt"));
            findings.add(error(index, None, &format!("#/rows/{index}")));
        }
        assert_eq!(findings.total(), 4);
    }
}
