//! Tuzi: a relay with three styles in use. `images` is OpenAI's image call: synchronous for minutes, billed at the answer, and
//! not stopped by a cut connection. `videos` is asynchronous. `bfl` copies Flux.
//! Facts: three published Tuzi clients and its documentation page.

pub(super) mod errors;
mod images;
mod videos;

#[cfg(test)]
pub(crate) mod tests;

use std::{collections::BTreeMap, time::Duration};

use http::HeaderName;
use secrecy::SecretString;

use crate::{
    domain::{
        error::ErrorCode,
        record::{Endpoint, Handle, Kind},
        time::Timestamp,
    },
    providers::{
        adapter::{
            Adapter, Bills, Call, Cancelled, Capabilities, Context, Credential, Fault, Found, FoundBy, HttpCall, ImageForms,
            Polled, Reply, Search, Signature, Submitted, Then, Webhook, place,
            table::{Said, unsendable},
        },
        flux,
        schema::{InputSpec, tables},
    },
};

/// How long results are kept is not established. Ten minutes, the shortest of what it relays (BFL), puts them first in line.
pub const OUTPUT_LIFETIME: Duration = Duration::from_secs(600);

/// Not established either; a minute costs nothing.
pub const MISSING_GRACE: Duration = Duration::from_secs(60);

/// The mapping. Path families: `images` (default for images; synchronous), `videos` (default for videos), `bfl`.
///
/// Options: `response_format` = `url` (default) or `b64_json`, for `images`; `bills` = `accept` (default) or `completion`, where your
/// contract with the relay says that failures cost nothing.
#[derive(Debug, Clone, Copy)]
pub struct Tuzi;

/// Which of the relay's styles an endpoint speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Images,
    Videos,
    Bfl,
}

impl Style {
    fn of(endpoint: &Endpoint) -> Result<Self, Fault> {
        match endpoint.path_family.as_str() {
            "images" => Ok(Self::Images),
            "videos" => Ok(Self::Videos),
            "bfl" => Ok(Self::Bfl),
            other => {
                let message = format!("tuzi has no path family \"{other}\": images, videos or bfl");
                Err(unsendable(ErrorCode::InternalError, message))
            }
        }
    }
}

impl Adapter for Tuzi {
    fn name(&self) -> &'static str {
        "tuzi"
    }

    fn schema(&self) -> &'static [InputSpec] {
        tables::TUZI
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
        let own = match kind {
            Kind::Image => "images",
            Kind::Video => "videos",
        };
        Endpoint {
            base_url: place::base(base_url),
            path_family: family.unwrap_or(own).to_owned(),
            upstream: upstream.to_owned(),
            options: options.clone(),
        }
    }

    fn image_forms(&self, endpoint: &Endpoint) -> ImageForms {
        match Style::of(endpoint) {
            // URLs go in front of the prompt.
            Ok(Style::Images) => ImageForms { url: true, data: false, most: 4 },
            // `input_reference`, as a URL: we send text fields only.
            Ok(Style::Videos) => ImageForms { url: true, data: false, most: 1 },
            Ok(Style::Bfl) => flux::Flux.image_forms(endpoint),
            Err(_) => ImageForms::NONE,
        }
    }

    fn capabilities(&self, endpoint: &Endpoint) -> Capabilities {
        Capabilities {
            bills: match endpoint.options.get("bills").map(String::as_str) {
                Some("completion") => Bills::AtCompletion,
                // Not established; clients report that a broken answer is not refunded. Rather too much in the books than too little.
                Some(_) | None => Bills::AtAccept,
            },
            idempotent_submit: false,
            found_by: FoundBy::Nobody,
            cancellable: false,
            synchronous: Style::of(endpoint) == Ok(Style::Images),
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
        Ok(place::bearer(place::key(credential, "tuzi")?))
    }

    fn submit(&self, call: &Call<'_>) -> Result<HttpCall, Fault> {
        match Style::of(call.endpoint)? {
            Style::Images => images::submit(call, self.image_forms(call.endpoint)),
            Style::Videos => videos::submit(call, self.image_forms(call.endpoint)),
            // Without a webhook: whether the relay passes one on is not established, and with one it would give no polling URL.
            Style::Bfl => flux::wire::submit(&Call { webhook_url: None, ..*call }, "/flux/v1/{upstream}"),
        }
    }

    fn read_submit(&self, call: &Call<'_>, reply: &Reply) -> Submitted {
        match Style::of(call.endpoint) {
            Ok(Style::Images) => images::read(call.kind, reply),
            Ok(Style::Videos) => videos::read_submit(reply),
            Ok(Style::Bfl) => videos::read_submit_bfl(reply),
            Err(fault) => Submitted::Fault(Fault { then: Then::Unclear, ..fault }),
        }
    }

    fn poll(&self, context: &Context<'_>) -> Result<HttpCall, Fault> {
        match Style::of(context.endpoint)? {
            Style::Images => Err(unsendable(ErrorCode::InternalError, "tuzi's image style answers at once: nothing to poll")),
            Style::Videos => videos::poll(context),
            Style::Bfl => videos::poll_bfl(context),
        }
    }

    fn read_poll(&self, context: &Context<'_>, reply: &Reply) -> Polled {
        match Style::of(context.endpoint) {
            Ok(Style::Videos) => videos::read_poll(context, reply),
            Ok(Style::Bfl) => videos::read_poll_bfl(context, reply),
            Ok(Style::Images) | Err(_) => Polled::Unclear(errors::TABLE.unclear(Said::of(reply), "it has nothing to poll")),
        }
    }

    fn find(&self, _search: &Search<'_>) -> Option<HttpCall> {
        None
    }

    fn read_find(&self, _search: &Search<'_>, reply: &Reply) -> Found {
        // Never asked.
        Found::Unclear(errors::TABLE.unclear(Said::of(reply), "it cannot be asked by tag"))
    }

    fn cancel(&self, _context: &Context<'_>) -> Option<HttpCall> {
        None
    }

    fn read_cancel(&self, _context: &Context<'_>, _reply: &Reply) -> Cancelled {
        // Never asked: no client has a cancel, and a cut connection stops nothing.
        Cancelled::No
    }

    fn verify_webhook(&self, _webhook: &Webhook<'_>, _secrets: &[SecretString]) -> Signature {
        // Never asked for: none of its styles is known to take a URL.
        Signature::Unsigned
    }

    fn read_webhook(&self, _body: &[u8]) -> Option<Handle> {
        None
    }
}
