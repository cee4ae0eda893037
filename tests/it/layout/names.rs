//! What is defined and what is depended on, to find what nobody uses. The compiler cannot: everything public counts as used.

use std::{fs, path::Path};

use super::source::{SourceFile, places, read, words};

/// Public names that stay although the product does not use them, each with its reason.
pub const KEPT: &[(&str, &str)] = &[
    ("arm", "tests break actors through it"),
    ("struck", "tests ask whether the break happened"),
    ("minus", "tests look back in time"),
    ("empty", "the journal's unit tests begin with it"),
    ("attempt_request", "tests see by it that the request is kept as it was sent"),
];

/// Dependencies that stay although no source names them, each with its reason.
const KEPT_DEPENDENCIES: &[(&str, &str)] = &[];

/// A public name where it is defined.
pub struct Definition<'a> {
    pub path: &'a str,
    pub line: usize,
    pub name: &'a str,
}

/// Every `pub` function, type, constant and trait of a file outside its tests.
pub fn definitions(file: &SourceFile) -> Vec<Definition<'_>> {
    let code = if file.is_test_module() { "" } else { file.code.as_str() };
    let kinds = ["fn", "struct", "enum", "const", "trait", "type", "static"];
    let mut found = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let line_words: Vec<&str> = words(line).collect();
        if line_words.first() != Some(&"pub") {
            continue;
        }
        // `pub const fn name`, `pub(crate) async fn name`: the name follows the last word of a kind.
        let kind = line_words.iter().take(6).rposition(|word| kinds.contains(word));
        if let Some(name) = kind.and_then(|kind| line_words.get(kind + 1)) {
            found.push(Definition { path: &file.path, line: index + 1, name });
        }
    }
    found
}

/// Whether a path or a `use` begins with the crate; a local of the same name is none of both.
pub fn names_crate(code: &str, name: &str) -> bool {
    places(code).filter(|(_, word)| *word == name).any(|(at, word)| {
        let (before, after) = (code[..at].trim_end(), &code[at + word.len()..]);
        let begins_path = after.starts_with("::") && !before.ends_with("::");
        let imported = before.ends_with("use") && (after.starts_with(';') || after.starts_with(" as "));
        begins_path || imported
    })
}

/// Dependencies of every package that none of its sources names.
pub fn unused_dependencies() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut unused = Vec::new();
    for package in ["", "entities/", "migrations/"] {
        let text = fs::read_to_string(root.join(package).join("Cargo.toml")).expect("a manifest");
        let manifest: toml::Table = text.parse().expect("TOML");
        let sources = [format!("{package}src"), format!("{package}tests"), format!("{package}benches")];
        for (table, folders) in [("dependencies", &sources[..1]), ("dev-dependencies", &sources[..])] {
            let code: Vec<SourceFile> = folders.iter().flat_map(|folder| read(folder)).collect();
            let names = manifest.get(table).and_then(toml::Value::as_table);
            for name in names.into_iter().flat_map(toml::Table::keys) {
                let kept = KEPT_DEPENDENCIES.iter().any(|(kept, _)| kept == name);
                let word = name.replace('-', "_");
                if !kept && !code.iter().any(|file| names_crate(&file.whole, &word)) {
                    unused.push(format!("{package}Cargo.toml: [{table}] {name}"));
                }
            }
        }
    }
    unused
}
