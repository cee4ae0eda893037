//! The integration tests: one binary, real sockets, real databases, real files.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends where it breaks; clippy exempts the test functions alone, not what they call"
)]

mod catalogue;
mod dispatch;
mod executor;
mod http;
mod layout;
mod machines;
mod media_files;
mod process;
mod raw_server;
mod results;
mod settings;
mod states;
mod storage;
mod store;
mod transfer;
mod unconfirmed;
