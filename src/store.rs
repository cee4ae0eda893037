//! The store: rows are the truth. All writes of the path go through the journal (group commit with lanes); reads have their own
//! connections. SQLite and PostgreSQL pass one conformance suite.

pub mod entry;
