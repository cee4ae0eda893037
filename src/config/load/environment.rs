//! `LONGTAKE__SECTION__KEY=value`. Names of providers and models match whatever their case and punctuation, since variables
//! cannot spell them: `LONGTAKE__PROVIDERS__MY_RELAY__API_KEY` reaches `[providers.my-relay]`.

use toml::{Table, Value};

use super::{known::Known, typed};

const PREFIX: &str = "LONGTAKE__";

/// Puts every variable of ours into its place.
pub(super) fn apply(
    merged: &mut Table,
    variables: impl IntoIterator<Item = (String, String)>,
    known: &Known,
    problems: &mut Vec<String>,
) {
    let mut ours: Vec<_> = variables.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    // So that what is said does not depend on the order of the environment.
    ours.sort();
    for (name, value) in ours {
        match path(&name, merged, known) {
            Ok(path) => *merged = placed(merged, &path, &value),
            Err(problem) => problems.push(problem),
        }
    }
}

fn path(name: &str, merged: &Table, known: &Known) -> Result<Vec<String>, String> {
    let rest = name.strip_prefix(PREFIX).unwrap_or_default();
    let (mut at, mut here, mut path) = (known, Some(merged), Vec::new());
    for part in rest.split("__") {
        let key = match at {
            Known::Names(_) => here.and_then(|table| table.keys().find(|key| plain(key) == plain(part))).cloned(),
            Known::Keys(_) | Known::Leaf => None,
        };
        let key = key.unwrap_or_else(|| part.to_ascii_lowercase());
        let Some(below) = at.below(&key) else {
            let near = at.nearest(&key).map(|near| {
                let before: String = path.iter().map(|part: &String| format!("{}__", plain(part))).collect();
                format!("; did you mean `{PREFIX}{before}{}`?", plain(near))
            });
            return Err(format!("environment: unknown variable `{name}`{}", near.unwrap_or_default()));
        };
        here = here.and_then(|table| table.get(&key)?.as_table());
        at = below;
        path.push(key);
    }
    match at {
        Known::Leaf => Ok(path),
        Known::Keys(_) | Known::Names(_) => Err(format!("environment: `{name}` names a section, not a key")),
    }
}

/// The form in which variables spell names.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

/// A value that reads as TOML (`true`, `5`, `["a"]`) is that, unless only text fits at its place (a key made of digits).
fn placed(merged: &Table, path: &[String], value: &str) -> Table {
    let text = set(merged.clone(), path, Value::String(value.to_owned()));
    let scalar = toml::from_str::<Table>(&format!("v = {value}")).ok().filter(|table| table.len() == 1);
    let Some(scalar) = scalar.and_then(|mut table| table.remove("v")) else { return text };
    let scalar = set(merged.clone(), path, scalar);
    let wrong = |table: &Table| typed::read(table.clone()).err().map_or(0, |problems| problems.len());
    if wrong(&scalar) > wrong(&text) { text } else { scalar }
}

fn set(mut table: Table, path: &[String], value: Value) -> Table {
    match path {
        [] => {}
        [last] => drop(table.insert(last.clone(), value)),
        [first, rest @ ..] => {
            let inner = match table.remove(first) {
                Some(Value::Table(inner)) => inner,
                _ => Table::new(),
            };
            table.insert(first.clone(), Value::Table(set(inner, rest, value)));
        }
    }
    table
}
