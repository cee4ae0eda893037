//! A server that answers with exactly the bytes a test hands it, one request a connection: for what real servers only do on
//! bad days.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Handle,
    task::JoinHandle,
};

/// One answer: these bytes, then the connection is closed, or held open until the client goes.
pub struct Answer {
    pub bytes: Vec<u8>,
    pub hold: bool,
}

impl Answer {
    /// `head` without the empty line, then the body; `Connection: close` is added.
    pub fn new(head: &str, body: &[u8]) -> Self {
        let mut bytes = format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").into_bytes();
        bytes.extend_from_slice(body);
        Self { bytes, hold: false }
    }

    /// A whole answer with a true length.
    pub fn whole(head: &str, body: &[u8]) -> Self {
        Self::new(&format!("{head}\r\nContent-Length: {}", body.len()), body)
    }

    pub fn held(mut self) -> Self {
        self.hold = true;
        self
    }
}

/// What the client sent.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET /path`.
    pub line: String,
    /// The whole head, lower case.
    pub head: String,
    /// The same as it was sent.
    pub raw: String,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The value as it was sent.
    pub fn exact(&self, name: &str) -> Option<&str> {
        let named = |line: &&str| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
        self.raw.lines().find(named)?.split_once(": ").map(|(_, value)| value)
    }
}

pub struct RawServer {
    pub base: String,
    requests: Arc<Mutex<Vec<Request>>>,
    accepting: JoinHandle<()>,
}

impl RawServer {
    /// `answer` gets the number of the request, from 0, and the request.
    pub async fn start(answer: impl Fn(usize, &Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let (answer, seen) = (Arc::new(answer), Arc::clone(&requests));
        let accepting = Handle::current().spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
                Handle::current().spawn(serve(socket, answer, seen));
            }
        });
        Self { base, requests, accepting }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for RawServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(
    mut socket: TcpStream,
    answer: Arc<impl Fn(usize, &Request) -> Answer + Send + Sync>,
    seen: Arc<Mutex<Vec<Request>>>,
) {
    let Some(request) = read(&mut socket).await else { return };
    let number = {
        let mut seen = seen.lock().unwrap();
        seen.push(request.clone());
        seen.len() - 1
    };
    let answer = answer(number, &request);
    // A client that has heard enough goes away: that is a case under test, not a failure of the server.
    if socket.write_all(&answer.bytes).await.is_ok() && answer.hold {
        let _ = socket.read(&mut [0; 1]).await;
    }
}

/// Reads the head and the body, by its Content-Length.
async fn read(socket: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
    let mut request = Request { line, head: head.to_lowercase(), raw: head, body: Vec::new() };
    let length = request.header("content-length").map_or(0, |text| text.parse().unwrap());
    while bytes.len() < end + length {
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    request.body = bytes.split_off(end);
    Some(request)
}
