//! The adapter: how one provider's wire format maps to ours. No IO, no state, no clock: the executor does all IO, so that
//! timeouts, budgets, redaction and "did a byte leave?" are decided in one place.

#[cfg(test)]
pub(crate) mod conformance;
pub mod images;
pub mod pick;
pub mod place;
pub mod signature;
pub mod table;

use std::{collections::BTreeMap, fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, StatusCode};
use secrecy::SecretString;
use serde_json::{Map, Value};
use url::Url;

pub use crate::domain::output::{Output, OutputSource};
use crate::{
    domain::{
        balance::Balance,
        error::ErrorCode,
        money::Micros,
        record::{Attempt, Endpoint, Handle, Kind},
        time::Timestamp,
    },
    providers::schema::InputSpec,
};

/// One credential at a provider.
#[derive(Debug, Clone)]
pub enum Credential {
    /// A static key.
    Key(SecretString),
    /// An access key and a secret key that signs short-lived tokens (Kling, legacy).
    Pair {
        /// Public part.
        access: String,
        /// Signs.
        secret: SecretString,
    },
}

/// What is to be generated, already validated, defaults applied.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The prompt.
    pub prompt: &'a str,
    /// http(s) or data: URLs.
    pub images: &'a [String],
    /// Outputs wanted from this one call.
    pub outputs: u16,
    /// Under the names of our schema; each adapter puts them under the wire's names.
    pub parameters: &'a Map<String, Value>,
    /// What it makes.
    pub kind: Kind,
    /// Where it goes.
    pub endpoint: &'a Endpoint,
    /// Our correlation tag, echoed where the provider echoes something.
    pub tag: &'a str,
    /// Where the provider may call us; none without `public_url`.
    pub webhook_url: Option<&'a Url>,
}

/// An HTTP request without credential: what the attempt keeps and what its digest is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpCall {
    /// Method.
    pub method: Method,
    /// Full URL.
    pub url: Url,
    /// Body.
    pub body: Body,
}

/// The body of an [`HttpCall`].
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// None.
    Empty,
    /// JSON.
    Json(Value),
    /// `multipart/form-data`: text fields in order.
    Form(Vec<(String, String)>),
}

impl HttpCall {
    /// A GET.
    #[must_use]
    pub const fn get(url: Url) -> Self {
        Self { method: Method::GET, url, body: Body::Empty }
    }

    /// A POST of JSON.
    #[must_use]
    pub const fn post(url: Url, body: Value) -> Self {
        Self { method: Method::POST, url, body: Body::Json(body) }
    }
}

/// A complete answer.
#[derive(Clone)]
pub struct Reply {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body, capped by the executor.
    pub body: Bytes,
    /// When it was read.
    pub at: Timestamp,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("status", &self.status).field("bytes", &self.body.len()).finish_non_exhaustive()
    }
}

impl Reply {
    /// The body as JSON; none when it is something else (an HTML page of a gateway, half a document).
    #[must_use]
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

/// What a provider's error means for us. Made by each adapter's table.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// Our code.
    pub code: ErrorCode,
    /// One sentence; the provider's words go into `provider_message`.
    pub message: String,
    /// HTTP status.
    pub http_status: Option<u16>,
    /// The provider's own code.
    pub provider_code: Option<String>,
    /// The provider's own words.
    pub provider_message: Option<String>,
    /// How long it asked us to wait.
    pub retry_after: Option<Duration>,
    /// What may follow.
    pub then: Then,
}

/// What may follow a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Explicit, unbilled, and "not now": owed again, consumes no try.
    Throttled,
    /// Explicit, unbilled by the provider's table, and another try may succeed.
    RetryUnbilled,
    /// Explicit and final: another try would be refused again, or may be paid again.
    Final,
    /// Not explicit: on a submit the outcome is unknown; on a poll or lookup nothing was learned.
    Unclear,
}

/// What the answer to a submit says.
#[derive(Debug, Clone, PartialEq)]
pub enum Submitted {
    /// The provider has it; it runs.
    Accepted {
        /// How to find it again.
        handle: Handle,
        /// What it costs, where the answer says so.
        cost: Option<Micros>,
    },
    /// A synchronous provider finished it in the answer.
    Done {
        /// Its outputs.
        outputs: Vec<Output>,
        /// What it cost, where the answer says so.
        cost: Option<Micros>,
    },
    /// It did not; `then` says whether that is certain.
    Fault(Fault),
}

