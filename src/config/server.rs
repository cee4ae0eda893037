//! `[server]`: the HTTP server and its limits.

use std::path::PathBuf;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use validator::Validate;

use crate::config::storage::redacted;

/// Below `data_dir`: the server secret where the configuration gives none.
pub const SECRET_FILE: &str = "server-secret";

/// Fewest characters of a server secret: 128 bits of hexadecimal digits.
pub const SHORTEST_SECRET: usize = 32;

/// `[server]`. Environment: `LONGTAKE__SERVER__<KEY>`.
#[derive(Debug, Clone, Serialize, Deserialize, Validate)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Address to listen on; port 0 takes a free one. Default loopback only: exposing it is a decision.
    pub bind: String,
    /// How clients reach us, without a trailing slash; none makes URLs from the request's own authority on loopback binds.
    ///
    /// Providers call us back below it; without it no provider is given a webhook, and polling does everything.
    pub public_url: Option<String>,
    /// What makes the URLs of webhooks and the names of results unguessable, at least 32 characters. Several, separated by white
    /// space, to rotate: the first signs and names, all are accepted. None (default): made once, kept in `data_dir/server-secret`.
    #[serde(serialize_with = "redacted")]
    pub secret: Option<SecretString>,
    /// File that holds it.
    pub secret_file: Option<PathBuf>,
    /// Worker threads. Default 2: they only parse and hop to the socket runtime.
    #[validate(range(min = 1, max = 1024, message = "must be between 1 and 1024"))]
    pub workers: usize,
    /// Largest JSON body in bytes. Default 16 MiB: several inline images of the sizes providers take.
    #[validate(range(min = 1024, max = 1073741824, message = "must be between 1024 and 1073741824"))]
    pub max_body_bytes: usize,
    /// Deepest nesting of a JSON body. Default 32.
    #[validate(range(min = 4, max = 128, message = "must be between 4 and 128"))]
    pub max_json_depth: usize,
    /// Longest time a client may take to send its request head, seconds. Default 10.
    #[validate(range(min = 1, max = 600, message = "must be between 1 and 600"))]
    pub request_timeout_s: u64,
    /// Longest time a client may take to send a body, seconds. Default 60: 16 MiB at 2 Mbit/s.
    #[validate(range(min = 1, max = 3600, message = "must be between 1 and 3600"))]
    pub body_timeout_s: u64,
    /// Open connections a worker. Default 4096.
    #[validate(range(min = 1, max = 1000000, message = "must be between 1 and 1000000"))]
    pub max_connections: usize,
    /// On SIGTERM: how long work in hand may take to finish, seconds. Default 25, below systemd's and Kubernetes' 30.
    #[validate(range(min = 0, max = 3600, message = "must be between 0 and 3600"))]
    pub drain_s: u64,
    /// Unfinished generations above which new ones are answered 503. Default 1,000,000.
    pub max_unfinished: u64,
    /// Requests a key may send a minute where nothing is said of the key itself; 0 (default): no limit. Each server counts for itself.
    pub requests_per_minute: u32,
    /// Requests a key may have under way at a time where nothing is said of the key itself, long polls and streams among them;
    /// 0 (default): no limit.
    pub in_flight: u32,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            bind: "127.0.0.1:8080".to_owned(),
            public_url: None,
            secret: None,
            secret_file: None,
            workers: 2,
            max_body_bytes: 16 * 1024 * 1024,
            max_json_depth: 32,
            request_timeout_s: 10,
            body_timeout_s: 60,
            max_connections: 4096,
            drain_s: 25,
            max_unfinished: 1_000_000,
            requests_per_minute: 0,
            in_flight: 0,
        }
    }
}
