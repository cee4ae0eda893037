//! Loads the configuration: the shipped `config/default.toml`, then a file, then the environment (`LONGTAKE__SECTION__KEY`).
//! Later wins. Whatever is wrong is said at once; nothing here ever prints a value that may be a secret.

mod check;
mod environment;
mod known;
mod show;
mod typed;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use crate::config::Config;

pub use known::nearest;
pub use show::effective;

/// The documented defaults, with the catalogue of models; built in, so that the binary runs alone.
pub const SHIPPED: &str = include_str!("../../config/default.toml");

/// Where a file is looked for when none is named.
const HERE: &str = "longtake.toml";
/// Names a file; a flag wins.
const FILE_VARIABLE: &str = "LONGTAKE_CONFIG";

/// Everything that is wrong with a configuration, each a sentence that begins with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        writeln!(f, "the configuration has {count} {}:", if count == 1 { "problem" } else { "problems" })?;
        self.0.iter().try_for_each(|problem| writeln!(f, "  {problem}"))
    }
}

impl std::error::Error for Problems {}

/// One file of settings.
#[derive(Debug, Clone, Copy)]
pub struct Layer<'a> {
    /// What problems call it.
    pub name: &'a str,
    /// TOML.
    pub text: &'a str,
}

/// Loads from this process's surroundings: `file`, else `LONGTAKE_CONFIG`, else `longtake.toml` where there is one; then the
/// environment.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn load(file: Option<&Path>) -> Result<Config, Problems> {
    let named = file.map(Path::to_owned).or_else(|| std::env::var_os(FILE_VARIABLE).map(PathBuf::from));
    let found = named.or_else(|| Path::new(HERE).is_file().then(|| PathBuf::from(HERE)));
    let mut texts = vec![("config/default.toml".to_owned(), SHIPPED.to_owned())];
    if let Some(path) = found {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(&path).map_err(|error| Problems(vec![format!("{name}: {error}")]))?;
        texts.push((name, text));
    }
    let layers: Vec<_> = texts.iter().map(|(name, text)| Layer { name, text }).collect();
    // What is not Unicode cannot be one of ours.
    let variables = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    from(&layers, variables)
}

/// The shipped configuration alone: no file, no environment.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn shipped() -> Result<Config, Problems> {
    from(&[Layer { name: "config/default.toml", text: SHIPPED }], [])
}

/// Loads from layers and variables; pure.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn from(layers: &[Layer<'_>], variables: impl IntoIterator<Item = (String, String)>) -> Result<Config, Problems> {
    let known = known::tree();
    let (mut merged, mut problems) = (Table::new(), Vec::new());
    for layer in layers {
        match known::read(layer, &known, &mut problems) {
            Some(table) => merge(&mut merged, table),
            None => return Err(Problems(problems)),
        }
    }
    environment::apply(&mut merged, variables, &known, &mut problems);
    match typed::read(merged) {
        Ok(config) => {
            problems.extend(check::problems(&config));
            if problems.is_empty() { Ok(config) } else { Err(Problems(problems)) }
        }
        Err(found) => {
            problems.extend(found);
            Err(Problems(problems))
        }
    }
}

/// Tables join, anything else is replaced.
fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            (_, value) => drop(into.insert(key, value)),
        }
    }
}
