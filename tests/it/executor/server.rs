//! A TCP server that misbehaves on purpose. It remembers what each connection sent.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// What it does with every request.
#[derive(Clone, Copy)]
pub enum Play {
    /// Answers, also a second time on the same connection. A 3xx names a path of its own as Location.
    Answer { status: u16, body: &'static str },
    /// Closes right after accepting.
    CloseAtOnce,
    /// Reads the request, then resets.
    ResetBeforeAnswer,
    /// Announces 100 bytes, sends 50, resets.
    HalfBody,
    /// Reads and says nothing.
    Silence,
    /// A byte of the body every 20 ms, without end.
    Drip,
    /// A body without end, with or without an announced length.
    Endless { announced: Option<u64> },
}

/// What one connection sent so far.
#[derive(Default, Clone)]
struct Seen {
    bytes: Vec<u8>,
    requests: Vec<String>,
    over: bool,
}

/// The server; it ends with the test's runtime.
pub struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    changed: watch::Receiver<()>,
}

impl Server {
    pub async fn start(play: Play) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (tell, changed) = watch::channel(());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let server = Self { address, seen: Arc::clone(&seen), changed };
        let tell = Arc::new(tell);
        let runtime = tokio::runtime::Handle::current();
        runtime.clone().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = {
                    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    seen.push(Seen::default());
                    seen.len() - 1
                };
                let connection = Connection { number, seen: Arc::clone(&seen), tell: Arc::clone(&tell) };
                runtime.spawn(connection.serve(stream, play));
            }
        });
        server
    }

    pub fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Every complete request, once the server has read it.
    pub fn requests(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().flat_map(|seen| seen.requests.clone()).collect()
    }

    /// What the first connection sent until it was over.
    pub async fn first_connection(&self) -> String {
        let mut changed = self.changed.clone();
        loop {
            let first = self.seen.lock().unwrap_or_else(PoisonError::into_inner).first().cloned();
            if let Some(first) = first.filter(|first| first.over) {
                return String::from_utf8_lossy(&first.bytes).into_owned();
            }
            changed.changed().await.expect("the server lives");
        }
    }
}

/// The base URL of a port where nobody listens.
pub async fn refused_base() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    format!("http://{}", listener.local_addr().expect("an address"))
}

struct Connection {
    number: usize,
    seen: Arc<Mutex<Vec<Seen>>>,
    tell: Arc<watch::Sender<()>>,
}

impl Connection {
    fn note(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner)[self.number]);
        self.tell.send_replace(());
    }

    async fn serve(self, mut stream: TcpStream, play: Play) {
        if !matches!(play, Play::CloseAtOnce) {
            while let Some(request) = self.read(&mut stream).await {
                self.note(|seen| seen.requests.push(request));
                if self.answer(&mut stream, play).await.is_err() {
                    break;
                }
            }
        }
        self.note(|seen| seen.over = true);
    }

    /// One request, headers and body by Content-Length; none when the other side closed.
    async fn read(&self, stream: &mut TcpStream) -> Option<String> {
        let mut request = Vec::new();
        let mut buffer = [0u8; 4096];
        loop {
            let text = String::from_utf8_lossy(&request).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length =
                    head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
                if body.len() >= length.unwrap_or(0) {
                    return Some(text);
                }
            }
            let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
            request.extend_from_slice(&buffer[..read]);
            self.note(|seen| seen.bytes.extend_from_slice(&buffer[..read]));
            // The first byte of a TLS handshake (RFC 8446 §5.1): what follows would be waited for in vain.
            if request.first() == Some(&0x16) {
                return Some(String::new());
            }
        }
    }

    async fn answer(&self, stream: &mut TcpStream, play: Play) -> std::io::Result<()> {
        match play {
            Play::CloseAtOnce => Err(std::io::ErrorKind::ConnectionAborted.into()),
            Play::Answer { status, body } => {
                let location = if status / 100 == 3 { "location: /elsewhere\r\n" } else { "" };
                let head = format!("HTTP/1.1 {status} X\r\n{location}content-length: {}\r\n\r\n", body.len());
                stream.write_all(format!("{head}{body}").as_bytes()).await
            }
            Play::ResetBeforeAnswer => {
                stream.set_zero_linger()?;
                Err(std::io::ErrorKind::ConnectionReset.into())
            }
            Play::HalfBody => {
                stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{}", "x".repeat(50)).as_bytes()).await?;
                Err(std::io::ErrorKind::ConnectionReset.into())
            }
            Play::Silence => std::future::pending().await,
            Play::Drip => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n").await?;
                loop {
                    stream.write_all(b"x").await?;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            Play::Endless { announced } => {
                let length = announced.map_or(String::new(), |length| format!("content-length: {length}\r\n"));
                stream.write_all(format!("HTTP/1.1 200 OK\r\n{length}\r\n").as_bytes()).await?;
                let chunk = vec![b'x'; 256 * 1024];
                loop {
                    stream.write_all(&chunk).await?;
                }
            }
        }
    }
}
