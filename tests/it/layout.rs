//! Holds the layout: who may import whom, the order of `lib.rs`, how long a file may be, that nothing public lies unused and
//! that no dependency does. The tables below are the rules; a change of the design is a change here, with its reason.

mod names;
mod source;

use std::collections::{BTreeMap, BTreeSet};

use source::{SourceFile, read};

/// The ground floor: open to all, imports itself only.
const GROUND: &[&str] = &["domain", "clock", "wake", "observe", "lifeline", "flights", "config", "telemetry", "sabotage"];

/// Libraries without actors and what each may import beside the ground floor.
const LIBRARIES: &[(&str, &[&str])] =
    &[("net", &[]), ("store", &[]), ("storage", &["net"]), ("media", &[]), ("providers", &["net"]), ("experiments", &[])];

/// The stages of a generation's path. Each imports the ground floor and libraries, never another stage: they meet in rows and
/// wakes, so that any of them can be rebuilt, restarted or moved to another node alone.
const STAGES: &[&str] = &["intake", "preparation", "dispatch", "submission", "polling", "assets", "notify", "alerts"];

/// Everything else and what each may import beside the ground floor; a path allows what lies below it.
const AROUND: &[(&str, &[&str])] = &[
    // Takes factories from app: it must not know what it restarts.
    ("supervision", &[]),
    // Writes go through intake; of the store it sees reads and keys, of the providers what a model or an account is.
    ("http", &["intake", "store", "storage", "media", "experiments", "providers"]),
    ("client", &[]),
    // Commands are thin. Short admin commands work beside a running server: they open the store without an app, and make keys
    // by intake's own rules; `simulate` and `openapi` need no app either.
    (
        "cli",
        &[
            "client",
            "app",
            "experiments",
            "simulator",
            "store",
            "intake::keys",
            "intake::unconfirmed",
            "providers::catalogue",
            "http::openapi",
        ],
    ),
    // A test double that shared types with the adapters would share their mistakes.
    ("simulator", &[]),
    ("app", &["*"]),
    ("main", &["*"]),
];

/// What `simulator` may import of the ground floor; all others may import all of it.
const SIMULATOR_GROUND: &[&str] = &["config", "telemetry"];

/// The order of `lib.rs`: a generation's path, what stands over it, libraries, ground floor, what lies around it. A module that
/// is not built yet may be missing.
const ORDER: &[&str] = &[
    "http",
    "intake",
    "preparation",
    "dispatch",
    "submission",
    "polling",
    "assets",
    "notify",
    "alerts",
    "supervision",
    "net",
    "store",
    "storage",
    "media",
    "providers",
    "experiments",
    "clock",
    "config",
    "domain",
    "flights",
    "lifeline",
    "observe",
    "sabotage",
    "telemetry",
    "wake",
    "app",
    "cli",
    "client",
    "simulator",
];

/// Lines of a file without its tests: what one sitting of reading takes in.
const LONGEST_FILE: usize = 500;

/// Why an import from one module into another is wrong; none when it is right.
fn verdict(from: &str, path: &[String]) -> Option<String> {
    let to = path.first()?.as_str();
    if from == to || from == "lib" {
        return None;
    }
    if GROUND.contains(&to) {
        let wrong = from == "simulator" && !SIMULATOR_GROUND.contains(&to);
        return wrong.then(|| format!("the simulator shares {} with the service, nothing else", SIMULATOR_GROUND.join(" and ")));
    }
    if GROUND.contains(&from) {
        return Some("the ground floor imports itself only".to_owned());
    }
    if STAGES.contains(&from) {
        if STAGES.contains(&to) {
            return Some("stages never import each other: they meet in rows and wakes".to_owned());
        }
        let library = LIBRARIES.iter().any(|(name, _)| *name == to);
        return (!library).then(|| "a stage imports the ground floor and libraries only".to_owned());
    }
    let Some((_, allowed)) = LIBRARIES.iter().chain(AROUND).find(|(name, _)| *name == from) else {
        return Some(format!("`{from}` is in no table of tests/it/layout.rs: give it its place"));
    };
    let list = if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(", ") };
    (!allowed.iter().any(|rule| within(rule, path))).then(|| format!("{from} may import the ground floor and {list}"))
}

/// Whether a path lies at or below a rule's.
fn within(rule: &str, path: &[String]) -> bool {
    let wanted: Vec<&str> = rule.split("::").collect();
    rule == "*" || wanted.len() <= path.len() && wanted.iter().zip(path).all(|(want, have)| want == have)
}

