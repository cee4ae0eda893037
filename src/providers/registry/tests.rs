//! Which sections can be used, and what those say that cannot.

use std::io::Write;

use secrecy::ExposeSecret;

use super::{Provider, Registry};
use crate::{
    config::{
        Config,
        providers::{AccountConfig, ProviderConfig},
    },
    net::guard::Allow,
    providers::adapter::Credential,
};

fn keyed() -> ProviderConfig {
    ProviderConfig { api_key: Some("sk-1".into()), ..ProviderConfig::default() }
}

fn registry(sections: Vec<(&str, ProviderConfig)>) -> Result<Registry, Vec<String>> {
    let providers = sections.into_iter().map(|(name, section)| (name.to_owned(), section)).collect();
    Registry::new(&Config { providers, ..Config::default() })
}

fn one(name: &str, section: ProviderConfig, look: impl FnOnce(&Provider)) {
    look(registry(vec![(name, section)]).expect("a registry").provider(name).expect("a provider"));
}

fn why(section: ProviderConfig) -> String {
    let mut why = None;
    one("kling", section, |provider| why.clone_from(&provider.disabled));
    why.expect("disabled")
}

fn key(provider: &Provider, account: &str) -> String {
    match &provider.account(account).expect("an account").credential {
        Credential::Key(key) => key.expose_secret().to_owned(),
        Credential::Pair { access, secret } => format!("{access}:{}", secret.expose_secret()),
    }
}

fn file(content: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(content.as_bytes()).expect("written");
    file
}

#[test]
fn a_key_alone_makes_every_known_provider_ready_at_its_documented_host() {
    let sections = ["kling", "pollo", "replicate", "flux", "tuzi"].map(|name| (name, keyed()));
    let registry = registry(sections.into()).expect("a registry");
    let bases: Vec<_> = registry.all().map(|provider| (&*provider.name, provider.config.base_url.as_str())).collect();
    let documented = [
        ("flux", "https://api.bfl.ai"),
        ("kling", "https://api-singapore.klingai.com"),
        ("pollo", "https://pollo.ai/api/platform"),
        ("replicate", "https://api.replicate.com/v1"),
        ("tuzi", "https://api.tu-zi.com"),
    ];
    assert_eq!(bases, documented);
    assert!(registry.all().all(|provider| provider.disabled.is_none() && key(provider, "default") == "sk-1"));
}

#[test]
fn a_section_of_another_name_uses_the_adapter_it_names() {
    let section = ProviderConfig { adapter: Some("kling".to_owned()), base_url: "https://relay.example/".to_owned(), ..keyed() };
    one("my-relay", section, |provider| {
        assert_eq!(provider.config.base_url, "https://relay.example");
        assert_eq!((&*provider.name, provider.disabled.as_deref()), ("my-relay", None));
    });
}

#[test]
fn unknown_adapters_are_all_listed_with_the_nearest_known_one() {
    let problems = registry(vec![("klign", keyed()), ("flux", keyed()), ("polo", keyed())]).expect_err("problems");
    assert_eq!(problems.len(), 2);
    assert!(
        problems[0].starts_with("providers.klign: there is no adapter \"klign\"; did you mean \"kling\"?"),
        "{}",
        problems[0]
    );
    assert!(problems[1].contains("did you mean \"pollo\"?"), "{}", problems[1]);
}

#[test]
fn without_a_credential_a_section_is_there_and_says_so() {
    assert!(why(ProviderConfig::default()).starts_with("no credential: set api_key"));
    assert!(why(ProviderConfig { api_key: Some("  ".into()), ..ProviderConfig::default() }).starts_with("no credential"));
}

#[test]
fn switched_off_or_with_a_base_url_that_cannot_be_used_it_says_why() {
    assert_eq!(why(ProviderConfig { enabled: false, ..keyed() }), "switched off by enabled = false");
    for (base, expected) in [
        ("http://api.example.com", "the scheme http is not allowed here"),
        ("https://127.0.0.1", "loopback"),
        ("https://user:pw@api.example.com", "user name or password"),
        ("api.example.com", "not a URL"),
        ("https://api.example.com/v1?key=1", "without ? or #"),
    ] {
        let why = why(ProviderConfig { base_url: base.to_owned(), ..keyed() });
        assert!(why.contains("base_url") && why.contains(expected), "{base}: {why}");
        assert!(!why.contains("pw") && !why.contains("key=1"), "{why}");
    }
}

