//! The shipped configuration says what the code does: equal defaults, every key documented, every example readable.

use std::{collections::BTreeMap, fs, path::Path};

use longtake::{
    config::{
        Config,
        models::{InputConfig, ModelConfig, PriceVariant},
        providers::{AccountConfig, ProviderConfig},
    },
    providers::catalogue::Catalogue,
};
use serde::Serialize;
use serde_json::Value;

const SHIPPED: &str = include_str!("../../config/default.toml");

fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("JSON")
}

/// Every key below a value, however deep.
fn keys(value: &Value, into: &mut Vec<String>) {
    for (key, inner) in value.as_object().into_iter().flatten() {
        into.push(key.clone());
        keys(inner, into);
    }
}

#[test]
fn the_shipped_sections_equal_the_defaults_of_the_code() {
    let shipped = json(&toml::from_str::<Config>(SHIPPED).expect("config/default.toml"));
    let coded = json(&Config::default());
    for (section, value) in coded.as_object().expect("sections") {
        if section != "providers" && section != "models" {
            assert_eq!(shipped.get(section), Some(value), "[{section}] of config/default.toml differs from the code's defaults");
        }
    }
}

#[test]
fn the_provider_keys_are_documented_with_the_defaults_of_the_code() {
    let comments: BTreeMap<&str, &str> = SHIPPED
        .lines()
        .filter_map(|line| line.strip_prefix("# ")?.split_once(" = "))
        .map(|(key, rest)| (key, rest.split(" #").next().unwrap_or(rest).trim()))
        .collect();
    let coded = json(&ProviderConfig::default());
    let retry = coded.get("retry").cloned().expect("[retry]");
    for (key, value) in coded.as_object().into_iter().chain(retry.as_object()).flatten() {
        let plain = value.is_number() || value.is_boolean();
        if plain {
            assert_eq!(comments.get(key.as_str()).copied(), Some(value.to_string().as_str()), "{key}");
        }
    }
}

#[test]
fn every_key_is_named_in_the_shipped_file() {
    let model: ModelConfig = toml::from_str("provider = \"p\"\nupstream = \"u\"\nkind = \"image\"").expect("a model");
    let mut known = Vec::new();
    keys(&json(&Config::default()), &mut known);
    keys(&json(&ProviderConfig::default()), &mut known);
    keys(&json(&AccountConfig::default()), &mut known);
    keys(&json(&model), &mut known);
    keys(&json(&InputConfig::default()), &mut known);
    keys(&json(&PriceVariant::default()), &mut known);
    let words: Vec<&str> = SHIPPED.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let missing: Vec<String> = known.into_iter().filter(|key| !words.contains(&key.as_str())).collect();
    assert!(missing.is_empty(), "not documented in config/default.toml: {missing:?}");
}

/// One table over another, key by key, as the configuration files are laid over each other.
fn over(below: &mut toml::Table, above: toml::Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(toml::Value::Table(old)), toml::Value::Table(new)) => over(old, new),
            (_, value) => drop(below.insert(key, value)),
        }
    }
}

#[test]
fn every_example_is_readable_over_the_shipped_file_and_its_catalogue_is_right() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut seen = 0;
    for path in fs::read_dir(folder).expect("config/").map(|entry| entry.expect("an entry").path()) {
        if path.to_string_lossy().ends_with(".example.toml") {
            let mut table: toml::Table = SHIPPED.parse().expect("config/default.toml");
            over(&mut table, fs::read_to_string(&path).expect("readable").parse().expect("TOML"));
            let config: Config = table.try_into().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            if let Err(problems) = Catalogue::new(&config) {
                panic!("{}: {problems:#?}", path.display());
            }
            seen += 1;
        }
    }
    assert!(seen > 0, "no example found");
}
