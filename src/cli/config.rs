//! `longtake config check`: what is in force, or everything that is wrong.

use std::io::Write;

use crate::{cli::ConfigFile, config::load, providers::catalogue::Catalogue};

/// Prints the effective configuration without secrets.
///
/// # Errors
/// With every problem of the configuration.
pub fn check(file: &ConfigFile, out: &mut dyn Write) -> anyhow::Result<()> {
    let config = load::load(file.config.as_deref())?;
    Catalogue::new(&config).map_err(load::Problems)?;
    out.write_all(load::effective(&config)?.as_bytes())?;
    Ok(())
}
