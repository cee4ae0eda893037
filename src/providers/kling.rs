//! Kling: video and images, two API generations side by side, and relays that speak the older one.
//! Facts: Kling API reference (copy of 2026-09-20) and live probes of 2026-09; relays: published clients of Tuzi and the source
//! of new-api.

pub(super) mod errors;
mod path;
mod token;
mod wire;

#[cfg(test)]
pub(crate) mod tests;

use std::{collections::BTreeMap, time::Duration};

use http::HeaderName;
use secrecy::{ExposeSecret, SecretString};

use self::path::Path;
use crate::{
    domain::{
        balance::Balance,
        error::ErrorCode,
        record::{Endpoint, Handle, Kind},
        time::Timestamp,
    },
    providers::{
        adapter::{
            Adapter, Bills, Call, Cancelled, Capabilities, Context, Credential, Fault, Found, FoundBy, HttpCall, ImageForms,
            Polled, Reply, Search, Signature, Submitted, Webhook, pick, place, signature, table::unsendable,
        },
        schema::{InputSpec, tables},
    },
};

/// Results and their signed URLs are deleted after 30 days (Kling API reference).
pub const OUTPUT_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// No miss was seen in 152 reads right after create (live probe 2026-09); a relay reads its own database. A minute costs nothing.
pub const MISSING_GRACE: Duration = Duration::from_secs(60);

/// The mapping. Path families: `legacy` (default for videos), `new`, `images` (default for images).
///
/// Options: `relay` = `true` (one upstream account shared with strangers: looked for, never sent again), `submit_path` (template with
/// `{kind}`), `poll_path` (template with `{kind}` and `{id}`), `duration` = `string` (default) or `integer`.
#[derive(Debug, Clone, Copy)]
pub struct Kling;

/// Whether the endpoint is a relay: one upstream account shared by many customers.
fn relayed(endpoint: &Endpoint) -> bool {
    pick::switched_on(&endpoint.options, "relay")
}

impl Adapter for Kling {
    fn name(&self) -> &'static str {
        "kling"
    }

    fn schema(&self) -> &'static [InputSpec] {
        tables::KLING
    }

    fn endpoint(
        &self,
        base_url: &str,
        upstream: &str,
        family: Option<&str>,
        options: &BTreeMap<String, String>,
        has_images: bool,
        kind: Kind,
    ) -> Endpoint {
        Endpoint {
            base_url: place::base(base_url),
            path_family: path::family(family, has_images, kind),
            upstream: upstream.to_owned(),
            options: options.clone(),
        }
    }

    fn image_forms(&self, endpoint: &Endpoint) -> ImageForms {
        match Path::of(endpoint) {
            // A URL or raw base64: the data: prefix is stripped.
            Ok(Path::TextToVideo | Path::ImageToVideo) => ImageForms { url: true, data: true, most: 2 },
            Ok(Path::Images) => ImageForms { url: true, data: true, most: 1 },
            // The reference of the new standard speaks of URLs only.
            Ok(Path::NewTextToVideo | Path::NewImageToVideo) => ImageForms { url: true, data: false, most: 2 },
            Err(_) => ImageForms::NONE,
        }
    }

    fn capabilities(&self, endpoint: &Endpoint) -> Capabilities {
        let direct = !relayed(endpoint);
        Capabilities {
            // Units are taken at completion (live probe 2026-09).
            bills: Bills::AtCompletion,
            // `external_task_id` is unique for the account. On a relay strangers share that account, and a lookup goes to the
            // relay's own database: a "not found" there proves nothing.
            idempotent_submit: direct,
            found_by: FoundBy::Tag,
            cancellable: false,
            synchronous: false,
            output_lifetime: OUTPUT_LIFETIME,
            missing_grace: MISSING_GRACE,
        }
    }

    fn authorize(
        &self,
        credential: &Credential,
        endpoint: &Endpoint,
        now: Timestamp,
    ) -> Result<Vec<(HeaderName, SecretString)>, Fault> {
        let Credential::Pair { access, secret } = credential else {
            return Ok(place::bearer(place::key(credential, "kling")?));
        };
        if relayed(endpoint) || Path::of(endpoint)?.new_standard() {
            let message = "kling takes API keys only here: create an API key in the console, an access and secret key sign \
                           for the legacy paths alone";
            return Err(unsendable(ErrorCode::AuthenticationFailed, message));
        }
        if access.is_empty() || secret.expose_secret().is_empty() {
            return Err(unsendable(ErrorCode::AuthenticationFailed, "kling: the access key or the secret key is empty"));
        }
        Ok(place::bearer(&token::signed(access, secret, now)?))
    }

    fn submit(&self, call: &Call<'_>) -> Result<HttpCall, Fault> {
        let path = Path::of(call.endpoint)?;
        wire::submit(path, call, self.image_forms(call.endpoint))
    }

    fn read_submit(&self, call: &Call<'_>, reply: &Reply) -> Submitted {
        wire::read_submit(reply, relayed(call.endpoint))
    }

    fn poll(&self, context: &Context<'_>) -> Result<HttpCall, Fault> {
        path::poll(context.endpoint, &context.handle.task_id).map(HttpCall::get)
    }

    fn read_poll(&self, context: &Context<'_>, reply: &Reply) -> Polled {
        wire::read_poll(context, reply, relayed(context.endpoint))
    }

    fn find(&self, search: &Search<'_>) -> Option<HttpCall> {
        path::find(search.endpoint, search.tag, relayed(search.endpoint)).ok().map(HttpCall::get)
    }

    fn read_find(&self, search: &Search<'_>, reply: &Reply) -> Found {
        wire::read_find(search.tag, reply, relayed(search.endpoint))
    }

    fn balance(&self, endpoint: &Endpoint, now: Timestamp) -> Option<HttpCall> {
        wire::balance(endpoint, now).ok()
    }

    fn read_balance(&self, reply: &Reply) -> Result<Vec<Balance>, Fault> {
        wire::read_balance(reply)
    }

    fn cancel(&self, _context: &Context<'_>) -> Option<HttpCall> {
        None
    }

    fn read_cancel(&self, _context: &Context<'_>, _reply: &Reply) -> Cancelled {
        // Never asked: Kling documents no cancel, and no client has one.
        Cancelled::No
    }

    fn verify_webhook(&self, webhook: &Webhook<'_>, secrets: &[SecretString]) -> Signature {
        signature::verify(&signature::STANDARD_WEBHOOKS, webhook, secrets)
    }

    fn read_webhook(&self, body: &[u8]) -> Option<Handle> {
        wire::read_webhook(body)
    }
}
