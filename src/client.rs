//! The client that the commands use: our own HTTP API, spoken as any program of a user would speak it. It must not know what the
//! server's other modules know.

pub mod api;
pub mod download;
pub mod failure;

pub use api::{Answer, Client, Sent};
pub use failure::Failure;
