//! The clients' own server, to which webhooks are sent: it takes them, or does wrong what such servers do wrong, and keeps what it saw.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tokio::{io::AsyncWriteExt as _, net::TcpStream, runtime::Handle};

use crate::{
    fault::{Fault, Link},
    gate::Gate,
    message::{Message, Wire, reset},
    schedule::Blow,
    world::World,
};

/// One try of one message, as it arrived.
#[derive(Debug, Clone)]
pub struct Received {
    pub path: String,
    pub id: String,
    pub timestamp: String,
    pub signature: String,
    pub body: String,
    /// It was answered 2xx, as far as the receiver knows.
    pub taken: bool,
}

impl Received {
    fn of(request: &Message) -> Self {
        let header = |name: &str| request.header(name).unwrap_or_default();
        Self {
            path: request.path(),
            id: header("webhook-id"),
            timestamp: header("webhook-timestamp"),
            signature: header("webhook-signature"),
            body: String::from_utf8_lossy(&request.body).into_owned(),
            taken: false,
        }
    }

    /// Whether it is signed with this secret, as Standard Webhooks 1.0.0 says: HMAC-SHA256 over `id.timestamp.body`, in base64, one of
    /// several with `v1,` before it. Written here once more, so that no mistake of the service's own can cancel itself out.
    pub fn verifies(&self, secret: &str) -> bool {
        let key = secret.strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok());
        let Some(Ok(mut mac)) = key.map(|key| Hmac::<Sha256>::new_from_slice(&key)) else { return false };
        mac.update(format!("{}.{}.{}", self.id, self.timestamp, self.body).as_bytes());
        let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        self.timestamp.parse::<i64>().is_ok() && self.signature.split(' ').any(|signature| signature == expected)
    }
}

struct Shared {
    world: Arc<World>,
    received: Mutex<Vec<Received>>,
}

/// The receiver; it ends with the handle.
pub struct Receiver {
    gate: Gate,
    shared: Arc<Shared>,
}

impl Receiver {
    pub fn start(world: &Arc<World>) -> io::Result<Self> {
        let shared = Arc::new(Shared { world: Arc::clone(world), received: Mutex::default() });
        let serving = Arc::clone(&shared);
        let gate = Gate::start(move |client| {
            let shared = Arc::clone(&serving);
            Handle::current().spawn(async move { drop(shared.serve(client).await) });
        })?;
        Ok(Self { gate, shared })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.gate.address)
    }

    pub fn open(&self, open: bool) {
        self.gate.open(open);
    }

    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Shared {
    async fn serve(&self, client: TcpStream) -> io::Result<()> {
        let mut wire = Wire::new(client);
        while let Some(request) = wire.request().await? {
            let mut received = Received::of(&request);
            let blow = self.world.draw(Link::Notify);
            if let Some(Blow { fault, for_ms }) = blow {
                self.world.made(Link::Notify, fault, format_args!("{} {} ({for_ms} ms)", received.path, received.id));
            }
            let answer = match blow.map(|blow| blow.fault) {
                Some(Fault::CutBefore | Fault::CutAfter) => None,
                Some(Fault::GatewayBefore | Fault::GatewayAfter) => Some(Message::made(502, "Bad Gateway", "no")),
                Some(Fault::Busy) => Some(busy()),
                _ => Some(Message::made(204, "No Content", "")),
            };
            if let Some(Blow { fault: Fault::Delay, for_ms }) = blow {
                tokio::time::sleep(Duration::from_millis(for_ms)).await;
            }
            received.taken = answer.as_ref().is_some_and(|answer| answer.status() == 204);
            self.keep(received);
            let Some(answer) = answer else {
                reset(&wire.stream);
                return Ok(());
            };
            wire.stream.write_all(&answer.head).await?;
        }
        Ok(())
    }

    fn keep(&self, received: Received) {
        let Received { path, id, taken, .. } = &received;
        self.world.log(format_args!("webhook {path} {id}, taken: {taken}"));
        self.received.lock().unwrap_or_else(PoisonError::into_inner).push(received);
    }
}

/// A receiver that asks to be left alone for a second.
fn busy() -> Message {
    let head = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";
    Message { head: head.as_bytes().to_vec(), body: Vec::new() }
}
