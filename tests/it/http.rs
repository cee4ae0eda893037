//! The HTTP side with a real store and no actors: what is accepted, refused and shown.

// Lets clippy see that all of this is a test, helpers included.
#![cfg(test)]

mod access;
mod app;
mod batches;
mod commands;
mod documents;
mod events;
mod generations;
mod hooks;
mod hostile;
mod idempotency;
mod logs;
mod openai;
mod quota;
mod signing;
mod spend;
mod waiting;
mod webhooks;
mod wire;

/// Makes a test of every case on each database.
macro_rules! on_both {
    ($($name:ident;)+) => {
        crate::store::on_both_by! { actix_web::test; $($name;)+ }
    };
}
use on_both;
