//! Rows ↔ domain: the only place that knows how a value is stored. A row that cannot be mapped is named, never guessed at.

mod asset;
mod attempt;
mod batch;
mod generation;
mod webhook;

use serde::{Serialize, de::DeserializeOwned};

pub use asset::{AssetChange, asset, asset_change, asset_model};
pub use attempt::{AttemptChange, attempt, attempt_change, attempt_model};
pub use batch::{BatchChange, batch, batch_change, batch_model};
pub use generation::{GenerationChange, generation, generation_change, generation_model};

pub use webhook::{DeliveryChange, delivery, delivery_change, delivery_model, endpoint, endpoint_model};

use crate::{domain::record::Kind, store::StoreError};

/// As JSON text.
///
/// # Errors
/// [`StoreError::Unstorable`] when the value has no JSON form.
pub fn json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Unstorable { what: error.to_string() })
}

/// A text as both databases take it: PostgreSQL refuses NUL.
#[must_use]
pub fn text(text: &str) -> String {
    text.replace('\0', "")
}

fn optional_json<T: Serialize>(value: Option<&T>) -> Result<Option<String>, StoreError> {
    value.map(json).transpose()
}

/// A count as the store keeps it.
fn number(what: &'static str, count: u32) -> Result<i32, StoreError> {
    i32::try_from(count).map_err(|_| StoreError::Unstorable { what: format!("{what} {count}") })
}

/// The number of a kind.
pub(super) const fn kind_number(kind: Kind) -> i16 {
    match kind {
        Kind::Image => 0,
        Kind::Video => 1,
    }
}

/// Reads a kind's number.
pub(super) const fn kind_of(number: i16) -> Option<Kind> {
    match number {
        0 => Some(Kind::Image),
        1 => Some(Kind::Video),
        _ => None,
    }
}

/// None when there is a text that does not read; `Some(None)` when there is no text.
fn parsed<T: DeserializeOwned>(text: Option<&str>) -> Option<Option<T>> {
    text.map(serde_json::from_str).transpose().ok()
}

#[cfg(test)]
mod tests;
