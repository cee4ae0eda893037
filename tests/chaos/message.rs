//! HTTP/1.1 messages as bytes: just enough framing to know where one ends. Nothing is rewritten on its way.

use std::io;

use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    net::TcpStream,
};

/// Largest head.
const HEAD: usize = 64 * 1024;

/// One request or answer, whole.
#[derive(Debug, Clone)]
pub struct Message {
    /// Start line and headers, with the empty line.
    pub head: Vec<u8>,
    /// As on the wire: chunks stay chunks.
    pub body: Vec<u8>,
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// Bytes that were read but not yet used, and the stream they came from.
#[derive(Debug)]
pub struct Wire<S> {
    pub stream: S,
    kept: Vec<u8>,
}

impl<S: AsyncRead + Unpin> Wire<S> {
    pub const fn new(stream: S) -> Self {
        Self { stream, kept: Vec::new() }
    }

    async fn more(&mut self) -> io::Result<usize> {
        self.kept.reserve(16 * 1024);
        self.stream.read_buf(&mut self.kept).await
    }

    /// Up to and with a mark; none at a clean end before the first byte.
    async fn until(&mut self, mark: &[u8]) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(at) = self.kept.windows(mark.len()).position(|window| window == mark) {
                return Ok(Some(self.kept.drain(..at + mark.len()).collect()));
            }
            if self.kept.len() > HEAD && mark.len() > 2 {
                return Err(broken("the head is too long"));
            }
            if self.more().await? == 0 {
                return if self.kept.is_empty() { Ok(None) } else { Err(broken("it ended within a head")) };
            }
        }
    }

    async fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.kept.len() < length {
            if self.more().await? == 0 {
                return Err(broken("it ended within a body"));
            }
        }
        Ok(self.kept.drain(..length).collect())
    }

    async fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.until(b"\r\n").await?.ok_or_else(|| broken("it ended before a chunk"))?;
            let text = String::from_utf8_lossy(&line);
            let size = text.trim().split(';').next().and_then(|hex| usize::from_str_radix(hex, 16).ok());
            let size = size.ok_or_else(|| broken("a chunk without a size"))?;
            body.extend_from_slice(&line);
            if size > 0 {
                body.extend(self.exactly(size + 2).await?);
                continue;
            }
            // Trailers, up to the empty line.
            loop {
                let line = self.until(b"\r\n").await?.ok_or_else(|| broken("it ended within trailers"))?;
                body.extend_from_slice(&line);
                if line == b"\r\n" {
                    return Ok(body);
                }
            }
        }
    }

    /// The next request; none when the client has no more.
    pub async fn request(&mut self) -> io::Result<Option<Message>> {
        let Some(head) = self.until(b"\r\n\r\n").await? else { return Ok(None) };
        let mut message = Message { head, body: Vec::new() };
        message.body = match message.length() {
            _ if message.chunked() => self.chunks().await?,
            Some(length) => self.exactly(length).await?,
            None => Vec::new(),
        };
        Ok(Some(message))
    }

    /// The answer to a request of that method.
    pub async fn answer(&mut self, method: &str) -> io::Result<Message> {
        loop {
            let head = self.until(b"\r\n\r\n").await?.ok_or_else(|| broken("no answer came"))?;
            let mut message = Message { head, body: Vec::new() };
            let status = message.status();
            if (100..200).contains(&status) {
                continue;
            }
            let bare = method == "HEAD" || matches!(status, 204 | 304);
            message.body = match message.length() {
                _ if bare => Vec::new(),
                _ if message.chunked() => self.chunks().await?,
                Some(length) => self.exactly(length).await?,
                None => {
                    while self.more().await? > 0 {}
                    std::mem::take(&mut self.kept)
                }
            };
            return Ok(message);
        }
    }
}

impl Message {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.head).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<String> {
        let wanted = |line: &str| {
            let (key, value) = line.split_once(':')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        };
        self.text().lines().skip(1).find_map(wanted)
    }

    fn length(&self) -> Option<usize> {
        self.header("content-length")?.parse().ok()
    }

    fn chunked(&self) -> bool {
        self.header("transfer-encoding").is_some_and(|value| value.to_ascii_lowercase().contains("chunked"))
    }

    /// Whether the connection ends behind it.
    pub fn closes(&self) -> bool {
        let said = self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        said || (self.length().is_none()
            && !self.chunked()
            && self.head.starts_with(b"HTTP/")
            && !matches!(self.status(), 204 | 304))
    }

    pub fn status(&self) -> u16 {
        self.text().split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    pub fn method(&self) -> String {
        self.text().split(' ').next().unwrap_or_default().to_owned()
    }

    pub fn path(&self) -> String {
        self.text().split(' ').nth(1).unwrap_or_default().to_owned()
    }

    pub fn bytes(&self) -> Vec<u8> {
        [self.head.as_slice(), self.body.as_slice()].concat()
    }

    /// The same request to another path and with another body of the same length, or with that length said.
    pub fn altered(&self, path: &str, body: &[u8]) -> Self {
        let text = self.text();
        let mut lines: Vec<String> = Vec::new();
        for (at, line) in text.trim_end().split("\r\n").enumerate() {
            if at == 0 {
                lines.push(format!("{} {path} HTTP/1.1", self.method()));
            } else if !line.to_ascii_lowercase().starts_with("content-length:") {
                lines.push(line.to_owned());
            }
        }
        lines.push(format!("content-length: {}", body.len()));
        Self { head: format!("{}\r\n\r\n", lines.join("\r\n")).into_bytes(), body: body.to_vec() }
    }

    /// An answer of the proxy's own.
    pub fn made(status: u16, reason: &str, body: &str) -> Self {
        let head = format!("HTTP/1.1 {status} {reason}\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\r\n", body.len());
        Self { head: head.into_bytes(), body: body.as_bytes().to_vec() }
    }
}

/// Ends a connection with a reset instead of an orderly close.
pub fn reset(stream: &TcpStream) {
    // Where the option cannot be set the close is an orderly one: a fault all the same.
    drop(stream.set_zero_linger());
}
