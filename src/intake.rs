//! Intake: turns what comes from outside into validated commands and hands them to the journal. The pure half judges
//! ([`ask`], [`command`], [`key_text`]); the other half writes one entry and wakes who is concerned ([`accept`], [`keys`], [`unconfirmed`]).
//! It must not know of HTTP.

pub mod accept;
pub mod ask;
pub mod batch;
pub mod command;
pub mod hook;
pub mod json;
pub mod key_text;
pub mod keys;
pub mod room;
pub mod signing;
pub mod unconfirmed;
pub mod webhooks;
