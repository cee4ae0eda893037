//! Flux models at Black Forest Labs (BFL). The polling URL is used as given, for it may name a regional cluster; the key goes to
//! BFL's own hosts only, or to the operator's.
//! Facts: BFL's OpenAPI, its skills repository, its integration guide, and published clients (vercel/ai, litellm).

pub(super) mod errors;
mod model;
pub(super) mod wire;

#[cfg(test)]
pub(crate) mod tests;

use std::{collections::BTreeMap, time::Duration};

use http::HeaderName;
use secrecy::SecretString;

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
            Polled, Reply, Search, Signature, Submitted, Webhook, place, signature,
            table::{Said, unsendable},
        },
        schema::{InputSpec, tables},
    },
};

/// The signed URL of a result is valid for ten minutes (integration guide): it is fetched at once.
pub const OUTPUT_LIFETIME: Duration = Duration::from_secs(600);

/// "Task not found" right after a submit may be a race: clients ask again for about ten seconds. A minute costs nothing.
pub const MISSING_GRACE: Duration = Duration::from_secs(60);

/// The mapping. Path family: `bfl`. No options.
#[derive(Debug, Clone, Copy)]
pub struct Flux;

impl Adapter for Flux {
    fn name(&self) -> &'static str {
        "flux"
    }

    fn schema(&self) -> &'static [InputSpec] {
        tables::FLUX
    }

    fn endpoint(
        &self,
        base_url: &str,
        upstream: &str,
        family: Option<&str>,
        options: &BTreeMap<String, String>,
        _has_images: bool,
        _kind: Kind,
    ) -> Endpoint {
        Endpoint {
            base_url: place::base(base_url),
            path_family: family.unwrap_or("bfl").to_owned(),
            upstream: upstream.to_owned(),
            options: options.clone(),
        }
    }

    fn image_forms(&self, endpoint: &Endpoint) -> ImageForms {
        model::Shape::of(&endpoint.upstream).forms()
    }

    fn capabilities(&self, _endpoint: &Endpoint) -> Capabilities {
        Capabilities {
            // The submit's answer carries the cost; a refund on moderation is not established.
            bills: Bills::AtAccept,
            idempotent_submit: false,
            found_by: FoundBy::Nobody,
            cancellable: false,
            synchronous: false,
            output_lifetime: OUTPUT_LIFETIME,
            missing_grace: MISSING_GRACE,
        }
    }

    fn authorize(
        &self,
        credential: &Credential,
        _endpoint: &Endpoint,
        _now: Timestamp,
    ) -> Result<Vec<(HeaderName, SecretString)>, Fault> {
        let key = place::key(credential, "flux")?;
        Ok(vec![(HeaderName::from_static("x-key"), SecretString::from(key.to_owned()))])
    }

    fn submit(&self, call: &Call<'_>) -> Result<HttpCall, Fault> {
        if call.endpoint.path_family != "bfl" {
            let message = format!("flux has no path family \"{}\": bfl", call.endpoint.path_family);
            return Err(unsendable(ErrorCode::InternalError, message));
        }
        wire::submit(call, "/v1/{upstream}")
    }

    fn read_submit(&self, _call: &Call<'_>, reply: &Reply) -> Submitted {
        wire::read_submit(reply, errors::TABLE)
    }

    fn poll(&self, context: &Context<'_>) -> Result<HttpCall, Fault> {
        wire::poll(context)
    }

    fn read_poll(&self, context: &Context<'_>, reply: &Reply) -> Polled {
        wire::read_poll(context, reply, errors::TABLE)
    }

    fn find(&self, _search: &Search<'_>) -> Option<HttpCall> {
        None
    }

    fn read_find(&self, _search: &Search<'_>, reply: &Reply) -> Found {
        // Never asked: BFL has no list and no id of ours.
        Found::Unclear(errors::TABLE.unclear(Said::of(reply), "it cannot be asked by tag"))
    }

    fn balance(&self, endpoint: &Endpoint, _now: Timestamp) -> Option<HttpCall> {
        place::url(endpoint, "/v1/credits", &[]).ok().map(HttpCall::get)
    }

    fn read_balance(&self, reply: &Reply) -> Result<Vec<Balance>, Fault> {
        wire::read_balance(reply, errors::TABLE)
    }

    fn cancel(&self, _context: &Context<'_>) -> Option<HttpCall> {
        None
    }

    fn read_cancel(&self, _context: &Context<'_>, _reply: &Reply) -> Cancelled {
        // Never asked: BFL has no cancel.
        Cancelled::No
    }

    fn seal(&self, call: HttpCall, webhook_secret: Option<&SecretString>) -> HttpCall {
        wire::seal(call, webhook_secret)
    }

    fn verify_webhook(&self, webhook: &Webhook<'_>, secrets: &[SecretString]) -> Signature {
        signature::verify_hexadecimal("x-bfl-signature", webhook, secrets)
    }

    fn read_webhook(&self, body: &[u8]) -> Option<Handle> {
        wire::read_webhook(body)
    }
}
