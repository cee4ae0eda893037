//! `[spend]`: what is read beside our own books.

use serde::{Deserialize, Serialize};

/// `[spend]`. Environment: `LONGTAKE__SPEND__<KEY>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpendConfig {
    /// How often each account's balance is read where the provider tells it, seconds; 0: never. Default 600.
    pub balances_s: u64,
}

impl Default for SpendConfig {
    fn default() -> Self {
        Self { balances_s: 600 }
    }
}
