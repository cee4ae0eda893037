//! Values that have the right type and still cannot work.

use std::net::ToSocketAddrs;

use secrecy::{ExposeSecret, SecretString};
use url::Url;
use validator::{Validate, ValidateRange};

use crate::config::{Config, providers::ProviderConfig, server::SHORTEST_SECRET, storage::StorageKind};

/// Every problem, each a sentence that begins with its place.
pub(super) fn problems(config: &Config) -> Vec<String> {
    let mut problems = Vec::new();
    derived("server", &config.server, &mut problems);
    derived("batches", &config.batches, &mut problems);
    derived("openai", &config.openai, &mut problems);
    derived("telemetry", &config.telemetry, &mut problems);
    server(config, &mut problems);
    store(config, &mut problems);
    storage(config, &mut problems);
    stages(config, &mut problems);
    for (name, provider) in &config.providers {
        self::provider(name, provider, &mut problems);
    }
    problems
}

/// What the struct itself declares.
fn derived(section: &str, values: &impl Validate, problems: &mut Vec<String>) {
    let Err(errors) = values.validate() else { return };
    let mut found: Vec<String> = errors
        .field_errors()
        .into_iter()
        .flat_map(|(field, errors)| errors.iter().map(move |error| (field.to_string(), error)))
        .map(|(field, error)| format!("{section}.{field}: {}", error.message.as_deref().unwrap_or("is out of range")))
        .collect();
    found.sort();
    problems.extend(found);
}

fn range<T: ValidateRange<T> + Copy + std::fmt::Display>(place: &str, value: T, (min, max): (T, T), problems: &mut Vec<String>) {
    if !value.validate_range(Some(min), Some(max), None, None) {
        problems.push(format!("{place}: must be between {min} and {max}, is {value}"));
    }
}

fn server(config: &Config, problems: &mut Vec<String>) {
    let bind = &config.server.bind;
    // A numeric address or `localhost:port` resolves without asking anybody.
    if !bind.contains(':') || bind.to_socket_addrs().is_err() {
        problems.push(format!("server.bind: `{bind}` is not an address and port such as 127.0.0.1:8080"));
    }
    if let Some(url) = &config.server.public_url {
        http_url("server.public_url", url, problems);
    }
    if config.server.secret.is_some() && config.server.secret_file.is_some() {
        problems.push("server.secret: give it or secret_file, not both".to_owned());
    }
    let short = |secret: &SecretString| secret.expose_secret().split_whitespace().any(|word| word.len() < SHORTEST_SECRET);
    if config.server.secret.as_ref().is_some_and(short) {
        problems.push(format!("server.secret: must have at least {SHORTEST_SECRET} characters"));
    }
    if let Err(error) = tracing_subscriber::EnvFilter::try_new(&config.telemetry.filter) {
        problems.push(format!("telemetry.filter: {error}"));
    }
}

fn http_url(place: &str, url: &str, problems: &mut Vec<String>) {
    let fits = Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if !fits {
        problems.push(format!("{place}: must be an http or https URL"));
    }
    if url.ends_with('/') {
        problems.push(format!("{place}: must not end with a slash"));
    }
}

fn store(config: &Config, problems: &mut Vec<String>) {
    let store = &config.store;
    let known = ["sqlite:", "postgres://", "postgresql://"];
    if store.url != "sqlite" && !known.iter().any(|scheme| store.url.starts_with(scheme)) {
        problems.push("store.url: must be `sqlite`, `sqlite:<path>` or `postgres://…`".to_owned());
    }
    range("store.batch", store.batch, (1, 1_000), problems);
    range("store.queue", store.queue, (1, 1_000_000), problems);
    range("store.readers", store.readers, (1, 64), problems);
    range("store.read_timeout_ms", store.read_timeout_ms, (10, 60_000), problems);
    range("store.write_timeout_ms", store.write_timeout_ms, (100, 60_000), problems);
}

fn storage(config: &Config, problems: &mut Vec<String>) {
    let storage = &config.storage;
    if storage.kind == StorageKind::S3 && storage.bucket.is_empty() {
        problems.push("storage.bucket: must be named when storage.kind is `s3`".to_owned());
    }
    if storage.secret_access_key.is_some() && storage.secret_access_key_file.is_some() {
        problems.push("storage.secret_access_key: give it or secret_access_key_file, not both".to_owned());
    }
    for (place, url) in [("storage.endpoint", &storage.endpoint), ("storage.public_url", &storage.public_url)] {
        if let Some(url) = url {
            http_url(place, url, problems);
        }
    }
    // 5 MiB is S3's smallest part; presigned URLs live at most a week.
    range("storage.part_bytes", storage.part_bytes, (5 * 1024 * 1024, 1024 * 1024 * 1024), problems);
    range("storage.presign_s", storage.presign_s, (1, 604_800), problems);
}