#[test]
fn every_import_is_one_that_the_layout_allows() {
    let mut wrong = Vec::new();
    for file in read("src") {
        for import in file.imports() {
            if let Some(reason) = verdict(file.top(), &import.path) {
                wrong.push(format!("{}:{}: crate::{}: {reason}", file.path, import.line, import.path.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "imports against the layout:\n{}", wrong.join("\n"));
}

#[test]
fn the_rules_refuse_what_they_are_there_to_refuse() {
    let refused = |from: &str, to: &str| verdict(from, &[to.to_owned(), "Thing".to_owned()]).is_some();
    for (from, to) in [
        ("dispatch", "submission"),
        ("polling", "http"),
        ("supervision", "store"),
        ("simulator", "providers"),
        ("simulator", "domain"),
        ("store", "net"),
        ("providers", "store"),
        ("domain", "store"),
        ("http", "dispatch"),
        ("cli", "dispatch"),
        ("cli", "net"),
        ("newcomer", "store"),
        ("dispatch", "supervision"),
    ] {
        assert!(refused(from, to), "{from} → {to}");
    }
    for (from, to) in [("dispatch", "store"), ("http", "intake"), ("providers", "net"), ("simulator", "config"), ("app", "http")]
    {
        assert!(!refused(from, to), "{from} → {to}");
    }
}

#[test]
fn imports_are_found_in_groups_in_paths_and_through_super() {
    let text = "use crate::{a::b, c::{self, d as e}};\nfn f() { crate::g::h(); }\nuse super::super::i::j;\n// crate::no\nconst S: &str = \"crate::no\";\n#[cfg(test)]\nmod tests { use crate::no; }\n";
    let file = SourceFile::parse("src/x/y.rs", text);
    let found: BTreeSet<String> = file.imports().into_iter().map(|import| import.path.join("::")).collect();
    let expected: BTreeSet<String> = ["a::b", "c::self", "c::d", "g::h", "i::j"].map(str::to_owned).into();
    assert_eq!(found, expected);
}

#[test]
fn the_table_of_contents_follows_the_path() {
    let lib = read("src").into_iter().find(|file| file.path == "src/lib.rs").expect("src/lib.rs");
    let modules: Vec<&str> = lib.code.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let place = |name: &str| ORDER.iter().position(|known| *known == name);
    let unknown: Vec<&&str> = modules.iter().filter(|name| place(name).is_none()).collect();
    assert!(unknown.is_empty(), "without a place in ORDER: {unknown:?}");
    assert!(modules.is_sorted_by_key(|name| place(name)), "lib.rs is not in the order of the path: {modules:?}");
}

#[test]
fn files_are_short_named_after_their_module_and_say_what_they_are_for() {
    let mut wrong = Vec::new();
    for folder in ["src", "entities/src", "migrations/src", "tests", "benches"] {
        for file in read(folder) {
            let lines = file.code.lines().count();
            if lines > LONGEST_FILE {
                wrong.push(format!("{}: {lines} lines without tests; {LONGEST_FILE} is the limit", file.path));
            }
            if file.path.ends_with("/mod.rs") {
                wrong.push(format!("{}: `foo.rs` with `foo/` beside it, no mod.rs", file.path));
            }
            if !file.is_test_module() && !file.text.lines().any(|line| line.starts_with("//! ") || line.starts_with("#![doc")) {
                wrong.push(format!("{}: no module documentation", file.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Used means: by the product. What only tests call is kept by name and reason, or goes.
#[test]
fn nothing_public_lies_unused() {
    let sources = ["src", "entities/src", "migrations/src"].into_iter().flat_map(read);
    let files: Vec<SourceFile> = sources.filter(|file| !file.is_test_module()).collect();
    // Attributes name functions in texts: `#[serde(with = "…")]`.
    let attributes = files.iter().flat_map(|file| file.text.lines()).filter(|line| line.trim_start().starts_with("#["));
    let words = files.iter().map(|file| file.code.as_str()).chain(attributes).flat_map(source::words);
    let definitions: Vec<names::Definition<'_>> = files.iter().flat_map(names::definitions).collect();
    let uses = counted(words);
    let defined = counted(definitions.iter().map(|definition| definition.name));
    let unused: Vec<String> = definitions
        .iter()
        .filter(|found| !names::KEPT.iter().any(|(kept, _)| *kept == found.name))
        .filter(|found| uses.get(found.name) <= defined.get(found.name))
        .map(|found| format!("{}:{}: {}", found.path, found.line, found.name))
        .collect();
    assert!(unused.is_empty(), "public and never used; remove it, or keep it with a reason in names.rs:\n{}", unused.join("\n"));
}

fn counted<'a>(words: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, usize> {
    let mut counts = BTreeMap::new();
    for word in words {
        *counts.entry(word).or_default() += 1;
    }
    counts
}

#[test]
fn every_dependency_is_used() {
    let unused = names::unused_dependencies();
    assert!(unused.is_empty(), "never used; remove it, or keep it with a reason in names.rs:\n{}", unused.join("\n"));
}

#[test]
fn a_crate_counts_as_used_by_its_paths_and_imports_only() {
    let used = |code: &str| names::names_crate(code, "http");
    assert!(used("use http::Method;") && used("use {http::Method};") && used("fn f(m: &http::Method)") && used("use http as h;"));
    assert!(!used("use crate::http::Api;") && !used("let http = 1; http.x()") && !used("mod http;"));
}
