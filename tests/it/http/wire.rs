//! Over real sockets: what only the server itself decides.

use std::{net::SocketAddr, time::Duration};

use actix_web::dev::ServerHandle;
use longtake::http::serve;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::app::TestApp;

struct Served {
    app: TestApp,
    address: SocketAddr,
    handle: ServerHandle,
}

async fn start() -> Served {
    let app = TestApp::start().await;
    let (server, address) = serve(app.api.clone()).unwrap();
    let handle = server.handle();
    drop(app.api.runtime.spawn(server));
    Served { app, address, handle }
}

impl Served {
    /// Sends bytes, then reads until the server closes.
    async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // A reset is an end too.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn alive(&self) {
        let answer = self.exchange(b"GET /api/health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[actix_web::test]
async fn head_answers_like_get_without_a_body() {
    let served = start().await;
    let key = &served.app.client;
    let request =
        format!("HEAD /api/external/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\nconnection: close\r\n\r\n");
    let answer = served.exchange(request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n"), "{answer}");
    assert!(!answer.to_lowercase().contains("\r\nserver:"));
    let base = format!("http://{}", served.address);
    assert_eq!(served.app.api.base_url(), base);
    served.handle.stop(false).await;
}

#[actix_web::test]
async fn a_body_that_breaks_off_ends_quietly() {
    let served = start().await;
    let key = &served.app.client;
    let head = format!(
        "POST /api/external/generation HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: 100\r\n\r\n{{\"prompt\""
    );
    for _ in 0..5 {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        drop(stream);
    }
    served.alive().await;
    assert_eq!(served.app.store.reads().counts().await.unwrap().unfinished, 0);
    served.handle.stop(false).await;
}

#[actix_web::test]
async fn a_body_that_never_comes_is_given_up() {
    let served = start().await;
    let key = &served.app.client;
    let head = format!(
        "POST /api/external/generation HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: 100\r\nconnection: close\r\n\r\n{{\"prompt\""
    );
    let answer = tokio::time::timeout(Duration::from_secs(30), served.exchange(head.as_bytes())).await.expect("it ends");
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("did not arrive in time"), "{answer}");
    served.handle.stop(false).await;
}

#[actix_web::test]
async fn what_is_no_http_is_closed_and_harms_nobody() {
    let served = start().await;
    let endless = [b"GET / HTTP/1.1\r\nx: ".to_vec(), vec![b'a'; 300_000]].concat();
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /api/external/generation HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\nzz\r\n",
        &endless,
    ] {
        let answer = tokio::time::timeout(Duration::from_secs(30), served.exchange(bytes)).await.expect("it ends");
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        served.alive().await;
    }
    served.handle.stop(false).await;
}

#[actix_web::test]
async fn pipelined_requests_are_answered_in_order() {
    let served = start().await;
    let answer = served
        .exchange(
            b"GET /errors/not-found HTTP/1.1\r\nhost: x\r\n\r\nGET /nothing HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        )
        .await;
    let (first, second) = (answer.find("HTTP/1.1 200"), answer.find("HTTP/1.1 404"));
    assert!(first.is_some() && first < second, "{answer}");
    served.handle.stop(false).await;
}
