//! The HTTP side with a real store and no actors: what is accepted, refused and shown.

// Lets clippy see that all of this is a test, helpers included.
#![cfg(test)]

mod access;
mod app;
mod commands;
mod documents;
mod generations;
mod hooks;
mod hostile;
mod logs;
mod spend;
mod wire;
