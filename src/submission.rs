//! Stage 5: commits the intent, submits, and reconciles what stayed unknown.

pub mod adapter_actor;
pub mod answer;
pub mod bookkeeper;
pub mod flight;
pub mod intent;
pub mod late;
pub mod lookup;
pub mod operators;
pub mod reconcile;
pub mod reconciler;
pub mod results;
pub mod rivals;