#[test]
fn loopback_is_reached_only_where_it_is_allowed_and_then_for_calls_and_results() {
    let base_url = "http://127.0.0.1:4000".to_owned();
    one("kling", ProviderConfig { base_url, allow_loopback: true, ..keyed() }, |provider| {
        assert_eq!(provider.disabled, None);
        for client in [&provider.clients.submit, &provider.clients.poll, &provider.clients.download] {
            assert_eq!(*client.allow(), Allow::loopback());
        }
    });
    let mut config = Config::default();
    config.assets.allow_private_hosts = vec!["media.corp".to_owned()];
    config.providers.insert("kling".to_owned(), keyed());
    let registry = Registry::new(&config).expect("a registry");
    let clients = &registry.provider("kling").expect("kling").clients;
    assert_eq!((clients.submit.allow(), clients.poll.allow()), (&Allow::public(), &Allow::public()));
    assert_eq!(*clients.download.allow(), Allow::private_hosts(vec!["media.corp".to_owned()]));
}

#[test]
fn credentials_come_from_files_and_pairs_and_further_accounts_have_their_own_limits() {
    let (key_file, secret_file) = (file("sk-file\n"), file("secret-file\n"));
    let second = AccountConfig {
        access_key: Some("access".to_owned()),
        secret_key_file: Some(secret_file.path().to_owned()),
        concurrency: Some(3),
        ..AccountConfig::default()
    };
    let section = ProviderConfig {
        api_key_file: Some(key_file.path().to_owned()),
        accounts: [("second".to_owned(), second)].into(),
        ..ProviderConfig::default()
    };
    one("kling", section, |provider| {
        assert_eq!((key(provider, "default"), key(provider, "second")), ("sk-file".to_owned(), "access:secret-file".to_owned()));
        assert_eq!(provider.account("default").expect("default").budget.in_use(), (0, 20));
        assert_eq!(provider.account("second").expect("second").budget.in_use(), (0, 3));
        assert_eq!(provider.accounts.iter().map(|account| &*account.name).collect::<Vec<_>>(), ["default", "second"]);
    });
}

#[test]
fn a_credential_that_cannot_be_used_is_named_and_never_shown() {
    let broken = [
        (ProviderConfig { api_key: Some("sk\u{7}secret".into()), ..ProviderConfig::default() }, "no HTTP header can carry"),
        (ProviderConfig { access_key: Some("a".to_owned()), ..ProviderConfig::default() }, "access_key without secret_key"),
        (ProviderConfig { secret_key: Some("secret".into()), ..ProviderConfig::default() }, "secret_key without access_key"),
        (ProviderConfig { secret_key: Some("secret".into()), ..keyed() }, "both api_key and a pair"),
        (ProviderConfig { api_key_file: Some("/nowhere/key".into()), ..ProviderConfig::default() }, "api_key_file /nowhere/key"),
        (ProviderConfig { api_key_file: Some(file("x").path().to_owned()), ..keyed() }, "both api_key and api_key_file"),
    ];
    for (section, expected) in broken {
        let why = why(section);
        assert!(why.contains(expected) && !why.contains("secret\"") && !why.contains("sk-1"), "{why}");
        assert!(!why.contains('\u{7}'), "{why}");
    }
}

#[test]
fn one_usable_account_is_enough_and_two_of_one_name_are_not_guessed_about() {
    let empty = [("second".to_owned(), AccountConfig::default())];
    one("kling", ProviderConfig { accounts: empty.into(), ..keyed() }, |provider| {
        assert_eq!((provider.disabled.as_deref(), provider.accounts.len()), (None, 1));
    });
    let named = AccountConfig { api_key: Some("sk-2".into()), ..AccountConfig::default() };
    let accounts = [("default".to_owned(), named)];
    one("kling", ProviderConfig { accounts: accounts.clone().into(), ..ProviderConfig::default() }, |provider| {
        assert_eq!(key(provider, "default"), "sk-2");
    });
    one("kling", ProviderConfig { accounts: accounts.into(), ..keyed() }, |provider| {
        assert_eq!((provider.accounts.len(), key(provider, "default")), (1, "sk-1".to_owned()));
    });
}

#[test]
fn nothing_that_is_printed_holds_a_secret() {
    let section = ProviderConfig {
        access_key: Some("access".to_owned()),
        secret_key: Some("canary-secret".into()),
        ..ProviderConfig::default()
    };
    let registry = registry(vec![("kling", section), ("flux", ProviderConfig { api_key: Some("canary-key".into()), ..keyed() })]);
    assert!(!format!("{registry:?}").contains("canary"));
}