/// What the answer to a poll says.
#[derive(Debug, Clone, PartialEq)]
pub enum Polled {
    /// Not yet.
    Pending {
        /// 0 to 100.
        progress: Option<u8>,
        /// When the provider wants the next poll.
        again_after: Option<Duration>,
        /// A status word that no table knows: means pending, logged once.
        unknown_word: Option<String>,
    },
    /// Finished.
    Done {
        /// Its outputs; an empty list means the provider has nothing to fetch any more.
        outputs: Vec<Output>,
        /// What it cost, where the answer says so.
        cost: Option<Micros>,
    },
    /// The provider says it failed. `then` is `RetryUnbilled` only where its table says that nothing was billed.
    Failed(Fault),
    /// A further call is needed for the answer.
    Next(HttpCall),
    /// The provider does not know it (any more, or yet).
    Missing(Fault),
    /// Nothing was learned: an error of the way or the provider. Never fails a paid attempt.
    Unclear(Fault),
}

/// What is looked for after a submit without a clear answer; read from the attempt.
#[derive(Debug, Clone, Copy)]
pub struct Search<'a> {
    /// Where it was sent.
    pub endpoint: &'a Endpoint,
    /// Our correlation tag.
    pub tag: &'a str,
    /// The body that was sent; null where [`FoundBy::Input`] does not apply.
    pub sent: &'a Value,
    /// The provider accepted it no earlier,
    pub from: Timestamp,
    /// and no later, clocks that differ considered.
    pub until: Timestamp,
}

/// What the answer to a lookup says.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// The provider has it.
    Task(Handle),
    /// The provider says it has no task with our tag.
    Nothing,
    /// A part of a list.
    Page {
        /// Tasks of the same model with the same input, accepted within the time.
        fits: Vec<Handle>,
        /// How to ask for the next part; none at the end.
        next: Option<HttpCall>,
    },
    /// Nothing was learned.
    Unclear(Fault),
}

/// A webhook as it came.
#[derive(Debug, Clone, Copy)]
pub struct Webhook<'a> {
    /// Headers.
    pub headers: &'a HeaderMap,
    /// The raw body: signatures are made over it as it is.
    pub body: &'a [u8],
    /// When it came.
    pub at: Timestamp,
}

/// Who sent a webhook, by its signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    /// The provider, with one of our secrets.
    Verified,
    /// Nobody can say: the provider signs nothing, or no secret is configured.
    Unsigned,
    /// Not the provider, or not now: the signature is missing, wrong or too old.
    Forged,
}

/// What the answer to a cancel says.
#[derive(Debug, Clone, PartialEq)]
pub enum Cancelled {
    /// It will not run on (polling tells how it ended).
    Yes,
    /// Too late, or unknown to the provider.
    No,
    /// Nothing was learned; cancelling again is harmless.
    Unclear(Fault),
}

/// Everything besides the handle that polls, lookups and cancels need; read from the attempt.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// Where it was sent.
    pub endpoint: &'a Endpoint,
    /// Our correlation tag.
    pub tag: &'a str,
    /// What the provider gave us.
    pub handle: &'a Handle,
    /// What it makes.
    pub kind: Kind,
    /// When it was accepted.
    pub submitted_at: Timestamp,
}

impl<'a> Context<'a> {
    /// What an attempt says of itself; `handle` is the one it was given, or an empty one.
    #[must_use]
    pub fn of(attempt: &'a Attempt, handle: &'a Handle) -> Self {
        Self {
            endpoint: &attempt.endpoint,
            tag: &attempt.tag,
            handle,
            kind: attempt.kind,
            submitted_at: attempt.submitted_at.unwrap_or(attempt.created_at),
        }
    }
}

/// In which forms a provider takes input images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageForms {
    /// http(s) URLs.
    pub url: bool,
    /// `data:` URLs; the adapter strips what the wire does not want.
    pub data: bool,
    /// How many it can put on the wire.
    pub most: usize,
}

impl ImageForms {
    /// Takes none.
    pub const NONE: Self = Self { url: false, data: false, most: 0 };
}

/// What a provider can do and how it bills, independent of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Capabilities {
    /// When money is owed.
    pub bills: Bills,
    /// The provider refuses a second submit with the same tag, so that the same attempt may be sent again.
    pub idempotent_submit: bool,
    /// How a task is found whose id was not learned.
    pub found_by: FoundBy,
    /// The provider can cancel.
    pub cancellable: bool,
    /// The submit's answer holds the outputs; nothing is polled.
    pub synchronous: bool,
    /// How long outputs are kept.
    pub output_lifetime: Duration,
    /// A task that the provider does not know is pending for this long after the submit (reads lag behind writes).
    pub missing_grace: Duration,
}

/// How a provider's task is found without its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundBy {
    /// The provider cannot be asked.
    Nobody,
    /// By our tag, which it keeps.
    Tag,
    /// By the input, in the list of its tasks: only a match that is the only one counts.
    Input,
}