fn stages(config: &Config, problems: &mut Vec<String>) {
    range("assets.concurrency", config.assets.concurrency, (1, 1_024), problems);
    range("assets.stall_ms", config.assets.stall_ms, (100, 3_600_000), problems);
    range("dispatch.sweep_ms", config.dispatch.sweep_ms, (10, 60_000), problems);
    range("dispatch.batch", config.dispatch.batch, (1, 1_000), problems);
    range("dispatch.priority_s", config.dispatch.priority_s, (1, 86_400), problems);
    range("dispatch.offer_ms", config.dispatch.offer_ms, (10, 600_000), problems);
    range("dispatch.not_after_ms", config.dispatch.not_after_ms, (100, 60_000), problems);
    range("dispatch.queue_deadline_s", config.dispatch.queue_deadline_s, (1, 2_592_000), problems);
    range("dispatch.reconcile_ms", config.dispatch.reconcile_ms, (10, 600_000), problems);
    range("dispatch.hold_s", config.dispatch.hold_s, (1, 31_536_000), problems);
    range("dispatch.max_resubmits", config.dispatch.max_resubmits, (0, 10), problems);
    range("dispatch.lease_ttl_ms", config.dispatch.lease_ttl_ms, (0, 600_000), problems);
    range("dispatch.watch_s", config.dispatch.watch_s, (0, 31_536_000), problems);
    range("dispatch.watch_every_ms", config.dispatch.watch_every_ms, (10, 86_400_000), problems);
    let polling = &config.polling;
    range("polling.base_ms", polling.base_ms, (10, 3_600_000), problems);
    range("polling.cap_ms", polling.cap_ms, (10, 3_600_000), problems);
    range("polling.every_ms", polling.every_ms, (10, 3_600_000), problems);
    range("polling.factor", polling.factor, (1.0, 100.0), problems);
    range("polling.jitter", polling.jitter, (0.0, 0.5), problems);
    range("polling.adaptive_budget", polling.adaptive_budget, (0.1, 2.0), problems);
    range("polling.concurrency", polling.concurrency, (1, 100_000), problems);
    let notify = &config.notify;
    range("notify.max_waiters", notify.max_waiters, (0, 1_000_000), problems);
    range("notify.max_streams", notify.max_streams, (0, 1_000_000), problems);
    range("notify.max_streams_per_project", notify.max_streams_per_project, (0, 1_000_000), problems);
    range("notify.heartbeat_ms", notify.heartbeat_ms, (10, 600_000), problems);
    range("notify.webhooks", notify.webhooks, (1, 100_000), problems);
    range("notify.webhooks_per_endpoint", notify.webhooks_per_endpoint, (1, 1_000), problems);
    range("notify.webhook_timeout_ms", notify.webhook_timeout_ms, (1, 600_000), problems);
    for wait in &notify.webhook_retry_ms {
        range("notify.webhook_retry_ms", *wait, (1, 604_800_000), problems);
    }
    range("notify.keep_s", notify.keep_s, (604_800, 315_360_000), problems);
    range("notify.stream_s", notify.stream_s, (1, 86_400), problems);
    range("supervision.beat_ms", config.supervision.beat_ms, (10, 60_000), problems);
    if config.supervision.late_ms <= config.supervision.beat_ms {
        problems.push("supervision.late_ms: must be longer than beat_ms, or every actor is late".to_owned());
    }
}

fn provider(name: &str, provider: &ProviderConfig, problems: &mut Vec<String>) {
    let place = |key: &str| format!("providers.{name}.{key}");
    if provider.enabled {
        http_url(&place("base_url"), &provider.base_url, problems);
    }
    let both = [
        ("api_key", provider.api_key.is_some() && provider.api_key_file.is_some()),
        ("secret_key", provider.secret_key.is_some() && provider.secret_key_file.is_some()),
        ("webhook_secret", provider.webhook_secret.is_some() && provider.webhook_secret_file.is_some()),
    ];
    for (key, _) in both.into_iter().filter(|(_, both)| *both) {
        problems.push(format!("{}: give it or {key}_file, not both", place(key)));
    }
    range(&place("connect_timeout_ms"), provider.connect_timeout_ms, (1, 600_000), problems);
    range(&place("submit_timeout_ms"), provider.submit_timeout_ms, (1, 3_600_000), problems);
    range(&place("poll_timeout_ms"), provider.poll_timeout_ms, (1, 600_000), problems);
    range(&place("retry.max_attempts"), provider.retry.max_attempts, (1, 100), problems);
    range(&place("retry.multiplier"), provider.retry.multiplier, (1.0, 100.0), problems);
    range(&place("retry.max_delay_ms"), provider.retry.max_delay_ms, (0, 3_600_000), problems);
}
