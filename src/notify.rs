//! Stage 8: tells clients. Reads the outbox, hands events to the streams, and delivers webhooks.

pub mod courier;
pub mod deliveries;
pub mod notifier;
pub mod post;
