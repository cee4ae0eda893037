//! Longtake runs AI generation jobs that take minutes. This is its table of contents, in the order of a generation's path.

// The path.
pub mod http;
pub mod intake;
pub mod dispatch;
pub mod submission;
pub mod polling;
pub mod assets;
pub mod notify;
// Stands over it.
pub mod supervision;
// Libraries without actors.
pub mod net;
pub mod store;
pub mod storage;
pub mod media;
pub mod providers;
// The ground floor.
pub mod clock;
pub mod config;
pub mod domain;
pub mod flights;
pub mod lifeline;
pub mod observe;
pub mod sabotage;
pub mod telemetry;
pub mod wake;
// Around it.
pub mod app;
pub mod cli;
pub mod client;
pub mod simulator;
