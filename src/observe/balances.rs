//! Balances at providers, as last read: memory only, the newest reading and the one before. After a start they are read anew.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::domain::{
    balance::{AccountBalance, Reading},
    record::ProviderName,
    time::Timestamp,
};

/// An account: provider section and name.
pub type AccountKey = (ProviderName, Arc<str>);

/// What is known of every account that tells its balance. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Balances {
    known: Arc<Mutex<BTreeMap<AccountKey, AccountBalance>>>,
}

impl Balances {
    /// All of them, by provider and account.
    #[must_use]
    pub fn all(&self) -> Vec<AccountBalance> {
        self.known().values().cloned().collect()
    }

    /// Whether the account is due; if so, the next try is planned (so a try that is lost comes again). `unit` is a draw in 0..1.
    pub fn due(&self, key: &AccountKey, every: Duration, unit: f64, now: Timestamp) -> bool {
        let mut known = self.known();
        let entry =
            known.entry(key.clone()).or_insert_with(|| AccountBalance::unread(key.0.clone(), Arc::clone(&key.1), unit, now));
        let due = entry.due_at <= now;
        if due {
            entry.plan(every, unit, now);
        }
        due
    }

    /// Takes in what a try told; what is known of the account then.
    #[must_use]
    pub fn take(&self, key: &AccountKey, told: Result<Reading, String>, now: Timestamp) -> Option<AccountBalance> {
        let mut known = self.known();
        let entry = known.get_mut(key)?;
        entry.take(told, now);
        Some(entry.clone())
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<AccountKey, AccountBalance>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
