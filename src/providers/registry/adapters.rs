//! Which adapters there are, by the word that a section's `adapter` names them with.

use std::{collections::BTreeMap, sync::Arc};

use crate::providers::{adapter::Adapter, flux::Flux, kling::Kling, pollo::Pollo, replicate::Replicate, tuzi::Tuzi};

/// Adapters by name.
#[derive(Debug, Clone, Default)]
pub struct Adapters {
    by_name: BTreeMap<&'static str, Arc<dyn Adapter>>,
}

impl Adapters {
    /// Those of this program.
    #[must_use]
    pub fn known() -> Self {
        Self::default()
            .with("kling", Arc::new(Kling))
            .with("pollo", Arc::new(Pollo))
            .with("replicate", Arc::new(Replicate))
            .with("flux", Arc::new(Flux))
            .with("tuzi", Arc::new(Tuzi))
    }

    /// One more.
    #[must_use]
    pub fn with(mut self, name: &'static str, adapter: Arc<dyn Adapter>) -> Self {
        self.by_name.insert(name, adapter);
        self
    }

    pub(super) fn by_name(&self, name: &str) -> Option<Arc<dyn Adapter>> {
        self.by_name.get(name).cloned()
    }

    /// The problem of a word that names no adapter.
    pub(super) fn unknown(&self, word: &str) -> String {
        let nearest = self.by_name.keys().min_by_key(|known| strsim::levenshtein(known, word)).copied().unwrap_or("none");
        let known: Vec<_> = self.by_name.keys().copied().collect();
        format!("there is no adapter \"{word}\"; did you mean \"{nearest}\"? Set adapter to one of {}", known.join(", "))
    }
}
