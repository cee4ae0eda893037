//! Fetching over real sockets: redirects with every check at each hop, caps, silence.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "test support outside of test functions")]

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, header};
use longtake::net::{
    body::BodyError,
    client::{Clients, Guarded},
    fetch::{Fetch, FetchError, fetch},
    guard::{Allow, Refused},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// A server that answers by path and remembers the requests' heads.
struct Site {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Site {
    /// `answer` gets the path and gives the whole answer; none means silence.
    async fn start(answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (answer, seen) = (Arc::new(answer), Arc::clone(&heads));
        let runtime = tokio::runtime::Handle::current();
        runtime.clone().spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
                runtime.spawn(async move {
                    let mut head = vec![0u8; 8192];
                    let read = stream.read(&mut head).await.unwrap_or(0);
                    let head = String::from_utf8_lossy(&head[..read]).into_owned();
                    let path = head.split(' ').nth(1).unwrap_or("").to_owned();
                    seen.lock().unwrap_or_else(PoisonError::into_inner).push(head);
                    match answer(&path) {
                        Some(text) => drop(stream.write_all(text.as_bytes()).await),
                        None => std::future::pending().await,
                    }
                });
            }
        });
        Self { address, heads }
    }

    fn url(&self, path: &str) -> url::Url {
        format!("http://{}{path}", self.address).parse().expect("a URL")
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn body(text: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{text}", text.len())
}

fn redirect(status: u16, to: &str) -> String {
    format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: 0\r\nlocation: {to}\r\n\r\n")
}

fn client(allow: Allow) -> Guarded {
    Clients::new(Allow::public(), allow, Duration::from_secs(5)).expect("clients").download
}

fn plan(url: url::Url) -> Fetch {
    Fetch { url, headers: HeaderMap::new(), max_bytes: 1000, stall: Duration::from_secs(5), total: Duration::from_secs(20) }
}

async fn whole(client: &Guarded, plan: Fetch) -> Result<String, FetchError> {
    let mut fetched = fetch(client, plan).await?;
    let mut text = Vec::new();
    while let Some(chunk) = fetched.next().await? {
        text.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test]
async fn three_redirects_are_followed_and_a_fourth_is_not() {
    let site = Site::start(|path| {
        let left: u32 = path.trim_start_matches('/').parse().ok()?;
        Some(if left == 0 { body("here") } else { redirect(302, &format!("/{}", left - 1)) })
    })
    .await;
    let client = client(Allow::loopback());
    assert_eq!(whole(&client, plan(site.url("/3"))).await.expect("a body"), "here");
    assert!(matches!(whole(&client, plan(site.url("/4"))).await, Err(FetchError::TooManyRedirects)));
}

#[tokio::test]
async fn every_hop_is_checked() {
    let cases = [
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "gopher://127.0.0.1/x",
        "http://[::ffff:169.254.169.254]/",
    ];
    let site = Site::start(move |path| Some(redirect(307, cases[path.trim_start_matches('/').parse::<usize>().ok()?]))).await;
    let client = client(Allow::loopback());
    for (number, case) in cases.iter().enumerate() {
        let error = whole(&client, plan(site.url(&format!("/{number}")))).await.expect_err("refused");
        assert!(error.refused().is_some(), "{case}: {error:?}");
    }
}

#[tokio::test]
async fn credentials_are_dropped_when_a_redirect_leaves_the_origin() {
    let other = Site::start(|_| Some(body("there"))).await;
    let away = other.url("/").to_string();
    let site = Site::start(move |path| Some(redirect(302, if path == "/near" { "/far" } else { &away }))).await;
    let mut plan = plan(site.url("/near"));
    plan.headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer canary"));
    plan.headers.insert(header::RANGE, HeaderValue::from_static("bytes=5-"));
    assert_eq!(whole(&client(Allow::loopback()), plan).await.expect("a body"), "there");
    assert!(site.heads().len() == 2 && site.heads().iter().all(|head| head.contains("Bearer canary")));
    assert!(!other.heads()[0].contains("canary") && other.heads()[0].contains("bytes=5-"));
}

#[tokio::test]
async fn a_private_address_is_refused_as_literal_and_behind_a_name_and_allowed_by_host() {
    let site = Site::start(|_| Some(body("secret"))).await;
    let named = |scheme: &str| -> url::Url { format!("{scheme}://localhost:{}/", site.address.port()).parse().expect("a URL") };
    let public = client(Allow::public());
    let error = whole(&public, plan(named("https"))).await.expect_err("refused");
    assert!(matches!(error.refused(), Some(Refused::Address { host, .. }) if host == "localhost"), "{error:?}");
    let error = whole(&public, plan(site.url("/"))).await.expect_err("refused");
    assert!(matches!(error.refused(), Some(Refused::Scheme(_))));
    assert!(site.heads().is_empty());

    let listed = Allow { http: true, ..Allow::private_hosts(vec!["localhost".to_owned()]) };
    assert_eq!(whole(&client(listed), plan(named("http"))).await.expect("a body"), "secret");
}

#[tokio::test]
async fn a_body_over_the_cap_is_cut_with_and_without_a_length() {
    let site = Site::start(|path| {
        let head = if path == "/announced" { "content-length: 5000\r\n" } else { "" };
        Some(format!("HTTP/1.1 200 OK\r\nconnection: close\r\n{head}\r\n{}", "x".repeat(5000)))
    })
    .await;
    for path in ["/announced", "/unannounced"] {
        let error = whole(&client(Allow::loopback()), plan(site.url(path))).await.expect_err("too large");
        assert!(matches!(error, FetchError::Body(BodyError::TooLarge(1000))), "{error:?}");
    }
}

#[tokio::test]
async fn silence_ends_by_the_stall_and_a_lie_about_the_length_is_a_cut() {
    let site =
        Site::start(|path| (path != "/silent").then(|| "HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\nxyz".to_owned())).await;
    let client = client(Allow::loopback());
    let silent = Fetch { stall: Duration::from_millis(200), ..plan(site.url("/silent")) };
    assert!(matches!(whole(&client, silent).await, Err(FetchError::Body(BodyError::Stalled(_)))));
    let error = whole(&client, plan(site.url("/short"))).await.expect_err("cut");
    assert!(matches!(error, FetchError::Body(BodyError::Cut(_))), "{error:?}");
}

#[tokio::test]
async fn the_deadline_ends_a_body_that_never_stalls() {
    let site = Site::start(|_| None).await;
    let slow = Fetch { total: Duration::from_millis(200), ..plan(site.url("/")) };
    assert!(matches!(whole(&client(Allow::loopback()), slow).await, Err(FetchError::Deadline(_))));
}

#[tokio::test]
async fn an_error_never_shows_the_query() {
    let site = Site::start(|_| None).await;
    let refused = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        listener.local_addr().expect("an address")
    };
    let urls = [site.url("/x?sig=canary"), format!("http://{refused}/x?sig=canary").parse().expect("a URL")];
    for url in urls {
        let error = whole(&client(Allow::loopback()), Fetch { stall: Duration::from_millis(200), ..plan(url) })
            .await
            .expect_err("an error");
        assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
    }
}
