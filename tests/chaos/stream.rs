//! A client that listens: one stream of all events of its project, over every end of the service and every cut of its own, taken up again
//! behind the last event it saw.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::Value;

use crate::{
    bed::Bed,
    fault::{Fault, Link},
};

/// Before it comes back.
const BREATH: Duration = Duration::from_millis(100);

/// A stream that is silent for longer is dead: the settings give it a heartbeat a second.
const SILENCE: Duration = Duration::from_secs(5);

/// Before all events.
const START: &str = "evt_00000000000000000000000000000000";

/// One event.
#[derive(Debug, Clone)]
pub struct Event {
    pub id: String,
    pub kind: String,
    /// Its data, as text and as JSON.
    pub text: String,
    pub data: Value,
}

/// What was heard.
#[derive(Debug, Clone, Default)]
pub struct Streamed {
    /// In the order of their arrival.
    pub events: Vec<Event>,
    /// What must not be told: that something is lost.
    pub gaps: Vec<String>,
}

#[derive(Debug, Clone, Default)]
pub struct Listener {
    streamed: Arc<Mutex<Streamed>>,
    over: Arc<AtomicBool>,
}

impl Listener {
    /// What was heard so far.
    pub fn heard(&self) -> Streamed {
        self.streamed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends it with its next breath.
    pub fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// Listens until it is ended. The proxy of the other messages holds whole answers, so this goes past it and makes its own cuts.
    ///
    /// # Errors
    /// When no client can be made.
    pub async fn listen(&self, bed: &Bed) -> anyhow::Result<()> {
        let http = reqwest::Client::builder().no_proxy().read_timeout(SILENCE).connect_timeout(SILENCE).build()?;
        while !self.over.load(Ordering::SeqCst) {
            if let Some(address) = bed.inbound.upstream() {
                let last = self.heard().events.last().map_or_else(|| START.to_owned(), |last| last.id.clone());
                let request = http.get(format!("http://{address}/api/external/events")).bearer_auth(&bed.client_key);
                // However it ends, it begins again.
                drop(self.follow(bed, request.header("last-event-id", last)).await);
            }
            tokio::time::sleep(BREATH).await;
        }
        Ok(())
    }

    async fn follow(&self, bed: &Bed, request: reqwest::RequestBuilder) -> reqwest::Result<()> {
        let mut reply = request.send().await?.error_for_status()?;
        let mut text = String::new();
        while let Some(piece) = reply.chunk().await? {
            let cut = bed.world.draw(Link::Stream).is_some_and(|blow| blow.fault == Fault::Half);
            let piece = if cut { &piece[..piece.len() / 2] } else { &piece[..] };
            text.push_str(&String::from_utf8_lossy(piece));
            while let Some(end) = text.find("\n\n") {
                let frame: String = text.drain(..end + 2).collect();
                self.take(&frame);
            }
            if cut {
                bed.world.made(Link::Stream, Fault::Half, "the stream of the project");
                return Ok(());
            }
            if self.over.load(Ordering::SeqCst) {
                return Ok(());
            }
        }
        Ok(())
    }

    fn take(&self, frame: &str) {
        let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::to_owned);
        let Some(kind) = field("event") else { return };
        let mut streamed = self.streamed.lock().unwrap_or_else(PoisonError::into_inner);
        match (field("id"), field("data")) {
            (Some(id), Some(text)) if kind != "gap" => {
                let data = serde_json::from_str(&text).unwrap_or_default();
                streamed.events.push(Event { id, kind, text, data });
            }
            _ => streamed.gaps.push(frame.trim().to_owned()),
        }
    }
}
