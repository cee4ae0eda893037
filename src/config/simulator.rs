//! `[simulator]`.
