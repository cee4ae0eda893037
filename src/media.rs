//! Pixels and containers. So far: what a file is, by its first bytes.

pub mod inspect;
