//! Pollo: a video and image aggregator with a legacy and a v1 generation path.
//! Facts: Pollo's documentation (quick start, task status, webhooks), builders generated from its OpenAPI (2026-09-18) and
//! published clients.

pub(super) mod errors;
mod wire;

#[cfg(test)]
pub(crate) mod tests;

use std::{collections::BTreeMap, time::Duration};

use http::HeaderName;
use secrecy::SecretString;

use crate::{
    domain::{
        balance::Balance,
        record::{Endpoint, Handle, Kind},
        time::Timestamp,
    },
    providers::{
        adapter::{
            Adapter, Bills, Call, Cancelled, Capabilities, Context, Credential, Fault, Found, FoundBy, HttpCall, ImageForms,
            Polled, Reply, Search, Signature, Submitted, Webhook, place,
            signature::{self, Scheme},
        },
        schema::{InputSpec, tables},
    },
};

/// Results are kept 14 days (Pollo documentation).
pub const OUTPUT_LIFETIME: Duration = Duration::from_secs(14 * 24 * 3600);

/// Nothing is written about reads after a create; a minute costs nothing.
pub const MISSING_GRACE: Duration = Duration::from_secs(60);

/// Bare base64, says the documentation; with the version in front it is taken too. Whether the secret begins with `whsec_` is not
/// established: both work.
const SIGNED: Scheme =
    Scheme { id: "x-webhook-id", timestamp: "x-webhook-timestamp", signature: "x-webhook-signature", bare: true };

/// The mapping. Path families: `legacy` (default), `v1`.
///
/// Options: `poll_path` (template with `{id}`).
#[derive(Debug, Clone, Copy)]
pub struct Pollo;

impl Adapter for Pollo {
    fn name(&self) -> &'static str {
        "pollo"
    }

    fn schema(&self) -> &'static [InputSpec] {
        tables::POLLO
    }

    fn endpoint(
        &self,
        base_url: &str,
        upstream: &str,
        family: Option<&str>,
        options: &BTreeMap<String, String>,
        _has_images: bool,
        kind: Kind,
    ) -> Endpoint {
        let path_family = match family {
            None | Some("legacy") => "legacy".to_owned(),
            Some("v1") => format!("v1/{}", kind.as_str()),
            Some(other) => other.to_owned(),
        };
        let upstream = upstream.to_owned();
        Endpoint { base_url: place::base(base_url), path_family, upstream, options: options.clone() }
    }

    fn image_forms(&self, _endpoint: &Endpoint) -> ImageForms {
        // The documentation knows URLs only; `image` and `imageTail`.
        ImageForms { url: true, data: false, most: 2 }
    }

    fn capabilities(&self, _endpoint: &Endpoint) -> Capabilities {
        Capabilities {
            // `credit` is charged at submission.
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
        let key = place::key(credential, "pollo")?;
        Ok(vec![(HeaderName::from_static("x-api-key"), SecretString::from(key.to_owned()))])
    }

    fn submit(&self, call: &Call<'_>) -> Result<HttpCall, Fault> {
        wire::submit(call, self.image_forms(call.endpoint))
    }

    fn read_submit(&self, _call: &Call<'_>, reply: &Reply) -> Submitted {
        wire::read_submit(reply)
    }

    fn poll(&self, context: &Context<'_>) -> Result<HttpCall, Fault> {
        wire::poll(context.endpoint, &context.handle.task_id)
    }

    fn read_poll(&self, context: &Context<'_>, reply: &Reply) -> Polled {
        wire::read_poll(context, reply)
    }

    fn find(&self, _search: &Search<'_>) -> Option<HttpCall> {
        None
    }

    fn read_find(&self, _search: &Search<'_>, reply: &Reply) -> Found {
        // Never asked: Pollo has no list and no id of ours.
        Found::Unclear(errors::TABLE.unclear(crate::providers::adapter::table::Said::of(reply), "it cannot be asked by tag"))
    }

    fn balance(&self, endpoint: &Endpoint, _now: Timestamp) -> Option<HttpCall> {
        place::url(endpoint, "/credit/balance", &[]).ok().map(HttpCall::get)
    }

    fn read_balance(&self, reply: &Reply) -> Result<Vec<Balance>, Fault> {
        wire::read_balance(reply)
    }

    fn cancel(&self, _context: &Context<'_>) -> Option<HttpCall> {
        None
    }

    fn read_cancel(&self, _context: &Context<'_>, _reply: &Reply) -> Cancelled {
        // Never asked: Pollo has no cancel.
        Cancelled::No
    }

    fn verify_webhook(&self, webhook: &Webhook<'_>, secrets: &[SecretString]) -> Signature {
        signature::verify(&SIGNED, webhook, secrets)
    }

    fn read_webhook(&self, body: &[u8]) -> Option<Handle> {
        wire::read_webhook(body)
    }
}
