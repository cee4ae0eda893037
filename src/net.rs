//! The guarded HTTP client: which addresses may be spoken to, how long anything may take, how much may be read. Everything
//! that leaves for a provider, or for a URL that a provider or a client named, goes through here.
//!
//! It must not know what a provider is, and it never follows a redirect by itself.

pub mod body;
pub mod client;
pub mod gate;
pub mod guard;
pub mod hooks;
pub mod ranges;
pub mod signing;

/// Installs the one TLS provider (ring) of the program. The app calls it before any client is built; again is harmless.
pub fn install_tls() {
    // An error means that one is installed already; which one, is decided by the features in Cargo.toml (only ring).
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
}

/// Why the network parts could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client cannot be set up: {0}")]
pub struct SetupError(#[from] reqwest::Error);
