//! The fault proxy for HTTP: reads each request whole, draws what befalls it, and does that. One listener may carry several links,
//! told apart by the request.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{io::AsyncWriteExt as _, net::TcpStream, runtime::Handle};

use crate::{
    fault::{Fault, Link},
    gate::Gate,
    message::{Message, Wire, reset},
    schedule::Blow,
    world::{Forged, World},
};

/// Longest time the other side may take for an answer before the proxy gives it up.
const LONGEST: Duration = Duration::from_secs(20);

/// An answer to a submit that took less was surely waited for: the settings give it 1.5 seconds.
const IN_TIME: Duration = Duration::from_millis(700);

/// Which link a request belongs to; none passes untouched.
pub type Sort = fn(&Message) -> Option<Link>;

struct Shared {
    world: Arc<World>,
    sort: Sort,
    upstream: Mutex<Option<SocketAddr>>,
}

/// A listener with a fixed port, which can be closed for a while.
pub struct Proxy {
    gate: Gate,
    shared: Arc<Shared>,
}

impl Proxy {
    pub fn start(world: &Arc<World>, sort: Sort) -> io::Result<Self> {
        let shared = Arc::new(Shared { world: Arc::clone(world), sort, upstream: Mutex::new(None) });
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

    /// Where requests go from now on; nowhere: connections are reset.
    pub fn leads_to(&self, upstream: Option<SocketAddr>) {
        *self.shared.upstream.lock().unwrap_or_else(PoisonError::into_inner) = upstream;
    }

    /// Where requests go now.
    pub fn upstream(&self) -> Option<SocketAddr> {
        *self.shared.upstream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens or closes the listener.
    pub fn open(&self, open: bool) {
        self.gate.open(open);
    }
}

/// What became of the client's connection.
enum Next {
    Keep,
    Close,
}

impl Shared {
    async fn serve(&self, client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let mut wire = Wire::new(client);
        while let Some(request) = wire.request().await? {
            let link = (self.sort)(&request);
            let blow = link.and_then(|link| self.world.draw(link).map(|blow| (link, blow)));
            let next = match (link, blow) {
                (_, Some((link, blow))) => self.strike(&mut wire.stream, &request, (link, blow)).await?,
                (link, None) => self.pass(&mut wire.stream, &request, link).await?,
            };
            if matches!(next, Next::Close) {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn forward(&self, request: &Message, link: Option<Link>) -> io::Result<Message> {
        let upstream = *self.upstream.lock().unwrap_or_else(PoisonError::into_inner);
        let upstream = upstream.ok_or_else(|| io::Error::other("nobody is there"))?;
        let exchange = async {
            let stream = TcpStream::connect(upstream).await?;
            stream.set_nodelay(true)?;
            let mut wire = Wire::new(stream);
            wire.stream.write_all(&request.bytes()).await?;
            wire.answer(&request.method()).await
        };
        let answer = tokio::time::timeout(LONGEST, exchange).await.map_err(|_| io::Error::other("no answer in time"))??;
        if link == Some(Link::Webhook) && (200..300).contains(&answer.status()) {
            self.world.acknowledge(&request.path(), &request.body);
        }
        Ok(answer)
    }

    /// The other side gets half of it, and then a reset.
    async fn halve(&self, request: &Message) -> io::Result<()> {
        let upstream = *self.upstream.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stream = TcpStream::connect(upstream.ok_or_else(|| io::Error::other("nobody is there"))?).await?;
        let half = request.head.len() + request.body.len() / 2;
        stream.write_all(&request.bytes()[..half]).await?;
        // A reset at once would take the unsent half with it.
        tokio::time::sleep(Duration::from_millis(20)).await;
        reset(&stream);
        Ok(())
    }

    async fn pass(&self, client: &mut TcpStream, request: &Message, link: Option<Link>) -> io::Result<Next> {
        let begun = Instant::now();
        match self.forward(request, link).await {
            Ok(answer) => {
                let next = answered(client, &answer).await?;
                if link == Some(Link::Submit) && begun.elapsed() < IN_TIME {
                    self.world.answer(&answer.body);
                }
                Ok(next)
            }
            Err(_) => Ok(cut(client)),
        }
    }

    async fn strike(&self, client: &mut TcpStream, request: &Message, (link, blow): (Link, Blow)) -> io::Result<Next> {
        let Blow { fault, for_ms } = blow;
        self.world.made(link, fault, format_args!("{} {} ({for_ms} ms)", request.method(), request.path()));
        let lasts = Duration::from_millis(for_ms);
        match fault {
            Fault::CutBefore => return Ok(cut(client)),
            Fault::GatewayBefore => return answered(client, &gateway(link)).await,
            Fault::Partial => {
                // Nobody there: it is cut all the same.
                drop(self.halve(request).await);
                return Ok(cut(client));
            }
            Fault::Lose => return answered(client, &Message::made(200, "OK", "")).await,
            Fault::Hold => tokio::time::sleep(lasts).await,
            Fault::Forge => self.forged(request).await,
            _ => {}
        }
        let answer = self.forward(request, Some(link)).await;
        if fault == Fault::Double {
            drop(self.forward(request, Some(link)).await);
        }
        let Ok(answer) = answer else { return Ok(cut(client)) };
        match fault {
            Fault::CutAfter => Ok(cut(client)),
            Fault::GatewayAfter => answered(client, &gateway(link)).await,
            Fault::Half => {
                let half = answer.head.len() + answer.body.len() / 2;
                client.write_all(&answer.bytes()[..half]).await?;
                client.flush().await?;
                // A reset at once would take the unsent half with it.
                tokio::time::sleep(Duration::from_millis(20)).await;
                Ok(cut(client))
            }
            Fault::Delay => {
                tokio::time::sleep(lasts).await;
                answered(client, &answer).await
            }
            _ => answered(client, &answer).await,
        }
    }

    /// Sends what an attacker might: the same message under another token, and another task under the old signature.
    async fn forged(&self, request: &Message) {
        let path = request.path();
        let last = path.chars().last().unwrap_or('0');
        let other = if last == 'A' { 'B' } else { 'A' };
        let wrong_token = format!("{}{other}", path.trim_end_matches(last));
        self.send_forged("another token", &request.altered(&wrong_token, &request.body)).await;
        let signed =
            ["webhook-signature", "x-webhook-signature", "x-bfl-signature"].iter().any(|name| request.header(name).is_some());
        if signed {
            let text = String::from_utf8_lossy(&request.body).replace("\"id\":\"", "\"id\":\"forged-");
            let text = text.replace("\"task_id\":\"", "\"task_id\":\"forged-").replace("\"taskId\":\"", "\"taskId\":\"forged-");
            self.send_forged("another body", &request.altered(&path, text.as_bytes())).await;
        }
    }

    async fn send_forged(&self, how: &'static str, request: &Message) {
        // Nobody there: nothing was forged.
        if let Ok(answer) = self.forward(request, None).await {
            self.world.forge(Forged { how, status: answer.status() });
        }
    }
}

fn gateway(link: Link) -> Message {
    if link == Link::Storage {
        return Message::made(503, "Slow Down", "<Error><Code>SlowDown</Code><Message>reduce your rate</Message></Error>");
    }
    Message::made(502, "Bad Gateway", "<html><body>502 Bad Gateway</body></html>")
}

fn cut(client: &TcpStream) -> Next {
    reset(client);
    Next::Close
}

async fn answered(client: &mut TcpStream, answer: &Message) -> io::Result<Next> {
    client.write_all(&answer.bytes()).await?;
    Ok(if answer.closes() { Next::Close } else { Next::Keep })
}
