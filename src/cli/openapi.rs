//! `longtake openapi`: the document as it is served.

use std::io::Write;

use crate::http::openapi;

/// Prints it.
///
/// # Errors
/// When `out` cannot be written.
pub fn run(out: &mut dyn Write) -> anyhow::Result<()> {
    Ok(out.write_all(openapi::text().as_bytes())?)
}
