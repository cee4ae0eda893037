//! Providers: data mapping without IO, and the one executor that does the IO for all.

pub mod adapter;
pub mod breaker;
pub mod budget;
pub mod catalogue;
pub mod executor;
pub mod fault;
pub mod flux;
pub mod kling;
pub mod pollo;
pub mod registry;
pub mod replicate;
pub mod schema;
pub mod tuzi;
