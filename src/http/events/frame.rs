//! The lines of a stream (WHATWG HTML §9.2.6).

use actix_web::web::Bytes;
use serde_json::json;

use crate::domain::event::{EventId, Told};

/// First of all: how long a browser waits before it comes back, milliseconds. Long enough that thousands do not come at once.
pub const OPENING: Bytes = Bytes::from_static(b"retry: 2000\n\n");

/// Keeps proxies from closing a silent connection.
pub const HEARTBEAT: Bytes = Bytes::from_static(b":\n\n");

/// An event.
pub fn event(told: &Told) -> Bytes {
    format!("id: {}\nevent: {}\ndata: {}\n\n", told.id, told.kind, told.body()).into()
}

/// What came before is no longer kept. It has the id from which the stream goes on, so that it is told once.
pub fn gap(until: EventId) -> Bytes {
    let body = json!({"type": "gap", "data": {"until": until.to_string(), "reason": "older events are no longer kept"}});
    format!("id: {until}\nevent: gap\ndata: {body}\n\n").into()
}

/// The last one. Without an id: the one before stays the last that was seen.
pub fn end() -> Bytes {
    let body = json!({"type": "end", "data": {"reason": "it has ended"}});
    format!("event: end\ndata: {body}\n\n").into()
}

/// Why the stream is closed now, for a person who reads along.
pub fn closing(why: &str) -> Bytes {
    format!(": {why}\n\n").into()
}
