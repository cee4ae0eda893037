//! `[server]`: the HTTP server and its limits.

use serde::{Deserialize, Serialize};

/// `[server]`. Environment: `LONGTAKE__SERVER__<KEY>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Address to listen on; port 0 takes a free one. Default loopback only: exposing it is a decision.
    pub bind: String,
    /// How clients reach us, without a trailing slash; none makes URLs from the request's own authority on loopback binds.
    pub public_url: Option<String>,
    /// Worker threads. Default 2: they only parse and hop to the socket runtime.
    pub workers: usize,
    /// Largest JSON body in bytes. Default 16 MiB: several inline images of the sizes providers take.
    pub max_body_bytes: usize,
    /// Deepest nesting of a JSON body. Default 32.
    pub max_json_depth: usize,
    /// Longest time a client may take to send its request head, seconds. Default 10.
    pub request_timeout_s: u64,
    /// Open connections a worker. Default 4096.
    pub max_connections: usize,
    /// On SIGTERM: how long work in hand may take to finish, seconds. Default 25, below systemd's and Kubernetes' 30.
    pub drain_s: u64,
    /// Unfinished generations above which new ones are answered 503. Default 1,000,000.
    pub max_unfinished: u64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            bind: "127.0.0.1:8080".to_owned(),
            public_url: None,
            workers: 2,
            max_body_bytes: 16 * 1024 * 1024,
            max_json_depth: 32,
            request_timeout_s: 10,
            max_connections: 4096,
            drain_s: 25,
            max_unfinished: 1_000_000,
        }
    }
}
