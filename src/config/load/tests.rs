//! Layers, variables, and what is said about mistakes.

use super::*;

fn shipped_and(text: &str, variables: &[(&str, &str)]) -> Result<Config, Problems> {
    let layers = [Layer { name: "config/default.toml", text: SHIPPED }, Layer { name: "my.toml", text }];
    from(&layers, variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

fn problems(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    shipped_and(text, variables).map(|_| ()).expect_err("it has problems").0
}

#[test]
fn the_shipped_file_and_the_code_hold_the_same_defaults() {
    let mut shipped: Table = toml::from_str(SHIPPED).unwrap();
    shipped.remove("providers");
    shipped.remove("models");
    let in_file = serde_json::to_value(&shipped).unwrap();
    let mut in_code = serde_json::to_value(Config::default()).unwrap();
    strip(&mut in_code);
    assert_eq!(in_file, in_code, "config/default.toml and the Default impls differ");
}

/// Options that are off by default stand in the file as comments.
fn strip(json: &mut serde_json::Value) {
    if let Some(map) = json.as_object_mut() {
        map.retain(|key, value| !value.is_null() && key != "providers" && key != "models");
        map.values_mut().for_each(strip);
    }
}

#[test]
fn every_option_that_is_off_by_default_is_named_in_the_shipped_file() {
    let config = serde_json::to_value(Config::default()).unwrap();
    for (section, values) in config.as_object().unwrap() {
        for (key, value) in values.as_object().into_iter().flatten() {
            let named = SHIPPED.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{key} =")));
            assert!(named || !value.is_null(), "{section}.{key} is not mentioned in config/default.toml");
        }
    }
}

#[test]
fn a_later_layer_wins_and_variables_win_over_files() {
    let text = "[server]\nworkers = 3\nbind = \"127.0.0.1:1\"\n[providers.kling]\nconcurrency = 7";
    let config = shipped_and(text, &[("LONGTAKE__SERVER__BIND", "127.0.0.1:2"), ("PATH", "/bin")]).unwrap();
    assert_eq!((config.server.workers, config.server.bind.as_str()), (3, "127.0.0.1:2"));
    assert_eq!(config.providers["kling"].concurrency, 7);
    assert!(!config.providers["kling"].base_url.is_empty(), "the rest of the shipped section stays");
}

#[test]
fn an_unknown_key_names_its_line_its_path_and_the_nearest_known_one() {
    let found = problems("[store]\nbatch = 1\nreader = 4\n[providers.kling.retry]\nmax_attempt = 1", &[]);
    assert_eq!(
        found,
        [
            "my.toml:3: unknown key `store.reader`; did you mean `store.readers`?",
            "my.toml:5: unknown key `providers.kling.retry.max_attempt`; did you mean `providers.kling.retry.max_attempts`?",
        ]
    );
}

#[test]
fn everything_wrong_is_said_at_once() {
    let text = "[server]\nworkers = \"two\"\nbindd = \"x\"\n[polling]\nfactor = \"fast\"\n[providers.kling]\nconcurrency = -1";
    let found = problems(text, &[("LONGTAKE__STORE__BATSH", "1")]);
    assert_eq!(found.len(), 5, "{found:#?}");
    for place in ["my.toml:3", "`LONGTAKE__STORE__BATCH`", "server.workers", "polling.factor", "providers.kling.concurrency"] {
        assert!(found.iter().any(|problem| problem.contains(place)), "{place}: {found:#?}");
    }
}

#[test]
fn values_out_of_range_are_refused() {
    let text = "[server]\nworkers = 0\nbind = \"here\"\npublic_url = \"ftp://x/\"\n[polling]\nfactor = 0.5\n[storage]\nkind = \"s3\"\n\
                [telemetry]\nfilter = \"a=b=c\"\n[store]\nurl = \"mysql://x\"";
    let found = problems(text, &[]);
    for place in [
        "server.workers",
        "server.bind",
        "server.public_url",
        "polling.factor",
        "storage.bucket",
        "telemetry.filter",
        "store.url",
    ] {
        assert!(found.iter().any(|problem| problem.starts_with(place)), "{place}: {found:#?}");
    }
}

#[test]
fn a_syntax_error_names_its_line_and_does_not_quote_it() {
    let found = problems("[providers.kling]\napi_key = \"canary-secret\n", &[]);
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("my.toml:2: "), "{found:?}");
    assert!(!found[0].contains("canary"), "{found:?}");
}

#[test]
fn a_secret_of_the_wrong_type_is_not_quoted() {
    let found = problems("[providers.kling]\napi_key = 918273645\nsecret_key = [918273645]", &[]);
    assert_eq!(found, ["providers.kling.api_key: must be text", "providers.kling.secret_key: must be text"]);
}

#[test]
fn variables_reach_names_that_they_cannot_spell() {
    let text = "[providers.My-relay]\nadapter = \"kling\"\nbase_url = \"https://relay.example\"";
    let model = toml::from_str::<Table>(SHIPPED).unwrap()["models"].as_table().unwrap().keys().next().unwrap().clone();
    let spelled: String = model.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    let variables = [
        ("LONGTAKE__PROVIDERS__MY_RELAY__API_KEY", "k1"),
        ("LONGTAKE__PROVIDERS__KLING__OPTIONS__PLACE", "x"),
        (&*format!("LONGTAKE__MODELS__{spelled}__MAX_PROMPT"), "17"),
    ];
    let config = shipped_and(text, &variables).unwrap();
    assert!(config.providers["My-relay"].api_key.is_some());
    assert_eq!(config.providers["kling"].options["place"], "x");
    assert_eq!(config.models[&model].max_prompt, 17);
}

#[test]
fn a_variable_is_read_as_what_its_place_takes() {
    use secrecy::ExposeSecret;
    let variables = [
        ("LONGTAKE__PROVIDERS__KLING__API_KEY", "1234567890"),
        ("LONGTAKE__PROVIDERS__KLING__ENABLED", "false"),
        ("LONGTAKE__PROVIDERS__FLUX__API_KEY", "true"),
        ("LONGTAKE__ASSETS__ALLOW_PRIVATE_HOSTS", "[\"localhost\"]"),
        ("LONGTAKE__TELEMETRY__FORMAT", "json"),
        ("LONGTAKE__DATA_DIR", "/var/lib/longtake"),
    ];
    let config = shipped_and("", &variables).unwrap();
    let key = |name: &str| config.providers[name].api_key.as_ref().unwrap().expose_secret().to_owned();
    assert_eq!((key("kling"), key("flux")), ("1234567890".to_owned(), "true".to_owned()));
    assert!(!config.providers["kling"].enabled);
    assert_eq!(config.assets.allow_private_hosts, ["localhost"]);
    assert_eq!(config.data_dir, Path::new("/var/lib/longtake"));
}

#[test]
fn a_variable_cannot_smuggle_in_a_second_key() {
    let config = shipped_and("", &[("LONGTAKE__SERVER__BIND", "127.0.0.1:1\nworkers = 9")]);
    assert!(config.is_err(), "the text as a whole is no address");
}

#[test]
fn the_effective_configuration_shows_everything_but_secrets() {
    let text = "[store]\nurl = \"postgres://u:canary-1@db.example/longtake\"\n[providers.kling]\napi_key = \"canary-2\"\n\
                [providers.kling.accounts.second]\nsecret_key = \"canary-3\"\naccess_key = \"shown\"";
    let config = shipped_and(text, &[("LONGTAKE__STORAGE__SECRET_ACCESS_KEY", "canary-4")]).unwrap();
    let shown = effective(&config).unwrap();
    assert!(!shown.contains("canary"), "{shown}");
    assert!(shown.contains("postgres://u:***@db.example/longtake") && shown.contains("[redacted]"));
    assert!(!format!("{config:?}").contains("canary"), "nor does Debug");
}
