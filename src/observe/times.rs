//! How long each model's tasks are expected to run: told by the poller, who learns it, and read by those who tell clients when to ask
//! again. Memory only.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::domain::schedule::expectation::Expectation;

/// What is expected, by `modelIdentifier`. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Times {
    by_model: Arc<Mutex<HashMap<Arc<str>, Arc<Expectation>>>>,
}

impl Times {
    /// Tells what is expected of a model.
    pub fn tell(&self, model: &Arc<str>, expectation: Expectation) {
        let mut known = self.by_model.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(Arc::clone(model), Arc::new(expectation));
    }

    /// What is expected of a model; none while too little is known.
    #[must_use]
    pub fn of(&self, model: &str) -> Option<Arc<Expectation>> {
        self.by_model.lock().unwrap_or_else(PoisonError::into_inner).get(model).cloned()
    }
}
