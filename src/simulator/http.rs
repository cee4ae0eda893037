//! The shim between actix-web and the sandboxes: a sandbox maps a `Call` to a `Reply` and knows nothing of sockets.
//!
//! Here too lives the means to cut a connection: every accepted socket is duplicated when it connects, and shutting the
//! duplicate down ends the connection with no status line sent.

use std::any::Any;
use std::collections::HashMap;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Extensions;
use actix_web::http::header::HeaderMap;
use actix_web::http::{Method, StatusCode, header};
use actix_web::web::{Bytes, Data, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::Value;

use super::ledger::Refused;
use super::state::Sim;
use super::{Provider, clock, control, files, flux, kling, pollo, replicate, tuzi};

/// Holds one request, with the path below the provider's own prefix.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    /// Without a leading or trailing slash.
    pub(super) path: String,
    pub(super) query: HashMap<String, String>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) now: u64,
}

impl Call {
    pub(super) fn segments(&self) -> Vec<&str> {
        self.path.split('/').collect()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Reads the body as a JSON object.
    pub(super) fn json_object(&self) -> Option<Value> {
        serde_json::from_slice::<Value>(&self.body).ok().filter(Value::is_object)
    }

    pub(super) fn is_post(&self) -> bool {
        self.method == Method::POST
    }

    pub(super) fn is_get(&self) -> bool {
        self.method == Method::GET
    }

    /// The token after `Bearer `, if the header has that form.
    pub(super) fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }
}

/// Holds one answer.
#[derive(Debug)]
pub(super) struct Reply {
    status: u16,
    content_type: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
    delay_ms: u64,
    cut: bool,
    refusal: Option<Box<Refusal>>,
}

#[derive(Debug, Default)]
struct Refusal {
    code: String,
    prompt: Option<String>,
    tag: Option<String>,
}

impl Reply {
    fn new(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        Self { status, content_type, headers: Vec::new(), body, delay_ms: 0, cut: false, refusal: None }
    }

    /// Answers JSON.
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self::new(status, "application/json", body.to_string())
    }

    /// Answers JSON as `application/problem+json`.
    pub(super) fn problem(status: u16, body: &Value) -> Self {
        Self::new(status, "application/problem+json", body.to_string())
    }

    /// Answers plain text.
    pub(super) fn text(status: u16, body: impl Into<String>) -> Self {
        Self::new(status, "text/plain; charset=utf-8", body.into())
    }

    /// Answers a page of HTML.
    pub(super) fn html(status: u16, body: impl Into<String>) -> Self {
        Self::new(status, "text/html; charset=utf-8", body.into())
    }

    /// Answers a bare status with a body that no client can expect.
    pub(super) fn odd(status: u16) -> Self {
        Self::text(status, "upstream connect error or disconnect/reset before headers").refused("http")
    }

    /// Cuts the connection instead of answering.
    pub(super) fn cut() -> Self {
        let mut reply = Self::new(500, "text/plain", Bytes::new()).refused("drop");
        reply.cut = true;
        reply
    }

    pub(super) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    /// Holds the answer back.
    pub(super) fn after(mut self, delay_ms: u64) -> Self {
        self.delay_ms = self.delay_ms.saturating_add(delay_ms);
        self
    }

    /// Marks the answer as a refusal with the provider's code, for the ledger.
    pub(super) fn refused(mut self, code: impl ToString) -> Self {
        self.refusal.get_or_insert_default().code = code.to_string();
        self
    }

    /// Adds to a refusal what was refused.
    pub(super) fn about(mut self, prompt: String, tag: Option<String>) -> Self {
        if let Some(refusal) = &mut self.refusal {
            refusal.prompt = Some(prompt);
            refusal.tag = tag;
        }
        self
    }

    /// Marks an answer as following an acceptance: whatever it says, nothing was refused.
    pub(super) fn accepted_all_the_same(mut self) -> Self {
        self.refusal = None;
        self
    }
}

/// The duplicate of a connection's socket, through which it can be cut.
struct Socket(TcpStream);

/// Keeps a handle of every accepted socket; called by actix-web once per connection.
pub(super) fn on_connect(io: &dyn Any, extensions: &mut Extensions) {
    let Some(stream) = io.downcast_ref::<actix_web::rt::net::TcpStream>() else { return };
    if let Ok(fd) = stream.as_fd().try_clone_to_owned() {
        extensions.insert(Arc::new(Socket(TcpStream::from(fd))));
    }
}

fn cut(request: &HttpRequest) {
    if let Some(socket) = request.conn_data::<Arc<Socket>>()
        && let Err(error) = socket.0.shutdown(Shutdown::Both)
    {
        tracing::debug!(%error, "connection was gone already");
    }
}

/// Sends every request to its sandbox, or to the simulator's own pages.
pub(super) async fn dispatch(request: HttpRequest, body: Bytes, sim: Data<Sim>) -> HttpResponse {
    let sim = sim.into_inner();
    let path = request.path().trim_matches('/').to_owned();
    let (first, rest) = path.split_once('/').unwrap_or((&path, ""));
    if first == "files" {
        return files::serve(&request, rest, &sim).await;
    }
    let query = Query::<HashMap<String, String>>::from_query(request.query_string()).map(Query::into_inner);
    let provider = Provider::named(first);
    let call = Call {
        method: request.method().clone(),
        path: if provider.is_some() { rest.to_owned() } else { path.clone() },
        query: query.unwrap_or_default(),
        headers: request.headers().clone(),
        body,
        now: clock::now_ms(),
    };
    let reply = match provider {
        Some(Provider::Kling) => kling::answer(&sim, &call),
        Some(Provider::Pollo) => pollo::answer(&sim, &call),
        Some(Provider::Replicate) => replicate::answer(&sim, &call),
        Some(Provider::Flux) => flux::answer(&sim, &call),
        Some(Provider::Tuzi) => tuzi::answer(&sim, &call),
        None => control::answer(&sim, &call),
    };
    if let Some(provider) = provider
        && call.is_post()
    {
        enter_refusal(&sim, provider, &call, &reply);
    }
    finish(&request, reply).await
}

fn enter_refusal(sim: &Sim, provider: Provider, call: &Call, reply: &Reply) {
    let Some(refusal) = &reply.refusal else { return };
    let refused = Refused {
        provider: provider.name(),
        path: format!("/{}/{}", provider.name(), call.path),
        // A cut connection had no status.
        status: if reply.cut { 0 } else { reply.status },
        code: refusal.code.clone(),
        prompt: refusal.prompt.clone(),
        tag: refusal.tag.clone(),
        at: clock::rfc3339(call.now),
        body_sha256: files::sha256_hex(&call.body),
    };
    sim.lock().ledger.refuse(refused);
}

async fn finish(request: &HttpRequest, reply: Reply) -> HttpResponse {
    if reply.delay_ms > 0 {
        tokio::time::sleep(Duration::from_millis(reply.delay_ms)).await;
    }
    if reply.cut {
        cut(request);
    }
    let mut response = HttpResponse::build(StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    response.insert_header((header::CONTENT_TYPE, reply.content_type));
    for (name, value) in reply.headers {
        response.insert_header((name, value));
    }
    if reply.cut {
        response.force_close();
    }
    response.body(reply.body)
}
