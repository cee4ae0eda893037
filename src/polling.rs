//! Stage 6, waiting: polls what runs at the providers until it ends. A poll writes nothing unless the state changes.

pub mod cancel;
pub mod learner;
pub mod outcome;
pub mod plan;
pub mod poll;
pub mod poller;
pub mod route;