/// When a provider bills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bills {
    /// When it accepts.
    AtAccept,
    /// When it completes; a failure is not billed as far as is known.
    AtCompletion,
}

/// One provider's mapping. All functions are pure.
pub trait Adapter: Send + Sync + fmt::Debug {
    /// Its name in the configuration (`adapter = "…"`).
    fn name(&self) -> &'static str;

    /// The outer schema of its parameters; a model of the catalogue narrows it.
    fn schema(&self) -> &'static [InputSpec];

    /// The endpoint that is stored on the attempt: `family` refined by what is sent (a provider may have one path for text
    /// and another for images), `options` kept, so that polls and lookups need nothing else.
    #[expect(clippy::too_many_arguments, reason = "each is one column of the attempt; a struct would have this one caller")]
    fn endpoint(
        &self,
        base_url: &str,
        upstream: &str,
        family: Option<&str>,
        options: &BTreeMap<String, String>,
        has_images: bool,
        kind: Kind,
    ) -> Endpoint;

    /// In which forms it takes input images at this endpoint. Intake asks, so that a wrong form is refused before anything is
    /// spent; `submit` refuses it too.
    fn image_forms(&self, endpoint: &Endpoint) -> ImageForms;

    /// What it can do at this endpoint (direct or relay, synchronous or not).
    fn capabilities(&self, endpoint: &Endpoint) -> Capabilities;

    /// The headers that carry the credential; short-lived tokens are made for `now`.
    ///
    /// # Errors
    /// A fault when this credential cannot be used at this endpoint (a signing pair on a path that takes keys only).
    fn authorize(
        &self,
        credential: &Credential,
        endpoint: &Endpoint,
        now: Timestamp,
    ) -> Result<Vec<(HeaderName, SecretString)>, Fault>;

    /// The paid call.
    ///
    /// # Errors
    /// A final fault when the request cannot be expressed on this wire.
    fn submit(&self, call: &Call<'_>) -> Result<HttpCall, Fault>;

    /// Reads its answer.
    fn read_submit(&self, call: &Call<'_>, reply: &Reply) -> Submitted;

    /// How to ask how far it is; a fault when the handle cannot be used.
    ///
    /// # Errors
    /// A fault that says what is wrong with the handle or the endpoint.
    fn poll(&self, context: &Context<'_>) -> Result<HttpCall, Fault>;

    /// Reads its answer.
    fn read_poll(&self, context: &Context<'_>, reply: &Reply) -> Polled;

    /// How to ask for a task whose id was not learned; none where the provider cannot be asked.
    fn find(&self, search: &Search<'_>) -> Option<HttpCall>;

    /// Reads its answer.
    fn read_find(&self, search: &Search<'_>, reply: &Reply) -> Found;

    /// How to ask what is left on the account; none where the provider tells nothing (Replicate, Tuzi). A relay is never asked: its
    /// account is shared with strangers.
    fn balance(&self, _endpoint: &Endpoint, _now: Timestamp) -> Option<HttpCall> {
        None
    }

    /// Reads its answer: one amount, or one a resource pack.
    ///
    /// # Errors
    /// A fault that says what was told instead.
    fn read_balance(&self, _reply: &Reply) -> Result<Vec<Balance>, Fault> {
        Err(table::unsendable(ErrorCode::InternalError, "it tells no balance"))
    }

    /// How to ask what the account's webhooks are signed with, where the provider tells it; none where only its console does.
    fn signing_secret(&self, _endpoint: &Endpoint) -> Option<HttpCall> {
        None
    }

    /// Reads its answer.
    ///
    /// # Errors
    /// A fault that says what was told instead.
    fn read_signing_secret(&self, _reply: &Reply) -> Result<SecretString, Fault> {
        Err(table::unsendable(ErrorCode::InternalError, "it tells no secret"))
    }

    /// How to cancel; none where the provider cannot.
    fn cancel(&self, context: &Context<'_>) -> Option<HttpCall>;

    /// Reads its answer.
    fn read_cancel(&self, context: &Context<'_>, reply: &Reply) -> Cancelled;

    /// Adds to the paid call what only the wire may see: the secret that the provider is to sign its webhooks with, where it takes
    /// one. Called after the attempt has kept the call.
    fn seal(&self, call: HttpCall, _webhook_secret: Option<&SecretString>) -> HttpCall {
        call
    }

    /// Whether one of `secrets` signed a webhook.
    fn verify_webhook(&self, webhook: &Webhook<'_>, secrets: &[SecretString]) -> Signature;

    /// The task that a webhook speaks of, where it names one. What it says of its state is not believed: it is polled.
    fn read_webhook(&self, body: &[u8]) -> Option<Handle>;
}
