//! An adapter that only knows how to authorize, and a provider around it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::{HeaderName, header};
use longtake::{
    config::{Config, providers::ProviderConfig},
    domain::{
        error::ErrorCode,
        record::{Endpoint, Handle, Kind},
        time::Timestamp,
    },
    providers::{
        adapter::{
            Adapter, Bills, Call, Cancelled, Capabilities, Context, Credential, Fault, Found, FoundBy, HttpCall, ImageForms,
            Polled, Reply, Search, Signature, Submitted, Then, Webhook,
        },
        catalogue::Model,
        registry::{Adapters, Provider, Registry},
        schema::InputSpec,
    },
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

/// A section for a test double at `base`, with the key `sk-test`.
pub fn section(base: &str) -> ProviderConfig {
    ProviderConfig {
        adapter: Some("fake".to_owned()),
        base_url: base.to_owned(),
        allow_loopback: true,
        api_key: Some("sk-test".into()),
        ..ProviderConfig::default()
    }
}

/// The provider that such a section makes.
pub fn provider(name: &str, section: ProviderConfig) -> Arc<Provider> {
    let mut config = Config::default();
    config.providers.insert(name.to_owned(), section);
    let adapters = Adapters::default().with("fake", Arc::new(Fake));
    let registry = Registry::with_adapters(&config, &adapters).expect("a registry");
    let provider = Arc::clone(registry.provider(name).expect("the provider"));
    assert_eq!(provider.disabled, None);
    provider
}

pub fn endpoint(provider: &Provider) -> Endpoint {
    provider.endpoint(&model(&provider.name), false)
}

pub fn post(provider: &Provider, path: &str) -> HttpCall {
    let url = format!("{}{path}", provider.config.base_url).parse().expect("a URL");
    HttpCall::post(url, json!({"prompt": "a cat"}))
}

/// A model of that provider.
pub fn model(provider: &str) -> Model {
    Model {
        id: "fake-model".into(),
        provider: provider.into(),
        upstream: "upstream-model".to_owned(),
        kind: Kind::Image,
        family: None,
        price: longtake::config::models::PriceConfig::default(),
        max_prompt: 2000,
        outputs_per_call: 1,
        min_images: 0,
        max_images: 0,
        image_forms: Vec::new(),
        inputs: Vec::new(),
        strategy: None,
        max_duration_s: None,
    }
}

#[derive(Debug)]
struct Fake;

fn fault(code: ErrorCode) -> Fault {
    Fault {
        code,
        message: "the fake refuses".to_owned(),
        http_status: None,
        provider_code: None,
        provider_message: None,
        retry_after: None,
        then: Then::Final,
    }
}

impl Adapter for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn authorize(&self, credential: &Credential, _: &Endpoint, _: Timestamp) -> Result<Vec<(HeaderName, SecretString)>, Fault> {
        match credential {
            Credential::Key(key) if key.expose_secret() == "unusable" => Err(fault(ErrorCode::AuthenticationFailed)),
            Credential::Key(key) => {
                Ok(vec![(header::AUTHORIZATION, SecretString::from(format!("Bearer {}", key.expose_secret())))])
            }
            Credential::Pair { .. } => Err(fault(ErrorCode::AuthenticationFailed)),
        }
    }

    fn schema(&self) -> &'static [InputSpec] {
        &[]
    }

    fn endpoint(
        &self,
        base_url: &str,
        upstream: &str,
        family: Option<&str>,
        options: &BTreeMap<String, String>,
        _: bool,
        _: Kind,
    ) -> Endpoint {
        Endpoint {
            base_url: base_url.to_owned(),
            path_family: family.unwrap_or("fake").to_owned(),
            upstream: upstream.to_owned(),
            options: options.clone(),
        }
    }

    fn image_forms(&self, _: &Endpoint) -> ImageForms {
        ImageForms::NONE
    }

    fn capabilities(&self, _: &Endpoint) -> Capabilities {
        Capabilities {
            bills: Bills::AtAccept,
            idempotent_submit: false,
            found_by: FoundBy::Nobody,
            cancellable: false,
            synchronous: false,
            output_lifetime: Duration::from_secs(600),
            missing_grace: Duration::ZERO,
        }
    }

    fn submit(&self, _: &Call<'_>) -> Result<HttpCall, Fault> {
        Err(fault(ErrorCode::InternalError))
    }

    fn read_submit(&self, _: &Call<'_>, _: &Reply) -> Submitted {
        Submitted::Fault(fault(ErrorCode::InternalError))
    }

    fn poll(&self, _: &Context<'_>) -> Result<HttpCall, Fault> {
        Err(fault(ErrorCode::InternalError))
    }

    fn read_poll(&self, _: &Context<'_>, _: &Reply) -> Polled {
        Polled::Unclear(fault(ErrorCode::InternalError))
    }

    fn find(&self, _: &Search<'_>) -> Option<HttpCall> {
        None
    }

    fn read_find(&self, _: &Search<'_>, _: &Reply) -> Found {
        Found::Nothing
    }

    fn cancel(&self, _: &Context<'_>) -> Option<HttpCall> {
        None
    }

    fn read_cancel(&self, _: &Context<'_>, _: &Reply) -> Cancelled {
        Cancelled::No
    }

    fn verify_webhook(&self, _: &Webhook<'_>, _: &[SecretString]) -> Signature {
        Signature::Unsigned
    }

    fn read_webhook(&self, _: &[u8]) -> Option<Handle> {
        None
    }
}
