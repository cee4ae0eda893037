//! Which keys there are, read off the structs themselves, and the check that a file uses no others.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use toml::{
    Table, Value,
    de::{DeTable, DeValue},
};

use super::Layer;
use crate::config::{
    Config,
    models::{ModelConfig, PriceConfig},
    providers::{AccountConfig, ProviderConfig},
};

/// What may stand at a place.
#[derive(Debug, Clone)]
pub(super) enum Known {
    /// A value, or a list of anything.
    Leaf,
    /// These keys and no others.
    Keys(BTreeMap<String, Known>),
    /// Names of the operator's choice, each with this below it.
    Names(Box<Known>),
}

/// The whole configuration.
pub(super) fn tree() -> Known {
    let provider = with(shape(&ProviderConfig::default()), "accounts", names(shape(&AccountConfig::default())));
    let input = shape(&crate::config::models::InputConfig::default());
    let price = with(shape(&PriceConfig::default()), "variants", Known::Leaf);
    let model = with(with(model(), "inputs", names(input)), "price", price);
    with(with(shape(&Config::default()), "providers", names(provider)), "models", names(model))
}

fn model() -> Known {
    let least = serde_json::json!({"provider": "", "upstream": "", "kind": "image"});
    serde_json::from_value::<ModelConfig>(least).map_or(Known::Leaf, |model| shape(&model))
}

fn names(below: Known) -> Known {
    Known::Names(Box::new(below))
}

fn with(tree: Known, key: &str, below: Known) -> Known {
    match tree {
        Known::Keys(mut keys) => {
            keys.insert(key.to_owned(), below);
            Known::Keys(keys)
        }
        Known::Leaf | Known::Names(_) => tree,
    }
}

/// Absent options serialise as null here, so every field shows.
fn shape(of: &impl serde::Serialize) -> Known {
    serde_json::to_value(of).map_or(Known::Leaf, |json| known(&json))
}

fn known(json: &Json) -> Known {
    match json {
        Json::Object(map) if map.is_empty() => names(Known::Leaf),
        Json::Object(map) => Known::Keys(map.iter().map(|(key, value)| (key.clone(), known(value))).collect()),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => Known::Leaf,
    }
}

impl Known {
    /// What may stand below `key`.
    pub(super) fn below(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Leaf => None,
            Self::Keys(keys) => keys.get(key),
            Self::Names(below) => Some(below),
        }
    }

    fn keys(&self) -> impl Iterator<Item = &str> {
        let keys = match self {
            Self::Keys(keys) => Some(keys),
            Self::Leaf | Self::Names(_) => None,
        };
        keys.into_iter().flat_map(|keys| keys.keys().map(String::as_str))
    }

    /// The key that a wrong one was most likely meant to be.
    pub(super) fn nearest(&self, wrong: &str) -> Option<&str> {
        nearest(wrong, self.keys())
    }
}

/// The known name that a wrong one was most likely meant to be; none when nothing is near.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let bare = |name: &str| name.to_lowercase().replace(['_', '-', '.'], "");
    let wrong = bare(wrong);
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&wrong, &bare(name)), name))
        // Below this Jaro-Winkler finds likeness in words that share little but a vowel or two.
        .filter(|(likeness, _)| *likeness >= 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// Reads one file without its unknown keys, which become problems with their line. None when it is no TOML.
pub(super) fn read(layer: &Layer<'_>, known: &Known, problems: &mut Vec<String>) -> Option<Table> {
    let parsed = DeTable::parse(layer.text).and_then(|tree| Ok((tree, toml::from_str::<Table>(layer.text)?)));
    match parsed {
        Ok((tree, mut table)) => {
            let mut unknown = Vec::new();
            walk(layer, tree.get_ref(), (known, ""), &mut table, &mut unknown);
            unknown.sort();
            problems.extend(unknown.into_iter().map(|(line, problem)| format!("{}:{line}: {problem}", layer.name)));
            Some(table)
        }
        Err(error) => {
            // Its own text would quote the line, which may hold a secret.
            let line = error.span().map_or(1, |span| line(layer.text, span.start));
            problems.push(format!("{}:{line}: {}", layer.name, error.message()));
            None
        }
    }
}

type Unknown = Vec<(usize, String)>;

fn walk(layer: &Layer<'_>, tree: &DeTable<'_>, (known, path): (&Known, &str), table: &mut Table, unknown: &mut Unknown) {
    for (key, value) in tree {
        let name: &str = key.get_ref();
        let place = joined(path, name);
        match (known.below(name), value.get_ref(), table.get_mut(name)) {
            (None, _, _) => {
                let hint =
                    known.nearest(name).map(|near| format!("; did you mean `{}`?", joined(path, near))).unwrap_or_default();
                unknown.push((line(layer.text, key.span().start), format!("unknown key `{place}`{hint}")));
                table.remove(name);
            }
            (Some(below @ (Known::Keys(_) | Known::Names(_))), DeValue::Table(inner), Some(Value::Table(inner_table))) => {
                walk(layer, inner, (below, &place), inner_table, unknown);
            }
            (Some(_), _, _) => {}
        }
    }
}

/// `models."flux-pro-1.1"`: as it would be written.
pub(super) fn joined(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let key = if bare { key.to_owned() } else { format!("{key:?}") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

fn line(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count().saturating_add(1)
}
