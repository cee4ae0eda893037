//! Replicate: predictions of public models, official models and own deployments. `Prefer: wait` is never sent: it answers 201
//! with files inline and a status that is not final.
//! Facts: recorded traffic of the Python client, the JS client 1.4.0, and Replicate's documentation (lifecycle, errors, limits).

pub(super) mod errors;
mod list;
mod wire;

#[cfg(test)]
pub(crate) mod tests;

use std::{collections::BTreeMap, time::Duration};

use http::HeaderName;
use secrecy::SecretString;

use crate::{
    domain::{
        record::{Endpoint, Handle, Kind},
        time::Timestamp,
    },
    providers::{
        adapter::{
            Adapter, Bills, Call, Cancelled, Capabilities, Context, Credential, Fault, Found, FoundBy, HttpCall, ImageForms,
            Polled, Reply, Search, Signature, Submitted, Webhook, place, signature,
        },
        schema::{InputSpec, tables},
    },
};

/// Input, output, logs and files are deleted an hour after completion (prediction lifecycle).
pub const OUTPUT_LIFETIME: Duration = Duration::from_secs(3600);

/// Consistency after a create is not established; a minute costs nothing.
pub const MISSING_GRACE: Duration = Duration::from_secs(60);

/// The mapping. Path families: `models` (default for `owner/name`), `predictions` (default where a version is named),
/// `deployments`.
///
/// Options: `image_field` (where images go: `image` by default, `a,b` for one input each, `a[]` for a list),
/// `image_field.<owner>/<name>` (the same for one model), `outputs_field` (`num_outputs` by default).
#[derive(Debug, Clone, Copy)]
pub struct Replicate;

impl Adapter for Replicate {
    fn name(&self) -> &'static str {
        "replicate"
    }

    fn schema(&self) -> &'static [InputSpec] {
        tables::REPLICATE
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
        // A name with a version, or a bare version, only fits the path that takes one.
        let own = if upstream.contains(':') || !upstream.contains('/') { "predictions" } else { "models" };
        Endpoint {
            base_url: place::base(base_url),
            path_family: match family.unwrap_or(own) {
                "prediction" => "predictions",
                "model" => "models",
                "deployment" => "deployments",
                other => other,
            }
            .to_owned(),
            upstream: upstream.to_owned(),
            options: options.clone(),
        }
    }

    fn image_forms(&self, endpoint: &Endpoint) -> ImageForms {
        ImageForms { url: true, data: true, most: wire::image_fields(endpoint).most() }
    }

    fn capabilities(&self, _endpoint: &Endpoint) -> Capabilities {
        Capabilities {
            // Models billed by time bill the run time of failures too.
            bills: Bills::AtAccept,
            idempotent_submit: false,
            // There is no id of ours: what has our input is looked for in the list.
            found_by: FoundBy::Input,
            cancellable: true,
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
        Ok(place::bearer(place::key(credential, "replicate")?))
    }

    fn submit(&self, call: &Call<'_>) -> Result<HttpCall, Fault> {
        wire::submit(call, self.image_forms(call.endpoint))
    }

    fn read_submit(&self, _call: &Call<'_>, reply: &Reply) -> Submitted {
        wire::read_submit(reply)
    }

    fn poll(&self, context: &Context<'_>) -> Result<HttpCall, Fault> {
        let url = place::url(context.endpoint, "/predictions/{id}", &[("id", &context.handle.task_id)])?;
        Ok(HttpCall::get(url))
    }

    fn read_poll(&self, context: &Context<'_>, reply: &Reply) -> Polled {
        wire::read_poll(context, reply)
    }

    fn find(&self, search: &Search<'_>) -> Option<HttpCall> {
        list::first(search).ok()
    }

    fn read_find(&self, search: &Search<'_>, reply: &Reply) -> Found {
        list::read(search, reply)
    }

    fn cancel(&self, context: &Context<'_>) -> Option<HttpCall> {
        wire::cancel(context).ok()
    }

    fn read_cancel(&self, _context: &Context<'_>, reply: &Reply) -> Cancelled {
        wire::read_cancel(reply)
    }

    fn signing_secret(&self, endpoint: &Endpoint) -> Option<HttpCall> {
        place::url(endpoint, "/webhooks/default/secret", &[]).ok().map(HttpCall::get)
    }

    fn read_signing_secret(&self, reply: &Reply) -> Result<SecretString, Fault> {
        wire::read_signing_secret(reply)
    }

    fn verify_webhook(&self, webhook: &Webhook<'_>, secrets: &[SecretString]) -> Signature {
        signature::verify(&signature::STANDARD_WEBHOOKS, webhook, secrets)
    }

    fn read_webhook(&self, body: &[u8]) -> Option<Handle> {
        wire::read_webhook(body)
    }
}
