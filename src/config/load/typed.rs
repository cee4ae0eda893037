//! From a table to the structs. Where that fails, every key is tried alone, so that all wrong types are said at once.

use toml::{Table, Value};

use super::known::joined;
use crate::config::Config;

/// Reads the whole.
///
/// # Errors
/// Each wrong value by its path.
pub(super) fn read(table: Table) -> Result<Config, Vec<String>> {
    let whole = match Value::Table(table.clone()).try_into::<Config>() {
        Ok(config) => return Ok(config),
        Err(error) => error,
    };
    let mut problems = Vec::new();
    for (key, value) in &table {
        probe(&mut vec![key.clone()], value, &mut problems);
    }
    if problems.is_empty() {
        problems.push(whole.message().to_owned());
    }
    Err(problems)
}

/// Tries one value alone in its place, and what is below it when it does not fit.
fn probe(path: &mut Vec<String>, value: &Value, problems: &mut Vec<String>) {
    let nested = path.iter().rev().fold(value.clone(), |inner, key| {
        let mut table = Table::new();
        table.insert(key.clone(), inner);
        Value::Table(table)
    });
    let Err(error) = nested.try_into::<Config>() else { return };
    let before = problems.len();
    // Below a model's name keys cannot be tried alone: some are required.
    let whole_only = path.first().is_some_and(|first| first == "models") && path.len() > 1;
    if let (Value::Table(table), false) = (value, whole_only) {
        for (key, value) in table {
            path.push(key.clone());
            probe(path, value, problems);
            path.pop();
        }
    }
    if problems.len() == before {
        let place = path.iter().fold(String::new(), |place, key| joined(&place, key));
        problems.push(format!("{place}: {}", if secret(path) { "must be text" } else { error.message() }));
    }
}

/// Whether the value may be a secret; the parser's own words would quote it.
fn secret(path: &[String]) -> bool {
    let last = path.last().map(String::as_str).unwrap_or_default();
    last.ends_with("key") || last.contains("secret") || last == "url" || path.iter().any(|part| part == "options")
}
