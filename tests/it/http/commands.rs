//! `longtake keys` and `longtake projects`, also beside a running server.

use clap::Parser as _;
use longtake::{
    cli::{self, Cli, ConfigFile, KeysCommand, Limit, ProjectsCommand, Quota, QuotaArgs},
    clock::Clock,
    domain::{id::NodeId, money::Micros},
    intake::key_text::KeyText,
    store::{Scope, Store},
};
use serde_json::Value;
use tempfile::TempDir;

/// A folder with a configuration that keeps everything in it.
fn place() -> (TempDir, ConfigFile) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("my.toml");
    std::fs::write(&path, format!("data_dir = {:?}\n", folder.path().join("data"))).unwrap();
    let file = ConfigFile { config: Some(path) };
    (folder, file)
}

fn keys(command: KeysCommand) -> anyhow::Result<String> {
    let mut out = Vec::new();
    cli::keys::run(command, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

fn projects(command: ProjectsCommand) -> anyhow::Result<String> {
    let mut out = Vec::new();
    cli::projects::run(command, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

const NONE_SAID: QuotaArgs = QuotaArgs { requests_per_minute: None, in_flight: None };

fn create(file: &ConfigFile, project: Option<&str>, json: bool) -> KeysCommand {
    KeysCommand::Create {
        name: "ci".to_owned(),
        project: project.map(str::to_owned),
        admin: true,
        daily_limit: None,
        quotas: NONE_SAID,
        json,
        file: file.clone(),
    }
}

#[test]
fn a_key_is_shown_once_and_never_listed() {
    let (_folder, file) = place();
    let made: Value = serde_json::from_str(&keys(create(&file, None, true)).unwrap()).unwrap();
    let text = made["key"].as_str().unwrap().to_owned();
    assert!(KeyText::parse(&text).is_some());
    assert_eq!((&made["scope"], &made["project"]), (&"admin".into(), &"default".into()));
    for json in [true, false] {
        let list = keys(KeysCommand::List { json, file: file.clone() }).unwrap();
        assert!(list.contains(made["id"].as_str().unwrap()) && list.contains(&text[text.len() - 4..]));
        assert!(!list.contains(&text[3..20]) && !list.contains("hash"), "{list}");
    }
    assert_eq!(keys(create(&file, None, false)).unwrap().matches("lt_").count(), 1);
}

#[test]
fn keys_are_revoked_and_rotated_by_id() {
    let (_folder, file) = place();
    let made: Value = serde_json::from_str(&keys(create(&file, None, true)).unwrap()).unwrap();
    let id = made["id"].as_str().unwrap().to_owned();
    let overlap = std::time::Duration::from_secs(60);
    let rotate = |id: &str| KeysCommand::Rotate { id: id.to_owned(), overlap, json: true, file: file.clone() };
    let next: Value = serde_json::from_str(&keys(rotate(&id)).unwrap()).unwrap();
    assert_ne!(next["key"], made["key"]);
    let list: Value = serde_json::from_str(&keys(KeysCommand::List { json: true, file: file.clone() }).unwrap()).unwrap();
    let lapses = list.as_array().unwrap().iter().filter(|key| key["expiresAt"].is_string()).count();
    assert_eq!(lapses, 1, "the old one");
    let revoke = || keys(KeysCommand::Revoke { id: id.clone(), file: file.clone() }).unwrap();
    assert!(revoke().contains("is revoked") && revoke().contains("was revoked before"));
    assert!(keys(rotate(&id)).unwrap_err().to_string().contains("is revoked"));
    assert!(keys(KeysCommand::Revoke { id: "key_x".to_owned(), file: file.clone() }).is_err());
    let absent = longtake::domain::id::KeyId::fresh().to_string();
    assert!(keys(KeysCommand::Revoke { id: absent, file: file.clone() }).unwrap_err().to_string().contains("there is no key"));
}

#[test]
fn projects_have_names_of_their_own() {
    let (_folder, file) = place();
    let make = |name: &str| projects(ProjectsCommand::Create { name: name.to_owned(), json: false, file: file.clone() });
    assert!(make("films").unwrap().contains("films"));
    assert!(make("films").unwrap_err().to_string().contains("already"));
    assert!(make(" \n").is_err());
    let list = projects(ProjectsCommand::List { json: false, file: file.clone() }).unwrap();
    assert!(list.contains("default") && list.contains("films"), "{list}");
    let made: Value = serde_json::from_str(&keys(create(&file, Some("films"), true)).unwrap()).unwrap();
    assert_eq!(made["project"], "films");
    let unknown = keys(create(&file, Some("film"), true)).unwrap_err().to_string();
    assert!(unknown.contains("there is no project named `film`"), "{unknown}");
}

#[test]
fn a_key_made_beside_a_running_server_is_known_to_it() {
    let (_folder, file) = place();
    let config = longtake::config::load::load(file.config.as_deref()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let open = Store::open(&config.store, &config.data_dir, NodeId::fresh(), Clock::System, runtime.handle());
    let server = runtime.block_on(open).unwrap();
    let made: Value = serde_json::from_str(&keys(create(&file, None, true)).unwrap()).unwrap();
    let hash = KeyText::parse(made["key"].as_str().unwrap()).unwrap().hash();
    let found = runtime.block_on(server.keys().by_hash(&hash)).unwrap().expect("the server sees it");
    assert_eq!(found.scope, Scope::Admin);
    runtime.block_on(server.close());
}

#[test]
fn the_configuration_in_force_is_printed_without_secrets_or_refused_with_all_problems() {
    let (folder, file) = place();
    let mut out = Vec::new();
    cli::config::check(&file, &mut out).unwrap();
    assert!(String::from_utf8(out).unwrap().contains("[server]"));
    std::fs::write(folder.path().join("my.toml"), "[server]\nwrokers = 1\n[stor]\n").unwrap();
    let problems = cli::config::check(&file, &mut Vec::new()).unwrap_err().to_string();
    assert!(problems.contains("2 problems") && problems.contains("my.toml:2: unknown key `server.wrokers`"), "{problems}");
}

#[test]
fn limits_are_set_shown_and_taken_away_and_spending_is_reported() {
    let (_folder, file) = place();
    let made: Value = serde_json::from_str(&keys(create(&file, None, true)).unwrap()).unwrap();
    let id = made["id"].as_str().unwrap().to_owned();
    let limit = |limit| KeysCommand::SetLimit { id: id.clone(), limit: Some(limit), quotas: NONE_SAID, file: file.clone() };
    assert!(keys(limit(Limit(Some(Micros(12_500_000))))).unwrap().contains("12.500000 USD a day"));
    let list: Value = serde_json::from_str(&keys(KeysCommand::List { json: true, file: file.clone() }).unwrap()).unwrap();
    assert_eq!(list[0]["dailyLimit"], "12.500000");
    assert!(keys(limit(Limit(None))).unwrap().contains("no daily limit"));
    let quotas = |requests_per_minute, in_flight| KeysCommand::SetLimit {
        id: id.clone(),
        limit: None,
        quotas: QuotaArgs { requests_per_minute, in_flight },
        file: file.clone(),
    };
    let told = keys(quotas(Some(Quota(Some(600))), None)).unwrap();
    assert!(told.contains("600 requests a minute, requests at a time as configured"), "{told}");
    let told = keys(quotas(None, Some(Quota(Some(0))))).unwrap();
    assert!(told.contains("600 requests a minute, requests at a time without limit"), "{told}");
    let list: Value = serde_json::from_str(&keys(KeysCommand::List { json: true, file: file.clone() }).unwrap()).unwrap();
    assert_eq!((&list[0]["requestsPerMinute"], &list[0]["inFlight"]), (&600.into(), &0.into()));
    let project =
        |name: &str| ProjectsCommand::SetLimit { name: name.to_owned(), limit: Limit(Some(Micros(1))), file: file.clone() };
    projects(project("default")).unwrap();
    let list: Value = serde_json::from_str(&projects(ProjectsCommand::List { json: true, file: file.clone() }).unwrap()).unwrap();
    assert_eq!(list[0]["dailyLimit"], "0.000001");
    assert!(projects(project("nobody")).is_err());
    let spend = |words: &[&str]| {
        let config = file.config.clone().unwrap();
        let words = ["longtake", "spend", "--config", config.to_str().unwrap()].into_iter().chain(words.iter().copied());
        let cli::Command::Spend(args) = Cli::try_parse_from(words).unwrap().command else { panic!("another command") };
        let mut out = Vec::new();
        cli::spend::run(&args, &mut out).map(|()| String::from_utf8(out).unwrap())
    };
    let report: Value = serde_json::from_str(&spend(&["--json", "--from", "2026-11-01", "--to", "2026-11-21"]).unwrap()).unwrap();
    assert_eq!(
        (&report["from"], &report["data"], &report["total"]["held"]),
        (&"2026-11-01".into(), &Value::Array(vec![]), &"0.000000".into())
    );
    assert!(spend(&["--by", "day,provider"]).unwrap().contains("total"));
    assert!(spend(&["--from", "2026-11-21", "--to", "2026-11-01"]).is_err());
    assert!(spend(&["--project", "nobody"]).is_err());
    assert!(Cli::try_parse_from(["longtake", "spend", "--by", "colour"]).is_err());
}
