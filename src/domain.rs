//! The pure ground floor: what a generation is, which states it passes, what may go wrong. No IO, no clock, no async.

pub mod attempt;
pub mod balance;
pub mod batch;
pub mod claim;
pub mod effects;
pub mod error;
pub mod event;
pub mod forecast;
pub mod generation;
pub mod id;
pub mod limits;
pub mod money;
pub mod output;
pub mod place;
pub mod quota;
pub mod record;
pub mod reference;
pub mod retry;
pub mod schedule;
pub mod settle;
pub mod slots;
pub mod time;
pub mod unconfirmed;
pub mod webhook;
